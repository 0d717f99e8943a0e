//! Programs compiled from Go modules: the same bytes whoever compiles them, and what goes wrong told.

use crate::end_to_end::project::{Project, Warmth};
use crate::end_to_end::said;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROFILE: &str = "profiles/router.toml";
const LOCK: &str = "profiles/router.lock";

/// A zip of stored files, as Go's module proxies serve them.
fn zip(files: &[(String, &str)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let mut sum = flate2::Crc::new();
        sum.update(text.as_bytes());
        // Version, flags, method, time, date (1980-01-01), sum, both lengths, length of the name, no extra field.
        let mut fields = Vec::new();
        [20u16, 0, 0, 0, 33].iter().for_each(|value| fields.extend(value.to_le_bytes()));
        [sum.sum(), text.len() as u32, text.len() as u32].iter().for_each(|value| fields.extend(value.to_le_bytes()));
        [name.len() as u16, 0].iter().for_each(|value| fields.extend(value.to_le_bytes()));
        let at = bytes.len() as u32;
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&fields);
        bytes.extend(name.as_bytes());
        bytes.extend(text.as_bytes());
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        // No comment, first disk, no attributes.
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let at = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    [files.len() as u16; 2].iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// A folder that is a module proxy, with a program in `cmd/hello` of a module.
fn proxy(folder: &Path, version: &str, go: &str, say: &str) -> String {
    let place = folder.join("proxy/example.test/hello/@v");
    std::fs::create_dir_all(&place).unwrap();
    let module = format!("module example.test/hello\n\ngo {go}\n");
    let program = format!("package main\n\nfunc main() {{ println({say:?}) }}\n");
    let inside = |name: &str| format!("example.test/hello@{version}/{name}");
    let files = [(inside("go.mod"), module.as_str()), (inside("cmd/hello/main.go"), program.as_str())];
    std::fs::write(place.join(format!("{version}.zip")), zip(&files)).unwrap();
    std::fs::write(place.join(format!("{version}.mod")), &module).unwrap();
    let info = format!("{{\"Version\":{version:?},\"Time\":\"2026-01-01T00:00:00Z\"}}");
    std::fs::write(place.join(format!("{version}.info")), info).unwrap();
    let mut list = std::fs::File::options().create(true).append(true).open(place.join("list")).unwrap();
    writeln!(list, "{version}").unwrap();
    format!("file://{}", folder.join("proxy").display())
}

struct Scene {
    project: Project,
    proxy: String,
    /// With nothing of Go's in it.
    home: PathBuf,
}

impl Scene {
    fn new(within: &Path, proxy: &str) -> Scene {
        let project = Project::new(within, Warmth::Warm);
        let artifact = "[artifact.hello]\nto = \"/usr/bin/hello\"\ngo = \"example.test/hello@v1.0.0\"\n\
                        package = \"./cmd/hello\"\n";
        project.write(PROFILE, &format!("{}\n{artifact}", project.read(PROFILE)));
        let home = within.join("home");
        std::fs::create_dir_all(&home).unwrap();
        Scene { project, proxy: proxy.to_owned(), home }
    }

    fn build(&self, further: &[&str]) -> Command {
        let mut build = self.project.build(further);
        build.env("GOPROXY", &self.proxy).env("GOSUMDB", "off").env("HOME", &self.home);
        // Nothing of this reaches the compiler.
        build.env("GOFLAGS", "-tags=other").env("CGO_ENABLED", "1").env("GOARCH", "386");
        build
    }

    fn refused(&self, further: &[&str], parts: &[&str]) {
        let text = said(&self.build(further).output().unwrap(), 1);
        for part in parts {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }

    /// The bytes that the lock has of the program, and the Go that made them.
    fn locked(&self) -> (String, String) {
        let text = self.project.read(LOCK);
        let entry = &text[text.find("[[artifact]]\nname = \"hello\"").expect("it is locked")..];
        let value = |key: &str| {
            let at = entry.find(&format!("\n{key} = \"")).unwrap() + key.len() + 5;
            entry[at..].split('"').next().unwrap().to_owned()
        };
        assert_eq!((value("module"), value("version")), ("example.test/hello".to_owned(), "v1.0.0".to_owned()));
        assert!(value("sum").starts_with("h1:") && value("package") == "example.test/hello/cmd/hello", "{entry}");
        (value("sha256"), value("go"))
    }

    fn edit_lock(&self, from: &str, to: &str) {
        self.project.edit(LOCK, from, to);
        let _ = std::fs::remove_dir_all(self.project.cache.join("stage/go"));
    }
}

/// The caches of Go are read-only folders, which not everyone can remove.
fn release(folder: &Path) {
    let _ = Command::new("chmod").args(["-R", "u+w"]).arg(folder).status();
}

#[test]
fn two_users_compile_the_same_bytes_and_the_lock_says_which_go_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = proxy(folder.path(), "v1.0.0", "1.21", "hello");
    let one = Scene::new(&folder.path().join("one"), &proxy);
    let two = Scene::new(&folder.path().join("the/other/one"), &proxy);
    let text = said(&one.build(&[]).output().unwrap(), 0);
    assert!(text.contains("hello compiled by go1."), "{text}");
    said(&two.build(&[]).output().unwrap(), 0);
    assert_eq!(one.locked(), two.locked());
    let root = crate::end_to_end::disk::Root::open(&one.project.image());
    let program = root.fs.read("/usr/bin/hello").unwrap();
    assert_eq!(program[18], 183, "it is for AArch64");
    let home = one.home.to_str().unwrap().as_bytes();
    assert!(!program.windows(home.len()).any(|bytes| bytes == home), "no path of the machine is in it");

    // From the cache, without Go and without network.
    std::fs::remove_file(one.project.image()).unwrap();
    let mut again = one.build(&["--offline", "--locked"]);
    said(&again.env("PATH", "/nowhere").output().unwrap(), 0);

    // Without the cache, Go is needed, and what it makes must be what is locked.
    let (sha256, go) = one.locked();
    std::fs::remove_dir_all(one.project.cache.join("stage/go")).unwrap();
    let mut without = one.build(&["-o", "out/other.img"]);
    let text = said(&without.env("PATH", "/nowhere").output().unwrap(), 1);
    for part in
        ["router.toml:", "the artifact hello", "no `go` on this machine", &go, "apt install golang-go", "--supply"]
    {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    one.edit_lock(&sha256, &"0".repeat(64));
    one.refused(&[], &["compiled by", &sha256, &"0".repeat(64), "microdc lock --update"]);
    one.edit_lock(&format!("go = \"{go}\""), "go = \"go1.99.1\"");
    one.refused(&[], &["is locked as compiled by go1.99.1", &format!("this machine has {go}"), "Install go1.99.1"]);
    release(folder.path());
}

#[test]
fn a_module_that_needs_a_newer_go_or_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = proxy(folder.path(), "v1.0.0", "1.99", "hello");
    let scene = Scene::new(&folder.path().join("one"), &proxy);
    scene.refused(&[], &["router.toml:", "the artifact hello", "needs go1.99.0", "this machine has go1."]);
    scene.project.edit(PROFILE, "hello@v1.0.0", "hello@v1.0.1");
    scene.refused(&[], &["the artifact hello", "go install example.test/hello/cmd/hello@v1.0.1", "v1.0.1"]);
    scene.refused(&["--offline"], &["is not in the cache, and Go cannot compile it without network access"]);
    release(folder.path());
}
