//! Stage: limits of the folders that services keep, by the kernel's project quotas. Each such folder is a project; what a
//! service makes in it is of that project, and fails when the project holds its limit.
//!
//! XFS counts by itself. ext4 counts from what it is told when the file system is mounted, so that all that is in these folders
//! is counted first: [`tally`], by a [`walk`] through them. [`file`](mod@file) is where the kernel goes on from there.

mod file;
mod tally;
mod walk;

use super::directories::kept_path;
use super::events::{Warnings, say};
use crate::sys::quota::{self, Amount};
use anyhow::{Context as _, anyhow};
use contract::hash::Digest;
use contract::layout::MIB;
use contract::names::{QUOTAS, STATE_MOUNT};
use contract::node::DataKind;
use contract::role::{Directory, RoleSpec, files_limit};
use contract::storage::{Data, FolderUse, State, Storage};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Projects that PID 1 gives have this bit and not the one above it.
const OURS: u32 = 1 << 30;
/// A count that takes longer is told.
const LONG: Duration = Duration::from_secs(2);

/// A folder whose limit holds.
#[derive(Clone, Debug)]
pub struct Limited {
    path: String,
    services: Vec<String>,
    device: CString,
    project: u32,
    limit: Amount,
}

impl Limited {
    /// What it holds now. `None` when the kernel does not say.
    #[must_use]
    pub fn look(&self) -> Option<FolderUse> {
        let used = quota::used(&self.device, self.project).ok()?;
        Some(FolderUse {
            path: self.path.clone(),
            services: self.services.clone(),
            used_bytes: used.bytes,
            limit_bytes: self.limit.bytes,
            files: used.files,
            files_limit: self.limit.files,
        })
    }
}

/// Whether folders on `state`, or on `data`, have limits.
#[must_use]
pub fn wanted(role: &RoleSpec, data: bool) -> bool {
    role.directories.iter().any(|directory| directory.data == data && directory.limit_bytes.is_some())
}

/// Lets the limits hold, and ends those that a folder had in an earlier release. Returns those that hold.
pub fn run(role: &RoleSpec, storage: &Storage, feed: &dyn Fn(), warnings: &mut Warnings) -> Vec<Limited> {
    let state = match &storage.state {
        State::Persistent { device, .. } => Some(Disk { device, kind: DataKind::Ext4, mount: STATE_MOUNT }),
        State::Volatile { .. } => None,
    };
    let data = match &storage.data {
        Data::Ready { device, kind, mount: Some(mount), .. } => Some(Disk { device, kind: *kind, mount }),
        _ => None,
    };
    let mut holding = Vec::new();
    for (disk, data) in [(state, false), (data, true)] {
        let kept = role.directories.iter().filter(|directory| directory.persistent && directory.data == data);
        let (with, without): (Vec<&Directory>, Vec<&Directory>) =
            kept.partition(|directory| directory.limit_bytes.is_some());
        let Some(disk) = disk else {
            // Services that need `data` are not started without it.
            for directory in with.into_iter().filter(|directory| !directory.data) {
                warnings.add(format_args!("{} has no limit: state is in memory only", directory.path));
            }
            continue;
        };
        for directory in without {
            disk.release(&directory.path, feed, warnings);
        }
        holding.extend(disk.limit(&with, role, feed, warnings));
    }
    holding
}

/// A file system that folders are kept on.
#[derive(Clone, Copy)]
struct Disk<'s> {
    device: &'s str,
    kind: DataKind,
    mount: &'s str,
}

impl Disk<'_> {
    /// Ends the limit that a folder had.
    fn release(self, path: &str, feed: &dyn Fn(), warnings: &mut Warnings) {
        match tally::release(&kept_path(Path::new(self.mount), path), |project| project >> 30 == 1, feed) {
            Ok(true) => say(format_args!("{path} no longer has a limit")),
            Ok(false) => {}
            Err(error) => warnings.add(format_args!("cannot end the limit that {path} had: {error}")),
        }
    }

    fn limit(
        self,
        directories: &[&Directory],
        role: &RoleSpec,
        feed: &dyn Fn(),
        warnings: &mut Warnings,
    ) -> Vec<Limited> {
        let counts = self.kind != DataKind::Xfs;
        let quotas = Path::new(self.mount).join(QUOTAS);
        if directories.is_empty() {
            let _ = file::remove(&quotas);
            return Vec::new();
        }
        // The kernel must not count what is counted here.
        let tallies: Vec<_> = directories.iter().map(|directory| self.tally(directory, feed, warnings)).collect();
        let started = if counts { self.turn_on(&quotas) } else { Ok(()) };
        let mut holding = Vec::new();
        for (directory, tally) in directories.iter().zip(tallies) {
            let done = match &started {
                Ok(()) => tally.and_then(|used| self.set(directory, role, used.filter(|_| counts))),
                Err(error) => Err(anyhow!("{error:#}")),
            };
            match done {
                Ok(limited) => holding.push(limited),
                Err(error) => warnings.add(format_args!("{} has no limit: {error:#}", directory.path)),
            }
        }
        holding
    }

    /// Makes a folder a project, and counts it. XFS is only asked to count what was not of the project.
    fn tally(
        self,
        directory: &Directory,
        feed: &dyn Fn(),
        warnings: &mut Warnings,
    ) -> anyhow::Result<Option<Amount>> {
        let (path, begun) = (kept_path(Path::new(self.mount), &directory.path), Instant::now());
        let project = project(&directory.path);
        if self.kind == DataKind::Xfs && walk::folder(&path).and_then(quota::project).is_ok_and(|own| own == project)
        {
            return Ok(None);
        }
        let tally = tally::take(&path, project, feed).context("counting what it holds")?;
        let Amount { bytes, files } = tally.amount();
        if begun.elapsed() > LONG {
            let seconds = begun.elapsed().as_secs();
            say(format_args!("counted {files} files in {} for its limit in {seconds} s", directory.path));
        }
        if tally.left_out > 0 {
            warnings.add(format_args!("{} files in {} are not part of its limit", tally.left_out, directory.path));
        }
        Ok(Some(Amount { bytes, files }))
    }

    fn turn_on(self, quotas: &Path) -> anyhow::Result<()> {
        file::renew(quotas).with_context(|| format!("making {}", quotas.display()))?;
        quota::turn_on(&CString::new(self.device)?, &CString::new(quotas.as_os_str().as_bytes())?)
            .context("the kernel keeps no quotas")
    }

    fn set(self, directory: &Directory, role: &RoleSpec, used: Option<Amount>) -> anyhow::Result<Limited> {
        let bytes = directory.limit_bytes.unwrap_or(u64::MAX);
        let limit = Amount { bytes, files: files_limit(bytes) };
        let (device, project) = (CString::new(self.device)?, project(&directory.path));
        quota::set(&device, project, limit, used).context("the kernel refuses it")?;
        let services = role.services.iter().filter(|(_, service)| service.sandbox.folders.contains(&directory.path));
        let services = services.map(|(name, _)| name.clone()).collect();
        Ok(Limited { path: directory.path.clone(), services, device, project, limit })
    }
}

/// The number of a folder's project: the same in all releases.
fn project(path: &str) -> u32 {
    let [first, second, third, fourth, ..] = Digest::of(path.as_bytes()).0;
    OURS | u32::from_be_bytes([first, second, third, fourth]) & (OURS - 1)
}

/// What is wrong with a folder that is nearly full: less than a twentieth is left.
#[must_use]
pub fn problem(used: &FolderUse) -> Option<String> {
    let full = |used: u64, limit: u64| limit.saturating_sub(used) < limit / 20;
    let of = match used.services.as_slice() {
        [] => String::new(),
        [one] => format!(" of the service {one}"),
        several => format!(" of the services {}", several.join(", ")),
    };
    let holds = if full(used.used_bytes, used.limit_bytes) {
        format!("{} of {} MiB are used", used.used_bytes / MIB, used.limit_bytes / MIB)
    } else if full(used.files, used.files_limit) {
        format!("{} of {} files are made", used.files, used.files_limit)
    } else {
        return None;
    };
    Some(format!("the folder {}{of} is nearly full: {holds}; at its limit, writes to it fail", used.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn using(used_bytes: u64, files: u64, services: &[&str]) -> FolderUse {
        FolderUse {
            path: "/var/lib/web".to_owned(),
            services: services.iter().map(|&name| name.to_owned()).collect(),
            used_bytes,
            limit_bytes: 200 * MIB,
            files,
            files_limit: 12_800,
        }
    }

    #[test]
    fn less_than_a_twentieth_of_bytes_or_files_is_a_problem() {
        assert_eq!(problem(&using(190 * MIB, 12_160, &["web"])), None);
        assert_eq!(
            problem(&using(190 * MIB + 4096, 1, &["web"])).unwrap(),
            "the folder /var/lib/web of the service web is nearly full: 190 of 200 MiB are used; at its limit, writes \
             to it fail"
        );
        let files = problem(&using(1, 12_161, &["cache", "web"])).unwrap();
        assert!(
            files.contains("of the services cache, web is nearly full: 12161 of 12800 files are made"),
            "{files}"
        );
        // More than the limit: it was made smaller.
        assert!(
            problem(&using(300 * MIB, 1, &[])).unwrap().starts_with("the folder /var/lib/web is nearly full: 300 of")
        );
    }

    #[test]
    fn the_project_of_a_folder_is_always_the_same_and_marked_as_ours() {
        assert_eq!(project("/var/lib/web"), project("/var/lib/web"));
        assert_ne!(project("/var/lib/web"), project("/var/lib/web2"));
        for path in ["/var/lib/web", "/", ""] {
            assert_eq!(project(path) >> 30, 1, "and it is neither 0 nor a negative number");
        }
    }
}
