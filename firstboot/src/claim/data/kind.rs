//! What `data` is made into, by Debian's own tools in the image.

use super::super::filesystem::{Check, Tools};
use super::super::projects;
use crate::sys::mount::Flags;
use anyhow::{Context as _, bail, ensure};
use contract::names::DATA_MOUNT;
use contract::node::DataKind;
use std::path::Path;
use std::process::Command;
use uuid::Uuid;

const MKFS_XFS: &str = "/usr/sbin/mkfs.xfs";
const LVM: &str = "/usr/sbin/lvm";
/// Label of the file system; XFS takes 12 bytes.
const LABEL: &str = "microdc-data";
/// Name of the volume group.
const GROUP: &str = "data";
/// There is no udev, nothing below /etc can be written, and no device but the one named is to be inspected.
const LVM_CONFIG: &str = "activation{udev_sync=0 udev_rules=0} backup{backup=0 archive=0} \
     global{locking_dir=\"/run/lock/lvm\"} devices{obtain_device_list_from_udev=0}";

/// Fails when the image lacks what a kind needs, before anything is written.
///
/// # Errors
/// Names the program, and the part of the profile that has it.
pub fn ensure_tools(kind: DataKind) -> anyhow::Result<()> {
    let programs: &[(&str, &str)] = match kind {
        DataKind::Xfs => &[(super::detect::BLKID, "data"), (MKFS_XFS, "data")],
        DataKind::Lvm => &[(super::detect::BLKID, "data"), (LVM, "lvm")],
        DataKind::Ext4 | DataKind::Raw | DataKind::None => &[(super::detect::BLKID, "data")],
    };
    for (program, part) in programs {
        ensure!(Path::new(program).exists(), "the image has no {program}: its profile lacks the part {part:?}");
    }
    Ok(())
}

/// Makes the content of `data` on an erased partition of `length` bytes.
///
/// # Errors
/// What the tool says.
pub fn make(kind: DataKind, partition: &str, length: u64, uuid: &Uuid, tools: Tools) -> anyhow::Result<()> {
    match kind {
        DataKind::Ext4 => tools.make(partition, length, LABEL, uuid),
        DataKind::Xfs => {
            let id = format!("uuid={uuid}");
            // With capabilities: it sets the block size of the device.
            run(tools, MKFS_XFS, &["-q", "-f", "-K", "-L", LABEL, "-m", &id, partition])
        }
        DataKind::Lvm => {
            std::fs::create_dir_all("/run/lock/lvm").context("making /run/lock/lvm")?;
            let only = ["--yes", "--devices", partition, "--config", LVM_CONFIG];
            run(tools, LVM, &[&["pvcreate", "-ff"][..], &only, &[partition]].concat())?;
            run(tools, LVM, &[&["vgcreate"][..], &only, &[GROUP, partition]].concat())
        }
        DataKind::Raw => Ok(()),
        DataKind::None => bail!("there is nothing to make"),
    }
}

/// Checks and mounts what is to be mounted, so that folders on it can have `limits`. Returns what the operator should know.
///
/// # Errors
/// When it cannot be used. Nothing is recreated then: the data may still be saved.
pub fn attach(kind: DataKind, partition: &str, limits: bool, tools: Tools) -> anyhow::Result<Vec<String>> {
    if !matches!(kind, DataKind::Ext4 | DataKind::Xfs) {
        return Ok(Vec::new());
    }
    // XFS replays its journal when it is mounted; its repair is for an operator to begin.
    let check = if kind == DataKind::Ext4 { tools.check(partition)? } else { Check::Clean };
    if let Check::Hopeless(words) = &check {
        bail!("the file system on {partition} cannot be repaired; it is left as it is: {words}");
    }
    let flags = Flags::NODEV | Flags::NOSUID | Flags::NOATIME;
    let without_limits = projects::mount(partition, DATA_MOUNT, kind.name(), flags, limits)
        .with_context(|| format!("mounting {partition} at {DATA_MOUNT}; its data is left as it is"))?;
    let repaired = (check == Check::Repaired).then(|| format!("the file system on {partition} had to be repaired"));
    Ok(repaired.into_iter().chain(without_limits).collect())
}

fn run(tools: Tools, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let (status, words) = tools.run(Command::new(program).args(arguments))?;
    ensure!(status.success(), "{program} {} ended with {status}: {words}", arguments.join(" "));
    Ok(())
}
