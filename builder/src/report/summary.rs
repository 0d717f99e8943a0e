//! The closing summary of a build, for people and as JSON.

use crate::signing::signature_of;
use contract::hash::Digest;
use contract::role::{ProfileName, Role};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How long a stage took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageTime {
    pub stage: String,
    pub seconds: f64,
}

/// What was built. Sizes in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    pub image: PathBuf,
    pub profile: String,
    pub role: Role,
    /// For which profile's nodes it is.
    pub compatible: ProfileName,
    pub version: String,
    /// SHA-256 of the image file.
    pub image_digest: Digest,
    /// Length of the image file.
    pub image_size: u64,
    /// Bytes of the image file that are not holes.
    pub image_data: u64,
    pub boot_size: u64,
    /// The root's file system, without its hash tree.
    pub root_size: u64,
    /// What the image's root partitions have, and what of it is left for later updates.
    #[serde(default)]
    pub root_partition: u64,
    #[serde(default)]
    pub root_room: u64,
    pub root_hash: Digest,
    /// Files in the root file system.
    pub root_files: u64,
    pub packages: u64,
    pub kernel: String,
    /// The id of the key; of an image that is not signed yet, the one that is to sign.
    pub signed_by: String,
    /// The manifest that is to be signed, when that is done elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_sign: Option<PathBuf>,
    pub rollback_index: u64,
    /// Artifacts handed over by hand with `--supply`.
    pub supplied: Vec<String>,
    /// Whether everything was there already.
    pub unchanged: bool,
    pub seconds: f64,
    pub stages: Vec<StageTime>,
    /// Stages whose output was there already.
    #[serde(default)]
    pub cached: Vec<String>,
    /// Stages whose output was made by this build.
    #[serde(default)]
    pub made: Vec<String>,
}

/// How much of a root partition is left, in words.
#[must_use]
pub fn room(left: u64, partition: u64) -> String {
    let percent = (u128::from(left) * 100).checked_div(u128::from(partition)).unwrap_or(0);
    let (left, partition) = (human_bytes(left), human_bytes(partition));
    format!("{left} of {partition} left in each root partition ({percent} %)")
}

/// A size as people read it: three digits and a binary unit.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{size:.0} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unchanged = if self.unchanged { ": nothing changed" } else { "" };
        writeln!(f, "{}{unchanged}", self.image.display())?;
        writeln!(f, "  role      {} {}", self.role, self.version)?;
        writeln!(f, "  boot      {}, kernel {}", human_bytes(self.boot_size), self.kernel)?;
        let (files, packages) = (self.root_files, self.packages);
        writeln!(f, "  root      {} in {files} files from {packages} packages", human_bytes(self.root_size))?;
        writeln!(f, "  room      {}", room(self.root_room, self.root_partition))?;
        writeln!(f, "  root hash {}", self.root_hash)?;
        let (data, size) = (human_bytes(self.image_data), human_bytes(self.image_size));
        writeln!(f, "  image     {data} of data in {size}, SHA-256 {}", self.image_digest)?;
        match &self.to_sign {
            None => writeln!(f, "  signed by {}, rollback index {}", self.signed_by, self.rollback_index)?,
            Some(manifest) => {
                writeln!(f, "  not signed yet, rollback index {}", self.rollback_index)?;
                writeln!(f, "  to sign   {}, where the key {} is:", manifest.display(), self.signed_by)?;
                writeln!(f, "              microdc sign {}", manifest.display())?;
                let (signature, image) = (signature_of(manifest), self.image.display());
                writeln!(f, "            and then here: microdc sign --attach {} {image}", signature.display())?;
            }
        }
        if !self.supplied.is_empty() {
            writeln!(f, "  supplied  {} (by hand, not from the lock)", self.supplied.join(", "))?;
        }
        let stages: Vec<String> = self.stages.iter().map(|s| format!("{} {:.2}", s.stage, s.seconds)).collect();
        write!(f, "  time      {:.2} s", self.seconds)?;
        if !stages.is_empty() {
            write!(f, " ({})", stages.join(", "))?;
        }
        Ok(())
    }
}
