//! The rules of one service's life, without processes or clocks.

use super::machine::*;
use contract::role::Restart;
use proptest::prelude::*;
use std::time::Duration;

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn policy() -> Policy {
    Policy {
        oneshot: false,
        timed: false,
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
fn what_a_program_leaves_at_a_stop_is_asked_to_end_and_has_the_rest_of_the_time() {
    let mut machine = daemon();
    machine.handle(Event::MayStart, ms(0));
    machine.handle(Event::BecameReady, ms(5));
    machine.handle(Event::StopAsked, ms(100));
    assert_eq!(machine.handle(Event::Exited(Exit::Status(0)), ms(200)), [Action::TerminateRemains]);
    assert!(machine.running() && !machine.at_rest());
    assert_eq!(machine.handle(Event::StopAsked, ms(201)), []);
    let mut slow = machine.clone();
    assert_eq!(machine.handle(Event::Gone, ms(300)), [Action::KillAll, Action::Tell(Notice::Stopped)]);
    assert!(machine.at_rest());
    assert_eq!(slow.handle(Event::Tick, ms(2099)), []);
    let end = [Action::Tell(Notice::StopTimeout), Action::KillAll, Action::Tell(Notice::Stopped)];
    assert_eq!(slow.handle(Event::Tick, ms(2100)), end);
    assert!(slow.at_rest());
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
    assert_eq!(machine.failure(), Some("no such file"));
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::MayStart),
        Just(Event::Spawned),
        Just(Event::SpawnFailed("why".into())),
        Just(Event::BecameReady),
        Just(Event::Gone),
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
            machine.handle(Event::Gone, now + ms(2));
        }
        prop_assert!(machine.at_rest(), "{:?}", machine.state());
    }
}
