//! Files of the root that come from no package: the operator's own, and what is handed over by hand.

use crate::end_to_end::disk::Root;
use crate::end_to_end::project::{Project, Warmth};
use crate::end_to_end::{router, said};
use crate::format_support::elf::Elf;
use std::path::Path;
use std::process::Command;

const PROFILE: &str = "profiles/router.toml";
const LOCK: &str = "profiles/router.lock";
const TOOL: &str = "[artifact.tool]\nto = \"/usr/bin/tool\"\nurl = \"https://nowhere.invalid/tool-arm64\"\n";

struct Scene {
    project: Project,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// A project whose router has these artifacts too.
    fn new(artifacts: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::new(folder.path(), Warmth::Warm);
        let router = project.read(PROFILE);
        project.write(PROFILE, &format!("{router}\n{artifacts}"));
        Scene { project, _folder: folder }
    }

    fn refused(&self, further: &[&str], parts: &[&str]) {
        let text = said(&self.project.build(further).output().unwrap(), 1);
        for part in parts {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
        assert!(!self.project.image().exists());
    }

    /// Puts bytes beside the project's profiles.
    fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.project.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn root(&self) -> Root {
        Root::open(&self.project.image())
    }
}

fn program(libraries: &[&str]) -> Vec<u8> {
    let interpreter = (!libraries.is_empty()).then_some("/lib/ld-linux-aarch64.so.1");
    Elf { interpreter, libraries, ..Elf::default() }.bytes()
}

#[test]
fn a_file_of_ones_own_is_in_the_root_and_pinned_by_the_lock() {
    let scene = Scene::new("[artifact.banner]\nto = \"/etc/banner\"\nfile = \"files/banner\"\nmode = \"0640\"\n");
    let project = &scene.project;
    scene.refused(&["--locked"], &["router.toml:", "the artifact banner", "files/banner"]);
    scene.file("profiles/files/banner", b"hello\n");
    scene.refused(&["--locked"], &["router.toml:", "the artifact banner", "not in the lock"]);
    let text = said(&project.build(&[]).output().unwrap(), 0);
    assert!(text.contains("+ banner a file, 6 B"), "{text}");
    let root = scene.root();
    assert_eq!(root.fs.read("/etc/banner").unwrap(), b"hello\n");
    assert_eq!(root.fs.metadata("/etc/banner").unwrap().mode() & 0o7777, 0o640);
    assert_eq!(root.manifest.supplied, ["firstboot"]);
    let lock = project.read(LOCK);
    assert!(lock.contains("[[artifact]]\nname = \"banner\"\nkind = \"file\"\nsize = 6\n"), "{lock}");
    project.built(&["--locked"]);

    scene.file("profiles/files/banner", b"other\n");
    let text = said(&project.build(&["--locked"]).output().unwrap(), 1);
    assert!(text.contains("the file is not the one that is locked"), "{text}");
    let text = said(&project.build(&[]).output().unwrap(), 0);
    assert!(text.contains("~ banner a file: different content, 6 B"), "{text}");
    assert_eq!(scene.root().fs.read("/etc/banner").unwrap(), b"other\n");
}

#[test]
fn a_supplied_artifact_is_placed_and_named_but_not_locked() {
    let scene = Scene::new(TOOL);
    let project = &scene.project;
    scene.file("stand-in", &program(&[]));
    let before = project.read(LOCK);
    let text = said(&project.build(&["--supply", "tool=stand-in"]).output().unwrap(), 0);
    assert!(text.contains("supplied  firstboot, tool (by hand, not from the lock)"), "{text}");
    let root = scene.root();
    assert_eq!(root.fs.read("/usr/bin/tool").unwrap(), program(&[]));
    assert_eq!(root.fs.metadata("/usr/bin/tool").unwrap().mode() & 0o7777, 0o755);
    assert_eq!(root.manifest.supplied, ["firstboot", "tool"]);
    assert_eq!(project.read(LOCK), before);
    let json = said(&project.build(&["--supply", "tool=stand-in", "--json"]).output().unwrap(), 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["supplied"], serde_json::json!(["firstboot", "tool"]));
    assert_eq!(json["unchanged"], true, "the same bytes handed over again are nothing new");

    scene.file("stand-in", &[program(&[]), vec![0; 8]].concat());
    project.built(&["--supply", "tool=stand-in"]);
    assert_eq!(scene.root().fs.read("/usr/bin/tool").unwrap().len(), program(&[]).len() + 8);
}

/// minisign with a key of its own in the project.
fn minisign(scene: &Scene, arguments: &[&str]) {
    let mut command = Command::new("minisign");
    let output = command.current_dir(&scene.project.folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_release_file_is_locked_when_its_upstream_signed_it_and_refused_otherwise() {
    let scene = Scene::new(&format!("{TOOL}signature = \"https://nowhere.invalid/tool.sig\"\nkey = \"tool.pub\"\n"));
    let project = &scene.project;
    project.write("microdc.toml", "[sources]\nmirrors = [\"mirror\"]\n");
    scene.file("mirror/nowhere.invalid/tool-arm64", &program(&[]));
    let tool = "mirror/nowhere.invalid/tool-arm64";
    let sign = |file: &str| {
        minisign(&scene, &["-S", "-s", "secret", "-m", file, "-x", "mirror/nowhere.invalid/tool.sig"]);
    };
    minisign(&scene, &["-G", "-W", "-s", "secret", "-p", "profiles/other.pub"]);
    minisign(&scene, &["-G", "-f", "-W", "-s", "secret", "-p", "tool.pub"]);

    scene.refused(&["--offline"], &["router.toml:", "the artifact tool", "profiles/tool.pub", "No such file"]);
    scene.file("profiles/tool.pub", &std::fs::read(project.folder.join("profiles/other.pub")).unwrap());
    sign(tool);
    scene.refused(&["--offline"], &["router.toml:", "the artifact tool", "tool.sig", "it was made by another key"]);
    scene.file("profiles/tool.pub", &std::fs::read(project.folder.join("tool.pub")).unwrap());
    scene.file("other", b"other bytes");
    sign("other");
    scene.refused(&["--offline"], &["router.toml:", "the artifact tool", "tool.sig", "it does not verify"]);
    assert!(!project.read(LOCK).contains("name = \"tool\""), "what is refused is not locked");

    sign(tool);
    let text = said(&project.build(&["--offline"]).output().unwrap(), 0);
    assert!(text.contains("tool-arm64: signed by the minisign key with"), "{text}");
    assert!(project.read(LOCK).contains("name = \"tool\""));
    assert_eq!(scene.root().fs.read("/usr/bin/tool").unwrap(), program(&[]));
    // What is locked is not asked for again.
    std::fs::remove_dir_all(project.folder.join("mirror")).unwrap();
    project.built(&["--offline", "--locked"]);
}

#[test]
fn a_dynamic_artifact_brings_the_libraries_that_it_needs() {
    let scene = Scene::new(TOOL);
    let library = "/usr/lib/aarch64-linux-gnu/libBrokenLocale.so.1";
    assert!(!Root::open(&router().image).fs.exists(library).unwrap(), "the router alone does not have it");
    scene.file("tool", &program(&["libBrokenLocale.so.1", "libc.so.6"]));
    scene.project.built(&["--supply", "tool=tool"]);
    assert!(scene.root().fs.exists(library).unwrap());

    scene.file("tool", &program(&["libnowhere.so.7"]));
    let text = said(&scene.project.build(&["--supply", "tool=tool", "--locked"]).output().unwrap(), 1);
    assert!(text.contains("/usr/bin/tool (artifact tool, supplied by hand) needs libnowhere.so.7"), "{text}");
}

#[test]
fn what_cannot_be_supplied_is_refused_and_told_why() {
    let scene = Scene::new(TOOL);
    scene.file("tool", &program(&[]));
    scene.refused(&["--supply", "tol=tool"], &["--supply tol", "did you mean `tool`?"]);
    scene.refused(&["--supply", "zzz=tool"], &["--supply zzz", "known: firstboot, tool"]);
    scene.refused(&["--supply", "tool=tool", "--supply", "tool=tool"], &["given twice"]);
    scene.refused(&["--supply", "tool=missing"], &["the supplied tool, missing", "No such file"]);
    scene.refused(&["--supply", "tool=profiles"], &["the supplied tool, profiles", "is not a file"]);
    scene.file("foreign", &Elf { machine: 62, ..Elf::default() }.bytes());
    scene.refused(&["--supply", "tool=foreign"], &["router.toml:", "the artifact tool", "for another machine"]);
}

#[test]
fn a_supplied_firstboot_must_be_a_static_program_for_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::new(folder.path(), Warmth::Warm);
    for (bytes, why) in [
        (b"#!/bin/sh\n".to_vec(), "it is not a program (ELF)"),
        (Elf { machine: 62, ..Elf::default() }.bytes(), "for another machine"),
        (program(&["libc.so.6"]), "linked dynamically"),
    ] {
        std::fs::write(project.folder.join("firstboot"), bytes).unwrap();
        let text = said(&project.build(&[]).output().unwrap(), 1);
        assert!(text.contains("the supplied firstboot cannot run on a node") && text.contains(why), "{text}");
    }
    assert!(!Path::new(&project.image()).exists());
}
