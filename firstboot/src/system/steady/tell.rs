//! What is reported on the console while the node runs: service events, and that the node is up.

use super::super::events::say;
use super::turn::Loop;
use crate::service::{Moment, Notice, Report, ServiceEvent};
use contract::role::NETWORK;

impl Loop {
    /// Says what the services have to tell.
    pub(super) fn tell(&mut self) {
        for ServiceEvent { service, report } in self.supervisor.take_events() {
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
            Notice::Skipped(why) => say(format_args!("service {service} is not run: {why}")),
            Notice::Missed(why) => say(format_args!("service {service} {why}; it runs again in its time")),
            Notice::Stopped => say(format_args!("service {service} stopped")),
            Notice::Down { why, delay } => {
                say(format_args!("service {service} {why}; next start in {:.1} s", delay.as_secs_f64()));
            }
            Notice::StartTimeout => say(format_args!("service {service} was not ready in time; killing it")),
            Notice::StopTimeout => say(format_args!("service {service} does not stop; killing it")),
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
    pub(super) fn greet(&mut self, now: Moment) {
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
}
