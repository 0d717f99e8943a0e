//! The life of one service as a pure state machine: events and the time go in, actions come out. It starts no process
//! and reads no clock, so that every rule is tested without either.
//!
//! ```text
//! Waiting → Starting → Ready → (exit) → BackOff → Waiting …        Daemon
//!              └→ Done                                             Oneshot that ended well
//! any → Stopping → Stopped                                         stop asked
//! NotWanted, Failed: it does not run, by the node config or because something it needs cannot be had
//! ```

use contract::control::ServiceState;
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
    /// It is run by the clock: it counts as done between its runs, and one that fails waits for the next.
    pub timed: bool,
    /// Counts as ready as soon as it runs.
    pub ready_at_once: bool,
}

impl Policy {
    #[must_use]
    pub fn of(service: &Service) -> Policy {
        let oneshot = service.kind != ServiceKind::Daemon;
        Policy {
            oneshot,
            timed: oneshot && service.timer.is_some(),
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
    /// Its program has ended; what that has left has its time too.
    Remains,
    /// It was not ready in time: another try, later.
    BackOff,
    /// The operator asked for a restart: another start at once.
    Start,
}

impl State {
    /// The state as shown to operators.
    #[must_use]
    pub fn kind(&self) -> ServiceState {
        match self {
            State::NotWanted => ServiceState::NotWanted,
            State::Waiting => ServiceState::Waiting,
            State::Starting { .. } => ServiceState::Starting,
            State::Ready { .. } => ServiceState::Ready,
            State::Done { .. } => ServiceState::Done,
            State::Stopping { .. } => ServiceState::Stopping,
            State::BackOff { .. } => ServiceState::BackOff,
            State::Failed { .. } => ServiceState::Failed,
            State::Stopped => ServiceState::Stopped,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Status(i32),
    Signal(i32),
    /// Killed by the kernel, which had no memory left for it.
    OutOfMemory,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "ended with status {status}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
            Exit::OutOfMemory => f.write_str("killed: out of memory"),
        }
    }
}

/// What happens to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything it comes after is ready.
    MayStart,
    /// Its time by the clock has come.
    Due,
    /// The same as [`Event::MayStart`], and there is nothing to be done: why.
    NothingToDo(String),
    /// Its program runs.
    Spawned,
    SpawnFailed(String),
    /// Its readiness check passed.
    BecameReady,
    Exited(Exit),
    /// Nothing that its program has left lives any more.
    Gone,
    /// Time passed.
    Tick,
    StopAsked,
    /// The operator wants it restarted.
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
    /// SIGTERM to what its program has left; [`Event::Gone`] follows when there is nothing.
    TerminateRemains,
    /// The end of its whole cgroup.
    KillAll,
    Tell(Notice),
}

/// What the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Ready,
    Done,
    /// It was not run, for this reason.
    Skipped(String),
    /// Its run by the clock failed; the next one comes in its time.
    Missed(String),
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
    failure: Option<String>,
}

impl Machine {
    #[must_use]
    pub fn new(policy: Policy, wanted: bool) -> Machine {
        let state = match wanted {
            false => State::NotWanted,
            true if policy.timed => State::Done { at: Moment::ZERO },
            true => State::Waiting,
        };
        let delay = Duration::from_millis(policy.restart.first_delay_ms);
        Machine { policy, state, delay, restarts: 0, failure: None }
    }

    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Number of restarts.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Why it had to be tried again the last time.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Whether those that come after it may start. Nobody waits for what is run by the clock.
    #[must_use]
    pub fn satisfied(&self) -> bool {
        matches!(self.state, State::Ready { .. } | State::Done { .. } | State::NotWanted)
            || (self.policy.timed && !matches!(self.state, State::Failed { .. }))
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
            (Event::Due, State::Done { .. }) if self.policy.timed => {
                self.state = State::Waiting;
                Vec::new()
            }
            (Event::NothingToDo(why), State::Waiting) => self.skip(why, now),
            (Event::Spawned, State::Starting { .. }) if self.policy.ready_at_once => self.ready(now),
            (Event::BecameReady, State::Starting { .. }) if !self.policy.oneshot => self.ready(now),
            (Event::SpawnFailed(why), State::Starting { .. }) => self.back_off(why, now),
            (Event::Exited(Exit::Status(0)), State::Starting { .. }) if self.policy.oneshot => self.done(now),
            (Event::Exited(exit), State::Starting { .. }) => self.down(exit.to_string(), now),
            (Event::Exited(exit), &State::Ready { since }) => {
                self.forget_delays_after(now.saturating_sub(since));
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
            (Event::Exited(_), State::Stopping { kill_at: Some(at), then: Then::Rest }) => {
                self.state = State::Stopping { kill_at: Some(*at), then: Then::Remains };
                vec![Action::TerminateRemains]
            }
            (Event::Exited(_), State::Stopping { kill_at: None, then: Then::Rest })
            | (Event::Gone, State::Stopping { then: Then::Remains, .. }) => self.stopped(),
            (Event::Tick, &State::Stopping { kill_at: Some(at), then: Then::Remains }) if now >= at => {
                [vec![Action::Tell(Notice::StopTimeout)], self.stopped()].concat()
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
            (Event::StopAsked, &State::Stopping { kill_at, then }) => {
                let then = if then == Then::Remains { then } else { Then::Rest };
                self.state = State::Stopping { kill_at, then };
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

    /// After so long without an end, delays begin again.
    fn forget_delays_after(&mut self, up: Duration) {
        if up >= Duration::from_millis(self.policy.restart.quiet_ms) {
            self.delay = Duration::from_millis(self.policy.restart.first_delay_ms);
        }
    }

    /// Nothing is left to wait for.
    fn stopped(&mut self) -> Vec<Action> {
        self.state = State::Stopped;
        vec![Action::KillAll, Action::Tell(Notice::Stopped)]
    }

    /// A task need not be run.
    fn skip(&mut self, why: String, now: Moment) -> Vec<Action> {
        self.state = State::Done { at: now };
        vec![Action::Tell(Notice::Skipped(why))]
    }

    /// A task has ended well.
    fn done(&mut self, now: Moment) -> Vec<Action> {
        self.state = State::Done { at: now };
        if self.policy.timed {
            self.failure = None;
        }
        vec![Action::KillAll, Action::Tell(Notice::Done)]
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
        if self.policy.timed {
            self.state = State::Done { at: now };
            self.failure = Some(why.clone());
            return vec![Action::Tell(Notice::Missed(why))];
        }
        let delay = self.delay;
        let longest = Duration::from_millis(self.policy.restart.longest_delay_ms);
        self.delay = delay.saturating_mul(2).min(longest).max(Duration::from_millis(1));
        self.state = State::BackOff { until: now + delay };
        self.failure = Some(why.clone());
        vec![Action::Tell(Notice::Down { why, delay })]
    }
}
