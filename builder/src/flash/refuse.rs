//! What is never written to, and why: the judgement of a target before anything of it is opened for writing.

use super::in_use::{self, Use};
use super::machine::{Disk, Machine, children, text};
use contract::layout::{SECTOR, STATE_SIZE};
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A target that is not written to. Each says what it is and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is {what}: name a whole disk (`microdc flash --list` shows them) or a file", path.display())]
    Kind { path: PathBuf, what: &'static str },
    #[error("{} does not exist, and files are not made in /dev: `microdc flash --list` shows the disks", .0.display())]
    NoDevice(PathBuf),
    #[error("{partition} is a partition of {disk}: name the whole disk, /dev/{disk}")]
    Partition { partition: String, disk: String },
    #[error("{name} is {what}")]
    NotADisk { name: String, what: &'static str },
    #[error("{0} is a drive without a medium: put one in")]
    NoMedium(String),
    #[error(
        "{0} is read-only: unlock its switch, or take another disk (worn-out eMMC and SD cards become read-only)"
    )]
    ReadOnly(String),
    #[error("{name} has logical blocks of {block} bytes, and boards boot from disks with blocks of {SECTOR}")]
    Blocks { name: String, block: u32 },
    #[error("{name} is too small: it has {} MiB, and {} MiB are needed{}", size >> 20, needed.div_ceil(1 << 20), for_state(*is_disk))]
    TooSmall { name: String, size: u64, needed: u64, is_disk: bool },
    #[error("{name} is the disk that this machine runs from ({use_}): take another one")]
    System { name: String, use_: Use },
    #[error("{name} is in use: {}. {}", list(uses), release(uses))]
    InUse { name: String, uses: Vec<Use> },
    #[error(
        "the kernel reports that {name} is in use, by a process, a mount in another namespace or a volume. Release it, \
        or choose another disk"
    )]
    Busy { name: String },
    #[error("another microdc is writing to {0}")]
    Locked(String),
    #[error("{}: {source}; writing to a disk requires root, or membership of the device's group", path.display())]
    Denied { path: PathBuf, source: io::Error },
    #[error("{} is the image itself", .0.display())]
    Itself(PathBuf),
    #[error("{} is in use as {device}: detach it (losetup -d /dev/{device})", path.display())]
    Loop { path: PathBuf, device: String },
}

fn for_state(is_disk: bool) -> String {
    match is_disk {
        true => format!(" (the image, and {} MiB for the node's own state)", STATE_SIZE >> 20),
        false => " (the image)".to_owned(),
    }
}

fn list(uses: &[Use]) -> String {
    uses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn release(uses: &[Use]) -> &'static str {
    match uses.iter().map(|one| &one.by).next() {
        Some(in_use::By::Mounted { .. }) => "Unmount it (umount), or take another disk",
        Some(in_use::By::Swap) => "Release it (swapoff), or take another disk",
        _ => "Stop what is stacked on it (vgchange -an, mdadm --stop, cryptsetup close), or take another disk",
    }
}

/// A target that may be opened.
#[derive(Clone, Debug)]
pub enum Target {
    Disk(Disk),
    /// A regular file, with its length; one that is not there, or is empty, has none yet.
    File {
        path: PathBuf,
        length: Option<u64>,
    },
}

impl Target {
    /// Where to open it.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Target::Disk(disk) => &disk.path,
            Target::File { path, .. } => path,
        }
    }

    /// As it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Target::Disk(disk) => disk.path.display().to_string(),
            Target::File { path, .. } => path.display().to_string(),
        }
    }

    /// What has to be named to let its content go: a serial number, a disk's kernel name where it has none, or a file's
    /// name.
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Target::Disk(disk) => disk.identity().to_owned(),
            Target::File { path, .. } => {
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
        }
    }
}

/// Judges the target `path` for an image of `image_size` bytes, which is in the file `image`.
///
/// # Errors
/// Why it is not written to.
pub fn judge(machine: &Machine, path: &Path, image_size: u64, image: &Metadata) -> Result<Target, Refusal> {
    let about = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            return absent(path);
        }
        about => about.map_err(|source| Refusal::Unreadable { path: path.to_owned(), source })?,
    };
    if let Some(what) = kind(about.file_type()) {
        return Err(Refusal::Kind { path: path.to_owned(), what });
    }
    let device = machine.device(path).map_err(|source| Refusal::Unreadable { path: path.to_owned(), source })?;
    if let Some(name) = device {
        if let Some(partition) = name.partition {
            return Err(Refusal::Partition { partition, disk: name.disk });
        }
        return disk(machine, &name.disk, image_size).map(Target::Disk);
    }
    if about.file_type().is_block_device() {
        return Err(Refusal::Kind { path: path.to_owned(), what: "a block device that /sys does not know" });
    }
    file(machine, path, &about, image_size, image)
}

fn kind(of: FileType) -> Option<&'static str> {
    match of {
        _ if of.is_dir() => Some("a folder"),
        _ if of.is_char_device() => Some("a character device"),
        _ if of.is_fifo() => Some("a pipe"),
        _ if of.is_socket() => Some("a socket"),
        _ => None,
    }
}

/// A file that is to be made. A slip in a disk's name must not fill `/dev`, which is memory.
fn absent(path: &Path) -> Result<Target, Refusal> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unreadable = |source| Refusal::Unreadable { path: folder.to_owned(), source };
    if fs::canonicalize(folder).map_err(unreadable)?.starts_with("/dev") {
        return Err(Refusal::NoDevice(path.to_owned()));
    }
    Ok(Target::File { path: path.to_owned(), length: None })
}

/// Judges a whole block device.
///
/// # Errors
/// Why it is not written to.
pub fn disk(machine: &Machine, name: &str, image_size: u64) -> Result<Disk, Refusal> {
    if let Some(what) = Disk::not_a_disk(name) {
        return Err(Refusal::NotADisk { name: name.to_owned(), what });
    }
    let disk = machine.disk(name);
    let name = name.to_owned();
    let uses = in_use::uses(machine, &disk);
    if let Some(use_) = uses.iter().find(|one| one.is_system()) {
        return Err(Refusal::System { name, use_: use_.clone() });
    }
    if !uses.is_empty() {
        return Err(Refusal::InUse { name, uses });
    }
    if disk.size == 0 {
        return Err(Refusal::NoMedium(name));
    }
    if disk.read_only {
        return Err(Refusal::ReadOnly(name));
    }
    if u64::from(disk.block) != SECTOR {
        return Err(Refusal::Blocks { name, block: disk.block });
    }
    // The node adds its state behind the image, and moves the backup of the table to the end.
    let needed = image_size + STATE_SIZE + crate::format::gpt::TAIL;
    if disk.size < needed {
        return Err(Refusal::TooSmall { name, size: disk.size, needed, is_disk: true });
    }
    Ok(disk)
}

fn file(
    machine: &Machine,
    path: &Path,
    about: &Metadata,
    image_size: u64,
    image: &Metadata,
) -> Result<Target, Refusal> {
    if (about.dev(), about.ino()) == (image.dev(), image.ino()) {
        return Err(Refusal::Itself(path.to_owned()));
    }
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let behind = |device: &String| {
        let file = text(&machine.folder(device).join("loop/backing_file"));
        file.is_some_and(|file| Path::new(&file) == whole)
    };
    if let Some(device) = children(&machine.sys("block")).into_iter().find(behind) {
        return Err(Refusal::Loop { path: path.to_owned(), device });
    }
    let length = Some(about.len()).filter(|length| *length > 0);
    if let Some(size) = length.filter(|length| *length < image_size) {
        let name = path.display().to_string();
        return Err(Refusal::TooSmall { name, size, needed: image_size, is_disk: false });
    }
    Ok(Target::File { path: path.to_owned(), length })
}
