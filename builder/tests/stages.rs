//! The key of a stage holds all that the stage depends on, and nothing else: each kind of input is changed alone, and
//! the stages that are made again are the right ones.

use crate::end_to_end::project::{Project, Warmth, stages_in};
use crate::end_to_end::{machine_mirror, router, said};
use crate::format_support::elf::Elf;
use microdc::lock::Lock;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

const PROFILE: &str = "profiles/router.toml";

struct Scene {
    project: Project,
    _folder: tempfile::TempDir,
}

/// What a build made, and what it found in the cache.
fn build(project: &Project, further: &[&str]) -> (BTreeSet<String>, BTreeSet<String>) {
    let arguments = [&["--supply", "tool=tool", "--json"], further].concat();
    let text = said(&project.build(&arguments).output().unwrap(), 0);
    (stages_in(&text, "made"), stages_in(&text, "cached"))
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::new(folder.path(), Warmth::Warm);
        let router = project.read(PROFILE);
        let artifacts = "[artifact.tool]\nto = \"/usr/bin/tool\"\nurl = \"https://nowhere.invalid/tool\"\n\
                         [artifact.own]\nto = \"/etc/own\"\nfile = \"own\"\n";
        project.write(PROFILE, &format!("{router}\n{artifacts}"));
        project.write("profiles/own", "one\n");
        std::fs::write(project.folder.join("tool"), Elf::default().bytes()).unwrap();
        Scene { project, _folder: folder }
    }

    /// Builds, and asserts which stages were made; nothing is left to do afterwards.
    fn makes(&self, what: &str, expected: &[&str]) {
        self.makes_with(&[], what, expected);
    }

    /// The same for a build with these arguments.
    fn makes_with(&self, further: &[&str], what: &str, expected: &[&str]) {
        let (made, cached) = build(&self.project, further);
        let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(made, expected, "{what}");
        assert!(made.is_disjoint(&cached), "{what}");
        let all: BTreeSet<&str> = ["kernel", "initramfs", "licences", "image"].into();
        let seen: BTreeSet<&str> = made.iter().chain(&cached).map(String::as_str).collect();
        assert!(all.is_subset(&seen), "{what}: every stage is told of: {seen:?}");
        let (made, cached) = build(&self.project, further);
        assert_eq!(
            (made.len(), cached.into_iter().collect::<Vec<_>>()),
            (0, vec!["image".to_owned()]),
            "after {what}"
        );
    }
}

#[test]
fn each_kind_of_input_makes_the_right_stages_again_and_no_others() {
    let scene = Scene::new();
    let project = &scene.project;
    build(project, &[]);
    scene.project.write("README", "not an input\n");
    assert_eq!(build(project, &[]).0.len(), 0, "what is not an input makes nothing");

    let overlay = "overlays/router/etc/motd";
    std::fs::create_dir_all(project.folder.join("overlays/router/etc")).unwrap();
    project.write(overlay, "one\n");
    scene.makes("an overlay's file", &["image"]);
    let path = project.folder.join(overlay);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    scene.makes("the mode of an overlay's file", &["image"]);

    let rules = "overlays/router/overlay.toml";
    project.write(rules, "[path.\"etc/motd\"]\nmode = \"0640\"\n");
    scene.makes("a mode in overlay.toml", &["image"]);
    project.edit(rules, "mode", "owner = \"root:frr\"\nmode");
    scene.makes("an owner in overlay.toml", &["image"]);

    let template = "overlays/router/usr/lib/microdc/templates/nftables.conf.j2";
    project.write(template, &format!("{}\n# more\n", project.read(template)));
    scene.makes("a template", &["image"]);

    project.edit(PROFILE, "summary = \"", "summary = \"Also: ");
    scene.makes("a key of the profile", &["image"]);
    project.edit(PROFILE, "[kernel]\n", "[kernel]\noptions = [\"quiet\"]\n");
    scene.makes("a kernel option", &["image"]);
    project.edit("profiles/parts/base.toml", "\"dm-verity\", ", "\"dm-verity\", \"overlay\", ");
    scene.makes("a module of the initramfs", &["initramfs", "image"]);

    project.write("profiles/own", "two\n");
    scene.makes("an artifact of one's own", &["image"]);
    let tool = [Elf::default().bytes(), vec![0; 16]].concat();
    std::fs::write(project.folder.join("tool"), tool).unwrap();
    scene.makes("a supplied artifact", &["image"]);

    let mut firstboot = std::fs::read(project.folder.join("firstboot")).unwrap();
    firstboot.push(0);
    std::fs::write(project.folder.join("firstboot"), firstboot).unwrap();
    scene.makes("firstboot's bytes", &["initramfs", "image"]);

    let next = contract::keys::PrivateKey::from_seed(&[8; 32]).public();
    project.write("next.pub", &next.to_text());
    scene.makes_with(&["--trust", "next.pub"], "one more key to trust", &["initramfs", "image"]);
    build(project, &[]);

    let other = contract::keys::PrivateKey::from_seed(&[9; 32]);
    let key = project.folder.join("keys/development.key");
    std::fs::write(&key, other.to_text()).unwrap();
    std::fs::write(project.folder.join("keys/development.pub"), other.public().to_text()).unwrap();
    scene.makes("the release key", &["initramfs", "image"]);

    // A package that is no longer taken leaves the lock, and the licences with it.
    project.edit(PROFILE, ", \"wireguard\"]", "]");
    scene.makes("a package less", &["licences", "image"]);
    project.edit(PROFILE, "\"bgp\"]", "\"bgp\", \"wireguard\"]");
    let before = project.read("profiles/router.lock");
    assert!(!before.contains("wireguard-tools"));
    let whole = std::fs::read_to_string(crate::end_to_end::workspace().join("profiles/router.lock")).unwrap();
    project.write("profiles/router.lock", &whole);
    let package = crate::end_to_end::router().package("wireguard-tools");
    std::fs::remove_dir_all(crate::end_to_end::project::unpacked(&project.cache, package.sha256)).unwrap();
    scene.makes("a package that is not unpacked", &["package wireguard-tools", "image"]);
}

/// From the machine's own mirror.
#[test]
fn another_kernel_makes_all_that_is_made_of_it_again() {
    let scene = Scene::new();
    let project = &scene.project;
    build(project, &[]);
    let module = |release: &str| format!("usr/lib/modules/{release}/kernel/drivers/net/wireguard/wireguard.ko.xz");
    let has = |path: &str| {
        let why = project.microdc(&["inspect", "out/router.img", "--why", path]).output().unwrap();
        why.status.success()
    };
    let before = router().lock.packages.keys().find(|name| name.starts_with("linux-image-6")).unwrap();
    let release = |package: &str| package.trim_start_matches("linux-image-").to_owned();
    assert!(has(&module(&release(before))));

    project.edit(PROFILE, "[kernel]\n", "[kernel]\npackage = \"linux-image-rt-arm64\"\n");
    let mirror = machine_mirror();
    let from = ["--mirror", mirror.base("trixie"), "--security-mirror", mirror.base("trixie-security")];
    let (made, _) = build(project, &from);
    let lock = Lock::load(&project.folder.join("profiles/router.lock")).unwrap().unwrap();
    let after = lock.packages.keys().find(|name| name.ends_with("-rt-arm64") && *name != "linux-image-rt-arm64");
    let after = after.unwrap_or_else(|| panic!("{:?}", lock.packages.keys()));
    assert!(!lock.packages.contains_key(before), "the other kernel has left the lock");
    let packages = [format!("package {after}"), "package linux-image-rt-arm64".to_owned()];
    let stages = ["kernel", "initramfs", "licences", "image"].map(str::to_owned);
    assert_eq!(made, stages.into_iter().chain(packages).collect());
    assert!(has(&module(&release(after))) && !has(&module(&release(before))));
    assert_eq!(build(project, &[]).0.len(), 0, "it is there by now");
}

#[test]
fn another_builder_makes_the_image_again() {
    let scene = Scene::new();
    let project = &scene.project;
    build(project, &[]);
    let other = project.folder.join("other-microdc");
    std::fs::copy(crate::end_to_end::MICRODC, &other).unwrap();
    let mut command = std::process::Command::new(other);
    command.args(project.build_arguments(&["--supply", "tool=tool", "--json"]));
    project.settle(&mut command);
    let json: serde_json::Value = serde_json::from_str(&said(&command.output().unwrap(), 0)).unwrap();
    assert_eq!(json["made"], serde_json::json!(["image"]), "{json}");
}
