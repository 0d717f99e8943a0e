//! What the EEPROM and the firmware would not boot, the build refuses.

use crate::format_support::*;
use contract::autoboot;
use contract::hash::Digest;
use contract::layout::Slot;
use microdc::boot::eeprom::{EepromError, check_autoboot, check_boot, check_cmdline};
use microdc::boot::files::{KERNEL_OPTIONS, cmdline_txt, config_txt, root_hash};
use std::collections::BTreeMap;

fn good() -> BTreeMap<String, Vec<u8>> {
    let options = KERNEL_OPTIONS.map(str::to_owned);
    let texts = [
        ("config.txt".to_owned(), config_txt(&[]).into_bytes()),
        ("cmdline.txt".to_owned(), cmdline_txt(&options, Digest::of(b"root")).into_bytes()),
    ];
    boot_files().into_iter().map(|file| (file.path, file.bytes.to_vec())).chain(texts).collect()
}

fn check(files: &BTreeMap<String, Vec<u8>>) -> Result<microdc::boot::eeprom::Config, EepromError> {
    check_boot(&|name| files.get(name).cloned())
}

#[test]
fn what_the_build_writes_passes() {
    let config = check(&good()).unwrap();
    assert_eq!(config.kernel, "kernel8.img");
    assert_eq!(config.initramfs, "initramfs.img");
    assert_eq!(config.device_tree, "bcm2711-rpi-cm4-io.dtb");
    for slot in Slot::BOTH {
        assert_eq!(check_autoboot(&autoboot::render(slot)), Ok(slot));
    }
}

#[test]
fn the_command_line_names_the_root_once() {
    let line = cmdline_txt(&["panic=10".to_owned()], Digest::of(b"x"));
    assert_eq!(line, format!("panic=10 microdc.root={}\n", Digest::of(b"x")));
    assert_eq!(root_hash(&line), Some(Digest::of(b"x")));
}

#[test]
fn a_bad_autoboot_txt_is_refused() {
    let bad: [(&str, &str); 14] = [
        ("", "tryboot_a_b=1 is missing"),
        ("[all]\nboot_partition=2\n[tryboot]\nboot_partition=3\n", "tryboot_a_b=1 is missing"),
        ("[all]\ntryboot_a_b=0\nboot_partition=2\n[tryboot]\nboot_partition=3\n", "tryboot_a_b=1 is missing"),
        ("[tryboot]\ntryboot_a_b=1\nboot_partition=3\n", "does not know this key here"),
        ("[all]\ntryboot_a_b=1\nboot_partition=2\n", "in [tryboot] is missing"),
        ("[all]\ntryboot_a_b=1\n[tryboot]\nboot_partition=3\n", "of the default is missing"),
        ("[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2\n", "both slot A"),
        ("[all]\ntryboot_a_b=1\nboot_partition=1\n[tryboot]\nboot_partition=3\n", "not a boot partition"),
        ("[all]\ntryboot_a_b=1\nboot_partition=9\n[tryboot]\nboot_partition=3\n", "not a boot partition"),
        ("[all]\ntryboot_a_b=1\nboot_partition=two\n[tryboot]\nboot_partition=3\n", "has no number"),
        ("[pi4]\ntryboot_a_b=1\n", "the only sections of this file are [all], [none] and [tryboot]"),
        ("[all\ntryboot_a_b=1\n", "not closed"),
        ("[all]\nkernel=x\n", "does not know this key here"),
        ("[all]\ntryboot_a_b\n", "neither key=value"),
    ];
    for (text, why) in bad {
        let error = check_autoboot(text.as_bytes()).expect_err(text);
        assert!(error.to_string().contains(why), "{text:?}: {error}");
    }
    let long = [&autoboot::render(Slot::A)[..], b"\n"].concat();
    assert_eq!(check_autoboot(&long), Err(EepromError::AutobootLength(512)));
    assert!(check_autoboot(b"[all]\ntryboot_a_b=1 \xff\n").is_err());
}

#[test]
fn a_bad_config_txt_is_refused() {
    let long = format!("# {}\n", "x".repeat(97));
    let bad: [(&str, &str, &str); 17] = [
        ("arm_64bit=1\n", "", "arm_64bit=1 is missing"),
        ("arm_64bit=1\n", "arm_64bit=0\n", "arm_64bit=1 is missing"),
        ("arm_64bit=1\n", "[pi3]\narm_64bit=1\n[all]\n", "arm_64bit=1 is missing"),
        ("kernel=kernel8.img", "kernel=vmlinuz", "names vmlinuz on a Pi 4B, which is not"),
        ("kernel=kernel8.img\n", "", "kernel is missing"),
        ("initramfs initramfs.img", "initramfs initrd", "names initrd on a Pi 4B, which is not"),
        ("initramfs initramfs.img followkernel", "initramfs initramfs.img 0x100", "only followkernel"),
        ("initramfs initramfs.img followkernel", "initramfs initramfs.img", "does not say where"),
        ("device_tree=bcm2711-rpi-cm4-io.dtb", "device_tree=", "which is not"),
        ("device_tree=bcm2711-rpi-4-b.dtb", "device_tree=x.dtb", "names x.dtb on a Pi 4B"),
        ("[pi4]", "[cm4]", "device_tree is missing, on a Pi 4B"),
        ("enable_uart=1", "dtoverlay=disable-bt,x=1", "overlays/disable-bt.dtbo"),
        ("enable_uart=1", "os_prefix=a/", "what the build does not check"),
        ("enable_uart=1", "start_file=start5.elf", "names start5.elf"),
        ("kernel_watchdog_timeout=15", "kernel_watchdog_timeout=60", "at most 15 seconds"),
        ("enable_uart=1", "[all", "not closed"),
        ("enable_uart=1\n", &long, "98 characters"),
    ];
    for (from, to, why) in bad {
        let mut files = good();
        let text = config_txt(&[]);
        assert!(text.contains(from), "{from}");
        files.insert("config.txt".to_owned(), text.replace(from, to).into_bytes());
        let error = check(&files).expect_err(to);
        assert!(error.to_string().contains(why), "{to:?}: {error}");
    }
}

#[test]
fn lines_of_a_profile_hold_on_every_board_and_are_checked_as_all_others_are() {
    let with = |line: &str| {
        let mut files = good();
        files.insert("config.txt".to_owned(), config_txt(&[line.to_owned()]).into_bytes());
        check(&files)
    };
    assert!(with("dtparam=audio=off").is_ok());
    for (line, why) in [
        ("dtoverlay=w1-gpio,gpiopin=4", "overlays/w1-gpio.dtbo on a Pi 4B, which is not"),
        ("kernel_watchdog_timeout=60", "at most 15 seconds"),
        ("os_prefix=x/", "what the build does not check"),
        ("dtparam", "neither key=value nor a section"),
    ] {
        let error = with(line).expect_err(line).to_string();
        assert!(error.contains(why), "{line:?}: {error}");
    }
    assert!(with(&format!("dtparam={}", "x".repeat(91))).unwrap_err().to_string().contains("98 characters"));
}

#[test]
fn missing_files_and_old_firmware_are_refused() {
    for name in ["config.txt", "cmdline.txt", "start4.elf", "fixup4.dat", "kernel8.img", "initramfs.img"] {
        let mut files = good();
        files.remove(name);
        let error = check(&files).expect_err(name);
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    let mut files = good();
    files.insert("start4.elf".to_owned(), b"VC_BUILD_ID_TIME: Apr 17 2024\0".to_vec());
    assert!(check(&files).unwrap_err().to_string().contains("2024-04-17"));
}

#[test]
fn a_bad_command_line_is_refused() {
    let root = format!("microdc.root={}", Digest::of(b"r"));
    assert_eq!(check_cmdline(root.as_bytes()), Ok(Digest::of(b"r")));
    let longest = format!("{} {root}", "x".repeat(1534 - root.len()));
    assert_eq!(check_cmdline(longest.as_bytes()), Ok(Digest::of(b"r")));
    let bad = [
        (String::new(), "exactly one root"),
        ("panic=10".to_owned(), "exactly one root"),
        (format!("{root} {root}"), "exactly one root"),
        ("microdc.root=abc".to_owned(), "exactly one root"),
        (format!("quiet\n{root}\n"), "more than one line"),
        (format!("{} {root}", "x".repeat(1535 - root.len())), "the firmware adds words of its own"),
        (format!("{root} \u{e9}"), "not ASCII"),
    ];
    for (line, why) in bad {
        let error = check_cmdline(line.as_bytes()).expect_err(&line);
        assert!(error.to_string().contains(why), "{line:?}: {error}");
    }
}
