//! What a board boots by network to install itself: the files of an image, as the firmware and other tools read them.

use crate::format_support::*;
use contract::initramfs::InitramfsSpec;
use contract::installer::InstallOptions;
use contract::layout::MIB;
use contract::names::{CMDLINE_TXT, INITRAMFS};
use contract::role::{Compatible, ProfileName, Role};
use microdc::boot::initramfs::{self, Inputs};
use microdc::format::fat::FatFile;
use microdc::format::fat_read::Reader;
use microdc::image::{self, ImageSpec};
use microdc::installer::{BOOT_IMG, Installer, InstallerError};
use std::path::Path;

const ROUTER: Role = Role::literal("router");

/// An image whose initramfs is a real one, signed by key 1.
pub fn installable(path: &Path) {
    let keys = [public(1)];
    let inputs = Inputs {
        firstboot: b"program",
        compatible: &Compatible { role: ROUTER, profile: ProfileName::from(&ROUTER) },
        root_size: layout().root_size(),
        bootsel: &image::bootsel(None).unwrap(),
        modules: &[],
        keys: &keys,
        disk_timeout_s: 5,
    };
    write(path, initramfs::make(&inputs).unwrap());
}

fn write(path: &Path, initramfs: FatFile) {
    let with = |file: FatFile| if file.path == initramfs.path { initramfs.clone() } else { file };
    let (tree, boot, key) = (tree(), boot_files().into_iter().map(with).collect::<Vec<_>>(), key(1));
    let slot = slot_spec(&tree, &boot, &key);
    image::write(&ImageSpec { slot, layout: layout(), node_config: None }, path, &|_| Ok(())).unwrap();
}

fn options(more: &str) -> InstallOptions {
    InstallOptions::parse(&format!("microdc.install=http://10.0.0.1/a.bundle {more}")).unwrap().unwrap()
}

#[test]
fn an_installer_has_the_image_s_own_files_and_only_its_command_line_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.img");
    installable(&path);
    let options = options("microdc.nodes=http://10.0.0.1/nodes microdc.disk=S1");
    let made = Installer::of(&path, None, &[public(1)], &options).unwrap();
    let tftp = folder.path().join("tftp");
    let written = made.write(&tftp).unwrap();
    assert_eq!(written.len(), made.files.len() + 1);

    let medium = microdc::open::Medium::open(&path).unwrap();
    let slot = medium.pick(None).unwrap();
    let image = std::fs::read(tftp.join(BOOT_IMG)).unwrap();
    let ram_disk = Reader::open(&image[..]).unwrap();
    assert_eq!(ram_disk.list().unwrap().len(), slot.boot_files().unwrap().len());
    for name in slot.boot_files().unwrap().into_keys() {
        let (own, file) = (slot.read_boot(&name).unwrap(), std::fs::read(tftp.join(&name)).unwrap());
        assert!(ram_disk.read(&name).unwrap().unwrap() == file, "{name}");
        if name != CMDLINE_TXT {
            assert!(own == file, "{name}");
            continue;
        }
        let (own, line) = (String::from_utf8(own).unwrap(), String::from_utf8(file).unwrap());
        assert_eq!(line, format!("{} {}\n", own.trim(), options.words().join(" ")));
        assert_eq!(InstallOptions::parse(&line).unwrap(), Some(options.clone()));
    }
    assert!(image.len() as u64 <= 96 * MIB);
    tool_ok("fsck.fat", &["-nv", tftp.join(BOOT_IMG).to_str().unwrap()]);
    // Made twice alike, in place of what was there.
    made.write(&tftp).unwrap();
    assert!(std::fs::read(tftp.join(BOOT_IMG)).unwrap() == image);
}

#[test]
fn an_image_that_no_trusted_key_signed_or_that_is_damaged_or_older_makes_no_installer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.img");
    installable(&path);
    let of = |key| Installer::of(&path, None, &[public(key)], &options("")).unwrap_err();
    assert!(matches!(of(2), InstallerError::Image { .. }), "{}", of(2));

    // What the initramfs was told before there was an installer.
    let known = InitramfsSpec {
        role: ROUTER,
        profile: ProfileName::from(&ROUTER),
        root_size: 1,
        modules: Vec::new(),
        keys: vec![public(1)],
        disk_timeout_s: 1,
    };
    let mut older = serde_json::to_value(known).unwrap();
    older.as_object_mut().unwrap().remove("root_size");
    let mut archive = microdc::format::cpio::Archive::default();
    let spec = serde_json::to_vec(&older).unwrap();
    archive.add("etc/microdc/initramfs.json", 0o644, microdc::format::cpio::What::File(&spec));
    let packed = zstd::encode_all(&archive.finish()[..], 1).unwrap();
    write(&path, FatFile { path: INITRAMFS.to_owned(), bytes: packed.into() });
    let error = of(1);
    assert!(matches!(error, InstallerError::Older { .. }), "{error}");
    assert!(error.to_string().contains("build the image again"));

    std::fs::write(&path, b"nonsense").unwrap();
    assert!(of(1).to_string().contains("a.img"));
}

#[test]
fn options_that_do_not_fit_on_a_command_line_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.img");
    installable(&path);
    let of = |options: &InstallOptions| Installer::of(&path, None, &[public(1)], options).unwrap_err().to_string();
    let spaced = InstallOptions { disk: Some("A B".to_owned().try_into().unwrap()), ..options("") };
    assert!(of(&spaced).contains("cannot be said on a kernel command line"), "{}", of(&spaced));
    let long: Vec<String> = (0..4).map(|n| format!("http://a/{n}{}", "x".repeat(700))).collect();
    let long = InstallOptions { bundles: long, ..options("") };
    assert!(of(&long).contains("bytes"), "{}", of(&long));
}
