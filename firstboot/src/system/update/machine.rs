//! The state of a node's slots, as a pure state machine: what the firmware, the memory and `autoboot.txt` say, the
//! health of the node and the time go in; what is to be done comes out. It touches no disk and reads no clock.
//!
//! ```text
//! trial → committed                 the gate passed and held for the settling time
//! trial → going back                a deadline, a service that keeps crashing, an operator
//! stray → (rewritten) → committed   autoboot.txt was damaged; healthy, the node repairs it
//! ```

use super::memory::{Memory, Pending, Stage};
use crate::service::Moment;
use contract::layout::Slot;
use contract::role::Trial;
use contract::update::Release;
use std::time::Duration;

/// What `autoboot.txt` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Slot(Slot),
    /// It is not one that microdc writes, or there is none: it may be rewritten.
    Foreign(String),
    /// `bootsel` cannot be read.
    Unreadable(String),
}

impl Choice {
    /// The default slot, where it is known.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Choice::Slot(slot) => Some(*slot),
            _ => None,
        }
    }
}

/// What is known of this boot.
#[derive(Clone, Debug)]
pub struct Boot {
    pub slot: Slot,
    /// Whether the firmware says so.
    pub trial: bool,
    pub release: Release,
    pub choice: Choice,
}

/// Where the node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Committed,
    Trial,
    /// Neither on trial nor the one that the EEPROM starts: why.
    Stray(String),
    /// It goes back, or stops, and commits nothing any more.
    Over,
}

/// What the loop knows of the node.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub now: Moment,
    /// Whether the network is ready, with a link and an address. Looked at in trials alone.
    pub network: bool,
    /// Services that are wanted and not ready.
    pub not_ready: Vec<String>,
    /// A service that cannot run or keeps crashing, and why.
    pub crashing: Option<String>,
    /// For how long the health gate has passed without a break.
    pub passed_for: Option<Duration>,
    /// A check that never passed although its time is over, and why.
    pub overdue: Option<String>,
    /// What keeps the gate from passing.
    pub health: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write down how far the trial has come.
    Reach(Stage),
    /// Make the running slot the default one.
    Commit,
    /// End the trial for this reason: write it down and restart.
    GoBack(String),
    /// Write `autoboot.txt` again for this slot.
    Rewrite(Slot),
}

/// What the beginning of a run has to tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Lines for the console.
    pub says: Vec<String>,
    /// Whether the memory has changed.
    pub remember: bool,
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Machine {
    slot: Slot,
    limits: Trial,
    standing: Standing,
    /// How far a trial has come.
    reached: Stage,
    /// Where to write a damaged `autoboot.txt` to.
    rewrite: Option<Slot>,
    /// What a trial still waits for, in words.
    waits_for: String,
}

impl Begun {
    /// What became of the trial that was asked for, and is not this boot.
    fn conclude(&mut self, boot: &Boot, memory: &mut Memory, pending: &Pending, now: u64) {
        self.remember = true;
        if pending.slot == boot.slot {
            self.says.push(format!("slot {} contains a different version than the one to try", boot.slot));
        } else if pending.stage == Stage::Asked && pending.ended.is_none() {
            let version = &pending.release.version;
            self.says.push(format!("the trial of {version} never began: the node restarted before it; try again"));
        } else {
            let reason = pending.reason();
            self.says.push(format!("the trial of {} failed: {reason}", pending.release.version));
            memory.fail(&pending.release, &reason, now);
        }
    }
}

impl Machine {
    /// Looks at what this boot is, and brings the memory up to date. `now` is the time in seconds since 1970;
    /// `other_is_whole` whether the other slot has a trailer that verifies.
    #[must_use]
    pub fn begin(
        boot: &Boot,
        limits: Trial,
        memory: &mut Memory,
        other_is_whole: bool,
        now: u64,
    ) -> (Machine, Begun) {
        let mut begun = Begun::default();
        let mine = |pending: &Pending| pending.slot == boot.slot && pending.release.manifest == boot.release.manifest;
        let chosen = boot.choice.slot();
        // A firmware that does not say so starts a trial too: then what was written down just before the restart tells.
        let asked =
            memory.pending.as_ref().is_some_and(|pending| mine(pending) && pending.stage == Stage::Restarting);
        let standing = if chosen == Some(boot.slot) {
            Standing::Committed
        } else if boot.trial || (asked && chosen.is_some()) {
            Standing::Trial
        } else {
            Standing::Stray(stray(boot))
        };
        if let Some(pending) = memory.pending.take_if(|pending| !mine(pending)) {
            begun.conclude(boot, memory, &pending, now);
        }
        let mut machine = Machine {
            slot: boot.slot,
            limits,
            standing,
            reached: Stage::System,
            rewrite: None,
            waits_for: "its network".to_owned(),
        };
        machine.enter(boot, memory, &mut begun, other_is_whole, now);
        (machine, begun)
    }

    /// What has to be remembered and said of where this boot stands.
    fn enter(&mut self, boot: &Boot, memory: &mut Memory, begun: &mut Begun, other_is_whole: bool, now: u64) {
        match &self.standing {
            Standing::Committed => {
                let known = memory.committed.as_ref();
                let known = known.is_some_and(|known| known.slot == boot.slot && known.release == boot.release);
                if memory.pending.take().is_some() {
                    begun.says.push(format!("committed: slot {}, {}", boot.slot, boot.release.version));
                    begun.remember = true;
                }
                if !known || memory.rollback_index < boot.release.rollback_index {
                    memory.commit(&boot.release, boot.slot);
                    begun.remember = true;
                }
            }
            Standing::Trial => {
                let seconds = |ms: u64| ms.div_ceil(1000);
                begun.says.push(format!(
                    "trial of {} in slot {}: it is kept when its health gate has passed for {} s; it ends {} s after power-on",
                    boot.release.version,
                    boot.slot,
                    seconds(self.limits.settle_ms),
                    seconds(self.limits.commit_ms)
                ));
                let asked_at = memory.pending.as_ref().map_or(now, |pending| pending.asked_at);
                memory.pending = Some(Pending {
                    release: boot.release.clone(),
                    slot: boot.slot,
                    asked_at,
                    stage: Stage::System,
                    ended: None,
                });
                begun.remember = true;
            }
            Standing::Stray(reason) => {
                begun.says.push(format!("slot {} is running without being the default slot: {reason}", boot.slot));
                if matches!(boot.choice, Choice::Foreign(_)) {
                    let known = memory.committed.as_ref().map(|known| known.slot);
                    // A slot that is no longer whole would be chosen for nothing.
                    let slot = known.filter(|&slot| slot == boot.slot || other_is_whole).unwrap_or(boot.slot);
                    self.rewrite = Some(slot);
                }
            }
            Standing::Over => {}
        }
    }

    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What a trial waits for, in words.
    #[must_use]
    pub fn waits_for(&self) -> &str {
        &self.waits_for
    }

    /// When a trial is over, since power-on.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        Duration::from_millis(self.limits.commit_ms)
    }

    /// When [`Machine::step`] is due next although nothing happens.
    #[must_use]
    pub fn due(&self, facts: &Facts) -> Option<Moment> {
        if !matches!(self.standing, Standing::Trial) && self.rewrite.is_none() {
            return None;
        }
        let ms = Duration::from_millis;
        let limits = [self.limits.network_ms, self.limits.services_ms, self.limits.commit_ms].map(ms);
        let settled = facts.passed_for.map(|span| facts.now + ms(self.limits.settle_ms).saturating_sub(span));
        let later = |at: &Moment| *at > facts.now;
        limits.into_iter().filter(later).chain(settled.filter(later)).min()
    }

    /// Looks at the facts. At most one of the actions changes the choice of slot.
    pub fn step(&mut self, facts: &Facts) -> Vec<Action> {
        match self.standing {
            Standing::Trial => self.trial(facts),
            Standing::Stray(_) if self.settled(facts) => {
                self.rewrite.take().map(Action::Rewrite).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn settled(&self, facts: &Facts) -> bool {
        facts.passed_for.is_some_and(|span| span >= Duration::from_millis(self.limits.settle_ms))
    }

    fn trial(&mut self, facts: &Facts) -> Vec<Action> {
        let ready = facts.not_ready.is_empty();
        let mut actions = Vec::new();
        for (stage, reached) in [
            (Stage::Network, facts.network),
            (Stage::Services, facts.network && ready),
            (Stage::Health, facts.network && ready && facts.passed_for.is_some()),
        ] {
            if reached && self.reached < stage {
                self.reached = stage;
                actions.push(Action::Reach(stage));
            }
        }
        let late = |ms: u64| facts.now >= Duration::from_millis(ms);
        let within = |ms: u64| format!("within {} s of power-on", ms.div_ceil(1000));
        let Trial { settle_ms, network_ms, services_ms, commit_ms } = self.limits;
        self.waits_for = if !facts.network {
            "its network".to_owned()
        } else if !ready {
            format!("its services: {}", facts.not_ready.join(", "))
        } else if facts.passed_for.is_none() {
            format!("its health gate: {}", facts.health)
        } else {
            format!("its health gate to have passed for {} s", settle_ms.div_ceil(1000))
        };
        let reason = if let Some(crashing) = &facts.crashing {
            Some(crashing.clone())
        } else if self.reached < Stage::Network && late(network_ms) {
            Some(format!("it had no network {}", within(network_ms)))
        } else if self.reached < Stage::Services && late(services_ms) {
            Some(format!("these services were not ready {}: {}", within(services_ms), facts.not_ready.join(", ")))
        } else if let Some(overdue) = &facts.overdue {
            Some(format!("its health gate did not pass: {overdue}"))
        } else if late(commit_ms) {
            Some(format!("it was not committed {}: it was still waiting for {}", within(commit_ms), self.waits_for))
        } else {
            None
        };
        if let Some(reason) = reason {
            actions.push(self.go_back(reason));
        } else if self.reached == Stage::Health && facts.network && ready && self.settled(facts) {
            actions.push(Action::Commit);
        }
        actions
    }

    fn go_back(&mut self, reason: String) -> Action {
        self.standing = Standing::Over;
        Action::GoBack(reason)
    }

    /// Someone ends the run, or the trial. What is to be done when it is one.
    pub fn end(&mut self, reason: &str) -> Option<Action> {
        (self.standing == Standing::Trial).then(|| self.go_back(reason.to_owned()))
    }

    /// `autoboot.txt` was written for `slot` and read back.
    pub fn chosen(&mut self, slot: Slot) {
        self.standing = if slot == self.slot {
            Standing::Committed
        } else {
            Standing::Stray(format!("autoboot.txt names slot {slot} again; the next restart goes there"))
        };
    }
}

fn stray(boot: &Boot) -> String {
    match &boot.choice {
        Choice::Slot(slot) => format!(
            "autoboot.txt names slot {slot}, which the firmware did not start; restart the node to see whether it does \
             again"
        ),
        Choice::Foreign(why) | Choice::Unreadable(why) => why.clone(),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
