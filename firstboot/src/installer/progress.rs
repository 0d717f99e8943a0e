//! What is said of an installation while it goes on.

use crate::console;
use contract::layout::MIB;
use contract::update::UpdateEvent;

/// What was said last.
#[derive(Debug, Default)]
pub struct Progress {
    tenth: u64,
}

impl Progress {
    /// Says on the console what is worth a line.
    pub fn tell(&mut self, disk: &str, event: &UpdateEvent) {
        if let Some(line) = self.line(disk, event) {
            console::say(format_args!("installer: {line}"));
        }
    }

    fn line(&mut self, disk: &str, event: &UpdateEvent) -> Option<String> {
        match event {
            UpdateEvent::Plan { release, in_place, blocks, fetch_bytes, .. } => {
                self.tenth = 0;
                let there =
                    if *in_place > 0 { format!(", {in_place} of {blocks} blocks are there") } else { String::new() };
                Some(format!("{} onto {disk}: {} MiB to fetch{there}", release.version, fetch_bytes.div_ceil(MIB)))
            }
            UpdateEvent::Progress { done, blocks, .. } => {
                let tenth = done.saturating_mul(10) / (*blocks).max(1);
                let new = tenth > self.tenth;
                self.tenth = self.tenth.max(tenth);
                new.then(|| format!("{} %", tenth * 10))
            }
            UpdateEvent::Retry { url, reason, delay_s } => {
                Some(format!("{url}: {reason}; asking again in {delay_s:.0} s"))
            }
            UpdateEvent::GivenUp { url, reason } => Some(format!("{url} is not asked any more: {reason}")),
            UpdateEvent::Installed { release, fetched_bytes, seconds, .. } => Some(format!(
                "{} is on {disk}: {:.1} MiB fetched in {seconds:.1} s",
                release.version,
                *fetched_bytes as f64 / MIB as f64
            )),
            // The error says it.
            UpdateEvent::AlreadyRunning { .. } | UpdateEvent::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::hash::Digest;
    use contract::layout::Slot;
    use contract::update::Release;

    #[test]
    fn each_tenth_is_said_once_and_a_plan_begins_anew() {
        let mut progress = Progress::default();
        let said: Vec<String> = (0..=1000)
            .filter_map(|done| progress.line("d", &UpdateEvent::Progress { done, blocks: 1000, fetched_bytes: 0 }))
            .collect();
        assert_eq!((said.len(), said[0].as_str(), said[9].as_str()), (10, "10 %", "100 %"));
        let release = Release { version: "2".to_owned(), manifest: Digest::of(b"2"), rollback_index: 1 };
        let plan = UpdateEvent::Plan {
            release,
            slot: Slot::A,
            blocks: 10,
            in_place: 4,
            copied: 0,
            fetched: 6,
            fetch_bytes: 1,
            dry_run: false,
        };
        assert_eq!(progress.line("d", &plan).unwrap(), "2 onto d: 1 MiB to fetch, 4 of 10 blocks are there");
        assert!(progress.line("d", &UpdateEvent::Progress { done: 1, blocks: 10, fetched_bytes: 0 }).is_some());
    }
}
