//! The life of one service as a pure state machine: events and the time go in, actions come out. It starts no process
//! and reads no clock, so that every rule is tested without either.
//!
//! ```text
//! Waiting → Starting → Ready → (exit) → BackOff → Waiting …        Daemon
//!              └→ Done                                             Oneshot that ended well
//! any → Stopping → Stopped                                         stop asked
//! NotWanted, Failed: it does not run, by the node config or because something it needs cannot be had
//! ```

use contract::role::{Restart, Service, ServiceKind};
use std::time::Duration;

/// Time since power-on.
pub type Moment = Duration;

/// What the rules need to know of a service.
#[derive(Clone, Debug)]
pub struct Policy {
    pub oneshot: bool,
    pub restart: Restart,
    pub start_timeout: Duration,
    pub stop_timeout: Duration,
    /// Counts as ready as soon as it runs.
    pub ready_at_once: bool,
}

impl Policy {
    #[must_use]
    pub fn of(service: &Service) -> Policy {
        let oneshot = service.kind != ServiceKind::Daemon;
        Policy {
            oneshot,
            restart: service.restart,
            start_timeout: Duration::from_millis(service.start_timeout_ms),
            stop_timeout: Duration::from_millis(service.stop_timeout_ms),
            ready_at_once: !oneshot && service.ready.is_none(),
        }
    }
}

/// Where a service is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The node config does not ask for it.
    NotWanted,
    /// What it comes after is not ready yet.
    Waiting,
    Starting {
        deadline: Moment,
    },
    Ready {
        since: Moment,
    },
    /// A oneshot ended well.
    Done {
        at: Moment,
    },
    /// It is being ended: asked until `kill_at`, then killed.
    Stopping {
        kill_at: Option<Moment>,
        then: Then,
    },
    BackOff {
        until: Moment,
    },
    /// It cannot run at all, and trying again would not help.
    Failed {
        reason: String,
    },
    Stopped,
}

/// What comes after the end of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Rest,
    /// It was not ready in time: another try, later.
    BackOff,
    /// The operator asked for a restart: another start at once.
    Start,
}

impl State {
    /// One word for the operator.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            State::NotWanted => "not wanted",
            State::Waiting => "waiting",
            State::Starting { .. } => "starting",
            State::Ready { .. } => "ready",
            State::Done { .. } => "done",
            State::Stopping { .. } => "stopping",
            State::BackOff { .. } => "back-off",
            State::Failed { .. } => "failed",
            State::Stopped => "stopped",
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Status(i32),
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "ended with status {status}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// What happens to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything it comes after is ready.
    MayStart,
    /// Its program runs.
    Spawned,
    SpawnFailed(String),
    /// Its readiness check passed.
    BecameReady,
    Exited(Exit),
    /// Time passed.
    Tick,
    StopAsked,
    /// The operator wants it started anew.
    RestartAsked,
    /// Something it needs cannot be had.
    Hopeless(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Spawn,
    /// SIGTERM to its process.
    Terminate,
    /// The end of its whole cgroup.
    KillAll,
    Tell(Notice),
}

/// What the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Ready,
    Done,
    /// It ended or could not start; it is tried again after the delay.
    Down {
        why: String,
        delay: Duration,
    },
    StartTimeout,
    StopTimeout,
    Hopeless(String),
    Stopped,
}

/// One service.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    state: State,
    /// The delay before the next start after a failure.
    delay: Duration,
    restarts: u32,
}

impl Machine {
    #[must_use]
    pub fn new(policy: Policy, wanted: bool) -> Machine {
        let state = if wanted { State::Waiting } else { State::NotWanted };
        let delay = Duration::from_millis(policy.restart.first_delay_ms);
        Machine { policy, state, delay, restarts: 0 }
    }

    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How often it was started again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Whether those that come after it may start.
    #[must_use]
    pub fn satisfied(&self) -> bool {
        matches!(self.state, State::Ready { .. } | State::Done { .. } | State::NotWanted)
    }

    /// Whether it has a process, or may have.
    #[must_use]
    pub fn running(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Ready { .. } | State::Stopping { .. })
    }

    /// Whether nothing is left to stop.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        matches!(self.state, State::Stopped | State::NotWanted | State::Failed { .. })
    }

    /// When [`Event::Tick`] is needed next.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Starting { deadline } => Some(deadline),
            State::Stopping { kill_at, .. } => kill_at,
            State::BackOff { until } => Some(until),
            _ => None,
        }
    }

    /// Takes one event at a time since power-on.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Action> {
        match (event, &self.state) {
            (Event::MayStart, State::Waiting) => {
                self.state = State::Starting { deadline: now + self.policy.start_timeout };
                vec![Action::Spawn]
            }
            (Event::Spawned, State::Starting { .. }) if self.policy.ready_at_once => self.ready(now),
            (Event::BecameReady, State::Starting { .. }) if !self.policy.oneshot => self.ready(now),
            (Event::SpawnFailed(why), State::Starting { .. }) => self.back_off(why, now),
            (Event::Exited(Exit::Status(0)), State::Starting { .. }) if self.policy.oneshot => {
                self.state = State::Done { at: now };
                vec![Action::KillAll, Action::Tell(Notice::Done)]
            }
            (Event::Exited(exit), State::Starting { .. }) => self.down(exit.to_string(), now),
            (Event::Exited(exit), &State::Ready { since }) => {
                let up = now.saturating_sub(since);
                if up >= Duration::from_millis(self.policy.restart.quiet_ms) {
                    self.delay = Duration::from_millis(self.policy.restart.first_delay_ms);
                }
                self.down(exit.to_string(), now)
            }
            (Event::Exited(_), State::Stopping { then: Then::BackOff, .. }) => {
                let limit = self.policy.start_timeout.as_secs_f64();
                self.down(format!("not ready after {limit} s"), now)
            }
            (Event::Exited(_), State::Stopping { then: Then::Start, .. }) => {
                self.wait_anew();
                vec![Action::KillAll]
            }
            (Event::Exited(_), State::Stopping { then: Then::Rest, .. }) => {
                self.state = State::Stopped;
                vec![Action::KillAll, Action::Tell(Notice::Stopped)]
            }
            (Event::Tick, &State::Starting { deadline }) if now >= deadline => {
                self.state = State::Stopping { kill_at: None, then: Then::BackOff };
                vec![Action::Tell(Notice::StartTimeout), Action::KillAll]
            }
            (Event::Tick, &State::Stopping { kill_at: Some(at), then }) if now >= at => {
                self.state = State::Stopping { kill_at: None, then };
                vec![Action::Tell(Notice::StopTimeout), Action::KillAll]
            }
            (Event::Tick, &State::BackOff { until }) if now >= until => {
                self.state = State::Waiting;
                self.restarts = self.restarts.saturating_add(1);
                Vec::new()
            }
            (Event::StopAsked, State::Starting { .. } | State::Ready { .. }) => {
                self.state = State::Stopping { kill_at: Some(now + self.policy.stop_timeout), then: Then::Rest };
                vec![Action::Terminate]
            }
            (Event::StopAsked, State::Stopping { kill_at, .. }) => {
                self.state = State::Stopping { kill_at: *kill_at, then: Then::Rest };
                Vec::new()
            }
            (Event::RestartAsked, State::Starting { .. } | State::Ready { .. }) => {
                self.state = State::Stopping { kill_at: Some(now + self.policy.stop_timeout), then: Then::Start };
                vec![Action::Terminate]
            }
            (Event::RestartAsked, State::BackOff { .. } | State::Done { .. }) => {
                self.wait_anew();
                Vec::new()
            }
            (Event::StopAsked, State::Waiting | State::BackOff { .. } | State::Done { .. }) => {
                self.state = State::Stopped;
                Vec::new()
            }
            (Event::Hopeless(reason), State::Waiting | State::BackOff { .. }) => {
                self.state = State::Failed { reason: reason.clone() };
                vec![Action::Tell(Notice::Hopeless(reason))]
            }
            _ => Vec::new(),
        }
    }

    /// Waits for a start that the operator asked for: what failed before is forgotten.
    fn wait_anew(&mut self) {
        self.delay = Duration::from_millis(self.policy.restart.first_delay_ms);
        self.restarts = self.restarts.saturating_add(1);
        self.state = State::Waiting;
    }

    fn ready(&mut self, now: Moment) -> Vec<Action> {
        self.state = State::Ready { since: now };
        vec![Action::Tell(Notice::Ready)]
    }

    /// Its process is gone: what is left of it goes too, and it is tried again later.
    fn down(&mut self, why: String, now: Moment) -> Vec<Action> {
        let mut actions = vec![Action::KillAll];
        actions.extend(self.back_off(why, now));
        actions
    }

    fn back_off(&mut self, why: String, now: Moment) -> Vec<Action> {
        let delay = self.delay;
        let longest = Duration::from_millis(self.policy.restart.longest_delay_ms);
        self.delay = delay.saturating_mul(2).min(longest).max(Duration::from_millis(1));
        self.state = State::BackOff { until: now + delay };
        vec![Action::Tell(Notice::Down { why, delay })]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn policy() -> Policy {
        Policy {
            oneshot: false,
            restart: Restart { first_delay_ms: 100, longest_delay_ms: 1000, quiet_ms: 5000 },
            start_timeout: ms(3000),
            stop_timeout: ms(2000),
            ready_at_once: false,
        }
    }

    fn daemon() -> Machine {
        Machine::new(policy(), true)
    }

    fn oneshot() -> Machine {
        Machine::new(Policy { oneshot: true, ..policy() }, true)
    }

    /// Starts it, makes it ready, lets it die after `up`, and returns the delay before the next start.
    fn fail_after(machine: &mut Machine, now: &mut Moment, up: Duration) -> Duration {
        machine.handle(Event::MayStart, *now);
        machine.handle(Event::BecameReady, *now);
        *now += up;
        machine.handle(Event::Exited(Exit::Signal(11)), *now);
        let State::BackOff { until } = *machine.state() else { panic!("{:?}", machine.state()) };
        let delay = until - *now;
        assert_eq!(machine.handle(Event::Tick, until - ms(1)), []);
        assert!(matches!(machine.state(), State::BackOff { .. }));
        *now = until;
        machine.handle(Event::Tick, *now);
        assert_eq!(*machine.state(), State::Waiting);
        delay
    }

    #[test]
    fn the_delay_before_a_restart_doubles_up_to_the_longest_and_falls_back_after_a_quiet_time() {
        let (mut machine, mut now) = (daemon(), ms(0));
        let delays: Vec<_> = (0..6).map(|_| fail_after(&mut machine, &mut now, ms(10))).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000].map(ms));
        assert_eq!(fail_after(&mut machine, &mut now, ms(4999)), ms(1000));
        assert_eq!(fail_after(&mut machine, &mut now, ms(5000)), ms(100));
        assert_eq!(machine.restarts(), 8);
    }

    #[test]
    fn a_daemon_that_dies_takes_its_whole_cgroup_along() {
        let mut machine = daemon();
        machine.handle(Event::MayStart, ms(0));
        machine.handle(Event::BecameReady, ms(5));
        assert_eq!(machine.handle(Event::Exited(Exit::Signal(9)), ms(10)).first(), Some(&Action::KillAll));
    }

    #[test]
    fn a_daemon_that_is_not_ready_in_time_is_killed_and_tried_again() {
        let mut machine = daemon();
        assert_eq!(machine.handle(Event::MayStart, ms(0)), [Action::Spawn]);
        assert_eq!(machine.deadline(), Some(ms(3000)));
        assert_eq!(machine.handle(Event::Tick, ms(2999)), []);
        assert_eq!(machine.handle(Event::Tick, ms(3000)), [Action::Tell(Notice::StartTimeout), Action::KillAll]);
        assert_eq!(machine.handle(Event::BecameReady, ms(3001)), [], "too late");
        machine.handle(Event::Exited(Exit::Signal(9)), ms(3002));
        assert_eq!(*machine.state(), State::BackOff { until: ms(3102) });
    }

    #[test]
    fn a_oneshot_satisfies_others_only_when_it_ended_well() {
        let mut machine = oneshot();
        machine.handle(Event::MayStart, ms(0));
        assert!(!machine.satisfied());
        assert_eq!(machine.handle(Event::BecameReady, ms(1)), [], "only its end counts");
        machine.handle(Event::Exited(Exit::Status(1)), ms(2));
        assert!(!machine.satisfied());
        machine.handle(Event::Tick, ms(102));
        machine.handle(Event::MayStart, ms(102));
        machine.handle(Event::Exited(Exit::Status(0)), ms(110));
        assert_eq!(*machine.state(), State::Done { at: ms(110) });
        assert!(machine.satisfied());
    }

    #[test]
    fn a_daemon_that_ends_with_status_0_is_down_all_the_same() {
        let mut machine = daemon();
        machine.handle(Event::MayStart, ms(0));
        machine.handle(Event::Exited(Exit::Status(0)), ms(1));
        assert!(matches!(machine.state(), State::BackOff { .. }));
    }

    #[test]
    fn a_stop_asks_first_and_kills_when_the_time_is_up() {
        let mut machine = daemon();
        machine.handle(Event::MayStart, ms(0));
        machine.handle(Event::BecameReady, ms(5));
        assert_eq!(machine.handle(Event::StopAsked, ms(100)), [Action::Terminate]);
        assert_eq!(machine.handle(Event::StopAsked, ms(101)), [], "asked once");
        assert_eq!(machine.handle(Event::Tick, ms(2099)), []);
        assert_eq!(machine.handle(Event::Tick, ms(2100)), [Action::Tell(Notice::StopTimeout), Action::KillAll]);
        machine.handle(Event::Exited(Exit::Signal(9)), ms(2101));
        assert_eq!(*machine.state(), State::Stopped);
        assert_eq!(machine.handle(Event::MayStart, ms(2102)), [], "it stays stopped");
    }

    #[test]
    fn a_stop_during_back_off_is_the_end_of_it() {
        let mut machine = daemon();
        machine.handle(Event::MayStart, ms(0));
        machine.handle(Event::Exited(Exit::Status(1)), ms(1));
        machine.handle(Event::StopAsked, ms(2));
        assert_eq!(*machine.state(), State::Stopped);
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn what_is_not_wanted_never_starts_and_holds_nobody_back() {
        let mut machine = Machine::new(policy(), false);
        assert!(machine.satisfied() && machine.at_rest());
        assert_eq!(machine.handle(Event::MayStart, ms(0)), []);
    }

    #[test]
    fn a_program_that_cannot_be_started_is_tried_again_with_the_reason_told() {
        let mut machine = Machine::new(Policy { ready_at_once: true, ..policy() }, true);
        machine.handle(Event::MayStart, ms(0));
        let actions = machine.handle(Event::SpawnFailed("no such file".into()), ms(0));
        let down = Notice::Down { why: "no such file".into(), delay: ms(100) };
        assert_eq!(actions, [Action::Tell(down)]);
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::MayStart),
            Just(Event::Spawned),
            Just(Event::SpawnFailed("why".into())),
            Just(Event::BecameReady),
            (0..3_i32).prop_map(|status| Event::Exited(Exit::Status(status))),
            Just(Event::Exited(Exit::Signal(9))),
            Just(Event::Tick),
            Just(Event::Hopeless("why".into())),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_a_stop_leads_to_rest(
            events in prop::collection::vec((any_event(), 0..5000_u64), 0..40),
            is_oneshot: bool,
        ) {
            let mut machine = if is_oneshot { oneshot() } else { daemon() };
            let mut now = ms(0);
            for (event, later) in events {
                now += ms(later);
                machine.handle(event, now);
            }
            machine.handle(Event::StopAsked, now);
            if machine.running() {
                machine.handle(Event::Exited(Exit::Signal(15)), now + ms(1));
            }
            prop_assert!(machine.at_rest(), "{:?}", machine.state());
        }
    }
}
