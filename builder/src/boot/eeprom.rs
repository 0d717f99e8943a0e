//! What the CM4's EEPROM and firmware require in order to boot, checked before the build finishes an image.
//!
//! Source: Raspberry Pi's documentation of autoboot.txt, config.txt and conditional filters, and the release notes of
//! the bootloader.

use super::files::{WATCHDOG_MAX, root_hash};
use contract::layout::{AUTOBOOT_MAX, Partition, Slot};
use contract::names::{CMDLINE_TXT, CONFIG_TXT};

/// Longest line of config.txt, in characters.
const LINE_MAX: usize = 98;
/// Longest kernel command line, in bytes: COMMAND_LINE_SIZE of arm64 less the closing zero, less the room for what the
/// firmware puts before it (`video=` for each display, `vc_mem.*`, `smsc95xx.macaddr`, `numa=fake`, `watchdog.open_timeout`).
const CMDLINE_MAX: usize = 2047 - FIRMWARE_WORDS;
const FIRMWARE_WORDS: usize = 512;
/// Sections that autoboot.txt may have.
const AUTOBOOT_SECTIONS: [&str; 3] = ["all", "none", "tryboot"];
/// Boards that one image starts on, each with the sections that it takes as its own or as everyone's.
const BOARDS: [(&str, &[&str]); 2] =
    [("a CM4", &["all", "pi4", "cm4", "board-type=0x14"]), ("a Pi 4B", &["all", "pi4", "board-type=0x11"])];

/// Why the EEPROM or the firmware would not boot this.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EepromError {
    #[error("autoboot.txt has {0} bytes; the EEPROM reads at most {AUTOBOOT_MAX}")]
    AutobootLength(usize),
    #[error("{file}, line {line}: {text:?}: {why}")]
    Line { file: &'static str, line: usize, text: String, why: String },
    #[error("autoboot.txt: {0}")]
    Autoboot(String),
    #[error("config.txt names {name} on {board}, which is not in the boot partition")]
    Missing { name: String, board: &'static str },
    #[error("the boot partition has no {0}")]
    NoFile(&'static str),
    #[error("config.txt: {problem}, on {board}")]
    Config { problem: String, board: &'static str },
    #[error("cmdline.txt: {0}")]
    Cmdline(String),
}

/// Reads autoboot.txt as the EEPROM does: the partition it boots from, and that for a trial.
///
/// # Errors
/// When the EEPROM would not read it, or it does not lead to both slots.
pub fn check_autoboot(bytes: &[u8]) -> Result<Slot, EepromError> {
    if bytes.len() > AUTOBOOT_MAX {
        return Err(EepromError::AutobootLength(bytes.len()));
    }
    let text = ascii("autoboot.txt", bytes)?;
    let (mut section, mut default, mut trial, mut tryboot) = ("all", None, None, false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let wrong = |why: &str| EepromError::Line {
            file: "autoboot.txt",
            line: index + 1,
            text: line.to_owned(),
            why: why.to_owned(),
        };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').ok_or_else(|| wrong("the section is not closed"))?;
            if !AUTOBOOT_SECTIONS.contains(&section) {
                return Err(wrong("the only sections of this file are [all], [none] and [tryboot]"));
            }
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("it is neither key=value nor a section"))?;
        match (key, section) {
            (_, "none") => (),
            ("tryboot_a_b", "all") => tryboot = value == "1",
            ("boot_partition", _) => {
                let number = value.parse().ok().filter(|number| *number > 0);
                let number = number.ok_or_else(|| wrong("the partition has no number"))?;
                *(if section == "tryboot" { &mut trial } else { &mut default }) = Some(number);
            }
            _ => return Err(wrong("the EEPROM does not know this key here")),
        }
    }
    let say = |why: String| EepromError::Autoboot(why);
    if !tryboot {
        return Err(say("tryboot_a_b=1 is missing: a trial would boot the default slot with tryboot.txt".to_owned()));
    }
    let slot = |number: Option<u32>, what: &str| {
        let number = number.ok_or_else(|| say(format!("boot_partition {what} is missing")))?;
        Slot::from_boot_number(number).ok_or_else(|| {
            let [a, b] = [Partition::BootA.number(), Partition::BootB.number()];
            say(format!("boot_partition={number} {what} is not a boot partition: those are {a} and {b}"))
        })
    };
    let (default, trial) = (slot(default, "of the default")?, slot(trial, "in [tryboot]")?);
    if default == trial {
        return Err(say(format!("the default and the trial are both slot {default}")));
    }
    Ok(default)
}

/// What config.txt leads the firmware of one board to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub kernel: String,
    pub initramfs: String,
    pub device_tree: String,
}

/// Checks a boot partition's config.txt, everything it names, and cmdline.txt, for every board. `read` gives a file's bytes,
/// or nothing when there is no such file. Gives what it leads a CM4 to.
///
/// # Errors
/// The first thing that would keep the firmware from starting this kernel with this root.
pub fn check_boot(read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Config, EepromError> {
    let config = read(CONFIG_TXT).ok_or(EepromError::NoFile(CONFIG_TXT))?;
    let [cm4, pi4] = BOARDS;
    parse_config(&config, read, pi4)?;
    let config = parse_config(&config, read, cm4)?;
    let cmdline = read(CMDLINE_TXT).ok_or(EepromError::NoFile(CMDLINE_TXT))?;
    check_cmdline(&cmdline)?;
    Ok(config)
}

fn parse_config(
    bytes: &[u8],
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
    (board, sections): (&'static str, &[&str]),
) -> Result<Config, EepromError> {
    let text = ascii(CONFIG_TXT, bytes)?;
    let (mut kernel, mut initramfs, mut device_tree) = (None, None, None);
    let (mut start, mut fixup) = ("start4.elf".to_owned(), "fixup4.dat".to_owned());
    let (mut arm_64bit, mut ours) = (false, true);
    let mut named = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |why: &str| EepromError::Line {
            file: CONFIG_TXT,
            line: index + 1,
            text: line.to_owned(),
            why: why.to_owned(),
        };
        if line.len() > LINE_MAX {
            return Err(wrong("the firmware reads at most 98 characters of a line"));
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| wrong("the section is not closed"))?;
            ours = sections.contains(&name);
            continue;
        }
        if !ours {
            continue;
        }
        if let Some(rest) = line.strip_prefix("initramfs ") {
            let (name, place) =
                rest.trim().split_once(' ').ok_or_else(|| wrong("it does not say where to load it"))?;
            if place.trim() != "followkernel" {
                return Err(wrong("only followkernel is a safe place"));
            }
            initramfs = Some(name.to_owned());
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("it is neither key=value nor a section"))?;
        match key {
            "kernel" => kernel = Some(value.to_owned()),
            "device_tree" => device_tree = Some(value.to_owned()),
            "start_file" => start = value.to_owned(),
            "fixup_file" => fixup = value.to_owned(),
            "arm_64bit" => arm_64bit = value == "1",
            "dtoverlay" => named.extend(super::firmware::overlay(line)),
            "kernel_watchdog_timeout" => {
                let timeout: Option<u32> = value.parse().ok();
                if timeout.is_none_or(|seconds| seconds > WATCHDOG_MAX) {
                    return Err(wrong("the watchdog counts to at most 15 seconds"));
                }
            }
            "os_prefix" | "overlay_prefix" | "include" | "boot_partition" | "tryboot_a_b" | "boot_ramdisk"
            | "cmdline" => {
                return Err(wrong("this makes the firmware load what the build does not check"));
            }
            _ => (),
        }
    }
    let say = |problem: String| EepromError::Config { problem, board };
    if !arm_64bit {
        return Err(say("arm_64bit=1 is missing".to_owned()));
    }
    let demand = |value: Option<String>, what: &str| value.ok_or_else(|| say(format!("{what} is missing")));
    let config = Config {
        kernel: demand(kernel, "kernel")?,
        initramfs: demand(initramfs, "initramfs")?,
        device_tree: demand(device_tree, "device_tree")?,
    };
    named.extend([&config.kernel, &config.initramfs, &config.device_tree, &start, &fixup].map(String::clone));
    for name in named {
        if read(&name).is_none_or(|bytes| bytes.is_empty()) {
            return Err(EepromError::Missing { name, board });
        }
    }
    if let Some(start) = read(&start) {
        super::firmware::check_date(&start).map_err(|error| say(error.to_string()))?;
    }
    Ok(config)
}

/// # Errors
/// When it is not one line that names one root.
pub fn check_cmdline(bytes: &[u8]) -> Result<contract::hash::Digest, EepromError> {
    let say = |why: &str| EepromError::Cmdline(why.to_owned());
    let text = ascii(CMDLINE_TXT, bytes)?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    if line.contains('\n') {
        return Err(say("it has more than one line; the firmware reads the first only"));
    }
    if line.len() > CMDLINE_MAX {
        return Err(EepromError::Cmdline(format!(
            "it has {} bytes; {CMDLINE_MAX} are allowed, as the kernel reads 2,047 and the firmware adds words of its own",
            line.len()
        )));
    }
    root_hash(line).ok_or_else(|| say("it does not name exactly one root by microdc.root=<64 hex digits>"))
}

fn ascii<'b>(file: &'static str, bytes: &'b [u8]) -> Result<&'b str, EepromError> {
    let odd = bytes
        .iter()
        .position(|&byte| !(byte == b'\n' || byte == b'\r' || byte == b'\t' || (32..127).contains(&byte)));
    match (odd, std::str::from_utf8(bytes)) {
        (None, Ok(text)) => Ok(text),
        (at, _) => Err(EepromError::Line {
            file,
            line: 1 + bytes.iter().take(at.unwrap_or(0)).filter(|&&byte| byte == b'\n').count(),
            text: String::new(),
            why: "it contains a character that is not ASCII".to_owned(),
        }),
    }
}
