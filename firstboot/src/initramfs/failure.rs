//! How a failed boot is reported, and how it ends.

use crate::console;
use crate::sys::reboot::{self, Action};
use contract::layout::Slot;
use std::fmt;
use std::time::Duration;

/// Time in which a person can read the message.
const READING_TIME: Duration = Duration::from_secs(3);

/// What is known of the slot that is being started.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub slot: Option<Slot>,
    pub disk: Option<String>,
    pub trial: bool,
}

/// A stage that did not succeed.
#[derive(Debug)]
pub struct Failure {
    pub stage: &'static str,
    pub place: Place,
    pub error: anyhow::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAILED in {} for slot ", self.stage)?;
        match self.place.slot {
            Some(slot) => write!(f, "{slot}")?,
            None => f.write_str("unknown")?,
        }
        write!(f, " on {}: {:#}", self.place.disk.as_deref().unwrap_or("no known disk"), self.error)?;
        if self.place.trial {
            f.write_str("\nthis was a trial: after the reboot the firmware starts the committed slot again")
        } else {
            f.write_str("\nafter the reboot the firmware chooses a slot again; if this repeats, flash the disk again")
        }
    }
}

impl Failure {
    /// Says what failed and reboots.
    pub fn end(self) -> ! {
        console::say(&self);
        console::say(format_args!("rebooting in {} s", READING_TIME.as_secs()));
        std::thread::sleep(READING_TIME);
        rustix::fs::sync();
        reboot::now(Action::Reboot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    fn failure(slot: Option<Slot>, trial: bool) -> Failure {
        let error = Err::<(), _>(std::io::Error::other("cable pulled")).context("reading the trailer").unwrap_err();
        Failure { stage: "verifying the slot", place: Place { slot, disk: Some("nvme0n1".to_owned()), trial }, error }
    }

    #[test]
    fn a_failure_names_stage_slot_disk_and_the_whole_cause() {
        let text = failure(Some(Slot::B), false).to_string();
        assert!(
            text.starts_with(
                "FAILED in verifying the slot for slot B on nvme0n1: reading the trailer: cable pulled\n"
            ),
            "{text}"
        );
        assert!(text.contains("chooses a slot again"), "{text}");
    }

    #[test]
    fn an_unknown_slot_is_called_unknown_and_a_trial_says_what_comes_next() {
        let mut failure = failure(None, true);
        failure.place.disk = None;
        let text = failure.to_string();
        assert!(text.starts_with("FAILED in verifying the slot for slot unknown on no known disk: "), "{text}");
        assert!(text.contains("starts the committed slot again"), "{text}");
    }
}
