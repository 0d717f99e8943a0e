//! One claim, from the verdict to the marker `made`; on a block device or on a file that stands for one.

use super::super::filesystem::Tools;
use super::super::phase::Phase;
use super::make;
use super::marker::Owner;
use super::plan::Plan;
use super::verdict::{self, Verdict};
use crate::console;
use crate::disk::io::DiskIo;
use anyhow::{Context as _, bail};
use contract::node::Serial;
use std::path::PathBuf;

/// A claim under way.
pub struct Claim<'a, D: ?Sized> {
    pub disk: &'a mut D,
    /// What blkid is given to look at.
    pub path: PathBuf,
    pub plan: Plan,
    pub owner: Owner,
    pub separate: bool,
    pub tools: Tools,
}

/// A place that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Whether `data` has to be made; the claim then ends with [`Claim::finish`].
    pub new: bool,
    /// What was there, in words.
    pub found: String,
}

impl<D: DiskIo + ?Sized> Claim<'_, D> {
    /// Judges the place, and prepares it up to its partition table.
    ///
    /// # Errors
    /// What was found and what the operator can do, or what failed.
    pub fn take(&mut self, name: &str, wipe: Option<&Serial>) -> anyhow::Result<Taken> {
        let (place, serial) = (&self.plan.place, &self.owner.serial);
        let verdict = verdict::judge(self.disk, &self.path, place, &self.owner, &self.plan.writes, wipe, self.tools)
            .with_context(|| format!("inspecting {name} (serial number {serial})"))?;
        let found = verdict.to_string();
        match verdict {
            Verdict::Refused(found) => bail!("{}", verdict::refusal(name, serial, &found, wipe)),
            Verdict::Ours if self.separate => {
                let restored = make::restore_table(self.disk, &self.plan.writes)
                    .with_context(|| format!("{name} (serial number {serial})"))?;
                if restored {
                    console::say(format_args!("a copy of the partition table of {name} was damaged and is restored"));
                }
                return Ok(Taken { new: false, found });
            }
            Verdict::Ours => {
                make::write_table(self.disk, &self.plan.writes)?;
                return Ok(Taken { new: false, found });
            }
            Verdict::Erase(holds) => {
                console::say(format_args!("{name} (serial number {serial}) holds {holds}: erased, as wipe requests"));
            }
            Verdict::Unfinished => console::say(format_args!("the claim of {name} continues")),
            Verdict::Blank { .. } => {
                console::say(format_args!("{name} (serial number {serial}) is {found}: it is claimed"))
            }
        }
        make::mark(self.disk, place, Phase::Making, &self.owner)?;
        make::erase_ends(self.disk, place, self.tools)?;
        make::write_table(self.disk, &self.plan.writes)?;
        Ok(Taken { new: true, found })
    }

    /// Writes the marker that says that all is done.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        make::mark(self.disk, &self.plan.place, Phase::Made, &self.owner)
    }
}
