//! Device-mapper, as far as one read-only dm-verity device needs it. Mirrors linux/dm-ioctl.h; the table's words are
//! those of the kernel's Documentation/admin-guide/device-mapper/verity.rst.

use super::ioctl;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

const CONTROL: &str = "/dev/mapper/control";
const GROUP: u8 = 0xfd;
const DM_VERSION: [u32; 3] = [4, 0, 0];
const DM_DEV_CREATE: u8 = 3;
const DM_DEV_SUSPEND: u8 = 6;
const DM_TABLE_LOAD: u8 = 9;
const DM_READONLY_FLAG: u32 = 1;

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

/// Length of `struct dm_target_spec`: two u64, an i32, a u32 and the type in 16 bytes.
const TARGET_SPEC: usize = 40;

/// One verity device: data, and behind it on the same device the tree.
pub struct Verity<'a> {
    /// Device-mapper name.
    pub name: &'a str,
    /// Device that holds data and tree.
    pub device: &'a str,
    /// Data blocks; the tree starts right behind them.
    pub blocks: u64,
    /// Bytes in a block, of data and of tree.
    pub block_size: u64,
    /// Lower-case hex.
    pub root_hash: String,
    /// Lower-case hex.
    pub salt: String,
}

impl Verity<'_> {
    /// The target's parameters. A block that does not match restarts the machine: a root that changes under a running
    /// system is nothing to go on with.
    fn table(&self) -> String {
        let Verity { device, blocks, block_size, root_hash, salt, .. } = self;
        format!(
            "1 {device} {device} {block_size} {block_size} {blocks} {blocks} sha256 {root_hash} {salt} \
             1 restart_on_corruption"
        )
    }

    /// Creates the device and starts it.
    ///
    /// # Errors
    /// What the kernel says: `EINVAL` for a table it does not take (its log says more), `EBUSY` for a name in use.
    pub fn create(&self) -> io::Result<PathBuf> {
        let control = File::options().read(true).write(true).open(CONTROL)?;
        let device = command(&control, DM_DEV_CREATE, self.name, None)?;
        let sectors = self.blocks.saturating_mul(self.block_size / 512);
        command(&control, DM_TABLE_LOAD, self.name, Some(&target("verity", sectors, &self.table())))?;
        // Without the suspend flag, this resumes: the loaded table goes live.
        command(&control, DM_DEV_SUSPEND, self.name, None)?;
        Ok(PathBuf::from(format!("/dev/dm-{}", minor(device))))
    }
}

/// `struct dm_target_spec` and its parameters.
fn target(kind: &str, sectors: u64, parameters: &str) -> Vec<u8> {
    let length = (TARGET_SPEC + parameters.len() + 1).next_multiple_of(8);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(0u64.to_ne_bytes());
    bytes.extend(sectors.to_ne_bytes());
    bytes.extend(0i32.to_ne_bytes());
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(kind.bytes());
    bytes.resize(TARGET_SPEC, 0);
    bytes.extend(parameters.bytes());
    bytes.resize(length, 0);
    bytes
}

/// The minor number in `dm_ioctl.dev`, which has the kernel's `huge_encode_dev` form.
fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & 0xfff00)
}

fn command(control: &File, number: u8, name: &str, target: Option<&[u8]>) -> io::Result<u64> {
    let target_bytes = target.unwrap_or_default();
    let head = size_of::<DmIoctl>();
    let total = head + target_bytes.len();
    let mut header = DmIoctl {
        version: DM_VERSION,
        data_size: total as u32,
        data_start: head as u32,
        target_count: u32::from(target.is_some()),
        open_count: 0,
        flags: DM_READONLY_FLAG,
        event_nr: 0,
        padding: 0,
        dev: 0,
        name: [0; 128],
        uuid: [0; 129],
        data: [0; 7],
    };
    match header.name.get_mut(..name.len()) {
        Some(field) if name.len() < 128 => field.copy_from_slice(name.as_bytes()),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the device-mapper name is too long")),
    }
    // u64 elements give the alignment that the kernel's structure has.
    let mut buffer = vec![0u64; total.div_ceil(8)];
    let start = buffer.as_mut_ptr().cast::<u8>();
    // SAFETY: the buffer holds at least `total` bytes: the header, then the target; both are plain old data.
    unsafe {
        start.cast::<DmIoctl>().write(header);
        std::ptr::copy_nonoverlapping(target_bytes.as_ptr(), start.add(head), target_bytes.len());
    }
    // SAFETY: the kernel reads and writes no more than `data_size` bytes, all of them in the buffer.
    unsafe {
        ioctl::pointer(control.as_fd(), ioctl::read_write::<DmIoctl>(GROUP, number), start)?;
        Ok((*start.cast::<DmIoctl>()).dev)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernel_header() {
        assert_eq!(size_of::<DmIoctl>(), 312);
        assert_eq!(std::mem::offset_of!(DmIoctl, dev), 40);
        assert_eq!(target("verity", 8, "x").len(), 48);
    }

    #[test]
    fn the_tree_starts_right_behind_the_data() {
        let verity = Verity {
            name: "n",
            device: "/dev/d",
            blocks: 7,
            block_size: 4096,
            root_hash: "aa".to_owned(),
            salt: "bb".to_owned(),
        };
        assert_eq!(verity.table(), "1 /dev/d /dev/d 4096 4096 7 7 sha256 aa bb 1 restart_on_corruption");
    }

    #[test]
    fn minors_above_255_are_decoded() {
        assert_eq!(minor(254 << 8 | 3), 3);
        assert_eq!(minor(1 << 20 | 254 << 8 | 4), 256 + 4);
    }
}
