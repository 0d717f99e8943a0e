//! PID 1 does not fall: services that behave as badly as they can, and what happens when it, or the kernel, does fall or
//! stands still.

use contract::control::{Call, Request as Ask, VERSION};
use contract::layout::MIB;
use emulator::{End, Machine, Network, Node, Nvme, Reset};
use qemu_tests::agent::Agent;
use qemu_tests::figures::figure;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request};
use qemu_tests::router::{STEP, number_after, service, wait_said, wait_up};
use std::io::Write as _;
use std::time::{Duration, Instant};

const PLAIN: &str = "name = \"s1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n";

fn machine(name: &str, config: &str) -> Machine {
    Machine::new(images::services()).name(name).network(&Network::new()).port(PORT).node_config(config)
}

/// Memory of PID 1 that is in RAM, in KiB.
fn resident(agent: Agent<'_>) -> u32 {
    let status = agent.cat("/proc/1/status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_else(|| panic!("{status}"));
    number_after(line, "VmRSS:").unwrap()
}

#[test]
fn whatever_services_do_pid_1_stays_and_says_what_happened() {
    let node = machine("pid1", &format!("{PLAIN}[router]\nasn = 65001\n")).start().unwrap();
    let agent = Agent(&node);
    node.expect("service deaf ready", STEP).unwrap();
    what_ran_out_of_memory_is_named(&node);
    what_is_not_ready_in_time_is_ended_and_the_reason_told(&node);
    nothing_of_an_ended_service_is_left_and_the_delay_grows(&node);
    nobody_speaks_in_anothers_name(&node);
    health_fails_when_a_deadline_is_over(&node);
    agent.write("/run/go-pressure", "");
    node.expect("service pressure killed: out of memory", STEP).unwrap();
    assert!(node.page("s", STEP).unwrap().contains("name s1"));
    restarts_take_no_memory(&node, 200, 128);
    a_fork_bomb_is_kept_in_its_limits(&node);
    the_end_comes_although_a_service_will_not_die(&node);
}

fn what_ran_out_of_memory_is_named(node: &Node) {
    let agent = Agent(node);
    agent.until("the hog was killed", |agent| {
        agent.0.console().contains("service hog killed: out of memory; next start in 3600.0 s").then_some(())
    });
    let wanted = "service hog-child: one of its processes was killed: out of memory (its limit is 48 MiB)";
    agent.until("the hog's child was killed", |agent| agent.0.console().contains(wanted).then_some(()));
    let page = node.page("s", STEP).unwrap();
    assert!(service(&page, "hog-child").contains(": ready"), "{page}");
}

fn what_is_not_ready_in_time_is_ended_and_the_reason_told(node: &Node) {
    Agent(node).until("it was not ready", |agent| {
        let console = agent.0.console();
        let lines = ["never| not ready: /run/never is missing", "service never was not ready in time; killing it"];
        lines.iter().all(|line| console.contains(line)).then_some(())
    });
}

fn nothing_of_an_ended_service_is_left_and_the_delay_grows(node: &Node) {
    let agent = Agent(node);
    let ended = "service orphans ended with status 3; next start in";
    agent.until("it was restarted", |agent| (agent.0.console().matches(ended).count() >= 4).then_some(()));
    let console = node.console();
    let delays: Vec<&str> =
        console.split(ended).skip(1).take(4).map(|rest| rest.split(" s").next().unwrap()).collect();
    assert_eq!(delays, [" 0.2", " 0.4", " 0.8", " 1.6"]);
    // Four left one each, deaf to SIGTERM and in a session of its own.
    assert!(agent.count("orphan") <= 1, "{:?}", agent.ask(&Request::Ps));
}

fn nobody_speaks_in_anothers_name(node: &Node) {
    Agent(node).until("it was noticed", |agent| {
        agent.0.console().contains("which does not belong to it, sent a notification in its name").then_some(())
    });
    let log = Agent(node).cat("/state/log/liar");
    assert!(log.contains("lied: Ok"), "its lies did arrive: {log}");
    let page = node.page("s", STEP).unwrap();
    assert!(service(&page, "victim").contains(": starting"), "{page}");
    assert!(!page.contains("lies"), "{page}");
}

fn health_fails_when_a_deadline_is_over(node: &Node) {
    let wanted = "health failed: tcp 127.0.0.1:7003: not within 40 s: no connection to 127.0.0.1:7003";
    let _line = wait_said(node, wanted);
}

fn a_fork_bomb_is_kept_in_its_limits(node: &Node) {
    let agent = Agent(node);
    agent.write("/run/go-bomb", "");
    let most = agent.until("the bomb went off", |agent| Some(agent.count("fork-bomb")).filter(|&count| count > 20));
    assert!(most <= 40, "{most}");
    let begin = Instant::now();
    let page = node.page("s", STEP).unwrap();
    figure("status page during a fork bomb", format_args!("{:.1} s", begin.elapsed().as_secs_f32()));
    assert!(service(&page, "bomb").contains(": ready"), "{page}");
    assert!(agent.count("fork-bomb") <= 40);
}

/// PID 1 grows by no more than this many KiB over so many restarts of a service.
fn restarts_take_no_memory(node: &Node, count: u32, kib: u32) {
    let agent = Agent(node);
    let rounds =
        |node: &Node| number_after(service(&node.page("s", STEP).unwrap(), "crash"), "restarts").unwrap_or(0);
    agent.write("/run/go-crash", "");
    // The first rounds fill what is bounded: its log in memory, the allocator's own stock.
    let wait = |wanted: u32| {
        let begin = Instant::now();
        while rounds(node) < wanted {
            assert!(begin.elapsed() < 4 * STEP, "only {} restarts", rounds(node));
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    wait(100);
    let before = resident(agent);
    wait(100 + count);
    let after = resident(agent);
    figure(&format!("PID 1, resident before {count} restarts"), format_args!("{before} KiB"));
    figure(&format!("PID 1, resident after {count} restarts"), format_args!("{after} KiB"));
    assert!(after <= before + kib, "PID 1 grew from {before} to {after} KiB");
}

fn the_end_comes_although_a_service_will_not_die(node: &Node) {
    node.power_off().unwrap();
    assert_eq!(node.wait_off(STEP).unwrap(), End::PoweredOff);
    let console = node.console();
    let end = console.rsplit_once("powering off").unwrap().1;
    assert!(end.contains("service deaf does not stop; killing it"), "{end}");
    assert!(end.contains("these did not stop in time: stubborn"), "{end}");
    assert!(!end.contains("could not be unmounted"), "{end}");
}

/// One node, broken four times: each time it comes back, whoever sees to that.
#[test]
fn a_pid_1_that_stands_still_or_falls_a_kernel_that_hangs_and_a_hung_disk_lead_to_a_restart() {
    let node = machine("pid1-fault", PLAIN).nvme(Nvme::new("HUNG").size(64 * MIB)).start().unwrap();
    wait_up(&node, "s1").unwrap();
    let begin = Instant::now();
    Agent(&node).ask(&Request::Stop(1)).unwrap();
    assert_eq!(node.wait_reset(1, STEP).unwrap(), Reset::Watchdog);
    figure("PID 1 stopped, to the watchdog's reset", format_args!("{:.1} s", begin.elapsed().as_secs_f32()));
    wait_up(&node, "s1").unwrap();
    // The kernel panics without its PID 1, and restarts by itself.
    unanswered(&node, &Request::Break(1));
    // The kernel shows its message for 10 s. On a busy host these may be longer than what is left of the watchdog's time.
    assert!(matches!(node.wait_reset(2, STEP).unwrap(), Reset::Guest | Reset::Watchdog));
    wait_up(&node, "s1").unwrap();
    panic_the_kernel_for_ever(&node);
    assert_eq!(node.wait_reset(3, STEP).unwrap(), Reset::Watchdog);
    wait_up(&node, "s1").unwrap();
    a_disk_that_never_answers_does_not_keep_the_node_from_restarting(&node);
}

/// A service waits for the disk, so that it cannot be killed, and so does whoever flushes the file system.
fn a_disk_that_never_answers_does_not_keep_the_node_from_restarting(node: &Node) {
    Agent(node).write("/run/go-hang", "");
    let hangs = |agent: Agent<'_>| agent.cat("/state/log/hang").contains("hangs below /run/hung").then_some(());
    Agent(node).until("the disk hangs", hangs);
    let mark = node.console().len();
    let begin = Instant::now();
    let call = Call { version: VERSION, request: Ask::Reboot };
    unanswered(node, &Request::Call(serde_json::to_string(&call).unwrap()));
    node.expect("these did not stop in time: hang", STEP).unwrap();
    node.expect("/run/hung was not written within 45 s: its disk does not answer", STEP).unwrap();
    assert_eq!(node.wait_reset(4, STEP).unwrap(), Reset::Guest);
    figure("restart with a hung disk, to the reset", format_args!("{:.1} s", begin.elapsed().as_secs_f32()));
    // 30 s for services, 45 s for disks, and the watchdog's 15 s.
    assert!(begin.elapsed() < Duration::from_secs(2 * (30 + 45 + 15)), "{:?}", begin.elapsed());
    wait_up(node, "s1").unwrap();
    assert!(!node.console()[mark..].contains("could not be unmounted"));
}

/// Asks for what the node does not outlive.
fn unanswered(node: &Node, request: &Request) {
    let mut port = node.port(PORT).unwrap();
    port.write_all(format!("{request}\n").as_bytes()).unwrap();
}

/// Panics a kernel that may not restart by itself.
fn panic_the_kernel_for_ever(node: &Node) {
    let set = "/proc/sys/kernel/panic";
    Agent(node).write(set, "0");
    assert_eq!(Agent(node).cat(set).trim(), "0");
    unanswered(node, &Request::Write { path: "/proc/sysrq-trigger".to_owned(), text: "c".to_owned() });
}

mod long {
    use super::*;

    #[test]
    fn a_thousand_restarts_take_no_memory() {
        let node = machine("pid1-restarts", PLAIN).start().unwrap();
        wait_up(&node, "s1").unwrap();
        restarts_take_no_memory(&node, 1000, 256);
    }
}
