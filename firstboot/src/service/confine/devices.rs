//! The `/dev` of a service: the nodes that every program may have, those that the profile names, and terminals and shared
//! memory of its own.

use super::changes::{Changes, MEMORY};
use super::ground::within;
use crate::sys::process::{Change, attribute};
use std::os::unix::fs::MetadataExt as _;

/// Nodes that every service has (S_IFCHR, major 1 or 5: Documentation/admin-guide/devices.txt).
const NODES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const CHARACTER: u32 = libc::S_IFCHR | 0o666;
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Group `tty`, as in /etc/group of Debian.
const TERMINALS: &str = "gid=5,mode=620,ptmxmode=666";
/// Most bytes and files of the folder itself: it holds none.
const SIZE: &str = "mode=0755,size=64k,nr_inodes=128";

/// Puts it over `/dev`, with folders at `points`, on which something is mounted later. A device that is not there now is
/// left out: the service says so if it cannot do without it.
pub fn put(named: &[String], points: &[&str], changes: &mut Changes) -> Result<(), std::ffi::NulError> {
    changes.add(Change::mount("tmpfs", "/dev", attribute::NO_SETUID | attribute::NO_PROGRAMS, SIZE)?);
    for (name, major, minor) in NODES {
        let number = libc::makedev(major as libc::c_uint, minor as libc::c_uint);
        changes.add(Change::node(&format!("/dev/{name}"), CHARACTER, number, (0, 0))?);
    }
    for path in named {
        let Ok(found) = std::fs::metadata(path) else { continue };
        changes.place("/dev", &super::ground::parent(path).to_string_lossy(), false)?;
        changes.add(Change::node(path, found.mode(), found.rdev(), (found.uid(), found.gid()))?.or_not());
    }
    for (name, to) in LINKS {
        changes.add(Change::link(&format!("/dev/{name}"), to)?);
    }
    for folder in ["/dev/pts", "/dev/shm"] {
        changes.add(Change::folder(folder)?);
    }
    changes.add(Change::mount("devpts", "/dev/pts", attribute::NO_SETUID | attribute::NO_PROGRAMS, TERMINALS)?);
    changes.add(Change::mount("tmpfs", "/dev/shm", MEMORY, "mode=1777,size=64m")?);
    for point in points.iter().filter(|point| !["/dev/pts", "/dev/shm"].iter().any(|own| within(point, own))) {
        changes.place("/dev", point, false)?;
    }
    changes.add(Change::attributes("/dev", false, attribute::READ_ONLY, 0)?);
    Ok(())
}
