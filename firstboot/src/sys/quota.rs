//! Project quotas: whose project a file is, and how much a project may hold. Mirrors linux/fs.h (`struct fsxattr`, `FS_IOC_*`),
//! linux/quota.h and linux/dqblk_xfs.h; quotactl(2), ioctl_xfs_fsgetxattr(2).

use super::ioctl;
use std::ffi::{CStr, c_int, c_long};
use std::io;
use std::os::fd::AsFd;

const FS_IOC_GETFLAGS: u32 = ioctl::read::<c_long>(b'f', 1);
/// Changes flags of a file, among them whether new files of a folder are of its project.
pub const SET_FLAGS: u32 = ioctl::write::<c_long>(b'f', 2);
const FS_IOC_FSGETXATTR: u32 = ioctl::read::<Attributes>(b'X', 31);
/// Changes the project of a file.
pub const SET_ATTRIBUTES: u32 = ioctl::write::<Attributes>(b'X', 32);

const FS_IMMUTABLE_FL: c_int = 0x10;
const FS_XFLAG_PROJINHERIT: u32 = 0x200;

const PRJQUOTA: u32 = 2;
const Q_QUOTAON: u32 = 0x80_0002;
const Q_GETQUOTA: u32 = 0x80_0007;
const Q_SETQUOTA: u32 = 0x80_0008;
/// The format of quota files with 64-bit numbers.
const QFMT_VFS_V1: u32 = 4;

const QIF_BLIMITS: u32 = 1;
const QIF_SPACE: u32 = 2;
const QIF_ILIMITS: u32 = 4;
const QIF_INODES: u32 = 8;
/// What limits are counted in, in bytes.
const BLOCK: u64 = 1024;

/// `struct fsxattr`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// `struct if_dqblk`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Block {
    hard_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    blocks_time: u64,
    inodes_time: u64,
    valid: u32,
}

/// Bytes on the disk, and files and folders, in number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub bytes: u64,
    pub files: u64,
}

/// The project that a file or folder is of; 0 where nothing was said.
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` where the file system knows none.
pub fn project(file: impl AsFd) -> io::Result<u32> {
    Ok(attributes(&file)?.projid)
}

/// Makes a file or folder one of this project; what is made in the folder later is as well. Project 0 undoes that.
///
/// # Errors
/// What the kernel says: `EOPNOTSUPP` where the file system knows no projects, `EPERM` for immutable files.
pub fn set_project(file: impl AsFd, project: u32, folder: bool) -> io::Result<()> {
    let mut wanted = attributes(&file)?;
    wanted.projid = project;
    if folder && project != 0 {
        wanted.xflags |= FS_XFLAG_PROJINHERIT;
    } else {
        wanted.xflags &= !FS_XFLAG_PROJINHERIT;
    }
    // SAFETY: FS_IOC_FSSETXATTR reads one struct fsxattr.
    unsafe { ioctl::pointer(file.as_fd(), SET_ATTRIBUTES, &raw mut wanted)? };
    Ok(())
}

fn attributes(file: &impl AsFd) -> io::Result<Attributes> {
    let mut found = Attributes::default();
    // SAFETY: FS_IOC_FSGETXATTR fills one struct fsxattr.
    unsafe { ioctl::pointer(file.as_fd(), FS_IOC_FSGETXATTR, &raw mut found)? };
    Ok(found)
}

/// Lets a file be removed that the kernel has kept quotas in: it marks such files immutable.
///
/// # Errors
/// What the kernel says.
pub fn let_go(file: impl AsFd) -> io::Result<()> {
    let mut flags: c_int = 0;
    // SAFETY: declared with long, though the kernel reads and writes an int.
    unsafe {
        ioctl::pointer(file.as_fd(), FS_IOC_GETFLAGS, &raw mut flags)?;
        if flags & FS_IMMUTABLE_FL != 0 {
            flags &= !FS_IMMUTABLE_FL;
            ioctl::pointer(file.as_fd(), SET_FLAGS, &raw mut flags)?;
        }
    }
    Ok(())
}

/// Lets the file system on a device keep project quotas in a file on it, and enforce them.
///
/// # Errors
/// `ESRCH` when the kernel lacks the module quota_v2, `EINVAL` for a file that is not a quota file or a file system that was
/// mounted without the option `prjquota`.
pub fn turn_on(device: &CStr, file: &CStr) -> io::Result<()> {
    // SAFETY: Q_QUOTAON reads a path.
    unsafe { call(Q_QUOTAON, device, QFMT_VFS_V1, file.as_ptr().cast_mut().cast()) }
}

/// Sets what a project may hold and, where `used` is given, what it holds.
///
/// # Errors
/// `ESRCH` when the file system on the device keeps no project quotas.
pub fn set(device: &CStr, project: u32, limit: Amount, used: Option<Amount>) -> io::Result<()> {
    let mut valid = QIF_BLIMITS | QIF_ILIMITS;
    if used.is_some() {
        valid |= QIF_SPACE | QIF_INODES;
    }
    let used = used.unwrap_or_default();
    let mut block = Block {
        hard_blocks: limit.bytes / BLOCK,
        hard_inodes: limit.files,
        bytes: used.bytes,
        inodes: used.files,
        valid,
        ..Block::default()
    };
    // SAFETY: Q_SETQUOTA reads one struct if_dqblk.
    unsafe { call(Q_SETQUOTA, device, project, (&raw mut block).cast()) }
}

/// What a project holds.
///
/// # Errors
/// As [`set`].
pub fn used(device: &CStr, project: u32) -> io::Result<Amount> {
    let mut block = Block::default();
    // SAFETY: Q_GETQUOTA fills one struct if_dqblk.
    unsafe { call(Q_GETQUOTA, device, project, (&raw mut block).cast())? };
    Ok(Amount { bytes: block.bytes, files: block.inodes })
}

/// quotactl for project quotas.
///
/// # Safety
/// `argument` must point to what the command reads or fills.
unsafe fn call(command: u32, device: &CStr, id: u32, argument: *mut libc::c_char) -> io::Result<()> {
    let command = command << 8 | PRJQUOTA;
    // SAFETY: the caller vouches for the argument; the device is a string that lives until the call returns.
    let result = unsafe {
        libc::syscall(libc::SYS_quotactl, command.cast_signed(), device.as_ptr(), id.cast_signed(), argument)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_those_of_the_kernel_headers() {
        assert_eq!([FS_IOC_GETFLAGS, SET_FLAGS], [0x8008_6601, 0x4008_6602]);
        assert_eq!([FS_IOC_FSGETXATTR, SET_ATTRIBUTES], [0x801c_581f, 0x401c_5820]);
        assert_eq!(size_of::<Block>(), 72, "with the padding at its end");
    }

    #[test]
    fn a_device_that_is_not_there_keeps_no_quotas() {
        let device = c"/dev/no-such-device";
        let missing = Some(libc::ENOENT);
        assert_eq!(used(device, 7).unwrap_err().raw_os_error(), missing);
        assert_eq!(set(device, 7, Amount::default(), None).unwrap_err().raw_os_error(), missing);
        assert_eq!(turn_on(device, c"/quota").unwrap_err().raw_os_error(), missing);
    }
}
