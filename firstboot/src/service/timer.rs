//! When a service is run by the clock: after a time span, or at a time of day (UTC). What was missed while the node was off
//! is caught up with; runs of many nodes are spread by a little chance. The time of the last run is kept on `state`.

use crate::config::store::{Access, write_atomic};
use crate::sys::time;
use contract::role::{Schedule, Timer as Spec};
use std::path::PathBuf;

const DAY: u64 = 86_400;
/// Longest file, in bytes, that is read.
const LONGEST: u64 = 32;

/// The clock of one service. Times are in seconds since 1970.
#[derive(Clone, Debug)]
pub struct Timer {
    spec: Spec,
    /// When this run of the node has begun with it.
    since: u64,
    last: Option<u64>,
    /// What chance is made from.
    seed: u64,
    /// Where the last run is kept.
    file: Option<PathBuf>,
}

impl Timer {
    /// With what is known of the last run.
    #[must_use]
    pub fn new(spec: Spec, file: Option<PathBuf>, now: u64) -> Timer {
        let mut seed = [0; 8];
        let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
        let last = file.as_ref().and_then(|file| {
            use std::io::Read as _;
            let mut text = String::new();
            std::fs::File::open(file).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
            text.trim().parse().ok()
        });
        Timer { spec, since: now, last, seed: u64::from_ne_bytes(seed), file }
    }

    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// When it runs next, as things stand `now`. What is over is due.
    #[must_use]
    pub fn next(&self, now: u64) -> u64 {
        // A clock that was set back since must not make anybody wait for the time that it showed before.
        let since = self.since.min(now);
        let last = self.last.filter(|last| *last <= now);
        let base = match self.spec.schedule {
            Schedule::EveryMs(ms) => match (last, self.last) {
                (Some(last), _) => last.saturating_add((ms / 1000).max(1)),
                (None, Some(_)) => since.saturating_add((ms / 1000).max(1)),
                (None, None) => since,
            },
            Schedule::AtMinute(minute) => after(last.unwrap_or(since), u64::from(minute) * 60),
        };
        // What was missed comes soon after power-on, and not for all nodes at once.
        let base = base.max(since);
        base.saturating_add(spread(self.seed, base, self.spec.jitter_ms / 1000))
    }

    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.next(now) <= now
    }

    /// It has run, well or not.
    ///
    /// # Errors
    /// When that cannot be kept, as the kernel says it.
    pub fn ran(&mut self, now: u64) -> std::io::Result<()> {
        self.last = Some(now);
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        write_atomic(file, format!("{now}\n").as_bytes(), Access::root(0o600))
    }
}

/// Now, in seconds since 1970.
#[must_use]
pub fn wall() -> u64 {
    time::now()
}

/// The first time after `time` that is `second` seconds into a day.
fn after(time: u64, second: u64) -> u64 {
    let today = time / DAY * DAY + second;
    if today > time { today } else { today.saturating_add(DAY) }
}

/// A number from 0 to `most` that is the same for the same seed and base (splitmix64).
fn spread(seed: u64, base: u64, most: u64) -> u64 {
    let mut mixed = seed ^ base.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % most.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-09-12 00:00:00 UTC.
    const MIDNIGHT: u64 = 1_789_171_200;
    const HOUR: u64 = 3600;

    fn timer(schedule: Schedule, since: u64, last: Option<u64>, jitter_s: u64) -> Timer {
        let spec = Spec { schedule, jitter_ms: jitter_s * 1000 };
        Timer { spec, since, last, seed: 7, file: None }
    }

    fn every(since: u64, last: Option<u64>) -> Timer {
        timer(Schedule::EveryMs(HOUR * 1000), since, last, 0)
    }

    fn at(since: u64, last: Option<u64>) -> Timer {
        timer(Schedule::AtMinute(3 * 60 + 30), since, last, 0)
    }

    #[test]
    fn midnight_is_midnight() {
        assert_eq!(contract::calendar::show_time(MIDNIGHT), "2026-09-12 00:00:00 UTC");
    }

    #[test]
    fn a_span_counts_from_the_last_run_and_what_was_missed_is_caught_up_with_once() {
        let now = MIDNIGHT;
        assert_eq!(every(now, None).next(now), now, "a node that never ran it begins with it");
        assert_eq!(every(now, Some(now - 600)).next(now), now + 3000, "also over a restart");
        let mut late = every(now, Some(now - 10 * HOUR));
        assert!(late.is_due(now));
        late.ran(now + 5).unwrap();
        assert_eq!(late.next(now + 5), now + 5 + HOUR);
    }

    #[test]
    fn a_time_of_day_comes_once_a_day_and_a_night_without_power_is_caught_up_with() {
        let morning = MIDNIGHT + 8 * HOUR;
        let wanted = MIDNIGHT + 3 * HOUR + 1800;
        assert_eq!(at(MIDNIGHT, None).next(MIDNIGHT), wanted);
        assert_eq!(at(morning, None).next(morning), wanted + DAY, "nothing was missed before the first day");
        assert!(at(morning, Some(wanted - DAY + 60)).is_due(morning), "it was off at night");
        let mut timer = at(morning, Some(wanted - 5 * DAY));
        timer.ran(morning).unwrap();
        assert_eq!(timer.next(morning), wanted + DAY, "five missed nights are one run");
        assert_eq!(at(MIDNIGHT, Some(wanted)).next(wanted), wanted + DAY);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_waiting() {
        let wrong = MIDNIGHT + 1000 * DAY;
        let set_back = every(wrong, Some(wrong));
        assert!(set_back.next(MIDNIGHT) <= MIDNIGHT + HOUR);
        assert!(at(wrong, Some(wrong)).next(MIDNIGHT) <= MIDNIGHT + DAY);
    }

    #[test]
    fn the_last_run_is_kept_and_a_damaged_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("timers/backup");
        let spec = Spec { schedule: Schedule::EveryMs(1000), jitter_ms: 0 };
        let make = || Timer::new(spec, Some(file.clone()), MIDNIGHT);
        assert_eq!(make().last(), None);
        make().ran(MIDNIGHT + 5).unwrap();
        assert_eq!(make().last(), Some(MIDNIGHT + 5));
        std::fs::write(&file, "yesterday").unwrap();
        assert_eq!(make().last(), None);
    }

    proptest! {
        #[test]
        fn the_next_run_is_spread_and_the_same_however_often_it_is_asked(
            seed: u64, jitter in 0..1000_u64, past in 0..100 * DAY, minute in 0..1440_u32, of_day: bool,
        ) {
            let schedule = if of_day { Schedule::AtMinute(minute) } else { Schedule::EveryMs(HOUR * 1000) };
            let exact = timer(schedule, MIDNIGHT, Some(MIDNIGHT - past), 0).next(MIDNIGHT);
            let mut spread = timer(schedule, MIDNIGHT, Some(MIDNIGHT - past), jitter);
            spread.seed = seed;
            let next = spread.next(MIDNIGHT);
            prop_assert!((exact..=exact + jitter).contains(&next));
            prop_assert_eq!(spread.next(next), next);
            prop_assert!(spread.is_due(next) && (next == MIDNIGHT || !spread.is_due(next - 1)));
        }

        #[test]
        fn no_time_makes_it_panic(since: u64, last: Option<u64>, now: u64, ms: u64, minute in 0..1440_u32, jitter: u64) {
            for schedule in [Schedule::EveryMs(ms), Schedule::AtMinute(minute)] {
                let mut timer = timer(schedule, since, last, 0);
                timer.spec.jitter_ms = jitter;
                let _ = timer.next(now);
            }
        }
    }
}
