//! The steady state: one thread, one loop. It waits for signals, what services write and say, the console, the power
//! button and the next deadline; and it feeds the watchdog, so that a loop that hangs resets the node.

use super::events::{now, say};
use super::{Node, clock, keys, pages};
use crate::service::{Exit, Moment, Notice, Report, Source, Supervisor, Told};
use crate::sys::process::{Program, kill_everything, spawn};
use crate::sys::reboot::{self, Action};
use crate::sys::signal::{Signal, Signals};
use crate::sys::watchdog;
use contract::initramfs::BootReport;
use contract::names;
use contract::role::{Identity, NETWORK};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, wait};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// Time in which all services must be stopped; then they are killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Time after which the console says which services are still awaited.
const LATE: Duration = Duration::from_secs(60);
/// The loop turns at least this often.
const TURN: Duration = Duration::from_secs(5);
/// Longest routing page, in bytes, and time for it.
const PAGE_LENGTH: usize = 64 * 1024;
const PAGE_LIMIT: Duration = Duration::from_secs(5);
/// Who writes the routing page: nobody.
const NOBODY: u32 = 65_534;

/// A page that a child writes.
struct Page {
    output: OwnedFd,
    text: Vec<u8>,
    deadline: Moment,
}

struct Loop {
    node: Node,
    supervisor: Supervisor,
    signals: Option<Signals>,
    console: Option<OwnedFd>,
    buttons: Vec<OwnedFd>,
    page: Option<Page>,
    feed_at: Moment,
    save_at: Moment,
    /// Whether "is up" was said, and whether the network's addresses were.
    up: bool,
    network_said: bool,
    late_at: Option<Moment>,
    stop: Option<(Action, Moment)>,
}

/// What became readable.
enum Ready {
    Signals,
    Console,
    Button,
    Page,
    Service(Source),
}

/// Runs the node until it is to stop. Does not return.
pub fn run(node: Node, supervisor: Supervisor) -> ! {
    // Ctrl-Alt-Del comes as SIGINT instead of ending the node on the spot.
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    let mut turn = Loop {
        node,
        supervisor,
        signals: None,
        console: keys::open_console(),
        buttons: keys::open_power_buttons(),
        page: None,
        feed_at: Moment::ZERO,
        save_at: now() + clock::SAVE_EVERY,
        up: false,
        network_said: false,
        late_at: Some(now() + LATE),
        stop: None,
    };
    match Signals::open() {
        Ok(signals) => turn.signals = Some(signals),
        Err(error) => turn.node.warnings.add(format_args!("no signals: {error}; only the watchdog ends this node")),
    }
    let action = loop {
        turn.due();
        if let Some(action) = turn.finished() {
            break action;
        }
        turn.wait();
    };
    turn.finish(action)
}

/// Tells the hardware watchdog that PID 1 is alive.
pub fn feed_watchdog(report: &BootReport) {
    if let Some(dog) = &report.watchdog {
        let _ = watchdog::feed_number(dog.fd);
    }
}

impl Loop {
    /// Everything whose time has come.
    fn due(&mut self) {
        let now = now();
        if now >= self.feed_at {
            feed_watchdog(&self.node.report);
            let period = self.node.report.watchdog.as_ref().map_or(60, |dog| dog.timeout_s);
            self.feed_at = now + Duration::from_secs(period.into()) / 3;
        }
        if now >= self.save_at {
            self.save_at = now + clock::SAVE_EVERY;
            if let Err(error) = clock::save() {
                self.node.warnings.add(format_args!("cannot save the time: {error}"));
            }
        }
        // A dead child must be known before it is asked whether others may start.
        self.reap(now);
        self.supervisor.step(now);
        self.tell();
        self.greet(now);
        self.end_page(now);
    }

    fn reap(&mut self, now: Moment) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let exit = match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => Exit::Status(status),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => continue,
            };
            // Others are orphans, or the writer of a page: reaped, and that is all.
            self.supervisor.exited(pid, exit, now);
        }
    }

    /// Waits for the first thing that happens.
    fn wait(&mut self) {
        let now = now();
        let deadlines = [
            Some(self.feed_at),
            Some(self.save_at),
            self.supervisor.deadline(now),
            self.late_at,
            self.page.as_ref().map(|page| page.deadline),
            self.stop.map(|(_, deadline)| deadline),
            Some(now + TURN),
        ];
        let until = deadlines.into_iter().flatten().min().unwrap_or(now).saturating_sub(now);
        let mut kinds = Vec::new();
        let mut fds = Vec::new();
        let mut add = |kind, fd| {
            kinds.push(kind);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        };
        if let Some(signals) = &self.signals {
            add(Ready::Signals, signals.as_fd());
        }
        if let Some(console) = &self.console {
            add(Ready::Console, console.as_fd());
        }
        for button in &self.buttons {
            add(Ready::Button, button.as_fd());
        }
        if let Some(page) = &self.page {
            add(Ready::Page, page.output.as_fd());
        }
        for (source, fd) in self.supervisor.sources() {
            add(Ready::Service(source), fd);
        }
        let timeout = Timespec { tv_sec: until.as_secs().cast_signed(), tv_nsec: until.subsec_nanos().into() };
        if poll(&mut fds, Some(&timeout)).is_err() {
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        for (kind, _) in kinds.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            match kind {
                Ready::Signals => self.take_signals(),
                Ready::Console => self.take_keys(),
                Ready::Button => self.take_buttons(),
                Ready::Page => self.read_page(),
                Ready::Service(source) => self.supervisor.readable(source, self::now()),
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.as_ref().and_then(Signals::next) {
            match signal {
                Signal::Child => {}
                Signal::PowerOff => self.stop(Action::PowerOff),
                Signal::Reboot => self.stop(Action::Reboot),
            }
        }
    }

    fn take_buttons(&mut self) {
        let mut pressed = false;
        self.buttons.retain(|button| {
            let events = keys::read(button);
            pressed |= events.as_deref().is_some_and(keys::power_pressed);
            events.is_some()
        });
        if pressed {
            self.stop(Action::PowerOff);
        }
    }

    fn take_keys(&mut self) {
        let Some(letters) = self.console.as_ref().and_then(keys::read) else {
            self.console = None;
            return;
        };
        // One page for a burst of letters: a noisy line must not keep PID 1 busy.
        match letters.iter().rev().find(|letter| b"srl?h".contains(letter)) {
            Some(b's') => show(&pages::status(&self.node, &self.supervisor, now())),
            Some(b'l') => show(&pages::logs(&self.supervisor)),
            Some(b'r') => self.begin_page(),
            Some(_) => show(&pages::help()),
            None => {}
        }
    }

    /// Lets a child without any rights write the routing table.
    fn begin_page(&mut self) {
        if self.page.is_some() {
            return;
        }
        let started = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(|error| error.to_string())
            .and_then(|(output, write)| {
                let run = [names::FIRSTBOOT.to_owned(), "page".to_owned()];
                let identity = Identity { uid: NOBODY, gid: NOBODY, groups: Vec::new() };
                let program = Program {
                    run: &run,
                    environment: Vec::new(),
                    identity: &identity,
                    capabilities: &[],
                    cgroup: None,
                    output: write.as_fd(),
                };
                spawn(&program).map_err(|error| error.to_string())?;
                Ok(output)
            });
        match started {
            Ok(output) => self.page = Some(Page { output, text: Vec::new(), deadline: now() + PAGE_LIMIT }),
            Err(error) => show(&pages::framed("routes", &error)),
        }
    }

    fn read_page(&mut self) {
        let Some(page) = &mut self.page else { return };
        match keys::read(&page.output) {
            Some(bytes) if page.text.len() < PAGE_LENGTH => page.text.extend(bytes),
            _ => page.deadline = Moment::ZERO,
        }
    }

    fn end_page(&mut self, now: Moment) {
        if self.page.as_ref().is_some_and(|page| now >= page.deadline)
            && let Some(page) = self.page.take()
        {
            show(&pages::framed("routes", &String::from_utf8_lossy(&page.text)));
        }
    }

    /// Says what the services have to tell.
    fn tell(&mut self) {
        for Told { service, report } in self.supervisor.take_told() {
            match report {
                Report::Output(line) => say(format_args!("{service}| {line}")),
                Report::Warning(text) => self.node.warnings.add(format_args!("service {service}: {text}")),
                Report::Status(text) if service == NETWORK && self.network_said => {
                    say(format_args!("network: {text}"))
                }
                Report::Status(_) => {}
                Report::Notice(notice) => self.tell_notice(&service, notice),
            }
        }
    }

    fn tell_notice(&mut self, service: &str, notice: Notice) {
        match notice {
            Notice::Ready if service == NETWORK => {
                self.network_said = true;
                say(format_args!("network ready: {}", self.addresses()));
            }
            Notice::Ready => say(format_args!("service {service} ready")),
            Notice::Done => say(format_args!("service {service} done")),
            Notice::Stopped => say(format_args!("service {service} stopped")),
            Notice::Down { why, delay } => {
                say(format_args!("service {service} {why}; next start in {:.1} s", delay.as_secs_f64()));
            }
            Notice::StartTimeout => say(format_args!("service {service} is not ready in time; it is killed")),
            Notice::StopTimeout => say(format_args!("service {service} does not stop; it is killed")),
            Notice::Hopeless(reason) => {
                self.node.warnings.add(format_args!("service {service} cannot run: {reason}"));
            }
        }
    }

    fn addresses(&self) -> String {
        let network = self.supervisor.statuses().find(|status| status.name == NETWORK);
        network.and_then(|status| status.said).unwrap_or("no address").to_owned()
    }

    /// Says once that the node is up, or after a while what it still waits for.
    fn greet(&mut self, now: Moment) {
        if self.stop.is_some() {
            return;
        }
        if !self.up && self.supervisor.all_ready() {
            self.up = true;
            self.late_at = None;
            let (report, name) = (&self.node.report, self.node.intake.config.name.as_str());
            say(format_args!(
                "{name} is up: role {}, version {}, slot {}, {}",
                self.node.role.role,
                report.version,
                report.slot,
                self.addresses()
            ));
        }
        if self.late_at.is_some_and(|at| now >= at) {
            self.late_at = None;
            say(format_args!("still waiting for: {}", self.supervisor.not_ready().join(", ")));
        }
    }

    /// Begins the orderly stop.
    fn stop(&mut self, action: Action) {
        if self.stop.is_none() {
            say(match action {
                Action::Reboot => "restarting: stopping all services",
                _ => "powering off: stopping all services",
            });
            self.stop = Some((action, now() + STOP_LIMIT));
            self.supervisor.stop();
        }
    }

    /// Whether everything has stopped, or the time for it is over.
    fn finished(&mut self) -> Option<Action> {
        let (action, deadline) = self.stop?;
        if self.supervisor.at_rest() {
            return Some(action);
        }
        if now() >= deadline {
            say(format_args!("these did not stop in time: {}", self.supervisor.running().join(", ")));
            self.supervisor.kill();
            return Some(action);
        }
        None
    }

    fn finish(self, action: Action) -> ! {
        feed_watchdog(&self.node.report);
        if let Err(error) = clock::save() {
            say(format_args!("cannot save the time: {error}"));
        }
        kill_everything();
        let end = now() + Duration::from_secs(2);
        // With the last child gone wait fails; those that cannot die are not waited for.
        while now() < end
            && wait(WaitOptions::NOHANG).is_ok_and(|reaped: Option<(Pid, _)>| {
                if reaped.is_none() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                true
            })
        {}
        say(match action {
            Action::Reboot => "all stopped; restarting",
            _ => "all stopped; power off",
        });
        // The services' logs are open files on `state`: closed, or it cannot be unmounted.
        drop(self);
        reboot::finish(action)
    }
}

fn show(page: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(page.as_bytes());
}
