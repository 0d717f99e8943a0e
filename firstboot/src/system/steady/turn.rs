//! The state of the loop, shared by the steps of a turn.

use super::super::control::Control;
use super::super::node::Node;
use super::super::room::Watch;
use super::super::screen::Screen;
use super::super::update::Updates;
use super::job::Job;
use crate::health::Health;
use crate::service::{Moment, Supervisor};
use crate::sys::reboot::Action;
use crate::sys::signal::Signals;
use crate::sys::watchdog;
use contract::initramfs::BootReport;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Time in which all services must be stopped; then they are killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// What remains of it for the others, where one service alone may take longer.
const STOP_ROOM: Duration = Duration::from_secs(10);

/// The node while it runs.
pub struct Loop {
    pub(super) node: Node,
    pub(super) supervisor: Supervisor,
    pub(super) health: Health,
    pub(super) updates: Updates,
    /// The node config as JSON.
    pub(super) config: serde_json::Value,
    /// Whether the committed system has written down how the node is with it.
    pub(super) recorded: bool,
    /// When a trial is looked at although nothing happens.
    pub(super) update_due: Option<Moment>,
    pub(super) signals: Option<Signals>,
    pub(super) consoles: Vec<OwnedFd>,
    pub(super) buttons: Vec<OwnedFd>,
    pub(super) screen: Option<Screen>,
    pub(super) page: Option<Page>,
    pub(super) control: Control,
    pub(super) feed_at: Moment,
    pub(super) save_at: Moment,
    /// The room on `state`, and when it is looked at next.
    pub(super) room: Watch,
    pub(super) room_at: Moment,
    /// Whether "is up" was said, and whether the network's addresses were.
    pub(super) up: bool,
    pub(super) network_said: bool,
    pub(super) late_at: Option<Moment>,
    pub(super) stop: Option<Stop>,
    /// The command of k3s that is under way, and when the node is uncordoned at the earliest.
    pub(super) job: Option<Job>,
    pub(super) uncordon_at: Moment,
}

/// A page that a child writes.
pub struct Page {
    pub output: OwnedFd,
    pub(super) text: Vec<u8>,
    pub deadline: Moment,
}

/// An orderly stop that is decided.
pub struct Stop {
    pub(super) action: Action,
    /// When the services begin to stop.
    pub(super) at: Moment,
    pub(super) begun: bool,
    /// Time from then in which they must be stopped.
    pub(super) limit: Duration,
}

impl Stop {
    /// Decided now. `longest` is the longest time that a service has to stop.
    pub(super) fn new(action: Action, at: Moment, longest: Duration) -> Stop {
        Stop { action, at, begun: false, limit: STOP_LIMIT.max(longest + STOP_ROOM) }
    }

    /// When something is due: its beginning, then the end of its time.
    pub(super) fn deadline(&self) -> Moment {
        if self.begun { self.at + self.limit } else { self.at }
    }
}

/// Tells the hardware watchdog that PID 1 is alive.
pub fn feed_watchdog(report: &BootReport) {
    if let Some(dog) = &report.watchdog {
        let _ = watchdog::feed_number(dog.fd);
    }
}
