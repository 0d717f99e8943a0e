//! Block devices: sizes, where a file lies, and telling the kernel about a partition of a disk that is in use.
//! Mirrors linux/fs.h (`BLK*`, `FI*`) and linux/blkpg.h.

use super::ioctl;
use contract::layout::Extent;
use std::ffi::{c_char, c_int, c_longlong, c_void};
use std::io;
use std::os::fd::AsFd;

const BLKSSZGET: u32 = ioctl::none(0x12, 104);
const BLKROSET: u32 = ioctl::none(0x12, 93);
const BLKRRPART: u32 = ioctl::none(0x12, 95);
const BLKPG: u32 = ioctl::none(0x12, 105);
// Declared with size_t, though 64 bits are stored.
const BLKGETSIZE64: u32 = ioctl::read::<usize>(0x12, 114);

/// Where a block of a file lies, and how long a block is.
const FIBMAP: u32 = ioctl::none(0, 1);
const FIGETBSZ: u32 = ioctl::none(0, 2);

const BLKPG_ADD_PARTITION: c_int = 1;

/// `struct blkpg_ioctl_arg`
#[repr(C)]
struct BlkpgArgument {
    op: c_int,
    flags: c_int,
    datalen: c_int,
    data: *mut c_void,
}

/// `struct blkpg_partition`
#[repr(C)]
struct BlkpgPartition {
    /// Bytes.
    start: c_longlong,
    /// Bytes.
    length: c_longlong,
    pno: c_int,
    devname: [c_char; 64],
    volname: [c_char; 64],
}

/// Size of a block device in bytes.
pub fn size(device: impl AsFd) -> io::Result<u64> {
    let mut bytes: u64 = 0;
    // SAFETY: BLKGETSIZE64 stores one u64.
    unsafe { ioctl::pointer(device.as_fd(), BLKGETSIZE64, &raw mut bytes)? };
    Ok(bytes)
}

/// Logical block size in bytes.
pub fn logical_block_size(device: impl AsFd) -> io::Result<u32> {
    let mut bytes: c_int = 0;
    // SAFETY: BLKSSZGET stores one int.
    unsafe { ioctl::pointer(device.as_fd(), BLKSSZGET, &raw mut bytes)? };
    u32::try_from(bytes).map_err(|_| io::Error::other(format!("a logical block size of {bytes}")))
}

/// Lets the kernel refuse writes to a disk or partition, or take them again; also those of who has opened it already. Needs
/// CAP_SYS_ADMIN, and no right to write.
pub fn set_read_only(device: impl AsFd, read_only: bool) -> io::Result<()> {
    let mut value = c_int::from(read_only);
    // SAFETY: BLKROSET reads one int.
    unsafe { ioctl::pointer(device.as_fd(), BLKROSET, &raw mut value)? };
    Ok(())
}

/// Where a file begins on the device of its file system, in bytes; `None` for a file without any block. Needs the
/// capability for raw input and output.
pub fn first_byte(file: impl AsFd) -> io::Result<Option<u64>> {
    let (mut size, mut block): (c_int, c_int) = (0, 0);
    // SAFETY: FIGETBSZ stores one int; FIBMAP takes one, the number of the block in the file, and stores another.
    unsafe {
        ioctl::pointer(file.as_fd(), FIGETBSZ, &raw mut size)?;
        ioctl::pointer(file.as_fd(), FIBMAP, &raw mut block)?;
    }
    let number =
        |value: c_int| u64::try_from(value).map_err(|_| io::Error::other(format!("a block number of {value}")));
    let offset = number(block)?.saturating_mul(number(size)?);
    Ok((offset != 0).then_some(offset))
}

/// Makes partition `number` known to the kernel; its node then appears in /dev. Unlike `BLKRRPART` this works while
/// other partitions of the disk are in use.
///
/// # Errors
/// `EBUSY` when the number is taken or the extent overlaps another partition.
pub fn add_partition(disk: impl AsFd, number: u32, extent: Extent) -> io::Result<()> {
    let too_large = |_| io::Error::other("a partition beyond what the kernel can number");
    let mut partition = BlkpgPartition {
        start: c_longlong::try_from(extent.offset).map_err(too_large)?,
        length: c_longlong::try_from(extent.length).map_err(too_large)?,
        pno: c_int::try_from(number).map_err(too_large)?,
        devname: [0; 64],
        volname: [0; 64],
    };
    let mut argument = BlkpgArgument {
        op: BLKPG_ADD_PARTITION,
        flags: 0,
        datalen: size_of::<BlkpgPartition>() as c_int,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: the argument points to a blkpg_partition that lives until the call returns, and says its length.
    unsafe { ioctl::pointer(disk.as_fd(), BLKPG, &raw mut argument)? };
    Ok(())
}

/// Lets the kernel read the partition table of a disk again.
///
/// # Errors
/// `EBUSY` while one of its partitions is in use.
pub fn reread_partitions(disk: impl AsFd) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    unsafe { ioctl::pointer(disk.as_fd(), BLKRRPART, std::ptr::null_mut::<c_void>())? };
    Ok(())
}
