//! The built router image, seen by others: the tools of its file systems, the packages that it came from, and a bit
//! that flips.

use crate::end_to_end::disk::{Root, partition, read, tool};
use crate::end_to_end::project::{Project, Warmth, unpacked};
use crate::end_to_end::{MICRODC, Router, router, said};
use contract::hash::Digest;
use contract::keys::{PrivateKey, PublicKey};
use contract::layout::{BLOCK, TRAILER_SIZE};
use contract::tree::SALT;
use ext4_view::FileType;
use microdc::cache::digest_of;
use microdc::release_key;
use microdc::verify::{Bootsel, Expect, verify};
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The public key that the image was signed with.
fn signer() -> PathBuf {
    let folder = crate::end_to_end::workspace().join("keys");
    let release = folder.join("release.pub");
    if release.exists() { release } else { folder.join("development.pub") }
}

fn extract(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_tools_of_every_format_find_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let image = &router().image;
    let table = tool("sgdisk", &["-v", image.to_str().unwrap()]);
    assert!(table.contains("No problems found"), "{table}");
    for (number, name) in [(1, "bootsel"), (2, "boot-a")] {
        let (offset, length) = partition(image, number);
        let path = extract(folder.path(), name, &read(image, offset, length));
        tool("fsck.fat", &["-n", &path]);
    }
    let root = Root::open(image);
    let data = root.manifest.root.length;
    let path = extract(folder.path(), "root-a", &read(image, root.offset, data));
    tool("e2fsck", &["-fn", &path]);
    let hashes = extract(folder.path(), "hashes", &read(image, root.offset + data, root.tree));
    let (blocks, salt) = ((data / BLOCK).to_string(), hex::encode(SALT));
    let arguments = ["verify", "--no-superblock", "--data-blocks", &blocks, "--salt", &salt, &path, &hashes];
    let hash = root.manifest.root.root_hash.to_string();
    tool("veritysetup", &[&arguments[..], &[&hash]].concat());
}

/// What a package's archive states of one path.
#[derive(Clone, Debug, PartialEq)]
struct Stated {
    package: String,
    kind: Entry,
    mode: u32,
    owner: (u64, u64),
    capability: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Directory,
    /// SHA-256 of the content; a hard link states that of its first name, and which that is.
    File(Digest, Option<String>),
    Symlink(String),
}

/// Debian's merged /usr.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    match path.split('/').next() {
        Some(first @ ("bin" | "sbin" | "lib")) if path != first => format!("usr/{path}"),
        _ => path.to_owned(),
    }
}

/// Directories whose modes are the system's own.
const SYSTEM: [&str; 10] = ["", "boot", "dev", "proc", "root", "run", "sys", "tmp", "var/log", "var/tmp"];

/// Everything that the locked packages hold, by path, as dpkg and the crate `tar` read them.
fn stated(router: &Router) -> BTreeMap<String, Vec<Stated>> {
    let mut all: BTreeMap<String, Vec<Stated>> = BTreeMap::new();
    for package in router.lock.packages.values() {
        let mut dpkg = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(router.blob(package))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut archive = tar::Archive::new(dpkg.stdout.take().unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = merged(std::str::from_utf8(&entry.path_bytes()).unwrap());
            let link = entry.link_name_bytes().map(|link| String::from_utf8(link.into_owned()).unwrap());
            let kind = match entry.header().entry_type() {
                tar::EntryType::Directory => Entry::Directory,
                tar::EntryType::Symlink => Entry::Symlink(link.unwrap()),
                tar::EntryType::Link => {
                    let first = merged(&link.unwrap());
                    // tar(5): the first name stands before those that link to it.
                    let of = all[&first].iter().find(|other| other.package == package.name).unwrap();
                    let Entry::File(digest, None) = of.kind else { panic!("{path} links to no file") };
                    Entry::File(digest, Some(first))
                }
                tar::EntryType::Regular => Entry::File(digest_of(&mut entry).unwrap(), None),
                other => panic!("{path}: {other:?}"),
            };
            let mut capability = None;
            for extension in entry.pax_extensions().unwrap().into_iter().flatten() {
                let extension = extension.unwrap();
                if extension.key() == Ok("SCHILY.xattr.security.capability") {
                    capability = Some(extension.value_bytes().to_vec());
                }
            }
            let header = entry.header();
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            let mode = header.mode().unwrap() & 0o7777;
            let package = package.name.clone();
            all.entry(path).or_default().push(Stated { package, kind, mode, owner, capability });
        }
        assert!(dpkg.wait().unwrap().success());
    }
    all
}

/// Paths below a folder, relative to it.
fn files_below(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = merged(&format!("{prefix}/{}", path.file_name().unwrap().to_str().unwrap()));
        if path.is_dir() && !path.is_symlink() {
            files_below(&path, &name, found);
        } else {
            found.insert(name);
        }
    }
}

#[test]
fn every_file_is_as_its_packages_own_archive_states() {
    let router = router();
    let root = Root::open(&router.image);
    let stated = stated(router);
    let profile = microdc::profile::load(&crate::end_to_end::workspace().join("profiles/router.toml")).unwrap();
    // What does not come from packages: overlays, links of the profile, the skeleton's links, accounts, microdc's own.
    let mut own: BTreeSet<String> = profile.links.keys().map(|path| merged(path)).collect();
    for overlay in &profile.overlays {
        files_below(&overlay.value, "", &mut own);
    }
    own.extend(["bin", "lib", "sbin", "var/lock", "var/run"].map(str::to_owned));
    own.extend(["etc/passwd", "etc/group", "etc/shadow"].map(str::to_owned));
    own.extend(["usr/lib/os-release", "etc/os-release"].map(str::to_owned));
    use contract::names::{FIRSTBOOT, INVENTORY, LICENCES, ROLE_SPEC};
    own.extend([FIRSTBOOT, INVENTORY, LICENCES, ROLE_SPEC].map(merged));

    let folder_of_root = tempfile::tempdir().unwrap();
    let mut from_packages = BTreeSet::new();
    let (mut hard_links, mut capabilities) = (Vec::new(), Vec::new());
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        for entry in root.fs.read_dir(format!("/{folder}").as_str()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().as_str().unwrap().to_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if [".", ".."].contains(&name.as_str()) || path == "lost+found" {
                continue;
            }
            let full = format!("/{path}");
            let metadata = root.fs.symlink_metadata(full.as_str()).unwrap();
            let is_folder = metadata.file_type() == FileType::Directory;
            if is_folder {
                waiting.push(path.clone());
            }
            if own.contains(&path) {
                continue;
            }
            let Some(candidates) = stated.get(&path) else {
                assert!(is_folder, "/{path} comes from nowhere");
                assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "/{path}");
                continue;
            };
            let mode = u32::from(metadata.mode()) & 0o7777;
            let owner = (u64::from(metadata.uid()), u64::from(metadata.gid()));
            let kind = match metadata.file_type() {
                FileType::Directory => Entry::Directory,
                FileType::Symlink => {
                    let target = root.fs.read_link(full.as_str()).unwrap();
                    Entry::Symlink(target.to_str().unwrap().to_owned())
                }
                FileType::Regular => Entry::File(Digest::of(&root.fs.read(full.as_str()).unwrap()), None),
                other => panic!("/{path}: {other:?}"),
            };
            let found = |stated: &Stated| {
                let same = match (&stated.kind, &kind) {
                    (Entry::File(stated, _), Entry::File(found, _)) => stated == found,
                    (stated, found) => stated == found,
                };
                // The modes of a few directories are the system's, and those of links mean nothing.
                let free = metadata.is_symlink() || is_folder && SYSTEM.contains(&path.as_str());
                same && owner == stated.owner && (free || mode == stated.mode)
            };
            let as_stated = candidates.iter().find(|stated| found(stated));
            let as_stated = as_stated.unwrap_or_else(|| panic!("/{path}: {metadata:?}, stated {candidates:?}"));
            if let Entry::File(_, Some(first)) = &as_stated.kind {
                hard_links.push((path.clone(), first.clone()));
            }
            if let Some(value) = &as_stated.capability {
                capabilities.push((path.clone(), value.clone()));
            }
            if !is_folder {
                from_packages.insert(path);
            }
        }
    }
    println!("{} files and links from packages", from_packages.len());
    // Names of one file are names of one inode, where both were taken.
    let whole = folder_of_root.path().join("root");
    std::fs::write(&whole, read(&router.image, root.offset, root.manifest.root.length)).unwrap();
    let debugfs = |request: &str| tool("debugfs", &["-R", request, whole.to_str().unwrap()]);
    let inode = |path: &str| debugfs(&format!("stat /{path}")).split_whitespace().nth(1).unwrap().to_owned();
    for (path, first) in hard_links.iter().filter(|(_, first)| from_packages.contains(first)) {
        assert_eq!(inode(path), inode(first), "/{path} and /{first}");
    }
    for (path, value) in &capabilities {
        let out = folder_of_root.path().join("value");
        debugfs(&format!("ea_get -f {} /{path} security.capability", out.display()));
        assert_eq!(&std::fs::read(&out).unwrap(), value, "/{path}");
    }
    // What the profile takes is there.
    for path in
        ["usr/lib/frr/bgpd", "usr/sbin/nft", "usr/lib/aarch64-linux-gnu/libc.so.6", "usr/lib/ld-linux-aarch64.so.1"]
    {
        assert!(from_packages.contains(path), "/{path} is missing");
    }
}

#[test]
fn the_boot_files_are_those_of_their_packages() {
    let router = router();
    let folder = tempfile::tempdir().unwrap();
    let (offset, length) = partition(&router.image, 2);
    let boot = extract(folder.path(), "boot-a", &read(&router.image, offset, length));
    let stated = stated(router);
    let release = Root::open(&router.image).manifest.kernel;
    let trees = format!("usr/lib/linux-image-{release}/broadcom");
    for (name, path) in [
        ("start4.elf", "usr/lib/raspi-firmware/start4.elf".to_owned()),
        ("fixup4.dat", "usr/lib/raspi-firmware/fixup4.dat".to_owned()),
        ("bcm2711-rpi-cm4-io.dtb", format!("{trees}/bcm2711-rpi-cm4-io.dtb")),
        ("bcm2711-rpi-4-b.dtb", format!("{trees}/bcm2711-rpi-4-b.dtb")),
        (contract::names::KERNEL, format!("boot/vmlinuz-{release}")),
    ] {
        let out = folder.path().join(name);
        tool("mcopy", &["-i", &boot, &format!("::/{name}"), out.to_str().unwrap()]);
        let bytes = std::fs::read(&out).unwrap();
        if name.ends_with(".dtb") {
            // The package's own, with one page reserved.
            let tree = emulator::devicetree::Tree::parse(&bytes).unwrap();
            assert_eq!(tree.get("/reserved-memory/microdc@10000000", "no-map").unwrap(), b"", "{name}");
            assert!(tree.get("/", "compatible").unwrap().ends_with(b"brcm,bcm2711\0"), "{name}");
            assert!(stated.contains_key(&path), "{path}");
            continue;
        }
        let digest = match name == contract::names::KERNEL {
            true => digest_of(&mut flate2::read::GzDecoder::new(&*bytes)).unwrap(),
            false => Digest::of(&bytes),
        };
        assert_eq!(stated[&path][0].kind, Entry::File(digest, None), "{name}");
    }
}

/// A private copy of the image, sparse as the image is.
fn private_copy(folder: &Path) -> PathBuf {
    let copy = folder.join("copy.img");
    let image = router().image.to_str().unwrap();
    tool("cp", &["--sparse=always", image, copy.to_str().unwrap()]);
    copy
}

fn flip(file: &File, at: u64, bit: u32) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).unwrap();
}

/// Where the parts of a root partition are in the image.
fn parts(root: &Root) -> [(&'static str, std::ops::Range<u64>); 3] {
    let tree = root.offset + root.manifest.root.length;
    let trailer = root.offset + root.length - TRAILER_SIZE;
    [("data", root.offset..tree), ("tree", tree..tree + root.tree), ("trailer", trailer..trailer + TRAILER_SIZE)]
}

#[test]
fn three_hundred_flipped_bits_are_all_found() {
    let folder = tempfile::tempdir().unwrap();
    let image = private_copy(folder.path());
    let parts = parts(&Root::open(&image));
    let trusted = [release_key::read_public(&signer()).unwrap()];
    let expect = Expect { trusted: &trusted, role: None, bootsel: Bootsel::AsBuilt };
    verify(&image, &expect).unwrap();
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let file = File::options().read(true).write(true).open(&image).unwrap();
    for (name, range) in &parts {
        for _ in 0..100 {
            let (at, bit) = (random.gen_range(range.clone()), random.gen_range(0..8));
            flip(&file, at, bit);
            let found = verify(&image, &expect);
            flip(&file, at, bit);
            let error = found.err().unwrap_or_else(|| panic!("seed {seed}: {name}, byte {at}, bit {bit} unnoticed"));
            assert!(error.to_string().starts_with("root-a"), "seed {seed}: {name}, byte {at}, bit {bit}: {error}");
        }
    }
    verify(&image, &expect).unwrap();
}

fn verify_by_command(image: &Path, key: &Path, further: &[&str], status: i32) -> String {
    let mut command = Command::new(MICRODC);
    command.arg("verify").arg(image).arg("--key").arg(key).args(further);
    said(&command.output().unwrap(), status)
}

#[test]
fn the_command_names_the_place_of_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let image = private_copy(folder.path());
    let root = Root::open(&image);
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let said = verify_by_command(&image, &signer(), &["--role", "router"], 0);
    assert!(said.contains("every bit matches its signature"), "{said}");
    for (name, range) in parts(&root) {
        let at = range.start + 5;
        flip(&file, at, 3);
        let said = verify_by_command(&image, &signer(), &[], 1);
        flip(&file, at, 3);
        let block = (range.start - root.offset) / BLOCK;
        let place = match name {
            "trailer" => format!("root-a, trailer (byte {} of the image)", range.start),
            _ => format!("root-a, block {block} (byte {} of the image)", range.start),
        };
        assert!(said.contains(&place) && said.contains("is damaged"), "{name}: {said}");
    }
    // The other partitions as well, and what is between them.
    for (number, place) in [(1, "bootsel"), (2, "boot-a"), (3, "boot-b"), (5, "root-b")] {
        let at = partition(&image, number).0 + 70_000;
        flip(&file, at, 0);
        let said = verify_by_command(&image, &signer(), &[], 1);
        flip(&file, at, 0);
        assert!(said.contains(place), "{place}: {said}");
    }
    flip(&file, 520, 0);
    assert!(verify_by_command(&image, &signer(), &[], 1).contains("partition table"));
}

#[test]
fn an_unknown_signer_and_another_role_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stranger: PublicKey = PrivateKey::from_seed(&[9; 32]).public();
    let key = folder.path().join("stranger.pub");
    std::fs::write(&key, stranger.to_text()).unwrap();
    let image = &router().image;
    let said = verify_by_command(image, &key, &[], 1);
    let by = release_key::read_public(&signer()).unwrap().id().to_string();
    assert!(said.contains("root-a, trailer") && said.contains(&by), "{said}");
    let said = verify_by_command(image, &signer(), &["--role", "minio"], 1);
    assert!(said.contains("is for the role router, not for minio"), "{said}");
}

#[test]
fn a_byte_that_changed_in_the_cache_never_gets_into_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::new(folder.path(), Warmth::Warm);
    let cases = [
        // What is taken for the root, for the initramfs, and for the boot partition.
        ("frr", "usr/lib/frr/bgpd"),
        ("libc6", "usr/lib/aarch64-linux-gnu/libc.so.6"),
        ("raspi-firmware", "usr/lib/raspi-firmware/start4.elf"),
    ];
    for (name, path) in cases {
        let package = router().package(name);
        let place = unpacked(&project.cache, package.sha256);
        let tar = place.join("data.tar");
        // A copy: the tests' caches share their files.
        let bytes = std::fs::read(&tar).unwrap();
        std::fs::remove_file(&tar).unwrap();
        std::fs::write(&tar, &bytes).unwrap();
        let mut archive = tar::Archive::new(&*bytes);
        let at = archive.entries().unwrap().find_map(|entry| {
            let entry = entry.unwrap();
            (merged(&entry.path().unwrap().to_string_lossy()) == path)
                .then(|| entry.raw_file_position() + entry.size() / 2)
        });
        let file = File::options().read(true).write(true).open(&tar).unwrap();
        flip(&file, at.unwrap(), 4);
        let said = said(&project.build(&[]).output().unwrap(), 1);
        assert!(said.contains(path) && said.contains("is damaged in the cache"), "{said}");
        assert!(said.contains(&format!("remove the folder {} and build again", place.display())), "{said}");
        assert!(!project.image().exists());
        // The next step that the message names is one.
        std::fs::remove_dir_all(&place).unwrap();
    }
    project.built(&[]);
    // A packed kernel that changed is packed again.
    let good = crate::end_to_end::sha256sum(&project.image());
    for entry in std::fs::read_dir(project.cache.join("stage/kernel")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::remove_file(project.image()).unwrap();
    assert_eq!(project.built(&[]), good);
}

fn microdc(arguments: &[&str]) -> String {
    let output = Command::new(MICRODC).args(arguments).current_dir(crate::end_to_end::workspace()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&microdc(&[arguments, &["--json"]].concat())).unwrap()
}

#[test]
fn the_image_knows_why_each_of_its_files_is_there_and_who_asked_for_it() {
    let image = router().image.to_str().unwrap();
    let files = json(&["inspect", image, "--files"]);
    let files = files.as_array().unwrap();
    let unknown: Vec<&serde_json::Value> = files.iter().filter(|file| file["why"].is_null()).collect();
    assert!(unknown.is_empty() && files.len() > 250, "{unknown:?} of {}", files.len());
    let because = json(&["inspect", image, "--why", "/usr/lib/aarch64-linux-gnu/libyang.so.3"]);
    let because = because["because"].as_array().unwrap();
    let (first, last) = (&because[0]["origin"], &because[because.len() - 1]["origin"]);
    assert!(because.len() >= 3 && first.as_str().unwrap().contains("needed by /usr/lib/"), "{because:?}");
    assert!(last.as_str().unwrap().contains(".toml takes \"usr/lib/frr/"), "{because:?}");
    // What it says of packages is what the lock says, and each has its licence in the image.
    let packages = json(&["inspect", image, "--packages"])["packages"].clone();
    let packages = packages.as_array().unwrap();
    let names: Vec<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, router().lock.packages.keys().map(String::as_str).collect::<Vec<_>>());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let locked = router().package(name);
        assert_eq!(package["sha256"], locked.sha256.to_string(), "{name}");
        assert_eq!(package["version"], locked.version, "{name}");
        assert!(package["copyright"].is_string(), "the copyright file of {name}");
    }
    // Its documentation is a link to that of the client, of which the image has nothing else.
    assert!(microdc(&["inspect", image, "--licence", "openssh-server"]).contains("Tatu Ylonen"));
    assert!(microdc(&["inspect", image, "--licence", "frr"]).contains("GPL-2"));
}

#[test]
fn the_bills_of_materials_of_the_image_are_accepted_by_their_validators() {
    let folder = tempfile::tempdir().unwrap();
    let [cyclonedx, spdx] = ["cyclonedx", "spdx"].map(|format| {
        let path = folder.path().join(format!("{format}.spdx.json"));
        microdc(&["sbom", router().image.to_str().unwrap(), "--format", format, "-o", path.to_str().unwrap()]);
        path
    });
    crate::bills::assert_accepted(&cyclonedx, &spdx);
    let bill: serde_json::Value = serde_json::from_slice(&std::fs::read(&cyclonedx).unwrap()).unwrap();
    let components = bill["components"].as_array().unwrap();
    for package in router().lock.packages.values() {
        // One names the kernel's package, the other has a licence text: no file of the image is theirs.
        let elsewhere = ["linux-image-arm64", "openssh-client"].contains(&package.name.as_str());
        let of = components.iter().find(|component| component["name"] == package.name);
        assert_eq!(of.is_none(), elsewhere, "{}", package.name);
        assert!(of.is_none_or(|of| of["hashes"][0]["content"] == package.sha256.to_string()));
    }
    let licensed = components.iter().filter(|component| component["licenses"].is_array()).count();
    println!("{} components, {licensed} with licences", components.len());
    assert!(licensed * 10 > components.len() * 8);
}
