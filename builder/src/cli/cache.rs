//! `microdc cache`: show the cache, remove unused entries.

use crate::cache::{Cache, gc};
use crate::cli::output;
use crate::report::human_bytes;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Show the cache, or remove unused entries
///
/// The cache is the folder $MICRODC_CACHE, otherwise $XDG_CACHE_HOME/microdc,
/// otherwise ~/.cache/microdc. Everything in it can be downloaded or built again.
#[derive(Debug, Subcommand)]
pub(super) enum CacheVerb {
    Show(Show),
    Gc(Gc),
}

/// Show what the cache contains
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc cache show\n  microdc cache show --json")]
pub(super) struct Show {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Remove unused entries
///
/// Waits for running builds; builds that start in the meantime wait for it. By
/// default, removes entries that have not been used for 30 days.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc cache gc\n  microdc cache gc --older-than 7d --dry-run\n  microdc cache gc \
                  --max-size 5G"
)]
pub(super) struct Gc {
    /// Remove entries not used for this long: 12h, 30d, 8w [default: 30d, unless
    /// --max-size is given]
    #[arg(long, value_name = "TIME", value_parser = time)]
    older_than: Option<Duration>,
    /// Remove the least recently used entries until the cache is at most this
    /// large: 500M, 5G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Show what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl CacheVerb {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        match self {
            CacheVerb::Show(show) => show.run(),
            CacheVerb::Gc(gc) => gc.run(interrupted),
        }
    }
}

impl Show {
    fn run(self) -> Result<()> {
        let cache = Cache::open(Cache::default_root()?)?;
        let usage = gc::usage(&cache.items()?);
        let total: u64 = usage.values().map(|kind| kind.bytes).sum();
        if self.json {
            let report = serde_json::json!({ "folder": cache.root(), "bytes": total, "kinds": usage });
            output::json(&report)?;
            return Ok(());
        }
        outln!("{}: {}", cache.root().display(), human_bytes(total))?;
        for (kind, gc::Usage { entries, bytes }) in usage {
            outln!("  {kind:<12} {entries:>6} {:>10}", human_bytes(bytes))?;
        }
        Ok(())
    }
}

impl Gc {
    fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        let root = Cache::default_root()?;
        let mut told = false;
        let cache = loop {
            if let Some(cache) = Cache::try_exclusive(&root)? {
                break cache;
            }
            if !std::mem::replace(&mut told, true) {
                note!("waiting for a build that uses {}", root.display());
            }
            std::thread::sleep(Duration::from_millis(50));
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted; nothing was removed");
            }
        };
        let usual = self.max_size.is_none().then_some(Duration::from_secs(30 * 24 * 3600));
        let keep = gc::Keep { younger_than: self.older_than.or(usual), most: self.max_size };
        let items = cache.items()?;
        let before: u64 = items.iter().map(|item| item.bytes).sum();
        let mut go = Cache::to_go(items, keep, SystemTime::now());
        if !self.dry_run {
            for (at, item) in go.iter().enumerate() {
                if interrupted.load(Ordering::Relaxed) {
                    go.truncate(at);
                    break;
                }
                cache.remove(item)?;
            }
        }
        let usage = gc::usage(&go);
        let bytes: u64 = usage.values().map(|kind| kind.bytes).sum();
        if self.json {
            let report = serde_json::json!({
                "folder": cache.root(), "dry_run": self.dry_run, "removed": usage, "bytes": bytes, "left": before - bytes,
            });
            output::json(&report)?;
            return Ok(());
        }
        for (kind, gc::Usage { entries, bytes }) in usage {
            outln!("  {kind:<12} {entries:>6} {:>10}", human_bytes(bytes))?;
        }
        let done = if self.dry_run { "would be removed" } else { "removed" };
        outln!("{} {done}, {} left in {}", human_bytes(bytes), human_bytes(before - bytes), cache.root().display())?;
        Ok(())
    }
}

/// `12h`, `30d`, `8w`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a valid time; write it like 12h, 30d or 8w");
    let hours = match text.char_indices().last() {
        Some((at, 'h')) => Some((at, 1)),
        Some((at, 'd')) => Some((at, 24)),
        Some((at, 'w')) => Some((at, 7 * 24)),
        _ => None,
    };
    let (at, hours) = hours.ok_or_else(wrong)?;
    let count: u64 = text[..at].parse().map_err(|_| wrong())?;
    count.checked_mul(hours * 3600).map(Duration::from_secs).ok_or_else(wrong)
}

/// `500M`, `5G`: binary units, also written `GiB`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a valid size; write it like 500M or 5G");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[digits..].trim_end_matches('B').trim_end_matches('i') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
    count.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        assert_eq!(time("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(time("12h"), Ok(Duration::from_secs(12 * 3600)));
        assert_eq!(size("5G"), Ok(5 << 30));
        assert_eq!(size("500MiB"), Ok(500 << 20));
        assert_eq!(size("0"), Ok(0));
        for wrong in ["", "d", "30", "-1d", "30y", "99999999999999999999d", "ä"] {
            assert!(time(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "G", "1.5G", "5X", "99999999999T"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }
}
