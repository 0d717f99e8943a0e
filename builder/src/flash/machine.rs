//! The disks of the machine that flashes, as its kernel shows them in `/sys` and `/dev`
//! (Documentation/ABI/stable/sysfs-block, Documentation/ABI/testing/sysfs-block).

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Where the kernel's view is.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    /// Whether the files in `dev` stand for block devices.
    is_model: bool,
}

/// A block device: a whole one, or a partition of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub disk: String,
    pub partition: Option<String>,
}

/// A whole block device.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Disk {
    /// Kernel name, such as `sda`.
    pub name: String,
    /// Device node.
    pub path: PathBuf,
    pub model: Option<String>,
    pub serial: Option<String>,
    /// In bytes; 0 for a drive without a medium.
    pub size: u64,
    /// Logical block in bytes; 0 where the kernel does not say.
    pub block: u32,
    /// How it is connected: `usb`, `nvme`, `mmc`, `virtio`, `ata` or `scsi`.
    pub transport: Option<&'static str>,
    pub removable: bool,
    pub read_only: bool,
    /// Kernel names of its partitions.
    pub partitions: Vec<String>,
}

impl Disk {
    /// What has to be named to let it go: its serial number, or its kernel name where it has none.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.serial.as_deref().unwrap_or(&self.name)
    }

    /// Why a device with this kernel name is not a disk that boards boot from.
    #[must_use]
    pub fn not_a_disk(name: &str) -> Option<&'static str> {
        const OTHERS: [(&str, &str); 10] = [
            ("loop", "a loop device: name the file behind it"),
            ("ram", "a disk in memory"),
            ("zram", "compressed memory"),
            ("dm-", "a device-mapper volume (LVM, LUKS or multipath), not a whole disk"),
            ("md", "a Linux RAID, not a whole disk"),
            ("sr", "a CD or DVD drive"),
            ("nbd", "a disk of another machine"),
            ("fd", "a floppy drive"),
            ("mtdblock", "raw flash memory"),
            ("bcache", "a bcache device, not a whole disk"),
        ];
        if name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb")) {
            return Some("a part of an eMMC beside its main one, which the board does not boot from");
        }
        OTHERS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, what)| *what)
    }
}

/// How devices are connected: what their place in `/sys/devices` contains, and the word for it.
const TRANSPORTS: [(&str, &str); 6] =
    [("/usb", "usb"), ("/nvme", "nvme"), ("/mmc", "mmc"), ("/virtio", "virtio"), ("/ata", "ata"), ("/host", "scsi")];

impl Machine {
    /// The one that this program runs on.
    #[must_use]
    pub fn this() -> Machine {
        Machine { root: PathBuf::from("/"), is_model: false }
    }

    /// A model of one in a folder: `sys` and `proc` as the kernel shows them, and regular files in `dev` in place of device
    /// nodes.
    #[must_use]
    pub fn model(root: impl Into<PathBuf>) -> Machine {
        Machine { root: root.into(), is_model: true }
    }

    /// Text of a file in `/proc`, nothing where it cannot be read.
    pub(super) fn proc(&self, file: &str) -> String {
        fs::read(self.root.join("proc").join(file))
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) fn sys(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join("sys").join(path)
    }

    /// The folder of a whole device in `/sys`.
    pub(super) fn folder(&self, disk: &str) -> PathBuf {
        self.sys("block").join(disk)
    }

    /// The block device at `path`, links followed; nothing when it is something else.
    ///
    /// # Errors
    /// When there is nothing at `path`.
    pub fn device(&self, path: &Path) -> std::io::Result<Option<Name>> {
        let path = fs::canonicalize(path)?;
        let about = fs::metadata(&path)?;
        if self.is_model {
            let inside = path.strip_prefix(fs::canonicalize(self.root.join("dev"))?);
            let name = inside.ok().and_then(Path::to_str).filter(|_| about.is_file());
            return Ok(name.and_then(|name| self.named(name)));
        }
        if !about.file_type().is_block_device() {
            return Ok(None);
        }
        let number = format!("{}:{}", rustix::fs::major(about.rdev()), rustix::fs::minor(about.rdev()));
        let folder = fs::canonicalize(self.sys("dev/block").join(number))?;
        let name = folder.file_name().and_then(|name| name.to_str());
        Ok(name.and_then(|name| self.named(name)))
    }

    /// The whole device or partition with this kernel name.
    fn named(&self, name: &str) -> Option<Name> {
        if self.folder(name).is_dir() {
            return Some(Name { disk: name.to_owned(), partition: None });
        }
        let disk = self.names().into_iter().find(|disk| self.folder(disk).join(name).join("partition").exists())?;
        Some(Name { disk, partition: Some(name.to_owned()) })
    }

    /// Kernel names of all block devices, without those that the kernel hides (`nvme0c0n1` is one path to `nvme0n1`).
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names = children(&self.sys("block"));
        names.retain(|name| text(&self.folder(name).join("hidden")).as_deref() != Some("1"));
        names
    }

    /// All disks that could be flashed, as far as their kind goes.
    #[must_use]
    pub fn disks(&self) -> Vec<Disk> {
        let names = self.names().into_iter().filter(|name| Disk::not_a_disk(name).is_none());
        names.map(|name| self.disk(&name)).collect()
    }

    /// What is known of a whole device.
    #[must_use]
    pub fn disk(&self, name: &str) -> Disk {
        let folder = self.folder(name);
        let number = |file: &str| text(&folder.join(file)).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let place = fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
        let place = place.to_string_lossy().into_owned();
        let transport = TRANSPORTS.iter().find(|(part, _)| place.contains(part)).map(|(_, word)| *word);
        let mut partitions = children(&folder);
        partitions.retain(|part| folder.join(part).join("partition").exists());
        // In units of 512 bytes, whatever the disk's own.
        let size = number("size").saturating_mul(512);
        Disk {
            name: name.to_owned(),
            path: self.root.join("dev").join(name),
            model: model(&folder),
            serial: serial(&folder, transport),
            size,
            block: u32::try_from(number("queue/logical_block_size")).unwrap_or(0),
            transport,
            removable: number("removable") == 1 || transport == Some("usb"),
            read_only: number("ro") != 0,
            partitions,
        }
    }
}

fn model(folder: &Path) -> Option<String> {
    let name = |file: &str| text(&folder.join("device").join(file));
    let model = name("model").or_else(|| name("name"))?;
    // A card reader's own name is not the disk's, but it tells one reader from another.
    Some(match name("vendor").filter(|vendor| !vendor.starts_with("0x") && vendor != "ATA") {
        Some(vendor) => format!("{vendor} {model}"),
        None => model,
    })
}

/// NVMe controllers, eMMC and SD cards have a file `serial`, virtio disks one of their own; SCSI and ATA disks answer with
/// page 0x80 of their vital product data (SPC-5, 7.7.21); of a USB disk the adapter's counts where the disk does not say.
fn serial(folder: &Path, transport: Option<&str>) -> Option<String> {
    let device = folder.join("device");
    let usb = || {
        let place = fs::canonicalize(&device).ok()?;
        let above = place.ancestors().find(|folder| folder.join("idVendor").exists())?;
        text(&above.join("serial"))
    };
    text(&device.join("serial"))
        .or_else(|| text(&folder.join("serial")))
        .or_else(|| usb().filter(|_| transport == Some("usb")))
        .or_else(|| {
            let page = fs::read(device.join("vpd_pg80")).ok()?;
            let serial: String = page.get(4..)?.iter().map(|&byte| char::from(byte)).collect();
            Some(serial.trim_matches(['\0', ' ']).to_owned()).filter(|serial| !serial.is_empty())
        })
}

/// The text of a file of one line; nothing where it is empty or cannot be read.
pub(super) fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_matches(['\0', ' ', '\n', '\t']).to_owned()).filter(|text| !text.is_empty())
}

/// Names in a folder, sorted; none where it cannot be read.
pub(super) fn children(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}
