//! When the API counts as up and as down: a pure state machine.

/// So many good looks in a row bring the address: a server that comes and goes takes no connections in between.
const GOOD: u32 = 2;

/// What is known of the API. At first it is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    up: bool,
    good: u32,
}

/// A change of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Up,
    Down,
}

impl Verdict {
    #[must_use]
    pub fn is_up(self) -> bool {
        self.up
    }

    /// Takes the result of one look. One that fails is enough: the look itself has asked twice.
    pub fn found(&mut self, good: bool) -> Option<Change> {
        self.good = if good { self.good.saturating_add(1).min(GOOD) } else { 0 };
        let up = if self.up { good } else { self.good == GOOD };
        let change = (up != self.up).then_some(if up { Change::Up } else { Change::Down });
        self.up = up;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_bad_look_takes_the_address_and_two_good_ones_bring_it() {
        let mut verdict = Verdict::default();
        let changes: Vec<_> =
            [true, false, true, true, true, false, false, true, true].map(|good| verdict.found(good)).to_vec();
        let (up, down) = (Some(Change::Up), Some(Change::Down));
        assert_eq!(changes, [None, None, None, up, None, down, None, None, up]);
    }

    proptest! {
        #[test]
        fn a_node_has_the_address_only_after_two_good_looks_and_never_after_a_bad_one(looks in prop::collection::vec(any::<bool>(), 0..40)) {
            let mut verdict = Verdict::default();
            for (at, &good) in looks.iter().enumerate() {
                let before = verdict.is_up();
                let change = verdict.found(good);
                prop_assert_eq!(change.is_some(), before != verdict.is_up());
                prop_assert!(good || !verdict.is_up());
                prop_assert!(before || !verdict.is_up() || (at > 0 && looks[at - 1] && good));
            }
        }
    }
}
