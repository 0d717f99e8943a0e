//! What a disk contains, in words, as identified by Debian's `blkid` with low-level probing, so that neither a cache
//! nor udev is involved. It parses whatever is on the disk, so it runs as nobody, without capabilities, and can open
//! nothing but a device node of its own, for reading.

use super::super::filesystem::Tools;
use anyhow::{Context as _, bail, ensure};
use contract::layout::Extent;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use std::path::{Path, PathBuf};

pub const BLKID: &str = "/usr/sbin/blkid";
/// Who runs it, by number.
const NOBODY: u32 = 65_534;
/// Where its device node is made; the process id is added.
const NODE: &str = "/dev/microdc-probe";

/// Exit statuses (blkid(8)).
const FOUND: i32 = 0;
const NOTHING: i32 = 2;
/// Signatures of more than one kind.
const AMBIVALENT: i32 = 8;

const USAGES: [&str; 4] = ["filesystem", "raid", "crypto", "other"];

/// Names what blkid recognises in `extent` of a disk or file of `size` bytes; `None` when it recognises nothing, which
/// does not mean that nothing is there.
///
/// # Errors
/// When blkid cannot run or does not understand the disk. Where nothing is found the caller reads the disk itself: blkid
/// reports a disk that it cannot open as one without a signature.
pub fn detect(tools: Tools, disk: &Path, extent: Extent, size: u64) -> anyhow::Result<Option<String>> {
    let node = Node::of(disk)?;
    let target = node.path_and_user(disk);
    let whole = extent == Extent { offset: 0, length: size };
    let mut found: Vec<String> = Vec::new();
    let (status, words) = probe(tools, target, extent, whole, &USAGES.join(","))?;
    match status {
        NOTHING => {}
        FOUND => found.extend(names(&words)),
        // One after the other, each is told.
        AMBIVALENT => {
            for usage in USAGES {
                let (status, words) = probe(tools, target, extent, whole, usage)?;
                match status {
                    FOUND => {
                        for name in names(&words) {
                            if !found.contains(&name) {
                                found.push(name);
                            }
                        }
                    }
                    AMBIVALENT => found.push(format!("more than one signature of the kind {usage}")),
                    _ => {}
                }
            }
            if found.is_empty() {
                found.push("signatures of more than one kind".to_owned());
            }
        }
        status => bail!("{BLKID} on {} ended with status {status}: {words}", disk.display()),
    }
    Ok(if found.is_empty() { None } else { Some(found.join(" and ")) })
}

fn probe(
    tools: Tools,
    (disk, user): (&Path, u32),
    extent: Extent,
    whole: bool,
    usages: &str,
) -> anyhow::Result<(i32, String)> {
    let mut run = [BLKID, "-p", "-o", "export", "--usages", usages].map(str::to_owned).to_vec();
    if !whole {
        run.extend(["-O".to_owned(), extent.offset.to_string(), "-S".to_owned(), extent.length.to_string()]);
    }
    run.push(disk.display().to_string());
    let (status, words) = tools.run_as(&run, user)?;
    let code = status.code();
    ensure!(code.is_some(), "{BLKID} on {} ended with {status}", disk.display());
    Ok((code.unwrap_or(-1), words))
}

/// A device node of a disk that no one may read. It goes away with this value.
struct Node(Option<PathBuf>);

impl Node {
    /// For what is not a block device, a file of the tests, none is made.
    fn of(disk: &Path) -> anyhow::Result<Node> {
        let stat = rustix::fs::stat(disk).with_context(|| format!("looking at {}", disk.display()))?;
        if !FileType::from_raw_mode(stat.st_mode).is_block_device() {
            return Ok(Node(None));
        }
        let path = Path::new(NODE).with_extension(std::process::id().to_string());
        let _ = std::fs::remove_file(&path);
        let make = || -> rustix::io::Result<()> {
            rustix::fs::mknodat(CWD, &path, FileType::BlockDevice, Mode::RUSR, stat.st_rdev)?;
            rustix::fs::chownat(
                CWD,
                &path,
                Some(Uid::from_raw(NOBODY)),
                Some(Gid::from_raw(NOBODY)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
        };
        make().with_context(|| format!("making {}", path.display()))?;
        Ok(Node(Some(path)))
    }

    /// What is target at, and by whom.
    fn path_and_user<'p>(&'p self, disk: &'p Path) -> (&'p Path, u32) {
        match &self.0 {
            Some(path) => (path, NOBODY),
            None => (disk, rustix::process::geteuid().as_raw()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The names for what `blkid -o export` printed.
pub fn names(export: &str) -> Vec<String> {
    let value = |key: &str| {
        export.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).filter(|text| !text.is_empty())
    };
    let label = value("LABEL").map(|label| format!(" with the label {label:?}")).unwrap_or_default();
    let mut names = Vec::new();
    if let Some(kind) = value("TYPE") {
        names.push(name(kind) + &label);
    }
    if let Some(kind) = value("PTTYPE") {
        names.push(format!("a partition table ({kind})"));
    }
    names
}

/// Words for a type of libblkid.
fn name(kind: &str) -> String {
    let words = match kind {
        "ext2" | "ext3" | "ext4" | "btrfs" | "f2fs" => return format!("a file system of type {kind}"),
        "xfs" => "an XFS file system",
        "ntfs" => "an NTFS file system",
        "vfat" | "exfat" => "a FAT file system",
        "LVM2_member" | "LVM1_member" => "an LVM physical volume",
        "linux_raid_member" => "a member of a Linux md RAID",
        "crypto_LUKS" => "a LUKS encrypted volume",
        "zfs_member" => "a member of a ZFS pool",
        "bcache" => "a bcache device",
        "swap" | "swsuspend" => "Linux swap space",
        "ceph_bluestore" => "a Ceph OSD",
        other => return format!("something that blkid calls {other}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_and_a_partition_table_are_both_told() {
        let export = "DEVNAME=d\nLABEL=my disk\nTYPE=ext4\nPTTYPE=dos\n";
        assert_eq!(
            names(export),
            ["a file system of type ext4 with the label \"my disk\"", "a partition table (dos)"]
        );
        assert_eq!(names("DEVNAME=d\nTYPE=newfs\n"), ["something that blkid calls newfs"]);
        assert!(names("DEVNAME=d\n").is_empty());
    }
}
