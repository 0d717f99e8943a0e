//! Requests on the control socket, and their effects.

use super::super::answers::{self, View};
use super::super::control::{Rank, Source as ControlSource, group_number};
use super::super::events::{now, say};
use super::super::k3s::files;
use super::super::visitors::Visitors;
use super::jobs::Command;
use super::turn::Loop;
use crate::sys::reboot::Action;
use contract::control::{FACTS_GROUP, FACTS_SOCKET, GROUP, Reply, Request, SOCKET};
use std::path::Path;

impl Loop {
    pub(super) fn open_control(&mut self) {
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        let of_group = |name| Visitors::of_group(group_number(&groups, name));
        // Without cgroups no one can be told from others: then no one gives orders.
        let operators = of_group(GROUP).living_in(self.supervisor.operators());
        let doors = [(SOCKET, Rank::Operator, operators), (FACTS_SOCKET, Rank::Reader, of_group(FACTS_GROUP))];
        for (path, rank, visitors) in doors {
            if let Err(error) = self.control.open(Path::new(path), rank, visitors) {
                self.node.warnings.add(format_args!("nodectl and metrics do not work: cannot open {path}: {error}"));
            }
        }
    }

    /// What answers and pages are made from.
    pub(super) fn view(&self) -> View<'_> {
        let (health, update) = (self.health.report(), self.updates.status());
        View { node: &self.node, supervisor: &self.supervisor, health, update }
    }

    pub(super) fn take_request(&mut self, door: ControlSource) {
        let now = now();
        let Some((client, request)) = self.control.ready(door, now) else { return };
        let reply = match request {
            Request::Status => Reply::Status(Box::new(self.view().status(now))),
            Request::Services => Reply::Services(answers::services(&self.supervisor, now)),
            Request::Metrics => Reply::Metrics(Box::new(self.view().facts(now))),
            Request::Health => Reply::Health(self.health.report()),
            Request::Disks => Reply::Disks(Box::new(self.node.storage.clone())),
            Request::Network => Reply::Network(answers::network(&self.supervisor)),
            Request::Config => answers::config(&self.node),
            Request::Kubeconfig { address } => match files::kubeconfig(Path::new(files::KUBECONFIG), &address) {
                Ok(text) => {
                    say(format_args!("an operator was given the kubeconfig, for {address}"));
                    Reply::Kubeconfig(text)
                }
                Err(why) => Reply::Refused(why),
            },
            Request::K3sToken => match files::token(Path::new(files::TOKEN)) {
                Ok(token) => {
                    say("an operator was given the cluster's token");
                    Reply::K3sToken(token)
                }
                Err(why) => Reply::Refused(why),
            },
            Request::K3sSnapshot => return self.begin_k3s(client, &Command::Snapshot, now),
            Request::K3sSnapshots => return self.begin_k3s(client, &Command::Snapshots, now),
            Request::K3sRestore { snapshot, node } => {
                return self.begin_k3s(client, &Command::Restore { snapshot, node }, now);
            }
            Request::K3sReset { node } => return self.begin_k3s(client, &Command::Reset { node }, now),
            Request::Logs { service, lines, follow } => {
                match answers::logs(&self.supervisor, service.as_deref(), lines) {
                    Ok((lines, seen)) if follow => {
                        self.control.follow(client, lines, seen, now);
                        return;
                    }
                    Ok((lines, _)) => Reply::Logs(lines),
                    Err(why) => Reply::Refused(why),
                }
            }
            Request::Restart { service } => match self.supervisor.restart(&service, now) {
                Ok(()) => {
                    say(format_args!("service {service} is restarted by an operator"));
                    Reply::Done(format!("{service} is being restarted"))
                }
                Err(why) => Reply::Refused(why),
            },
            Request::Update { urls, dry_run, force } => {
                return self.begin_update(client, urls, dry_run, force, now);
            }
            Request::Cancel => self.cancel_update(),
            Request::Rollback { force } => self.roll_back(force),
            Request::Reboot => self.stop_asked(Action::Reboot, "restarts"),
            Request::Poweroff => self.stop_asked(Action::PowerOff, "powers off"),
        };
        self.control.reply(client, &reply, now);
    }

    fn stop_asked(&mut self, action: Action, words: &str) -> Reply {
        if self.stop.is_some() {
            return Reply::Refused("the node is already stopping".to_owned());
        }
        if let Some(job) = self.job.as_ref().filter(|job| job.holds()) {
            return Reply::Refused(format!("{job} is under way; it must not be interrupted"));
        }
        say("an operator asked for it");
        self.stop_answered(action);
        Reply::Done(format!("the node stops its services and {words}"))
    }
}
