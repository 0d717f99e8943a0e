//! Updates in the loop: what operators ask of them, and what the installer says.

use super::super::events::{now, say};
use super::super::update::installing::{Installing, Outcome};
use super::turn::Loop;
use crate::service::{Exit, Moment};
use crate::sys::reboot::Action;
use crate::update::install::order::Order;
use contract::control::Reply;
use contract::update::UpdateEvent;
use rustix::process::Pid;

impl Loop {
    /// Hears the installer, and looks how a trial goes.
    pub(super) fn update(&mut self, now: Moment) {
        self.hear_installer(now);
        if self.stop.is_some() {
            return;
        }
        let facts = self.trial_facts(now);
        self.update_due = self.updates.machine().due(&facts);
        let back = self.updates.step(&self.node.report, &facts, &mut self.node.warnings);
        self.record_baseline(now);
        if back.is_some() {
            self.stop(Action::Reboot);
        }
    }

    /// A process ended. Returns whether it was the installer.
    pub(super) fn installer_exited(&mut self, pid: Pid, exit: Exit) -> bool {
        self.updates.installing.as_mut().is_some_and(|installing| installing.exited(pid, exit))
    }

    fn hear_installer(&mut self, now: Moment) {
        let Some(installing) = &mut self.updates.installing else { return };
        let (events, said) = installing.hear();
        for line in said {
            say(format_args!("update| {line}"));
        }
        for event in events {
            let fleeting = matches!(event, UpdateEvent::Progress { .. });
            match &event {
                UpdateEvent::Retry { url, reason, delay_s } => {
                    say(format_args!("update: {url}: {reason}; next try in {delay_s:.0} s"));
                }
                UpdateEvent::GivenUp { url, reason } => {
                    say(format_args!("update: {url}: {reason}; it will not be tried again"));
                }
                _ => {}
            }
            if let Some(client) = installing.client {
                self.control.tell(client, &Reply::Update(event), fleeting, now);
            }
        }
        let planned = installing.last().cloned();
        let Some(outcome) = installing.outcome() else { return };
        let (client, force) = (installing.client, installing.force);
        self.updates.installing = None;
        let last = match (outcome, planned) {
            (Outcome::DryRun, Some(plan)) => plan,
            (Outcome::DryRun, None) => UpdateEvent::Failed { reason: "the installer sent no plan".to_owned() },
            (Outcome::Installed(event), _) => match self.try_standby(force, "installed") {
                Ok(_) => event,
                Err(reason) => UpdateEvent::Failed { reason },
            },
            (Outcome::AlreadyRunning(event), _) => {
                say("the update is already running: nothing was changed");
                event
            }
            (Outcome::Failed(reason), _) => {
                self.updates.inspect_standby(&self.node.report);
                UpdateEvent::Failed { reason }
            }
        };
        if let UpdateEvent::Failed { reason } = &last {
            say(format_args!("the update was refused: {reason}"));
        }
        if let Some(client) = client {
            self.control.reply(client, &Reply::Update(last), now);
        }
    }

    /// Asks the firmware to try what is in the other slot, and restarts. Gives what is tried, in words.
    fn try_standby(&mut self, force: bool, what: &str) -> Result<String, String> {
        if self.stop.is_some() {
            return Err("the node is stopping".to_owned());
        }
        let candidate = self.updates.candidate(&self.node.report, force)?;
        let before = self.node_now(now());
        self.updates.ask_for_trial(&candidate, &before, &mut self.node.warnings)?;
        let words = format!(
            "{} is {what} in slot {}, and the node restarts into its trial",
            candidate.release.version, candidate.slot
        );
        say(&words);
        self.stop_answered(Action::Reboot);
        Ok(words)
    }

    /// An operator asks for an update. The answers come as it goes on.
    pub(super) fn begin_update(&mut self, client: u64, urls: Vec<String>, dry_run: bool, force: bool, now: Moment) {
        match self.start_installer(client, urls, dry_run, force) {
            Ok(mut installing) => {
                installing.client = Some(client);
                self.updates.installing = Some(installing);
                self.control.watch(client);
            }
            Err(why) => self.control.reply(client, &Reply::Refused(why), now),
        }
    }

    fn start_installer(
        &mut self,
        client: u64,
        urls: Vec<String>,
        dry_run: bool,
        force: bool,
    ) -> Result<Installing, String> {
        if self.stop.is_some() {
            return Err("the node is stopping".to_owned());
        }
        self.updates.free()?;
        let stream = if urls.is_empty() {
            let stream = self.control.connection(client).map_err(|error| format!("your connection: {error}"))?;
            Some(stream)
        } else {
            None
        };
        say(match urls.as_slice() {
            [] => "an operator sends an update".to_owned(),
            urls => format!("an operator asks for an update from {}", urls.join(", ")),
        });
        let memory = self.updates.memory();
        let order = Order {
            slot: self.node.report.slot.other(),
            urls,
            keys: self.node.report.keys.clone(),
            node_is: self.node.report.compatible.clone(),
            rollback_index: memory.rollback_index,
            running: self.updates.running.clone(),
            runs: Some(self.node.report.manifest),
            refused: memory.failed.clone(),
            force,
            dry_run,
            node: self.node.intake.config.name.as_str().to_owned(),
        };
        let cgroups = self.supervisor.cgroups().and_then(|folder| folder.parent());
        Installing::start(&self.node.report, &order, stream, cgroups)
            .map_err(|error| format!("the installer cannot be started: {error}"))
    }

    pub(super) fn cancel_update(&mut self) -> Reply {
        match &mut self.updates.installing {
            Some(installing) => {
                installing.end("an operator cancelled it");
                Reply::Done("the update is cancelled".to_owned())
            }
            None => Reply::Refused("no update is being installed".to_owned()),
        }
    }

    pub(super) fn roll_back(&mut self, force: bool) -> Reply {
        if self.stop.is_some() {
            return Reply::Refused("the node is already stopping".to_owned());
        }
        if self.updates.end("an operator asked for a rollback", &mut self.node.warnings) {
            self.stop_answered(Action::Reboot);
            return Reply::Done(format!(
                "the trial is over: the node restarts into slot {}",
                self.node.report.slot.other()
            ));
        }
        match self.updates.free().and_then(|()| self.try_standby(force, "whole")) {
            Ok(words) => Reply::Done(words),
            Err(why) => Reply::Refused(why),
        }
    }

    /// The run ends: a trial with it, and an update that is being taken.
    pub(super) fn end_updates(&mut self) {
        self.updates.end("an operator restarted the node in its trial", &mut self.node.warnings);
        if let Some(installing) = &mut self.updates.installing {
            installing.end("the node stops");
        }
    }
}
