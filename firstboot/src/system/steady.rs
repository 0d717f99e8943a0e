//! The steady state: one thread, one loop. It waits for signals, what services write and say, the console, the power
//! button and the next deadline; and it feeds the watchdog, so that a loop that hangs resets the node.
//!
//! - here the loop · [`turn`] what it knows · [`requests`] what an operator asks · [`job`] and [`jobs`] commands of k3s · [`updates`] taking and trying updates, [`trial`] by what a trial is judged · [`routes`] the page that
//!   a child writes · [`tell`] what the console is told · [`stop`] the orderly end

mod job;
mod jobs;
mod requests;
mod routes;
mod stop;
mod tell;
mod trial;
mod turn;
mod updates;

use super::answers::View;
use super::control::{Control, Source as ControlSource};
use super::events::{LATE, now, say};
use super::node::Node;
use super::screen::Screen;
use super::update::Updates;
use super::update::installing::Installing;
use super::{clock, keys, pages, room};
use crate::console::show;
use crate::health::Health;
use crate::service::{Exit, Moment, Source, Supervisor};
use crate::sys::reboot::Action;
use crate::sys::signal::{Signal, Signals};
use job::Job;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitOptions, wait};
use std::os::fd::AsFd as _;
use std::time::Duration;
pub use turn::feed_watchdog;
use turn::{Loop, Stop};

/// The loop turns at least this often.
const TURN: Duration = Duration::from_secs(5);

/// What became readable.
enum Ready {
    Signals,
    Console,
    Button,
    Page,
    Control(ControlSource),
    Installer,
    Service(Source),
}

/// Runs the node until it is to stop. Does not return.
pub fn run(node: Node, supervisor: Supervisor, health: Health, updates: Updates) -> ! {
    // Ctrl-Alt-Del comes as SIGINT instead of ending the node on the spot.
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    let mut turn = Loop {
        config: serde_json::to_value(&node.intake.config).unwrap_or_default(),
        recorded: false,
        node,
        supervisor,
        health,
        updates,
        update_due: None,
        signals: None,
        consoles: keys::open_consoles(),
        buttons: keys::open_power_buttons(),
        screen: Screen::open(),
        page: None,
        control: Control::default(),
        feed_at: Moment::ZERO,
        save_at: now() + clock::SAVE_EVERY,
        room: room::Watch::default(),
        room_at: Moment::ZERO,
        up: false,
        network_said: false,
        late_at: Some(now() + LATE),
        stop: None,
        job: None,
        uncordon_at: Moment::ZERO,
    };
    match Signals::open() {
        Ok(signals) => turn.signals = Some(signals),
        Err(error) => turn.node.warnings.add(format_args!(
            "cannot receive signals: {error}; only the watchdog can \
            restart this node"
        )),
    }
    turn.open_control();
    let action = loop {
        turn.due();
        if let Some(action) = turn.finished() {
            break action;
        }
        turn.wait();
    };
    turn.finish(action)
}

impl Loop {
    /// Everything whose time has come.
    fn due(&mut self) {
        let now = now();
        if now >= self.feed_at {
            feed_watchdog(&self.node.report);
            let period = self.node.report.watchdog.as_ref().map_or(60, |dog| dog.timeout_s);
            // A kernel that panics shows its message for 10 s (`panic=10`): that is less than what is left at any time.
            self.feed_at = now + Duration::from_secs(period.into()) / 5;
        }
        if now >= self.save_at {
            self.save_at = now + clock::SAVE_EVERY;
            if let Err(error) = clock::save() {
                self.node.warnings.add(format_args!("cannot save the time: {error}"));
            }
        }
        if now >= self.room_at {
            self.room_at = now + room::LOOK_EVERY;
            self.room.look(&self.node).iter().for_each(say);
        }
        // A dead child must be known before it is asked whether others may start.
        self.reap(now);
        self.supervisor.step(now);
        self.tell();
        self.step_job(now);
        self.judge(now);
        self.node.board.refresh(now);
        self.update(now);
        self.greet(now);
        self.end_page(now);
        self.control.pump(&self.supervisor, now);
        if let Some(screen) = &mut self.screen {
            screen.refresh(now, || {
                let (health, update) = (self.health.report(), self.updates.status());
                View { node: &self.node, supervisor: &self.supervisor, health, update }.facts(now)
            });
        }
    }

    fn reap(&mut self, now: Moment) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let exit = match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => Exit::Status(status),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => continue,
            };
            // Others are orphans, or the writer of a page: reaped, and that is all.
            let _known = self.supervisor.exited(pid, exit, now)
                || self.health.exited(pid, exit, now)
                || self.job_exited(pid, exit)
                || self.installer_exited(pid, exit);
        }
    }

    /// Looks after the node's health, and says when the verdict changes.
    fn judge(&mut self, now: Moment) {
        if self.stop.is_none() && self.health.step(&self.supervisor, now) {
            say(format_args!("health {}", self.health.report().line()));
        }
        self.uncordon(now);
    }

    /// Waits for the first thing that happens.
    fn wait(&mut self) {
        let now = now();
        let deadlines = [
            Some(self.feed_at),
            Some(self.save_at),
            Some(self.room_at),
            self.supervisor.deadline(now),
            self.control.deadline(),
            self.stop.is_none().then(|| self.health.deadline()).flatten(),
            self.late_at,
            self.update_due.filter(|_| self.stop.is_none()),
            self.page.as_ref().map(|page| page.deadline),
            self.stop.as_ref().map(Stop::deadline),
            self.job.as_ref().map(Job::deadline),
            Some(now + TURN),
        ];
        let until = deadlines.into_iter().flatten().min().unwrap_or(now).saturating_sub(now);
        let mut kinds = Vec::new();
        let mut fds = Vec::new();
        let mut watch = |kind, fd, flags| {
            kinds.push(kind);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        for (door, fd, flags) in self.control.sources() {
            watch(Ready::Control(door), fd, flags);
        }
        let mut add = |kind, fd| watch(kind, fd, PollFlags::IN);
        if let Some(signals) = &self.signals {
            add(Ready::Signals, signals.as_fd());
        }
        for console in &self.consoles {
            add(Ready::Console, console.as_fd());
        }
        for button in &self.buttons {
            add(Ready::Button, button.as_fd());
        }
        if let Some(page) = &self.page {
            add(Ready::Page, page.output.as_fd());
        }
        for fd in self.updates.installing.iter().flat_map(Installing::sources) {
            add(Ready::Installer, fd.as_fd());
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
                Ready::Control(door) => self.take_request(door),
                // It is heard at the loop's next turn.
                Ready::Installer => {}
                Ready::Service(source) => self.supervisor.readable(source, self::now()),
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.as_ref().and_then(Signals::next) {
            match signal {
                Signal::Child => {}
                Signal::PowerOff => self.stop(Action::PowerOff),
                Signal::Reboot => self.stop_drained(Action::Reboot),
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
        let mut letters = Vec::new();
        self.consoles.retain(|console| {
            let read = keys::read(console);
            letters.extend(read.iter().flatten());
            read.is_some()
        });
        // One page for a burst of letters: a noisy line must not keep PID 1 busy.
        match letters.iter().rev().find(|letter| b"srl?h".contains(letter)) {
            Some(b's') => show(&pages::status(&self.view().facts(now()), &super::clock::Clock)),
            Some(b'l') => show(&pages::logs(&self.supervisor)),
            Some(b'r') => self.begin_page(),
            Some(_) => show(&pages::help()),
            None => {}
        }
    }
}
