//! Who uses a disk right now: mounted file systems, swap, and what the kernel has stacked on it (LVM, RAID, LUKS, bcache).
//!
//! Sources: proc(5) for `/proc/self/mountinfo` and `/proc/swaps`; `holders/` in sysfs
//! (Documentation/ABI/testing/sysfs-block); `/sys/fs/btrfs/UUID/devices`, since a btrfs of several disks is mounted by
//! the name of one.

use super::machine::{Disk, Machine, children, text};
use std::fmt;
use std::path::Path;

/// One use of a disk or of one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Use {
    /// Kernel name of the disk or partition.
    pub device: String,
    #[serde(flatten)]
    pub by: By,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "as", rename_all = "kebab-case")]
pub enum By {
    Mounted {
        at: String,
    },
    Swap,
    /// What is stacked on it, in words.
    Held {
        by: String,
    },
}

impl Use {
    /// Whether the machine itself runs from it.
    #[must_use]
    pub fn is_system(&self) -> bool {
        let system = |at: &str| {
            ["/", "/usr", "/var", "/etc", "/nix", "/run/live/medium"].contains(&at)
                || at == "/boot"
                || at.starts_with("/boot/")
        };
        matches!(&self.by, By::Mounted { at } if system(at))
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            By::Mounted { at } => write!(f, "{} is mounted at {at}", self.device),
            By::Swap => write!(f, "{} is used as swap", self.device),
            By::Held { by } => write!(f, "{} is part of {by}", self.device),
        }
    }
}

/// How many layers are looked through: RAID below LUKS below LVM are three.
const DEPTH: u32 = 8;

/// Every use of a disk.
#[must_use]
pub fn uses(machine: &Machine, disk: &Disk) -> Vec<Use> {
    let mounts = mounts(&machine.proc("self/mountinfo"));
    let swaps = swaps(&machine.proc("swaps"));
    let mut found = Vec::new();
    let names = std::iter::once(&disk.name).chain(&disk.partitions);
    for device in names {
        let folder = match device == &disk.name {
            true => machine.folder(device),
            false => machine.folder(&disk.name).join(device),
        };
        let look = Look { machine, mounts: &mounts, swaps: &swaps };
        look.at(device, device, &folder, 0, &mut found);
    }
    found
}

struct Look<'l> {
    machine: &'l Machine,
    mounts: &'l [Mount],
    swaps: &'l [String],
}

impl Look<'_> {
    /// The uses of the device `name`, whose folder in sysfs this is; they are told of `below`, the part of the disk that it
    /// is stacked on.
    fn at(&self, below: &str, name: &str, folder: &Path, depth: u32, found: &mut Vec<Use>) {
        let number = text(&folder.join("dev"));
        let mapped = text(&folder.join("dm/name")).map(|name| format!("mapper/{name}"));
        let is_it = |source: &str| {
            let inside = source.strip_prefix("/dev/").unwrap_or(source);
            inside == name || mapped.as_deref() == Some(inside)
        };
        let by_it = |mount: &&Mount| number.as_deref() == Some(&mount.device) || is_it(&mount.source);
        let mounted = self.mounts.iter().filter(by_it).map(|mount| By::Mounted { at: mount.at.clone() });
        let swap = self.swaps.iter().any(|swap| is_it(swap)).then_some(By::Swap);
        let btrfs = self.machine.sys("fs/btrfs");
        let btrfs = children(&btrfs).into_iter().filter(|uuid| btrfs.join(uuid).join("devices").join(name).exists());
        let btrfs = btrfs.map(|uuid| By::Held { by: format!("a mounted btrfs file system ({uuid})") });
        let holders = children(&folder.join("holders"));
        let held = holders.iter().map(|holder| By::Held { by: words(holder, &self.machine.folder(holder)) });
        for by in mounted.chain(swap).chain(btrfs).chain(held) {
            let new = Use { device: below.to_owned(), by };
            if !found.contains(&new) {
                found.push(new);
            }
        }
        for holder in holders.iter().filter(|_| depth < DEPTH) {
            self.at(below, holder, &self.machine.folder(holder), depth + 1, found);
        }
    }
}

/// What a device that is stacked on others is, by its folder in sysfs.
fn words(name: &str, folder: &Path) -> String {
    let mapped = text(&folder.join("dm/name")).unwrap_or_else(|| name.to_owned());
    let uuid = text(&folder.join("dm/uuid")).unwrap_or_default();
    match name {
        _ if uuid.starts_with("LVM-") => format!("the LVM volume {mapped}"),
        _ if uuid.starts_with("CRYPT-") => format!("the encrypted volume {mapped}"),
        _ if uuid.starts_with("mpath-") => format!("the multipath device {mapped}"),
        _ if name.starts_with("dm-") => format!("the device-mapper volume {mapped}"),
        _ if name.starts_with("md") => format!("the Linux RAID {name}"),
        _ => format!("the device {name}"),
    }
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// `MAJOR:MINOR`.
    device: String,
    source: String,
    at: String,
}

/// The lines of `/proc/self/mountinfo`: `36 35 98:0 /root /mnt rw - ext4 /dev/sda1 rw`.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let (device, at) = (left.next()?.to_owned(), unescaped(left.nth(1)?));
        Some(Mount { device, at, source: unescaped(right.split(' ').nth(1)?) })
    };
    mountinfo.lines().filter_map(line).collect()
}

/// The devices in `/proc/swaps`, whose first line is a heading.
fn swaps(text: &str) -> Vec<String> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescaped).collect()
}

/// Blanks stand there as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[3..]);
            }
            None => bytes.extend([b"\\", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_the_names_of_places_are_read_as_the_kernel_writes_them() {
        let text = "36 35 8:17 / /media/my\\040disk\\134x rw,noatime shared:1 - vfat /dev/sdb1 rw\nnonsense\n";
        let mount = Mount { device: "8:17".into(), source: "/dev/sdb1".into(), at: "/media/my disk\\x".into() };
        assert_eq!(mounts(text), [mount]);
        assert_eq!(swaps("Filename Type Size\n/dev/sdb2 partition 9\n"), ["/dev/sdb2"]);
        assert_eq!(unescaped("a\\9b"), "a\\9b");
    }
}
