//! A disk that stops answering: a file system on a device-mapper device that is suspended (linux/dm-ioctl.h; the kernel's
//! Documentation/admin-guide/device-mapper/linear.rst). What is written to it from then on waits for ever.

use rustix::mount::{MountFlags, mount};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

/// `struct dm_ioctl`
#[repr(C)]
#[derive(Clone, Copy)]
struct DmIoctl {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// `struct dm_target_spec`, with its parameters behind it.
#[repr(C)]
#[derive(Clone, Copy)]
struct DmTarget {
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    target_type: [u8; 16],
    parameters: [u8; 128],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    head: DmIoctl,
    target: DmTarget,
}

const DEV_CREATE: u8 = 3;
const DEV_SUSPEND: u8 = 6;
const TABLE_LOAD: u8 = 9;
const SUSPEND_FLAG: u32 = 1 << 1;
/// The file system is not made still beforehand, and what is on its way is not waited for: so does a disk that hangs.
const SKIP_LOCKFS_FLAG: u32 = 1 << 10;
const NOFLUSH_FLAG: u32 = 1 << 11;

/// Makes a file system on the disk with this serial number, mounts it at `folder`, lets the disk hang, and writes to it, which
/// has no end.
pub fn run(serial: &str, folder: &str) -> io::Result<()> {
    let disk = by_serial(serial)?;
    let sectors: u64 =
        fs::read_to_string(Path::new("/sys/block").join(&disk).join("size"))?.trim().parse().unwrap_or(0);
    let device = command(DEV_CREATE, 0, None)?;
    command(TABLE_LOAD, 0, Some((sectors, &format!("/dev/{disk} 0"))))?;
    command(DEV_SUSPEND, 0, None)?;
    let node = format!("/dev/dm-{}", (device & 0xff) | ((device >> 12) & 0xf_ff00));
    let made = Command::new("/usr/sbin/mke2fs").args(["-q", "-F", "-t", "ext4", &node]).status()?;
    if !made.success() {
        return Err(io::Error::other(format!("mke2fs ended with {made}")));
    }
    fs::create_dir_all(folder)?;
    mount(node.as_str(), folder, "ext4", MountFlags::NODEV, None)?;
    let mut file = File::create(Path::new(folder).join("file"))?;
    file.write_all(b"this comes to the disk\n")?;
    file.sync_all()?;
    command(DEV_SUSPEND, SUSPEND_FLAG | SKIP_LOCKFS_FLAG | NOFLUSH_FLAG, None)?;
    println!("{disk} hangs below {folder}");
    file.write_all(b"this does not\n")?;
    file.sync_all()
}

fn by_serial(serial: &str) -> io::Result<String> {
    for entry in fs::read_dir("/sys/block")? {
        let name = entry?.file_name();
        let found = fs::read_to_string(Path::new("/sys/block").join(&name).join("device/serial")).unwrap_or_default();
        // `nvme1c1n1` is one path to the disk `nvme1n1`, and has no device node.
        if found.trim() == serial && Path::new("/dev").join(&name).exists() {
            return Ok(name.to_string_lossy().into_owned());
        }
    }
    Err(io::Error::other(format!("there is no disk with the serial number {serial}")))
}

/// Asks device-mapper; gives the number of the device.
fn command(number: u8, flags: u32, table: Option<(u64, &str)>) -> io::Result<u64> {
    let (length, parameters) = table.unwrap_or((0, ""));
    let mut message = Message {
        head: DmIoctl {
            version: [4, 0, 0],
            data_size: size_of::<Message>() as u32,
            data_start: size_of::<DmIoctl>() as u32,
            target_count: u32::from(table.is_some()),
            open_count: 0,
            flags,
            event_nr: 0,
            padding: 0,
            dev: 0,
            name: text("hung"),
            uuid: [0; 129],
            data: [0; 7],
        },
        target: DmTarget {
            sector_start: 0,
            length,
            status: 0,
            next: size_of::<DmTarget>() as u32,
            target_type: text("linear"),
            parameters: text(parameters),
        },
    };
    let control = File::options().read(true).write(true).open("/dev/mapper/control")?;
    // _IOWR(0xfd, number, struct dm_ioctl)
    let request = 3 << 30 | (size_of::<DmIoctl>() as u32) << 16 | 0xfd << 8 | u32::from(number);
    // SAFETY: the kernel reads and writes at most `data_size` bytes, which is the size of the message.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), request as libc::Ioctl, &raw mut message) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(message.head.dev) }
}

/// Text that ends with a zero, in a field; what is too long is cut.
fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().take(N - 1).zip(text.bytes()) {
        *to = from;
    }
    field
}
