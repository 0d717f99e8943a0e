//! The orderly end: services stop in order within a deadline, the rest is killed, and the node restarts or is off.

use super::super::clock;
use super::super::events::{now, say};
use super::turn::{Loop, Stop, feed_watchdog};
use crate::service::Moment;
use crate::sys::process::kill_everything;
use crate::sys::reboot::{self, Action};
use rustix::process::{Pid, WaitOptions, wait};
use std::time::Duration;

/// How long services go on after an operator's word: the answer has to come through `sshd`, which is one of them.
const FAREWELL: Duration = Duration::from_secs(1);

impl Loop {
    /// Decides for an orderly stop at once.
    pub(super) fn stop(&mut self, action: Action) {
        self.stop_at(action, now());
    }

    /// Decides for an orderly stop as soon as the node's pods have moved, or their time for that is over.
    pub(super) fn stop_drained(&mut self, action: Action) {
        if self.stop.is_none() {
            let at = self.drain(now()).unwrap_or_else(now);
            self.stop_at(action, at);
        }
    }

    /// Decides for an orderly stop when whoever asked for it has had time to read the answer.
    pub(super) fn stop_answered(&mut self, action: Action) {
        let drained = if self.stop.is_none() { self.drain(now()) } else { None };
        self.stop_at(action, drained.unwrap_or_else(|| now() + FAREWELL));
    }

    /// The node is drained, or will not be: the services need not wait any longer.
    pub(super) fn end_drain(&mut self, now: Moment) {
        if let Some(stop) = self.stop.as_mut().filter(|stop| !stop.begun) {
            stop.at = now;
        }
    }

    fn stop_at(&mut self, action: Action, at: Moment) {
        if self.stop.is_none() {
            self.stop = Some(Stop::new(action, at, self.supervisor.stop_time()));
        }
    }

    fn begin_stop(&mut self, action: Action) {
        say(match action {
            Action::Reboot => "restarting: stopping all services",
            _ => "powering off: stopping all services",
        });
        self.end_updates();
        self.supervisor.stop();
    }

    /// Whether everything has stopped, or the time for it is over.
    pub(super) fn finished(&mut self) -> Option<Action> {
        let stop = self.stop.as_mut()?;
        let action = stop.action;
        if !stop.begun {
            if now() < stop.at {
                return None;
            }
            stop.begun = true;
            self.begin_stop(action);
        }
        if self.supervisor.at_rest() {
            return Some(action);
        }
        if self.stop.as_ref().is_some_and(|stop| now() >= stop.deadline()) {
            say(format_args!("these did not stop in time: {}", self.supervisor.running().join(", ")));
            self.supervisor.kill();
            return Some(action);
        }
        None
    }

    pub(super) fn finish(mut self, action: Action) -> ! {
        feed_watchdog(&self.node.report);
        if let Err(error) = clock::save() {
            say(format_args!("cannot save the time: {error}"));
        }
        kill_everything();
        self.updates.restarting(&mut self.node.warnings);
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
        let watchdog = self.node.report.watchdog.as_ref().map(|dog| dog.fd);
        // The services' logs are open files on `state`: closed, or it cannot be unmounted.
        drop(self);
        reboot::finish(action, watchdog)
    }
}
