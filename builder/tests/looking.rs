//! What is said of images, bundles, disks and locks is what is in them: inspect, diff and sbom.

use crate::format_support::{boot_files, content, entry, file, key, layout, noise, public, slot_spec, tool_ok};
use crate::source_kit::deb as kit;
use contract::hash::Digest;
use contract::layout::MIB;
use microdc::cache::Cache;
use microdc::image::{self, ImageSpec};
use microdc::inventory::{self, Artifact, Built};
use microdc::lock::{Lock, LockedPackage};
use microdc::source::deb::{self, Effort};
use microdc::tree::{Kind, Package, SourcePackage, Tree, origin, take};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock};

const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n\
                         Copyright: somebody\nLicense: GPL-2+ or House-Rules\n\nLicense: House-Rules\n Be kind.\n";

/// Two images and a bundle of the second.
struct Shared {
    folder: tempfile::TempDir,
    old: PathBuf,
    new: PathBuf,
    bundle: PathBuf,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = [Side::Old, Side::New].map(|side| made(folder.path(), side));
    let trusted = [public(1)];
    let request = microdc::bundle::Request { image: &new, slot: None, trusted: &trusted, frame_blocks: 8 };
    let bundle = microdc::bundle::write(&request, None, &|_| Ok(())).unwrap().path;
    std::fs::write(folder.path().join("one.pub"), public(1).to_text()).unwrap();
    Shared { folder, old, new, bundle }
});

/// An image of frr 1.1-1, libx1 of the source libx 1:3.0, runc 1.2 and came 8, and the project's own program.
pub fn image() -> &'static Path {
    &SHARED.new
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

/// A package of these files, with a copyright file.
fn package(name: &str, version: &str, files: &[(&str, Vec<u8>)]) -> Package {
    let mut entries: BTreeMap<_, _> =
        files.iter().map(|(path, bytes)| ((*path).to_owned(), entry(content(bytes.clone()), 0o755))).collect();
    entries.insert(format!("usr/share/doc/{name}"), entry(Kind::Directory, 0o755));
    let copyright = COPYRIGHT.as_bytes().to_vec();
    entries.insert(format!("usr/share/doc/{name}/copyright"), entry(content(copyright), 0o644));
    let source = SourcePackage::of(if name == "libx1" { "libx (1:3.0)" } else { "" }, name, version);
    Package { name: name.to_owned(), version: version.to_owned(), source, entries }
}

fn locked(package: &Package) -> LockedPackage {
    let Package { name, version, .. } = package;
    kit::locked(name, version, format!("{name} {version}").as_bytes())
}

/// An image in which each side has what the tests below expect.
fn made(folder: &Path, side: Side) -> PathBuf {
    let new = side == Side::New;
    let lib = ("usr/lib/libx.so.1", noise(9000, 1));
    let mut packages = vec![
        package(
            "frr",
            if new { "1.1-1" } else { "1.0-1" },
            &[("usr/sbin/frr", noise(if new { 5000 } else { 4000 }, 2))],
        ),
        package("libx1", "1:3.0+b1", &[lib]),
        package("runc", "1.2", &[("usr/sbin/runc", go_program())]),
    ];
    packages.push(match side {
        Side::Old => package("gone", "7", &[("usr/bin/gone", noise(100, 3))]),
        Side::New => package("came", "8", &[("usr/bin/came", noise(200, 4))]),
    });
    let packages: BTreeMap<String, Arc<Package>> =
        packages.into_iter().map(|package| (package.name.clone(), Arc::new(package))).collect();
    let lock =
        Lock { packages: packages.iter().map(|(name, p)| (name.clone(), locked(p))).collect(), ..Lock::default() };

    let mut tree = microdc::tree::skeleton();
    for (name, package) in &packages {
        let (pattern, why) = match name.as_str() {
            "libx1" => ("usr/lib/libx.so.1", "needed by /usr/sbin/frr as libx.so.1".to_owned()),
            _ => ("usr/{bin,sbin}/*", format!("router.toml takes {name:?}")),
        };
        take::take(&mut tree, package, &[pattern.to_owned()], &why).unwrap();
    }
    let mut put = |path: &str, text: &str, mode, owner| {
        let mut node = file(text.as_bytes().to_vec(), mode, owner);
        node.origin = origin::of_overlay("site").into();
        tree.insert_parents(path);
        tree.insert(path, node).unwrap();
    };
    put("etc/same.conf", "same", 0o644, (0, 0));
    put("etc/site.conf", if new { "new text" } else { "old text" }, 0o644, (0, 0));
    put("etc/tool", "tool", if new { 0o755 } else { 0o644 }, (0, 0));
    put("etc/key", "key", 0o600, (if new { 110 } else { 0 }, 0));
    link(&mut tree, "etc/link", if new { "same.conf" } else { "site.conf" });

    let program = b"firstboot".to_vec();
    let artifact = Artifact {
        name: "firstboot".into(),
        kind: "microdc".into(),
        from: None,
        version: Some("0.1.0".into()),
        path: contract::names::FIRSTBOOT.into(),
        size: program.len() as u64,
        sha256: Digest::of(&program),
        supplied: false,
    };
    let boot_reasons = BTreeMap::from([("config.txt".to_owned(), origin::made("the firmware's settings"))]);
    let built = Built {
        profile: "router",
        lock: &lock,
        packages: &packages,
        artifacts: vec![artifact],
        crates: vec!["serde 1.0.2".into()],
        boot: &boot_reasons,
    };
    inventory::insert(&mut tree, built, |places| Ok(inventory::licences::pack(&packages, places)?)).unwrap();

    let mut boot = boot_files();
    if new {
        boot.last_mut().unwrap().bytes = noise(90_000, 7).into();
    }
    let signer = key(1);
    let mut slot = slot_spec(&tree, &boot, &signer);
    slot.version = if new { "1.2.4" } else { "1.2.3" }.parse().unwrap();
    slot.kernel = if new { "6.12.2-test" } else { "6.12.1-test" }.parse().unwrap();
    let path = folder.join(if new { "new.img" } else { "old.img" });
    image::write(&ImageSpec { slot, layout: layout(), node_config: None }, &path, &|_| Ok(())).unwrap();
    path
}

fn link(tree: &mut Tree, path: &str, target: &str) {
    let node = microdc::tree::Node::of(Kind::Symlink(target.to_owned()), 0o777, &origin::of_overlay("site"));
    tree.insert(path, node).unwrap();
}

/// An ELF file with nothing in it but the section in which Go says what a program is made of.
fn go_program() -> Vec<u8> {
    let lines = "path\texample.org/runc\nmod\texample.org/Runc\tv1.2.0\th1:a=\ndep\texample.org/dep\tv0.3.0+incompatible\th1:b=\n";
    let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
    section.resize(32, 0);
    for text in ["go1.24.4".to_owned(), format!("{0}{lines}{0}", "0123456789abcdef")] {
        let length = text.len();
        section.extend(if length < 128 { vec![length as u8] } else { vec![length as u8 | 128, (length >> 7) as u8] });
        section.extend(text.bytes());
    }
    let names = b"\0.go.buildinfo\0.shstrtab\0".to_vec();
    let (at, names_at) = (64, 64 + section.len());
    let headers_at = (names_at + names.len()).next_multiple_of(8);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2_u16, 183].map(u16::to_le_bytes).concat());
    elf.extend(1_u32.to_le_bytes());
    elf.extend([0, 0, headers_at as u64].map(u64::to_le_bytes).concat());
    elf.extend(0_u32.to_le_bytes());
    elf.extend([64_u16, 56, 0, 64, 3, 2].map(u16::to_le_bytes).concat());
    elf.extend(&section);
    elf.extend(&names);
    elf.resize(headers_at, 0);
    let header = |name: u32, kind: u32, offset: usize, size: usize| {
        let mut header = [name, kind].map(u32::to_le_bytes).concat();
        header.extend([0, 0, offset as u64, size as u64].map(u64::to_le_bytes).concat());
        header.extend([0_u32, 0].map(u32::to_le_bytes).concat());
        header.extend([1_u64, 0].map(u64::to_le_bytes).concat());
        header
    };
    elf.extend(header(0, 0, 0, 0));
    elf.extend(header(1, 1, at, section.len()));
    elf.extend(header(15, 3, names_at, names.len()));
    elf
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microdc"));
    command
        .args(arguments)
        .current_dir(SHARED.folder.path())
        .env("MICRODC_CACHE", SHARED.folder.path().join("cache"));
    command.output().unwrap()
}

fn said(arguments: &[&str], status: i32) -> String {
    let output = run(arguments);
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}:\n{out}{err}");
    if status == 0 { out } else { err }
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&said(&[arguments, &["--json"]].concat(), 0)).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `NAME OLD NEW` of each changed package or artifact.
fn versions(changes: &Value) -> Vec<String> {
    let version = |item: &Value| item["version"].as_str().unwrap_or("-").to_owned();
    let line = |change: &Value| {
        format!("{} {} {}", change["name"].as_str().unwrap(), version(&change["old"]), version(&change["new"]))
    };
    changes.as_array().unwrap().iter().map(line).collect()
}

/// `PATH: WHAT` of each changed file; `came` and `went` for those of one side.
fn paths(changes: &Value) -> Vec<String> {
    let line = |change: &Value| {
        let what: Vec<&str> = change["what"].as_array().unwrap().iter().map(|what| what.as_str().unwrap()).collect();
        let what = match (change["old"].is_null(), change["new"].is_null()) {
            (true, false) => "came".to_owned(),
            (false, true) => "went".to_owned(),
            _ => what.join(" "),
        };
        format!("{}: {what}", change["path"].as_str().unwrap())
    };
    changes.as_array().unwrap().iter().map(line).collect()
}

#[test]
fn a_diff_of_two_images_names_exactly_what_differs() {
    let found = json(&["diff", text(&SHARED.old), text(&SHARED.new)]);
    assert_eq!(versions(&found["packages"]), ["came - 8", "frr 1.0-1 1.1-1", "gone 7 -"]);
    assert_eq!(versions(&found["artifacts"]), [""; 0]);
    assert_eq!(
        paths(&found["files"]),
        [
            "etc/key: owner",
            "etc/link: target",
            "etc/site.conf: content",
            "etc/tool: mode",
            "usr/bin/came: came",
            "usr/bin/gone: went",
            "usr/lib/microdc/inventory.json.zst: content",
            "usr/lib/microdc/licences.tar.zst: content",
            "usr/sbin/frr: content",
        ]
    );
    assert_eq!(paths(&found["boot"]), ["cmdline.txt: content", "initramfs.img: content"]);
    let fields: Vec<&str> =
        found["manifest"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
    assert_eq!(fields, ["version", "kernel"]);
    let shown = said(&["diff", text(&SHARED.old), text(&SHARED.new)], 0);
    for line in [
        "version        1.2.3 → 1.2.4",
        "~ frr 1.0-1 → 1.1-1,",
        "+ /usr/bin/came, 200 B",
        "- /usr/bin/gone, 100 B",
        "~ /etc/tool, mode 0644 → 0755",
        "~ /etc/key, owner 0:0 → 110:0",
        "~ /etc/link, link site.conf → same.conf",
        "~ /usr/sbin/frr, 3.9 KiB → 4.9 KiB (+1000 B)",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
}

#[test]
fn an_image_and_its_bundle_do_not_differ() {
    let found = said(&["diff", text(&SHARED.new), text(&SHARED.bundle)], 0);
    assert_eq!(found.trim(), "no differences");
    let found = said(&["diff", text(&SHARED.old), "x.lock"], 1);
    assert!(found.contains("a lock is compared with a lock"), "{found}");
}

#[test]
fn a_diff_of_two_locks_names_exactly_the_changed_packages_and_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let add = |name: &str, version: &str, files: &[(&str, &[u8])]| {
        let entries: Vec<_> = files.iter().map(|(path, bytes)| kit::file(&format!("./{path}"), bytes)).collect();
        let bytes = kit::deb(name, version, "", &entries);
        let locked = kit::locked(name, version, &bytes);
        cache.add_blob(&bytes).unwrap();
        deb::open(&cache, &locked, Effort::default()).unwrap();
        locked
    };
    let lock = |packages: &[LockedPackage]| {
        let packages = packages.iter().map(|package| (package.name.clone(), package.clone())).collect();
        Lock { packages, ..Lock::default() }
    };
    let same = add("same", "1", &[("usr/bin/same", b"same")]);
    let old = lock(&[
        add("frr", "1.0-1", &[("usr/bin/a", b"one"), ("usr/bin/b", b"b"), ("bin/c", b"c")]),
        add("gone", "7", &[("usr/bin/gone", b"gone")]),
        same.clone(),
        kit::locked("unseen", "1", b"never in the cache"),
    ]);
    let new = lock(&[
        add("came", "8", &[("usr/bin/came", b"came")]),
        add("frr", "1.0-2", &[("usr/bin/a", b"two"), ("usr/bin/c", b"c"), ("usr/bin/d", b"d")]),
        same,
        kit::locked("unseen", "2", b"neither"),
    ]);
    let [old_path, new_path] = [("old.lock", &old), ("new.lock", &new)].map(|(name, lock)| {
        lock.save(&folder.path().join(name)).unwrap();
        folder.path().join(name)
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_microdc"));
    command.args(["diff", text(&old_path), text(&new_path), "--json"]).env("MICRODC_CACHE", folder.path());
    let found: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let packages = ["came - 8", "frr 1.0-1 1.0-2", "gone 7 -", "unseen 1 2"];
    assert_eq!(versions(&found["packages"]), packages);
    let files =
        ["usr/bin/a: content", "usr/bin/b: went", "usr/bin/came: came", "usr/bin/d: came", "usr/bin/gone: went"];
    assert_eq!(paths(&found["files"]), files);
    let note = found["notes"][0].as_str().unwrap();
    assert!(note.contains("files of unseen are not compared: unseen 1 is not in the cache"), "{note}");
}

#[test]
fn why_a_file_is_there_is_told_down_to_who_asked_for_it() {
    let image = text(&SHARED.new);
    let found = json(&["inspect", image, "--why", "/lib/libx.so.1"]);
    let because = found["because"].as_array().unwrap();
    let origins: Vec<&str> = because.iter().map(|step| step["origin"].as_str().unwrap()).collect();
    let wanted = [
        "package libx1 1:3.0+b1, needed by /usr/sbin/frr as libx.so.1",
        "package frr 1.1-1, router.toml takes \"frr\"",
    ];
    assert_eq!(origins, wanted);
    assert_eq!(because[0]["path"], "/usr/lib/libx.so.1");
    assert_eq!(because[0]["package"]["version"], "1:3.0+b1");
    for (path, answer) in [
        ("/etc/site.conf", "from the overlay site"),
        ("/etc/link", "from the overlay site"),
        ("boot:config.txt", "made by the build: the firmware's settings"),
        ("/usr/lib/microdc/inventory.json.zst", "made by the build: what this image is made of"),
    ] {
        let shown = said(&["inspect", image, "--why", path], 0);
        assert!(shown.contains(answer), "{path}: {shown}");
    }
    let shown = said(&["inspect", image, "--why", "/opt/frr"], 1);
    assert!(shown.contains("/opt/frr is not in the image; did you mean /usr/sbin/frr?"), "{shown}");
}

#[test]
fn files_and_packages_are_listed_as_they_are() {
    let bundle = text(&SHARED.bundle);
    let listed = json(&["inspect", bundle, "--files", "etc/*"]);
    let lines = listed.as_array().unwrap().iter().map(|file| {
        let text = |name: &str| file[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} {} {}", text("path"), text("kind"), text("mode"), file["uid"], file["size"])
    });
    let lines = lines.collect::<Vec<_>>();
    let wanted = [
        "/etc/key file 0600 110 3",
        "/etc/link link 0777 0 null",
        "/etc/same.conf file 0644 0 4",
        "/etc/site.conf file 0644 0 8",
        "/etc/tool file 0755 0 4",
    ];
    assert_eq!(lines, wanted);
    let shown = said(&["inspect", bundle, "--files", "boot:kernel8.img"], 0);
    assert!(shown.contains("300000 boot:kernel8.img"), "{shown}");
    assert!(said(&["inspect", bundle, "--files", "opt/**"], 1).contains("nothing in it matches"), "no such files");
    let packages = json(&["inspect", bundle, "--packages"]);
    let names: Vec<&str> =
        packages["packages"].as_array().unwrap().iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["came", "frr", "libx1", "runc"]);
    assert_eq!(said(&["inspect", bundle, "--licence", "frr"], 0), COPYRIGHT);
    assert!(said(&["inspect", bundle, "--licence", "fr"], 1).contains("did you mean `frr`?"), "a near name");
}

#[test]
fn a_nodes_disk_and_a_root_partition_alone_are_looked_into_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    tool_ok("cp", &["--sparse=always", text(&SHARED.new), text(&disk)]);
    let length = layout().image_size() + 64 * MIB;
    std::fs::File::options().write(true).open(&disk).unwrap().set_len(length).unwrap();
    tool_ok("sgdisk", &["-e", "-n", "6:0:+8M", "-c", "6:state", text(&disk)]);
    let found = json(&["inspect", text(&disk), "--key", "one.pub"]);
    assert_eq!(found["kind"], "disk");
    assert_eq!(found["default"], "A");
    assert_eq!(found["partitions"][5]["name"], "state");
    assert_eq!(found["slots"][0]["signature"], "good");
    assert_eq!(found["slots"][0]["inventory"]["profile"], "router");
    assert_eq!(said(&["diff", text(&disk), text(&SHARED.new)], 0).trim(), "no differences");
    let shown = said(&["verify", text(&disk), "--key", "one.pub"], 0);
    assert!(shown.contains("every bit of its slots matches its signature") && shown.contains("slot A"), "{shown}");
    let damaged = folder.path().join("damaged");
    tool_ok("cp", &["--sparse=always", text(&disk), text(&damaged)]);
    let at = layout().extent(contract::layout::Partition::RootA).unwrap().offset + 5000;
    std::fs::File::options().write(true).open(&damaged).unwrap().write_all_at(b"?", at).unwrap();
    assert!(said(&["verify", text(&damaged), "--key", "one.pub"], 1).contains("root-a, block 1"), "one changed byte");
    assert!(said(&["inspect", text(&disk), "--slot", "B", "--files"], 1).contains("slot B is empty"), "empty slot");

    let extent = layout().extent(contract::layout::Partition::RootA).unwrap();
    let mut bytes = std::fs::read(&disk).unwrap();
    bytes.drain(..extent.offset as usize);
    bytes.truncate(extent.length as usize);
    let root = folder.path().join("root");
    std::fs::write(&root, bytes).unwrap();
    let found = json(&["inspect", text(&root), "--key", "one.pub"]);
    assert_eq!((&found["kind"], &found["slots"][0]["signature"]), (&"partition".into(), &"good".into()));
    let difference = said(&["diff", text(&root), text(&SHARED.new)], 0);
    assert!(
        difference.contains("no differences") && difference.contains("boot files are not compared"),
        "{difference}"
    );
    let shown = said(&["inspect", text(&SHARED.folder.path().join("one.pub"))], 1);
    assert!(shown.contains("it is not an image, disk, root partition or bundle"), "{shown}");
}

#[test]
fn both_bills_of_materials_are_accepted_by_independent_validators_and_say_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let [cyclonedx, spdx] = ["cyclonedx", "spdx"].map(|format| {
        let path = folder.path().join(format!("{format}.spdx.json"));
        said(&["sbom", text(&SHARED.new), "--format", format, "-o", text(&path)], 0);
        // The bundle is the same slot: the same bill, to the last byte.
        assert_eq!(
            said(&["sbom", text(&SHARED.bundle), "--format", format], 0),
            std::fs::read_to_string(&path).unwrap()
        );
        path
    });
    crate::bills::assert_accepted(&cyclonedx, &spdx);

    let bill: Value = serde_json::from_slice(&std::fs::read(&cyclonedx).unwrap()).unwrap();
    let components = bill["components"].as_array().unwrap();
    let purls: Vec<&str> = components.iter().map(|component| component["purl"].as_str().unwrap()).collect();
    let firstboot = format!("pkg:generic/firstboot@0.1.0?checksum=sha256:{}", Digest::of(b"firstboot"));
    assert_eq!(
        purls,
        [
            "pkg:deb/debian/came@8?arch=arm64&distro=trixie",
            "pkg:deb/debian/frr@1.1-1?arch=arm64&distro=trixie",
            "pkg:deb/debian/libx1@1:3.0%2Bb1?arch=arm64&distro=trixie",
            "pkg:deb/debian/runc@1.2?arch=arm64&distro=trixie",
            &firstboot,
            "pkg:cargo/serde@1.0.2",
            "pkg:golang/example.org/dep@v0.3.0%2Bincompatible",
            "pkg:golang/example.org/runc@v1.2.0",
            "pkg:golang/stdlib@1.24.4",
        ]
    );
    assert_eq!(components[1]["licenses"][0]["expression"], "GPL-2.0-or-later OR LicenseRef-House-Rules");
    assert_eq!(components[1]["hashes"][0]["content"], Digest::of(b"frr 1.1-1").to_string());
    // The modules hang below the package whose program they are in, and nowhere else.
    let below = |of: &str| {
        let of = bill["dependencies"].as_array().unwrap().iter().find(|entry| entry["ref"] == of).unwrap();
        of["dependsOn"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((below(purls[3]), below(purls[1]), below(&firstboot), below("microdc-router@1.2.4")), (3, 0, 1, 5));
    assert_eq!(bill["metadata"]["timestamp"], "2026-09-21T14:13:20Z");
    let document: Value = serde_json::from_slice(&std::fs::read(&spdx).unwrap()).unwrap();
    assert_eq!(document["hasExtractedLicensingInfos"][0]["licenseId"], "LicenseRef-House-Rules");
    assert_eq!(document["hasExtractedLicensingInfos"][0]["extractedText"], "Be kind.");
}

#[test]
fn an_image_from_before_says_that_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("before.img");
    crate::format_support::write_image(&image, None);
    let shown = said(&["inspect", text(&image), "--key", "one.pub"], 0);
    assert!(shown.contains("made of   unknown") && shown.contains("build it again"), "{shown}");
    for verb in [&["sbom", text(&image)][..], &["inspect", text(&image), "--why", "/usr"]] {
        assert!(said(verb, 1).contains("build it again to know more"), "{verb:?}");
    }
    let found = json(&["diff", text(&image), text(&SHARED.new)]);
    assert!(found["notes"][0].as_str().unwrap().contains("packages are not compared: the old one"), "{found}");
}
