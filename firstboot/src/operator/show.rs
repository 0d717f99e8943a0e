//! Answers of PID 1 as text for people, and as JSON for programs.

use contract::control::{K3sSnapshot, Reply, ServiceStatus, Status};
use contract::health::{HealthReport, Verdict};
use std::fmt::Write as _;

/// As JSON: the content of the answer alone, or `{"error": …}`; on one line when others follow.
#[must_use]
pub fn json(reply: &Reply, one_line: bool) -> String {
    contract::text::json(&json_text(reply, one_line)).into_owned()
}

fn json_text(reply: &Reply, one_line: bool) -> String {
    let value = match reply {
        Reply::Status(status) => serde_json::to_value(status),
        Reply::Services(services) => serde_json::to_value(services),
        Reply::Logs(lines) if one_line => {
            let lines = lines.iter().filter_map(|line| serde_json::to_string(line).ok());
            return lines.fold(String::new(), |text, line| text + &line + "\n");
        }
        Reply::Logs(lines) => serde_json::to_value(lines),
        Reply::Health(health) => serde_json::to_value(health),
        Reply::Disks(storage) => serde_json::to_value(storage),
        Reply::Network(network) => serde_json::to_value(network),
        Reply::Config(config) => serde_json::to_value(config),
        Reply::Kubeconfig(text) | Reply::K3sToken(text) => serde_json::to_value(text),
        Reply::K3sSnapshots(snapshots) => serde_json::to_value(snapshots),
        Reply::Metrics(facts) => serde_json::to_value(facts),
        Reply::Update(event) if one_line => {
            return serde_json::to_string(event).unwrap_or_default() + "\n";
        }
        Reply::Update(event) => serde_json::to_value(event),
        Reply::Done(words) => Ok(serde_json::json!({ "done": words })),
        Reply::Refused(why) => Ok(serde_json::json!({ "error": why })),
    };
    let text = value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_default();
    text + "\n"
}

/// For people. What others wrote cannot move the cursor.
#[must_use]
pub fn text(reply: &Reply) -> String {
    match reply {
        Reply::Status(status) => clean(&status_text(status)),
        Reply::Services(services) => clean(&services_text(services)),
        Reply::Logs(lines) => {
            let width = lines.iter().map(|line| line.service.len()).max().unwrap_or(0);
            let line = |text: String, line: &contract::control::LogLine| {
                text + &clean(&format!("{:width$} | {}\n", line.service, line.line))
            };
            lines.iter().fold(String::new(), line)
        }
        Reply::Health(health) => clean(&health_text(health)),
        Reply::Disks(storage) => clean(&super::disks::text(storage)),
        Reply::Network(network) => {
            let mut text = format!("state      {}\naddresses  {}\n", network.state, network.addresses);
            for route in &network.routes {
                let _ = writeln!(text, "{route}");
            }
            clean(&text)
        }
        Reply::Kubeconfig(text) => clean(text),
        Reply::K3sToken(token) => clean(token) + "\n",
        Reply::K3sSnapshots(snapshots) => clean(&snapshots_text(snapshots)),
        Reply::Config(config) => {
            let mut text = format!("# {}\n", config.origin);
            for note in &config.notes {
                let _ = writeln!(text, "# note: {note}");
            }
            let body = toml::to_string(&config.config);
            clean(&(text + &body.unwrap_or_else(|_| json(&Reply::Config(config.clone()), false))))
        }
        Reply::Metrics(facts) => crate::metrics::text::of(facts),
        Reply::Update(event) => clean_line(&super::update::Progress::new(false).text(event)),
        Reply::Done(words) | Reply::Refused(words) => clean(words) + "\n",
    }
}

fn status_text(status: &Status) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:<10} {}", contract::text::line(&value.to_string()));
    };
    fact("name", &status.name);
    if let Some(cluster) = &status.cluster {
        fact("cluster", cluster);
    }
    match status.profile.as_str() {
        profile if profile.is_empty() || profile == status.role => fact("role", &status.role),
        profile => fact("role", &format_args!("{} (profile {profile})", status.role)),
    }
    fact("version", &status.version);
    fact("slot", &format_args!("{}{}", status.slot, if status.trial { " (trial, not committed yet)" } else { "" }));
    fact("disk", &status.disk);
    fact("state", &if status.state_persistent { "on disk" } else { "in memory only; lost at the next restart" });
    fact("config", &status.config);
    fact("uptime", &duration(status.uptime_s));
    fact("addresses", &status.addresses);
    match status.not_ready.as_slice() {
        [] => fact("services", &format_args!("all {} ready", status.ready)),
        missing => fact("services", &format_args!("not ready: {}", missing.join(", "))),
    }
    fact("PID 1", &format_args!("{} in memory", super::disks::size(status.pid1_resident_bytes)));
    if let Some(board) = status.board.line() {
        fact("board", &board);
    }
    if let Some(built) = status.board.eeprom_built {
        fact("EEPROM", &contract::board::eeprom::day(built));
    }
    fact("health", &status.health.line());
    for (name, value) in super::update::facts(&status.update) {
        fact(name, &value);
    }
    match status.problems.as_slice() {
        [] => fact("problems", &"none"),
        problems => problems.iter().for_each(|problem| fact("problem", problem)),
    }
    text
}

fn health_text(health: &HealthReport) -> String {
    let mut text = format!("{} since {} after power-on\n", health.verdict, duration(health.since_s));
    if let Some(cause) = health.cause.as_deref().filter(|_| health.verdict != Verdict::Passed) {
        let _ = writeln!(text, "cause: {cause}");
    }
    let width = health.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &health.checks {
        let _ = write!(text, "  {:width$}  {:<7}", check.name, check.verdict.word());
        if let Some(reason) = &check.reason {
            let _ = write!(text, "  {reason}");
        }
        if check.verdict == Verdict::Waiting {
            let _ = write!(text, "  (must pass by {} after power-on)", duration(check.deadline_s));
        }
        text.push('\n');
    }
    text
}

fn services_text(services: &[ServiceStatus]) -> String {
    let width = services.iter().map(|service| service.name.len()).max().unwrap_or(0).max(7);
    let mut text = format!(
        "{:width$}  {:<10}  {:>6}  {:>8}  {:>9}  {:>9}\n",
        "SERVICE", "STATE", "PID", "RESTARTS", "UP", "MEMORY"
    );
    for service in services {
        let pid = service.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let up = service.up_s.map_or_else(|| "-".to_owned(), duration);
        let memory = service.memory_bytes.map_or_else(|| "-".to_owned(), super::disks::size);
        let _ = write!(
            text,
            "{:width$}  {:<10}  {pid:>6}  {:>8}  {up:>9}  {memory:>9}",
            service.name, service.state, service.restarts
        );
        if let Some(note) = &service.note {
            let _ = write!(text, "  {note}");
        }
        text.push('\n');
    }
    text
}

fn snapshots_text(snapshots: &[K3sSnapshot]) -> String {
    if snapshots.is_empty() {
        return "there are no snapshots\n".to_owned();
    }
    let width = snapshots.iter().map(|snapshot| snapshot.name.len()).max().unwrap_or(0).max(8);
    let mut text = format!("{:width$}  {:>9}  {:<25}  PLACE\n", "SNAPSHOT", "SIZE", "CREATED");
    for snapshot in snapshots {
        let place = match snapshot.location.as_str() {
            _ if snapshot.here => "this node",
            location if location.starts_with("file://") => "another server",
            location => location,
        };
        let size = super::disks::size(snapshot.size_bytes);
        let _ = writeln!(text, "{:width$}  {size:>9}  {:<25}  {place}", snapshot.name, snapshot.created);
    }
    text
}

/// Seconds as `12.3 s`, `5 min 2 s`, `3 h 4 min` or `2 d 3 h`.
fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// As [`clean`], for a text that may go back to the beginning of its line.
#[must_use]
pub fn clean_line(text: &str) -> String {
    match text.strip_prefix('\r') {
        Some(rest) => format!("\r{}", clean(rest)),
        None => clean(text),
    }
}

/// Text in which nothing moves the cursor but the end of a line ([`contract::text`]).
#[must_use]
pub fn clean(text: &str) -> String {
    contract::text::lines(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::control::{ConfigInForce, LogLine};
    use contract::health::CheckReport;

    #[test]
    fn snapshots_are_a_table_that_says_where_each_is() {
        let snapshot = |location: &str, here| K3sSnapshot {
            name: "on-demand-s1-1".to_owned(),
            size_bytes: 5 << 20,
            created: "2023-11-14T22:13:20Z".to_owned(),
            location: location.to_owned(),
            here,
        };
        let all = [
            snapshot("file:///var/s", true),
            snapshot("file:///var/s", false),
            snapshot("s3://etcd/rack1/on-demand-s1-1", false),
        ];
        let found = text(&Reply::K3sSnapshots(all.to_vec()));
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines[0], "SNAPSHOT             SIZE  CREATED                    PLACE");
        assert_eq!(lines[1], "on-demand-s1-1    5.0 MiB  2023-11-14T22:13:20Z       this node");
        assert!(lines[2].ends_with("  another server") && lines[3].ends_with("  s3://etcd/rack1/on-demand-s1-1"));
        assert_eq!(text(&Reply::K3sSnapshots(Vec::new())), "there are no snapshots\n");
    }

    #[test]
    fn services_are_a_table() {
        let service = |name: &str, note: Option<&str>| ServiceStatus {
            name: name.to_owned(),
            state: contract::control::ServiceState::Ready,
            pid: Some(70),
            restarts: 1,
            up_s: Some(61.0),
            memory_bytes: Some(12_345_678),
            note: note.map(str::to_owned),
        };
        let text = text(&Reply::Services(vec![service("bgpd", None), service("chronyd-long", Some("in sync"))]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "SERVICE       STATE          PID  RESTARTS         UP     MEMORY");
        assert_eq!(lines[1], "bgpd          ready           70         1  1 min 1 s   11.8 MiB");
        assert!(lines[2].ends_with("11.8 MiB  in sync"));
    }

    #[test]
    fn health_is_the_verdict_and_a_line_for_each_check() {
        let check = |name: &str, verdict, reason: Option<&str>| CheckReport {
            name: name.to_owned(),
            verdict,
            reason: reason.map(str::to_owned),
            deadline_s: 90.0,
        };
        let checks = vec![
            check("zebra", Verdict::Passed, None),
            check("bgp route", Verdict::Waiting, Some("no route to 10.2.0.0/16")),
        ];
        let text = text(&Reply::Health(HealthReport { checks, ..HealthReport::empty() }));
        assert_eq!(
            text,
            "waiting since 0.0 s after power-on\n\
             \x20 zebra      passed \n\
             \x20 bgp route  waiting  no route to 10.2.0.0/16  (must pass by 1 min 30 s after power-on)\n"
        );
    }

    #[test]
    fn a_log_line_cannot_take_over_the_terminal() {
        let line = LogLine { service: "x".to_owned(), line: "\u{1b}]0;title\u{7}\rpassword:".to_owned() };
        let text = text(&Reply::Logs(vec![line]));
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
    }

    #[test]
    fn the_config_is_shown_as_the_operator_writes_it() {
        let config = contract::node::NodeConfig::parse(b"name = \"r1\"\n[network.eth0]\ndhcp = true\n").unwrap();
        let config = serde_json::to_value(config).unwrap();
        let shown =
            text(&Reply::Config(ConfigInForce { origin: "kept on state".to_owned(), notes: Vec::new(), config }));
        assert!(shown.starts_with("# kept on state\n") && shown.contains("name = \"r1\""), "{shown}");
        assert_eq!(contract::node::NodeConfig::parse(shown.as_bytes()).unwrap().name.as_str(), "r1");
    }

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!([5.25, 125.0, 7_500.0, 200_000.0].map(duration), ["5.2 s", "2 min 5 s", "2 h 5 min", "2 d 7 h"]);
    }
}
