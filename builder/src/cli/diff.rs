//! `microdc diff`: what differs between two images, bundles or locks.

use crate::cache::Cache;
use crate::cli::output::{self, OutputError};
use crate::diff::{Difference, FileChange, ItemChange, Seen, Total, locks, slots};
use crate::lock::Lock;
use crate::open::Medium;
use crate::open::files::EntryKind;
use crate::report::human_bytes;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use contract::layout::Slot;
use std::path::{Path, PathBuf};

/// Show what differs between two images, bundles or locks
///
/// Images, disks and bundles can be mixed; the comparison covers packages, files of
/// the root and of the boot partition, kernel and sizes. Two locks are compared by
/// their packages, and by the packages' files if the cache has both versions.
/// Signatures are not checked; use `microdc verify` for that.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc diff out/old.img out/router.img\n  microdc diff out/router-1.2.3.bundle \
                  out/router.img --json\n\nTwo locks, the older one from git:\n  git show HEAD:profiles/router.lock \
                  >old.lock\n  and then: microdc diff old.lock profiles/router.lock\n\nIn lists, + means added, - removed, ~ changed."
)]
pub(super) struct Diff {
    /// The older image, disk, root partition, bundle or lock
    old: PathBuf,
    /// The newer one
    new: PathBuf,
    /// The slot of both [default: the one that boots]
    #[arg(long, value_name = "A|B", value_parser = super::bundle::slot)]
    slot: Option<Slot>,
    /// Leave out the lists of files
    #[arg(long)]
    no_files: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(super) fn run(self) -> Result<()> {
        let is_lock = |path: &Path| path.extension().is_some_and(|extension| extension == "lock");
        let mut difference = match (is_lock(&self.old), is_lock(&self.new)) {
            (true, true) => {
                let cache = if self.no_files { None } else { Some(Cache::open(Cache::default_root()?)?) };
                locks::compare(&lock(&self.old)?, &lock(&self.new)?, cache.as_ref())
            }
            (false, false) => {
                let open = |path: &Path| Medium::open(path).with_context(|| path.display().to_string());
                let (old, new) = (open(&self.old)?, open(&self.new)?);
                let pick = |medium: &Medium| medium.table.as_ref().and(self.slot);
                let old = old.pick(pick(&old)).with_context(|| self.old.display().to_string())?;
                let new = new.pick(pick(&new)).with_context(|| self.new.display().to_string())?;
                slots::compare(old, new)?
            }
            _ => bail!("a lock is compared with a lock, an image with an image or a bundle"),
        };
        if self.no_files {
            difference.files.clear();
            difference.notes.clear();
        }
        if self.json {
            output::json(&difference)?;
        } else {
            print(&difference)?;
        }
        Ok(())
    }
}

fn lock(path: &Path) -> Result<Lock> {
    Lock::load(path)?.with_context(|| format!("there is no lock {}", path.display()))
}

fn print(difference: &Difference) -> Result<(), OutputError> {
    let Difference { manifest, packages, artifacts, files, boot, totals, notes } = difference;
    if difference.is_none() {
        outln!("no differences")?;
    }
    for field in manifest {
        outln!("{:<14} {} → {}", field.name, field.old, field.new)?;
    }
    for (title, changes) in [("packages", packages), ("artifacts", artifacts)] {
        if !changes.is_empty() {
            outln!("\n{title} ({})", changes.len())?;
            changes.iter().try_for_each(item)?;
        }
    }
    for (title, changes) in [("files", files), ("boot files", boot)] {
        if !changes.is_empty() {
            outln!("\n{title} ({})", changes.len())?;
            let slash = if title == "files" { "/" } else { "" };
            changes.iter().try_for_each(|change| file(change, slash))?;
        }
    }
    if !difference.is_none() && !totals.is_empty() {
        outln!("\nsizes")?;
        totals.iter().try_for_each(total)?;
    }
    if !notes.is_empty() {
        outln!()?;
        notes.iter().try_for_each(|note| outln!("note: {note}"))?;
    }
    Ok(())
}

fn item(ItemChange { name, old, new }: &ItemChange) -> Result<(), OutputError> {
    match (old, new) {
        (None, Some(new)) => outln!("+ {name} {}, {}", new.version, human_bytes(new.size)),
        (Some(old), None) => outln!("- {name} {}, {}", old.version, human_bytes(old.size)),
        (Some(old), Some(new)) if old.version == new.version => {
            outln!("~ {name} {} has different content, {}", new.version, by(old.size, new.size))
        }
        (Some(old), Some(new)) => {
            outln!("~ {name} {} → {}, {}", old.version, new.version, by(old.size, new.size))
        }
        (None, None) => Ok(()),
    }
}

fn file(FileChange { path, old, new, what }: &FileChange, slash: &str) -> Result<(), OutputError> {
    let lone = |mark: char, seen: &Seen| {
        let what = match &seen.entry.kind {
            EntryKind::File { size } => human_bytes(*size),
            EntryKind::Directory => "folder".to_owned(),
            EntryKind::Link { target } => format!("link to {target}"),
            EntryKind::Special => "special file".to_owned(),
        };
        outln!("{mark} {slash}{path}, {what}")
    };
    match (old, new) {
        (None, Some(new)) => lone('+', new),
        (Some(old), None) => lone('-', old),
        (Some(old), Some(new)) => {
            let said = what.iter().map(|what| match *what {
                "content" => by(old.entry.size(), new.entry.size()),
                "mode" => format!("mode {:04o} → {:04o}", old.entry.mode, new.entry.mode),
                "owner" => {
                    let owner = |seen: &Seen| format!("{}:{}", seen.entry.uid, seen.entry.gid);
                    format!("owner {} → {}", owner(old), owner(new))
                }
                "target" => match (&old.entry.kind, &new.entry.kind) {
                    (EntryKind::Link { target: old }, EntryKind::Link { target: new }) => {
                        format!("link {old} → {new}")
                    }
                    _ => "different target".to_owned(),
                },
                _ => "different kind of file".to_owned(),
            });
            outln!("~ {slash}{path}, {}", said.collect::<Vec<_>>().join(", "))
        }
        (None, None) => Ok(()),
    }
}

fn total(Total { name, old, new }: &Total) -> Result<(), OutputError> {
    outln!("  {name:<28} {}", by(*old, *new))
}

/// A size on both sides, and by how much it grew or shrank.
fn by(old: u64, new: u64) -> String {
    match new.checked_sub(old) {
        Some(0) => format!("{} unchanged", human_bytes(new)),
        Some(more) => format!("{} → {} (+{})", human_bytes(old), human_bytes(new), human_bytes(more)),
        None => format!("{} → {} (-{})", human_bytes(old), human_bytes(new), human_bytes(old - new)),
    }
}
