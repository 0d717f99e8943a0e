//! What the builder tells the initramfs half of firstboot, and what that half reports to the system half.

use crate::hash::Digest;
use crate::keys::PublicKey;
use crate::layout::Slot;
use crate::role::{Compatible, ProfileName, Role};
use serde::{Deserialize, Serialize};

/// Stored as JSON at [`crate::names::INITRAMFS_SPEC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitramfsSpec {
    pub role: Role,
    /// Of the image that it was built for: the installer takes bundles of this profile alone.
    pub profile: ProfileName,
    /// Size of each root partition that the installer makes, in bytes.
    pub root_size: u64,
    /// Absolute paths of kernel modules (`.ko` or `.ko.xz`), in load order.
    pub modules: Vec<String>,
    /// Release keys: one or two ([`crate::keys::MAX_TRUSTED`]).
    pub keys: Vec<PublicKey>,
    /// How long to wait for the system disk, in seconds.
    pub disk_timeout_s: u64,
}

/// Stored as JSON at [`crate::names::BOOT_REPORT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootReport {
    pub slot: Slot,
    /// Kernel name of the system disk, such as `nvme0n1`.
    pub disk: String,
    pub version: String,
    /// Whose updates this node takes, by the manifest of the running slot.
    pub compatible: Compatible,
    /// Of the manifest's bytes.
    pub manifest: Digest,
    pub root_hash: Digest,
    pub rollback_index: u64,
    pub built: u64,
    /// Whether the firmware says that this boot is a trial.
    pub trial: bool,
    /// Device of the hardware watchdog that the initramfs opened, if there is one, and its time-out in seconds.
    pub watchdog: Option<Watchdog>,
    /// Release keys: whose updates this node takes.
    pub keys: Vec<PublicKey>,
    /// Warnings, in words for the operator.
    pub warnings: Vec<String>,
}

/// An armed hardware watchdog. Its file descriptor stays open across switch root, so that it is never disarmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    pub fd: i32,
    pub driver: String,
    pub timeout_s: u32,
}
