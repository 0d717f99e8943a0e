//! How long answers are waited for, and how often a question is sent again (RFC 8415, sections 7.6 and 15).

use std::time::Duration;

/// The times of one kind of question. A unit is a second on a node; tests have shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// IRT, the first time-out.
    pub first: u32,
    /// MRT, the longest time-out.
    pub longest: u32,
    /// MRC, how often it is sent; `None`: for ever.
    pub times: Option<u32>,
    /// MRD, how long it is sent; `None`: for ever.
    pub within: Option<Duration>,
    /// Whether the first time-out is never shorter than `first`: answers are collected in it.
    pub collects: bool,
}

pub const SOLICIT: Pace = Pace { first: 1, longest: 3600, times: None, within: None, collects: true };
pub const REQUEST: Pace = Pace { first: 1, longest: 30, times: Some(10), within: None, collects: false };
/// Without an answer in ten seconds what is held is taken to be right.
pub const CONFIRM: Pace = Pace { first: 1, longest: 4, times: Some(4), within: None, collects: false };
pub const RENEW: Pace = Pace { first: 10, longest: 600, times: None, within: None, collects: false };
pub const DECLINE: Pace = Pace { first: 1, longest: 4, times: Some(4), within: None, collects: false };
pub const INFORMATION: Pace = Pace { first: 1, longest: 3600, times: None, within: None, collects: false };
/// Bounds of what a server may set in place of [`SOLICIT`]'s and [`INFORMATION`]'s longest, in seconds (sections 21.24 and
/// 21.25).
const SETTABLE: std::ops::RangeInclusive<u32> = 60..=86_400;

impl Pace {
    /// As a server wants it, if it may.
    #[must_use]
    pub fn with_longest(self, longest: Option<u32>) -> Pace {
        Pace { longest: longest.filter(|longest| SETTABLE.contains(longest)).unwrap_or(self.longest), ..self }
    }

    /// The next time-out, behind one of `before`; each differs by chance by a tenth, so that nodes that were switched on together
    /// do not ask together.
    #[must_use]
    pub fn next(&self, before: Option<Duration>, unit: Duration, chance: Chance) -> Duration {
        let longest = unit * self.longest;
        match before {
            None if self.collects => chance.longer(unit * self.first),
            None => chance.about(unit * self.first),
            Some(before) => {
                let next = before + chance.about(before);
                if next > longest { chance.about(longest) } else { next }
            }
        }
    }
}

/// A number that nobody knows beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Chance(pub u32);

impl Chance {
    /// Between 0.9 and 1.1 of a time.
    fn about(self, time: Duration) -> Duration {
        time.mul_f64(0.9 + self.share() * 0.2)
    }

    /// Between 1 and 1.1 of a time, never 1 itself.
    fn longer(self, time: Duration) -> Duration {
        time.mul_f64(1.001 + self.share() * 0.099)
    }

    /// Less than a time.
    #[must_use]
    pub fn within(self, time: Duration) -> Duration {
        time.mul_f64(self.share())
    }

    fn share(self) -> f64 {
        f64::from(self.0) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_outs_double_up_to_the_longest() {
        let middle = Chance(u32::MAX / 2);
        let mut all = Vec::new();
        let mut last = None;
        for _ in 0..8 {
            last = Some(REQUEST.next(last, SECOND, middle));
            all.extend(last.map(|time| time.as_secs_f64().round() as u32));
        }
        assert_eq!(all, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn a_server_sets_the_longest_within_bounds() {
        assert_eq!(SOLICIT.with_longest(Some(60)).longest, 60);
        for wrong in [None, Some(0), Some(59), Some(86_401), Some(u32::MAX)] {
            assert_eq!(SOLICIT.with_longest(wrong), SOLICIT, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn chance_moves_a_time_by_a_tenth_at_most(number in any::<u32>(), before in 1_u32..700) {
            let chance = Chance(number);
            let first = SOLICIT.next(None, SECOND, chance);
            prop_assert!(first > SECOND && first <= SECOND * 11 / 10, "{first:?}");
            let first = RENEW.next(None, SECOND, chance);
            prop_assert!(first >= SECOND * 9 && first <= SECOND * 11, "{first:?}");
            let next = RENEW.next(Some(SECOND * before), SECOND, chance);
            prop_assert!(next <= SECOND * 660, "{next:?}");
            prop_assert!(next >= (SECOND * before).mul_f64(1.89).min(SECOND * 540), "{next:?}");
            prop_assert!(chance.within(SECOND) < SECOND);
        }
    }
}
