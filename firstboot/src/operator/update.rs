//! Updates as text: their progress, and their state on a node.

use super::disks::size;
use contract::update::{Phase, UpdateEvent, UpdateStatus};
use std::fmt::Write as _;

/// One line about where the node is.
#[must_use]
pub fn line(phase: &Phase) -> String {
    match phase {
        Phase::Committed => "committed".to_owned(),
        Phase::Installing { done, blocks, fetched_bytes } => {
            format!("installing: {}, {} fetched", share(*done, *blocks), size(*fetched_bytes))
        }
        Phase::Trial { waits_for, deadline_s } => {
            format!("on trial: waiting for {waits_for}; it ends {deadline_s:.0} s after power-on")
        }
        Phase::Stray { reason } => format!("this slot is not the default slot: {reason}"),
    }
}

/// What `nodectl status` says of updates.
#[must_use]
pub fn facts(update: &UpdateStatus) -> Vec<(&'static str, String)> {
    let mut facts = vec![("update", line(&update.phase))];
    let chosen = update.default_slot.map_or_else(|| "unknown".to_owned(), |slot| format!("slot {slot}"));
    facts.push(("default", format!("{chosen}, rollback index {}", update.rollback_index)));
    let standby = update.standby.as_ref().map_or("nothing to try", |release| &release.version);
    facts.push(("standby", standby.to_owned()));
    facts.extend(update.tolerated.iter().map(|line| ("tolerated", line.clone())));
    for failed in &update.failed {
        let digest: String = failed.release.manifest.to_string().chars().take(12).collect();
        let at = contract::calendar::stamp(failed.at);
        facts.push(("failed", format!("{} ({digest}), {at}: {}", failed.release.version, failed.reason)));
    }
    facts
}

fn share(done: u64, blocks: u64) -> String {
    let percent = done.saturating_mul(100).checked_div(blocks).unwrap_or(0);
    format!("{percent} %, {done} of {blocks} blocks")
}

/// An update's events as text: on a terminal progress stays on one line; else a line comes for each tenth.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    /// A line is on the terminal that the next one covers.
    open: bool,
    tenth: u64,
}

impl Progress {
    #[must_use]
    pub fn new(terminal: bool) -> Progress {
        Progress { terminal, open: false, tenth: 0 }
    }

    /// What is to be printed. Foreign words in it are not clean yet.
    pub fn text(&mut self, event: &UpdateEvent) -> String {
        if let UpdateEvent::Progress { done, blocks, fetched_bytes } = event {
            let line = format!("{}, {} fetched", share(*done, *blocks), size(*fetched_bytes));
            let tenth = done.saturating_mul(10).checked_div(*blocks).unwrap_or(0);
            if self.terminal {
                self.open = true;
                return format!("\r{line:<60}");
            }
            if tenth <= self.tenth {
                return String::new();
            }
            self.tenth = tenth;
            return line + "\n";
        }
        let mut text = String::new();
        if std::mem::take(&mut self.open) {
            text.push('\n');
        }
        let _ = match event {
            UpdateEvent::Plan { release, slot, blocks, in_place, copied, fetched, fetch_bytes, dry_run } => writeln!(
                text,
                "{} for slot {slot}: {blocks} blocks, {in_place} in place, {copied} on this node, {fetched} to fetch ({}){}",
                release.version,
                size(*fetch_bytes),
                if *dry_run { "; nothing was changed" } else { "" }
            ),
            UpdateEvent::Retry { url, reason, delay_s } => {
                writeln!(text, "{url}: {reason}; retrying in {delay_s:.0} s")
            }
            UpdateEvent::GivenUp { url, reason } => writeln!(text, "{url}: {reason}; it will not be tried again"),
            UpdateEvent::Installed { release, slot, written, fetched_bytes, seconds } => writeln!(
                text,
                "{} is installed in slot {slot} in {seconds:.1} s: {written} blocks written, {} fetched; the node restarts \
                 into its trial",
                release.version,
                size(*fetched_bytes)
            ),
            UpdateEvent::AlreadyRunning { release, slot } => writeln!(
                text,
                "{} is already running in slot {slot}; nothing was changed, and slot {} keeps what it holds",
                release.version,
                slot.other()
            ),
            UpdateEvent::Failed { reason } => writeln!(text, "the update was refused: {reason}"),
            UpdateEvent::Progress { .. } => Ok(()),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64) -> UpdateEvent {
        UpdateEvent::Progress { done, blocks: 1000, fetched_bytes: 2_000_000 }
    }

    #[test]
    fn progress_is_one_line_on_a_terminal_and_a_line_for_each_tenth_elsewhere() {
        let mut terminal = Progress::new(true);
        assert!(terminal.text(&progress(15)).starts_with("\r1 %, 15 of 1000 blocks, 1.9 MiB fetched"));
        let failed = terminal.text(&UpdateEvent::Failed { reason: "x".to_owned() });
        assert_eq!(failed, "\nthe update was refused: x\n");
        let mut file = Progress::new(false);
        let lines: String = (0..1000).map(|done| file.text(&progress(done))).collect();
        assert_eq!(lines.lines().count(), 9, "{lines}");
    }

    #[test]
    fn what_runs_already_is_said_to_and_the_other_slot_is_said_to_be_as_it_was() {
        let release = contract::update::Release {
            version: "2".to_owned(),
            manifest: contract::hash::Digest::of(b"2"),
            rollback_index: 1,
        };
        let event = UpdateEvent::AlreadyRunning { release, slot: contract::layout::Slot::A };
        let text = Progress::new(false).text(&event);
        assert_eq!(text, "2 is already running in slot A; nothing was changed, and slot B keeps what it holds\n");
    }

    #[test]
    fn a_status_names_what_failed_and_why() {
        let release = contract::update::Release {
            version: "2".to_owned(),
            manifest: contract::hash::Digest::of(b"2"),
            rollback_index: 1,
        };
        let failed = contract::update::FailedRelease { release, reason: "no network".to_owned(), at: 0 };
        let facts = facts(&UpdateStatus { failed: vec![failed], ..UpdateStatus::default() });
        let line = &facts.iter().find(|(name, _)| *name == "failed").unwrap().1;
        assert!(line.starts_with("2 (d4735e3a265e)") && line.ends_with(": no network"), "{line}");
    }
}
