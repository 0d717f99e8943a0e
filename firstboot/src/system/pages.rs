//! The pages of the console: text to read, made from facts.

use crate::service::Supervisor;
use contract::control::{Facts, ServiceState, ServiceStatus};
use contract::layout::MIB;
use contract::names::CONSOLE_PREFIX;
use contract::role::NETWORK;
use contract::storage::{Data, FolderUse};
use contract::text;
use std::fmt::{Display, Write as _};

/// Log lines shown of each service.
const LOG_LINES: usize = 10;

/// A page between its two marks, by which a program finds it among other lines.
#[must_use]
pub fn framed(name: &str, body: &str) -> String {
    let body = text::lines(body);
    let end = if body.is_empty() || body.ends_with('\n') { "" } else { "\n" };
    format!("{CONSOLE_PREFIX}page {name}\n{body}{end}{CONSOLE_PREFIX}end of page\n")
}

#[must_use]
pub fn help() -> String {
    framed(
        "help",
        "s  status of this node and its services\n\
         r  kernel routing table\n\
         l  last log lines of each service\n\
         ?  this page\n\
         Nothing can be changed here. Ctrl-Alt-Del restarts the node and its power button powers it off, both in order.\n",
    )
}

/// Who the node is and how it fares; `time` is the clock in words.
#[must_use]
pub fn status(facts: &Facts, time: &dyn Display) -> String {
    let mut body = String::new();
    let Facts { status, services, storage, folders } = facts;
    let mut fact = |name: &str, value: &dyn Display| {
        let _ = writeln!(body, "{name} {}", text::line(&value.to_string()));
    };
    fact("name", &status.name);
    fact("role", &status.role);
    fact("version", &status.version);
    fact("slot", &format_args!("{}{}", status.slot, if status.trial { " (trial)" } else { "" }));
    fact("disk", &status.disk);
    fact("state", &if status.state_persistent { "persistent" } else { "in memory only" });
    match &storage.data {
        Data::NotWanted => {}
        Data::Ready { kind, device, serial, .. } => fact("data", &format_args!("{kind} on {device} ({serial})")),
        Data::Refused { .. } => fact("data", &"none"),
    }
    for FolderUse { path, used_bytes, limit_bytes, .. } in folders {
        fact("folder", &format_args!("{path}: {} of {} MiB", used_bytes / MIB, limit_bytes / MIB));
    }
    fact("config", &status.config);
    fact("time", time);
    fact("uptime", &format_args!("{:.1} s", status.uptime_s));
    if let Some(board) = status.board.line() {
        fact("board", &board);
    }
    fact("health", &status.health.line_at(status.uptime_s));
    fact("update", &crate::operator::update_line(&status.update.phase));
    for failed in &status.update.failed {
        fact("failed", &format_args!("{}: {}", failed.release.version, failed.reason));
    }
    for service in services {
        if service.name == NETWORK {
            fact("addresses", &status.addresses);
        }
        fact("service", &service_line(service));
    }
    fact("pid1", &format_args!("rss {:.1} MiB", status.pid1_resident_bytes as f64 / 1_048_576.0));
    for warning in &status.warnings {
        fact("warning", warning);
    }
    framed("status", &body)
}

fn service_line(service: &ServiceStatus) -> String {
    let mut line = format!("{}: {}", service.name, service.state);
    if let Some(pid) = service.pid {
        let _ = write!(line, ", pid {pid}");
    }
    if service.restarts > 0 {
        let _ = write!(line, ", restarts {}", service.restarts);
    }
    if let Some(up) = service.up_s {
        let _ = write!(line, ", up {up:.1} s");
    }
    if let (ServiceState::Failed, Some(reason)) = (service.state, &service.note) {
        let _ = write!(line, ", {reason}");
    }
    line
}

#[must_use]
pub fn logs(supervisor: &Supervisor) -> String {
    let mut body = String::new();
    for (name, lines) in supervisor.last_lines(LOG_LINES) {
        for line in lines {
            let _ = writeln!(body, "{name}| {line}");
        }
    }
    framed("logs", &body)
}

#[cfg(test)]
mod tests {
    use super::super::answers::View;
    use super::super::node::Node;
    use super::*;
    use crate::config::intake::{Intake, Origin};
    use crate::service::{Exit, Moment, Notice, Places, Report, ServiceEvent};
    use crate::system::events::Warnings;
    use contract::hash::Digest;
    use contract::health::{HealthReport, Verdict};
    use contract::initramfs::BootReport;
    use contract::layout::Slot;
    use contract::node::NodeConfig;
    use contract::role::{Compatible, FORMAT, ProfileName, Role, RoleSpec};
    use contract::storage::{self, Storage};
    use contract::update::{Phase, UpdateStatus};
    use std::collections::BTreeMap;

    const ROUTER: Role = Role::literal("router");

    fn node() -> Node {
        let mut warnings = Warnings::default();
        warnings.add("the clock was set");
        Node {
            report: BootReport {
                slot: Slot::B,
                disk: "nvme0n1".to_owned(),
                version: "7".to_owned(),
                compatible: Compatible { role: ROUTER, profile: ProfileName::from(&ROUTER) },
                manifest: Digest([0; 32]),
                root_hash: Digest([0; 32]),
                rollback_index: 1,
                built: 0,
                trial: true,
                watchdog: None,
                keys: Vec::new(),
                warnings: Vec::new(),
            },
            role: RoleSpec {
                format: FORMAT,
                role: ROUTER,
                summary: String::new(),
                version: "7".to_owned(),
                modules: Vec::new(),
                sysctls: BTreeMap::new(),
                directories: Vec::new(),
                templates: Vec::new(),
                services: BTreeMap::new(),
                health: Vec::new(),
                vars: BTreeMap::new(),
                update: contract::role::Trial::default(),
            },
            intake: Intake {
                config: NodeConfig::parse(b"name = \"r1\"").unwrap(),
                origin: Origin::State,
                notes: Vec::new(),
                secrets: Vec::new(),
            },
            storage: Storage {
                state: storage::State::Persistent {
                    device: "/dev/nvme0n1p6".to_owned(),
                    created: false,
                    notes: Vec::new(),
                },
                ..Storage::default()
            },
            limits: Vec::new(),
            board: crate::system::board::Watch::default(),
            warnings,
        }
    }

    #[test]
    fn the_status_page_says_who_the_node_is_and_how_its_services_are() {
        let service = |run: &str| {
            let text = format!(
                r#"{{"run":["{run}"],"kind":"daemon","identity":{{"uid":0,"gid":0}},"stop_timeout_ms":1,
                "start_timeout_ms":1000,"restart":{{"first_delay_ms":1,"longest_delay_ms":1,"quiet_ms":1}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let services =
            BTreeMap::from([("bgpd".to_owned(), service("/nowhere")), ("zebra".to_owned(), service("/nowhere"))]);
        let places = Places { notify: "/nowhere".into(), ..Places::default() };
        let mut supervisor = Supervisor::new(services, &serde_json::Value::Null, places);
        supervisor.give_up("zebra", "no /run/zebra.conf", Moment::ZERO);
        let phase = Phase::Trial { waits_for: "its network".to_owned(), deadline_s: 600.0 };
        let update = UpdateStatus { phase, ..UpdateStatus::default() };
        let health = HealthReport { verdict: Verdict::Passed, ..HealthReport::empty() };
        let view = View { node: &node(), supervisor: &supervisor, health, update };
        let page = status(&view.facts(Moment::from_secs(3)), &"now");
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines.first(), Some(&"microdc: page status"));
        assert_eq!(lines.last(), Some(&"microdc: end of page"));
        for line in [
            "name r1",
            "role router",
            "version 7",
            "slot B (trial)",
            "disk nvme0n1",
            "state persistent",
            "update on trial: waiting for its network; it ends 600 s after power-on",
            "time now",
            "uptime 3.0 s",
            "health passed: 0 checks, for 3.0 s",
            "service bgpd: waiting",
            "service zebra: failed, no /run/zebra.conf",
            "warning the clock was set",
        ] {
            assert!(lines.contains(&line), "{line:?} in {page}");
        }
        assert!(lines.iter().any(|line| line.starts_with("pid1 rss ") && line.ends_with(" MiB")), "{page}");
        let told = supervisor.take_events();
        let hopeless = Report::Notice(Notice::Hopeless("no /run/zebra.conf".to_owned()));
        assert_eq!(told, [ServiceEvent { service: "zebra".to_owned(), report: hopeless }]);
        assert!(!supervisor.exited(rustix::process::Pid::INIT, Exit::Status(0), Moment::ZERO));
    }

    #[test]
    fn every_page_has_its_marks() {
        for page in [help(), framed("routes", ""), framed("routes", "route default via 10.0.0.1")] {
            assert!(page.starts_with("microdc: page ") && page.ends_with("\nmicrodc: end of page\n"), "{page:?}");
        }
    }
}
