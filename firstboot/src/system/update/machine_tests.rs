use super::super::memory::tests::release;
use super::*;
use proptest::prelude::*;

const LIMITS: Trial = Trial { settle_ms: 30_000, network_ms: 60_000, services_ms: 90_000, commit_ms: 300_000 };

fn boot(slot: Slot, trial: bool, version: &str, choice: Choice) -> Boot {
    Boot { slot, trial, release: release(version, 5), choice }
}

fn asked(version: &str, slot: Slot, stage: Stage) -> Memory {
    let mut memory = Memory::default();
    memory.commit(&release("old", 4), slot.other());
    let release = release(version, 5);
    memory.pending = Some(Pending { release, slot, asked_at: 10, stage, ended: None });
    memory
}

fn begin(boot: &Boot, memory: &mut Memory) -> (Machine, Begun) {
    Machine::begin(boot, LIMITS, memory, true, 1000)
}

/// A healthy node so many seconds after power-on, whose gate has passed for so many.
fn healthy(now: u64, passed: u64) -> Facts {
    Facts {
        now: Duration::from_secs(now),
        network: true,
        passed_for: Some(Duration::from_secs(passed)),
        ..Facts::default()
    }
}

fn on_trial() -> (Machine, Memory) {
    let mut memory = asked("new", Slot::B, Stage::Restarting);
    let (machine, begun) = begin(&boot(Slot::B, true, "new", Choice::Slot(Slot::A)), &mut memory);
    assert_eq!(machine.standing(), &Standing::Trial);
    assert!(begun.remember && begun.says[0].starts_with("trial of new in slot B: "), "{begun:?}");
    (machine, memory)
}

fn back(actions: &[Action]) -> &str {
    match actions.last() {
        Some(Action::GoBack(reason)) => reason,
        other => panic!("no going back: {other:?}"),
    }
}

#[test]
fn a_trial_is_committed_when_its_gate_has_held_for_the_settling_time_and_not_before() {
    let (mut machine, mut memory) = on_trial();
    let mut facts = Facts { now: Duration::from_secs(5), not_ready: vec!["bgpd".to_owned()], ..Facts::default() };
    assert_eq!(machine.step(&facts), []);
    assert_eq!(machine.waits_for(), "its network");
    facts.network = true;
    assert_eq!(machine.step(&facts), [Action::Reach(Stage::Network)]);
    assert_eq!(machine.waits_for(), "its services: bgpd");
    facts.not_ready.clear();
    assert_eq!(machine.step(&facts), [Action::Reach(Stage::Services)]);
    let facts = healthy(30, 0);
    assert_eq!(machine.step(&facts), [Action::Reach(Stage::Health)]);
    assert_eq!(machine.due(&facts), Some(Duration::from_secs(60)));
    assert_eq!(machine.step(&healthy(59, 29)), []);
    // A service that is down for a moment is waited for.
    assert_eq!(machine.step(&Facts { not_ready: vec!["x".to_owned()], ..healthy(60, 30) }), []);
    assert_eq!(machine.step(&healthy(60, 30)), [Action::Commit]);
    machine.chosen(Slot::B);
    memory.commit(&release("new", 5), Slot::B);
    assert_eq!(machine.standing(), &Standing::Committed);
    assert_eq!(machine.step(&healthy(400, 300)), []);
    assert_eq!(memory.rollback_index, 5);
}

#[test]
fn every_deadline_ends_a_trial_with_its_own_reason() {
    let at = |now: u64| Facts { now: Duration::from_secs(now), ..Facts::default() };
    let (mut machine, _) = on_trial();
    assert_eq!(machine.step(&at(59)), []);
    assert_eq!(back(&machine.step(&at(60))), "it had no network within 60 s of power-on");

    let (mut machine, _) = on_trial();
    let facts = Facts { network: true, not_ready: vec!["bgpd".to_owned()], ..at(90) };
    assert_eq!(back(&machine.step(&facts)), "these services were not ready within 90 s of power-on: bgpd");

    let (mut machine, _) = on_trial();
    let facts = Facts { network: true, overdue: Some("route: not within 120 s: none".to_owned()), ..at(20) };
    assert_eq!(back(&machine.step(&facts)), "its health gate did not pass: route: not within 120 s: none");

    let (mut machine, _) = on_trial();
    let facts = Facts { network: true, health: "waiting: route".to_owned(), ..at(300) };
    let actions = machine.step(&facts);
    assert_eq!(
        back(&actions),
        "it was not committed within 300 s of power-on: it was still waiting for its health gate: waiting: route"
    );
    assert_eq!(machine.step(&healthy(301, 200)), [], "what is over commits nothing");
}

#[test]
fn a_crashing_service_or_an_operator_ends_a_trial_at_once() {
    let (mut machine, _) = on_trial();
    let facts = Facts { crashing: Some("bgpd keeps crashing".to_owned()), ..healthy(70, 40) };
    assert_eq!(back(&machine.step(&facts)), "bgpd keeps crashing");
    let (mut machine, _) = on_trial();
    assert_eq!(machine.end("an operator"), Some(Action::GoBack("an operator".to_owned())));
    assert_eq!(machine.end("an operator"), None);
    let (mut machine, _) = begin(&boot(Slot::A, false, "x", Choice::Slot(Slot::A)), &mut Memory::default());
    assert_eq!(machine.end("an operator"), None, "no trial");
}

#[test]
fn the_old_slot_says_how_far_a_trial_came_that_ended_without_a_word() {
    for (stage, words) in [
        (Stage::Restarting, "before it reached the system stage"),
        (Stage::System, "before its network was up"),
        (Stage::Network, "after its network was up"),
        (Stage::Services, "after its services were up"),
        (Stage::Health, "after its health gate had passed"),
    ] {
        let mut memory = asked("new", Slot::B, stage);
        let (machine, begun) = begin(&boot(Slot::A, false, "old", Choice::Slot(Slot::A)), &mut memory);
        assert_eq!(machine.standing(), &Standing::Committed);
        assert!(begun.says[0].starts_with("the trial of new failed: it ended without a report"), "{begun:?}");
        assert!(begun.says[0].contains(words), "{begun:?}");
        assert_eq!(memory.pending, None);
        assert!(memory.failure(&release("new", 5).manifest).unwrap().reason.contains(words));
        let again = begin(&boot(Slot::A, false, "old", Choice::Slot(Slot::A)), &mut memory).1;
        assert_eq!(again.says, Vec::<String>::new(), "it is said once");
    }
}

#[test]
fn a_reason_that_was_written_down_is_the_one_that_is_told() {
    let mut memory = asked("new", Slot::B, Stage::Services);
    memory.pending.as_mut().unwrap().ended = Some("bgpd keeps crashing".to_owned());
    let (_, begun) = begin(&boot(Slot::A, false, "old", Choice::Slot(Slot::A)), &mut memory);
    assert_eq!(begun.says, ["the trial of new failed: bgpd keeps crashing"]);
}

#[test]
fn a_trial_that_never_began_is_no_failure() {
    let mut memory = asked("new", Slot::B, Stage::Asked);
    let (_, begun) = begin(&boot(Slot::A, false, "old", Choice::Slot(Slot::A)), &mut memory);
    assert!(begun.says[0].contains("never began"), "{begun:?}");
    assert_eq!((memory.failed.len(), memory.pending), (0, None));
}

#[test]
fn a_commit_whose_record_was_lost_is_recorded_at_the_next_boot() {
    let mut memory = asked("new", Slot::B, Stage::Health);
    let (machine, begun) = begin(&boot(Slot::B, false, "new", Choice::Slot(Slot::B)), &mut memory);
    assert_eq!(machine.standing(), &Standing::Committed);
    assert_eq!(begun.says, ["committed: slot B, new"]);
    assert_eq!((memory.rollback_index, memory.pending.is_none(), memory.failed.len()), (5, true, 0));
    assert_eq!(memory.committed.unwrap().slot, Slot::B);
}

#[test]
fn without_memory_a_node_goes_on_and_a_trial_can_be_committed() {
    let mut memory = Memory::default();
    let (machine, _) = begin(&boot(Slot::B, false, "x", Choice::Slot(Slot::B)), &mut memory);
    assert_eq!((machine.standing(), memory.rollback_index), (&Standing::Committed, 5));
    let mut memory = Memory::default();
    let (mut machine, _) = begin(&boot(Slot::B, true, "x", Choice::Slot(Slot::A)), &mut memory);
    assert!(machine.step(&healthy(50, 30)).contains(&Action::Commit));
}

#[test]
fn a_firmware_that_does_not_say_trial_is_helped_by_what_was_written_down_before_the_restart() {
    let foreign = Choice::Foreign("x".to_owned());
    for (stage, choice, standing) in [
        (Stage::Restarting, Choice::Slot(Slot::A), true),
        (Stage::System, Choice::Slot(Slot::A), false),
        (Stage::Asked, Choice::Slot(Slot::A), false),
        (Stage::Restarting, foreign, false),
    ] {
        let mut memory = asked("new", Slot::B, stage);
        let (machine, _) = begin(&boot(Slot::B, false, "new", choice), &mut memory);
        assert_eq!(*machine.standing() == Standing::Trial, standing, "{stage:?}");
    }
}

#[test]
fn a_stray_node_mends_a_damaged_choice_when_it_is_healthy_and_leaves_a_good_one() {
    let damaged = Choice::Foreign("autoboot.txt is damaged".to_owned());
    for (committed, whole, wanted) in [
        (Some(Slot::B), true, Slot::B),
        (Some(Slot::B), false, Slot::A),
        (Some(Slot::A), true, Slot::A),
        (None, true, Slot::A),
    ] {
        let mut memory = Memory::default();
        if let Some(slot) = committed {
            memory.commit(&release("old", 4), slot);
        }
        let boot = boot(Slot::A, false, "old", damaged.clone());
        let (mut machine, begun) = Machine::begin(&boot, LIMITS, &mut memory, whole, 1);
        assert!(begun.says[0].contains("autoboot.txt is damaged"), "{begun:?}");
        assert_eq!(machine.step(&healthy(40, 29)), []);
        assert_eq!(machine.step(&healthy(41, 30)), [Action::Rewrite(wanted)]);
        machine.chosen(wanted);
        assert_eq!(*machine.standing() == Standing::Committed, wanted == Slot::A);
        assert_eq!(machine.step(&healthy(80, 70)), []);
    }
    for choice in [Choice::Slot(Slot::B), Choice::Unreadable("no FAT".to_owned())] {
        let (mut machine, _) = begin(&boot(Slot::A, false, "old", choice), &mut Memory::default());
        assert!(matches!(machine.standing(), Standing::Stray(_)));
        assert_eq!(machine.step(&healthy(100, 90)), []);
    }
}

fn facts() -> impl Strategy<Value = Facts> {
    (0u64..700, any::<bool>(), any::<bool>(), prop::option::of(0u64..120), prop::bool::weighted(0.1)).prop_map(
        |(now, network, ready, passed, crashing)| Facts {
            now: Duration::from_secs(now),
            network,
            not_ready: if ready { Vec::new() } else { vec!["x".to_owned()] },
            crashing: crashing.then(|| "x".to_owned()),
            passed_for: passed.map(Duration::from_secs),
            overdue: None,
            health: "waiting".to_owned(),
        },
    )
}

proptest! {
    /// Whatever the firmware, the memory and `autoboot.txt` say and in whatever order things happen: a whole choice changes
    /// only to the slot on trial, only while the gate has held for the settling time, and once.
    #[test]
    fn the_committed_choice_changes_only_after_a_passed_gate(
        running_b: bool, trial: bool, chosen in prop::option::of(any::<bool>()), stage in 0usize..7,
        same: bool, steps in prop::collection::vec((facts(), prop::bool::weighted(0.05)), 0..40),
    ) {
        let slot = |b: bool| if b { Slot::B } else { Slot::A };
        let running = slot(running_b);
        let stages = [Stage::Asked, Stage::Restarting, Stage::System, Stage::Network, Stage::Services, Stage::Health];
        let version = if same { "new" } else { "other" };
        let mut memory = stages.get(stage).map_or_else(Memory::default, |&stage| asked(version, running, stage));
        let mut choice = chosen.map_or(Choice::Foreign("x".to_owned()), |b| Choice::Slot(slot(b)));
        let boot = boot(running, trial, "new", choice.clone());
        let (mut machine, _) = begin(&boot, &mut memory);
        let (mut commits, mut over) = (0, false);
        for (facts, ends) in steps {
            if ends {
                over |= machine.end("somebody").is_some();
            }
            for action in machine.step(&facts) {
                match action {
                    Action::Commit => {
                        prop_assert!(!over && commits == 0);
                        prop_assert!(facts.passed_for >= Some(Duration::from_secs(30)));
                        prop_assert!(facts.now < Duration::from_secs(300));
                        prop_assert!(facts.not_ready.is_empty() && facts.crashing.is_none());
                        prop_assert!(choice != Choice::Slot(running));
                        commits += 1;
                        choice = Choice::Slot(running);
                        machine.chosen(running);
                    }
                    Action::Rewrite(slot) => {
                        prop_assert!(!matches!(choice, Choice::Slot(_)) && !trial);
                        prop_assert!(facts.passed_for >= Some(Duration::from_secs(30)));
                        choice = Choice::Slot(slot);
                        machine.chosen(slot);
                    }
                    Action::GoBack(_) => over = true,
                    Action::Reach(_) => {}
                }
            }
        }
    }
}
