//! The supervisor with real processes, without cgroups: a service's session stands in for its cgroup. Cgroups and their
//! limits are shown in the emulator, as hosts differ in what they allow.

use super::{Exit, Moment, Notice, Places, Report, State, Supervisor};
use contract::role::{EnvironmentFile, Identity, Limits, Ready, Restart, Service, ServiceKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// A supervisor and the loop that PID 1 has around it, for its own children only.
struct Host {
    supervisor: Supervisor,
    begin: Instant,
    told: Vec<(String, Report)>,
    folder: tempfile::TempDir,
}

fn shell(script: &str) -> Service {
    Service {
        run: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        kind: ServiceKind::Daemon,
        identity: Identity::default(),
        capabilities: Vec::new(),
        after: Vec::new(),
        ready: None,
        check: None,
        causes: Vec::new(),
        restart: Restart { first_delay_ms: 20, longest_delay_ms: 100, quiet_ms: 60_000 },
        kill: contract::role::Kill::All,
        stop_timeout_ms: 300,
        start_timeout_ms: 5_000,
        once: false,
        unless: None,
        timer: None,
        limits: Limits::default(),
        environment: BTreeMap::new(),
        environment_files: Vec::new(),
        working_folder: None,
        new_privileges: false,
        mounts: Vec::new(),
        sandbox: contract::role::Sandbox::default(),
        needs_data: false,
        when: None,
    }
}

impl Host {
    fn new(services: Vec<(&str, Service)>) -> Host {
        Host::within(tempfile::tempdir().unwrap(), services)
    }

    /// With what an earlier one has left.
    fn within(folder: tempfile::TempDir, services: Vec<(&str, Service)>) -> Host {
        let services = services.into_iter().map(|(name, service)| (name.to_owned(), service)).collect();
        let path = folder.path().to_owned();
        let places = Places {
            logs: Some(path.clone()),
            once: Some(path.join("once")),
            timers: Some(path.join("timers")),
            notify: path,
            ..Places::default()
        };
        let config = serde_json::json!({ "router": { "dhcp": {} } });
        let supervisor = Supervisor::new(services, &config, places);
        Host { supervisor, begin: Instant::now(), told: Vec::new(), folder }
    }

    fn now(&self) -> Moment {
        self.begin.elapsed()
    }

    /// One turn of the loop.
    fn turn(&mut self) {
        for pid in self.supervisor.children() {
            if let Ok(Some((_, status))) = waitpid(Some(pid), WaitOptions::NOHANG) {
                let exit = match status.exit_status() {
                    Some(status) => Exit::Status(status),
                    None => Exit::Signal(status.terminating_signal().unwrap()),
                };
                let now = self.now();
                assert!(self.supervisor.exited(pid, exit, now));
            }
        }
        let now = self.now();
        self.supervisor.step(now);
        let sources = self.supervisor.sources();
        let mut fds: Vec<_> = sources.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 })).unwrap();
        let ready: Vec<_> = sources
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|((source, _), _)| *source)
            .collect();
        for source in ready {
            let now = self.now();
            self.supervisor.readable(source, now);
        }
        let told = self.supervisor.take_events();
        self.told.extend(told.into_iter().map(|told| (told.service, told.report)));
    }

    /// Turns until something holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Host) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < end, "never: {what}; told: {:#?}", self.told);
            self.turn();
        }
    }

    fn state(&self, name: &str) -> State {
        self.supervisor.statuses().find(|status| status.name == name).unwrap().state.clone()
    }

    fn pid(&self, name: &str) -> Option<i32> {
        self.supervisor.statuses().find(|status| status.name == name).unwrap().pid
    }

    fn is_ready(&self, name: &str) -> bool {
        matches!(self.state(name), State::Ready { .. })
    }

    fn output(&self, name: &str) -> Vec<&str> {
        let line = |(service, report): &'_ (String, Report)| match report {
            Report::Output(_) => service == name,
            _ => false,
        };
        let lines = self.told.iter().filter(|told| line(told));
        lines
            .filter_map(|(_, report)| if let Report::Output(text) = report { Some(text.as_str()) } else { None })
            .collect()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn stop(&mut self) {
        self.supervisor.stop();
        self.until("all at rest", |host| host.supervisor.at_rest());
    }
}

fn alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}/stat")).exists()
        && !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ")
}

#[test]
fn services_start_in_order_and_stop_in_reverse() {
    let daemon = "trap 'exit 0' TERM; while :; do sleep 0.01; done";
    let after = |names: &[&str]| Service {
        after: names.iter().map(|&name| name.to_owned()).collect(),
        ready: Some(Ready::AliveMs(30)),
        ..shell(daemon)
    };
    let mut host = Host::new(vec![("a", after(&["b"])), ("b", after(&["c"])), ("c", after(&[]))]);
    host.until("all ready", |host| host.supervisor.all_ready());
    host.stop();
    let order = |wanted: &Notice| -> Vec<String> {
        let is = |report: &Report| *report == Report::Notice(wanted.clone());
        host.told.iter().filter(|(_, report)| is(report)).map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(order(&Notice::Ready), ["c", "b", "a"]);
    assert_eq!(order(&Notice::Stopped), ["a", "b", "c"]);
}

#[test]
fn a_killed_daemon_is_started_again_with_another_process() {
    let mut host = Host::new(vec![("bgpd", shell("exec sleep 100"))]);
    host.until("ready", |host| host.is_ready("bgpd"));
    let first = host.pid("bgpd").unwrap();
    rustix::process::kill_process(Pid::from_raw(first).unwrap(), rustix::process::Signal::KILL).unwrap();
    host.until("ready again", |host| host.is_ready("bgpd") && host.pid("bgpd") != Some(first));
    let why = host.told.iter().find_map(|(_, report)| match report {
        Report::Notice(Notice::Down { why, .. }) => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why.as_deref(), Some("killed by signal 9"));
    host.stop();
}

#[test]
fn a_dead_daemon_leaves_no_child_behind() {
    let mut host = Host::new(vec![("parent", shell("sleep 1000 & echo child $!; sleep 0.1; exit 1"))]);
    host.until("down", |host| matches!(host.state("parent"), State::BackOff { .. }));
    let child: i32 =
        host.output("parent").iter().find_map(|line| line.strip_prefix("child ")).unwrap().parse().unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while alive(child) {
        assert!(Instant::now() < end, "child {child} lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
    host.stop();
}

#[test]
fn a_oneshot_that_fails_holds_back_what_comes_after_it_until_it_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("flag");
    let mut host = Host::new(vec![
        (
            "firewall",
            Service {
                kind: ServiceKind::BeforeNetwork,
                environment: BTreeMap::from([("FLAG".to_owned(), flag.to_str().unwrap().to_owned())]),
                ..shell("test -e \"$FLAG\"")
            },
        ),
        ("network", Service { after: vec!["firewall".to_owned()], ..shell("exec sleep 100") }),
    ]);
    let failures = |host: &Host| {
        host.told.iter().filter(|(_, report)| matches!(report, Report::Notice(Notice::Down { .. }))).count()
    };
    host.until("two failures", |host| failures(host) >= 2);
    assert_eq!(host.state("network"), State::Waiting);
    std::fs::write(&flag, "").unwrap();
    host.until("network", |host| host.is_ready("network"));
    assert!(matches!(host.state("firewall"), State::Done { .. }));
    host.stop();
}

#[test]
fn a_service_that_ignores_the_request_to_stop_is_killed() {
    let mut host = Host::new(vec![("deaf", shell("trap '' TERM; echo up; while :; do sleep 0.05; done"))]);
    host.until("it runs", |host| host.supervisor.last_lines(1).any(|(_, lines)| lines == ["up"]));
    host.stop();
    assert!(host.told.contains(&("deaf".to_owned(), Report::Notice(Notice::StopTimeout))));
}

#[test]
fn a_service_that_is_never_ready_is_killed_and_its_last_words_are_told() {
    let service = Service {
        ready: Some(Ready::Path("/nowhere".to_owned())),
        start_timeout_ms: 200,
        ..shell("for n in 1 2 3; do echo line $n; done; printf unfinished; exec sleep 100")
    };
    let mut host = Host::new(vec![("slow", service)]);
    host.until("down", |host| matches!(host.state("slow"), State::BackOff { .. }));
    let words = host.output("slow");
    assert!(words.starts_with(&["line 1", "line 2", "line 3"]), "{words:?}");
    assert!(words.contains(&"unfinished"), "{words:?}");
    let log = std::fs::read_to_string(host.path().join("slow")).unwrap();
    assert!(log.lines().next().is_some_and(|line| line.ends_with("Z slow line 1")), "{log}");
    host.stop();
}

#[test]
fn a_service_that_speaks_for_itself_is_ready_when_it_says_so() {
    let python = "import os, socket, time; time.sleep(0.2); s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
                  s.sendto(b'READY=1\\nSTATUS=eth0 10.0.0.1/24', os.environ['NOTIFY_SOCKET']); time.sleep(100)";
    let service = Service { ready: Some(Ready::Notify), ..shell(&format!("exec python3 -c \"{python}\"")) };
    let mut host = Host::new(vec![("network", service)]);
    host.turn();
    assert!(matches!(host.state("network"), State::Starting { .. }));
    host.until("ready", |host| host.is_ready("network"));
    let said = host.supervisor.statuses().next().unwrap().said.map(str::to_owned);
    assert_eq!(said.as_deref(), Some("eth0 10.0.0.1/24"));
    host.stop();
}

#[test]
fn a_service_is_ready_when_its_own_program_says_so_and_the_reason_is_told_when_it_never_does() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("flag").to_str().unwrap().to_owned();
    let look = |script: &str| Some(Ready::Program(vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]));
    let mut host = Host::new(vec![
        ("good", Service { ready: look(&format!("test -e {flag}")), ..shell("exec sleep 100") }),
        ("bad", Service { ready: look("echo no tide; exit 3"), start_timeout_ms: 600, ..shell("exec sleep 100") }),
    ]);
    host.until("told", |host| host.output("bad").contains(&"not ready: no tide"));
    assert!(matches!(host.state("good"), State::Starting { .. }));
    std::fs::write(&flag, "").unwrap();
    host.until("ready", |host| host.is_ready("good"));
    host.stop();
}

#[test]
fn variables_come_from_files_and_the_service_itself_and_a_missing_file_keeps_it_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    std::fs::write(&file, "ONE=file\nTWO=\"from file\"\n").unwrap();
    let file = |path: &Path| EnvironmentFile { path: path.to_str().unwrap().to_owned(), optional: false };
    let mut host = Host::new(vec![
        (
            "env",
            Service {
                environment_files: vec![file(&folder.path().join("env"))],
                environment: BTreeMap::from([("ONE".to_owned(), "own".to_owned())]),
                ready: Some(Ready::AliveMs(2000)),
                ..shell("echo $ONE, $TWO; exec sleep 100")
            },
        ),
        ("none", Service { environment_files: vec![file(Path::new("/nowhere/env"))], ..shell("exec sleep 100") }),
    ]);
    host.until("it speaks", |host| host.output("env") == ["own, from file"]);
    host.until("down", |host| matches!(host.state("none"), State::BackOff { .. }));
    host.stop();
}

#[test]
fn what_cannot_run_is_told_and_the_others_run() {
    let mut host = Host::new(vec![
        ("bad", Service { run: vec!["/nowhere/bad".to_owned()], ..shell("") }),
        ("lost", Service { after: vec!["nobody".to_owned()], ..shell("") }),
        ("dnsmasq", Service { when: Some("router.dhcp".to_owned()), ..shell("exit 1") }),
        ("needs-dnsmasq", Service { after: vec!["dnsmasq".to_owned()], ..shell("exec sleep 100") }),
        ("hopeless", shell("exit 1")),
    ]);
    host.supervisor.give_up("hopeless", "no /run/frr/frr.conf", Moment::ZERO);
    host.until("the good one", |host| host.is_ready("needs-dnsmasq"));
    assert_eq!(host.state("dnsmasq"), State::NotWanted);
    assert_eq!(host.state("hopeless"), State::Failed { reason: "no /run/frr/frr.conf".to_owned() });
    assert!(matches!(host.state("lost"), State::Failed { reason } if reason.contains("nobody")));
    let down = host.told.iter().find_map(|(name, report)| match report {
        Report::Notice(Notice::Down { why, .. }) if name == "bad" => Some(why.as_str()),
        _ => None,
    });
    assert_eq!(down, Some("cannot start /nowhere/bad: cannot execute: No such file or directory (os error 2)"));
    assert_eq!(host.supervisor.not_ready(), ["bad", "hopeless", "lost"]);
    host.stop();
}

#[test]
fn a_noisy_service_does_not_stop_the_loop_or_fill_memory() {
    let mut host = Host::new(vec![("noisy", shell("exec yes")), ("quiet", shell("exec sleep 100"))]);
    host.until("both", |host| host.is_ready("noisy") && host.is_ready("quiet"));
    for _ in 0..300 {
        host.turn();
    }
    let kept: usize =
        host.supervisor.last_lines(usize::MAX).map(|(_, lines)| lines.iter().map(|l| l.len()).sum::<usize>()).sum();
    assert!(kept > 0 && kept <= 64 * 1024, "{kept}");
    host.stop();
}

/// A task that notes each of its runs in `FOLDER/runs` and fails until `FOLDER/good` is there.
fn task(folder: &Path) -> Service {
    Service {
        kind: ServiceKind::Oneshot,
        working_folder: Some(folder.to_str().unwrap().to_owned()),
        ..shell("echo >>runs; test -e good")
    }
}

fn runs(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count()
}

#[test]
fn what_is_run_once_is_run_until_it_ends_well_and_after_that_only_when_asked() {
    let work = tempfile::tempdir().unwrap();
    let spec = Service { once: true, ..task(work.path()) };
    let done = |host: &Host| matches!(host.state("initdb"), State::Done { .. });
    let mut host = Host::new(vec![("initdb", spec.clone())]);
    host.until("two failures", |_| runs(work.path()) >= 2);
    std::fs::write(work.path().join("good"), "").unwrap();
    host.until("done", done);
    host.stop();
    let before = runs(work.path());
    // The node is restarted.
    let after = ("after", Service { after: vec!["initdb".to_owned()], ..shell("exec sleep 100") });
    let mut host = Host::within(host.folder, vec![("initdb", spec), after]);
    host.until("what comes after it", |host| host.is_ready("after"));
    assert_eq!(runs(work.path()), before);
    let told = host.told.iter().any(|(name, report)| {
        name == "initdb" && matches!(report, Report::Notice(Notice::Skipped(why)) if why.contains("once"))
    });
    assert!(told, "{:?}", host.told);
    let now = host.now();
    host.supervisor.restart("initdb", now).unwrap();
    host.until("asked for", |_| runs(work.path()) == before + 1);
    host.until("done again", done);
    host.stop();
}

#[test]
fn a_task_is_not_run_while_what_it_makes_is_there() {
    let work = tempfile::tempdir().unwrap();
    std::fs::write(work.path().join("good"), "").unwrap();
    let version = work.path().join("PG_VERSION");
    let spec = || Service { unless: Some(version.to_str().unwrap().to_owned()), ..task(work.path()) };
    for (there, wanted) in [(false, 1), (true, 1), (false, 2)] {
        if there {
            std::fs::write(&version, "17").unwrap()
        } else {
            let _ = std::fs::remove_file(&version);
        }
        let mut host = Host::new(vec![("initdb", spec())]);
        host.until("done", |host| matches!(host.state("initdb"), State::Done { .. }));
        assert_eq!(runs(work.path()), wanted, "there: {there}");
        host.stop();
    }
}

#[test]
fn a_one_shot_without_a_limit_is_never_late() {
    let long = Service {
        kind: ServiceKind::Oneshot,
        start_timeout_ms: contract::role::NO_TIMEOUT_MS,
        ..shell("exec sleep 0.4")
    };
    let brief = Service { start_timeout_ms: 100, ..long.clone() };
    let mut host = Host::new(vec![("long", long), ("brief", brief)]);
    host.until("done", |host| matches!(host.state("long"), State::Done { .. }));
    assert!(host.told.contains(&("brief".to_owned(), Report::Notice(Notice::StartTimeout))));
    assert!(!host.told.contains(&("long".to_owned(), Report::Notice(Notice::StartTimeout))));
    host.stop();
}

#[test]
fn a_task_by_the_clock_runs_when_it_is_due_and_holds_nobody_up() {
    use contract::role::{Schedule, Timer};
    let work = tempfile::tempdir().unwrap();
    let every = |ms| Some(Timer { schedule: Schedule::EveryMs(ms), jitter_ms: 0 });
    let often = Service { timer: every(1000), ..task(work.path()) };
    let rare = Service { timer: every(3_600_000), ..shell("exit 0") };
    let mut host = Host::new(vec![("often", often), ("rare", Service { kind: ServiceKind::Oneshot, ..rare })]);
    host.turn();
    assert!(host.supervisor.all_ready(), "tasks by the clock are waited for by nobody");
    // It fails, is tried again in its time and not before, and the node counts as ready all along.
    host.until("three runs", |host| runs(work.path()) >= 3 && matches!(host.state("often"), State::Done { .. }));
    assert!(host.begin.elapsed() >= Duration::from_secs(1), "{:?}", host.begin.elapsed());
    let failed = |report: &Report| matches!(report, Report::Notice(Notice::Missed(why)) if why.contains("status 1"));
    assert!(host.told.iter().any(|(name, report)| name == "often" && failed(report)), "{:?}", host.told);
    let count = |host: &Host, name: &str| {
        host.told.iter().filter(|(told, report)| told == name && *report == Report::Notice(Notice::Done)).count()
    };
    assert_eq!(count(&host, "rare"), 1);
    let status = host.supervisor.statuses().find(|status| status.name == "rare").unwrap();
    let (last, next) = status.timer.unwrap();
    assert!(last.is_some_and(|last| next == last + 3600));
    let now = host.now();
    host.supervisor.restart("rare", now).unwrap();
    host.until("asked for", |host| count(host, "rare") == 2);
    // After a restart of the node its last run is known.
    host.stop();
    let rare = Service { kind: ServiceKind::Oneshot, timer: every(3_600_000), ..shell("exit 0") };
    let mut host = Host::within(host.folder, vec![("rare", rare)]);
    for _ in 0..100 {
        host.turn();
    }
    assert_eq!(count(&host, "rare"), 0);
    host.stop();
}
