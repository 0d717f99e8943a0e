//! Facts as text for Prometheus: the exposition format, version 0.0.4 ("Text-based format" in Prometheus's
//! documentation). Each family appears once, with its help and type; names end in their unit.

use contract::board::{Board, THROTTLED_BITS, eeprom};
use contract::control::{Facts, ServiceState, ServiceStatus};
use contract::health::{HealthReport, Verdict};
use contract::layout::Slot;
use contract::storage::{DataClaim, FolderUse, Storage};
use contract::update::{Phase, PhaseKind, UpdateStatus};
use std::fmt::Write as _;

/// Content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The facts that PID 1 gives.
#[must_use]
pub fn of(facts: &Facts) -> String {
    let mut page = Page::default();
    let status = &facts.status;
    let slot = status.slot.to_string();
    let info = [
        ("name", status.name.as_str()),
        ("cluster", status.cluster.as_deref().unwrap_or("")),
        ("role", &status.role),
        ("version", &status.version),
        ("slot", &slot),
        ("disk", &status.disk),
    ];
    page.family("microdc_node_info", "gauge", "The node's identity; always 1.").sample(&info, 1.0);
    page.one("microdc_node_uptime_seconds", "gauge", "Time since power-on.", status.uptime_s);
    page.one("microdc_node_trial", "gauge", "Whether this is the first boot of a new slot.", flag(status.trial));
    page.one(
        "microdc_node_state_persistent",
        "gauge",
        "Whether state is on a disk, not in memory only.",
        flag(status.state_persistent),
    );
    page.one("microdc_node_problems", "gauge", "Number of current problems.", status.problems.len() as f64);
    page.one("microdc_node_services_not_ready", "gauge", "Wanted services that are not ready.", {
        status.not_ready.len() as f64
    });
    page.one(
        "microdc_init_resident_memory_bytes",
        "gauge",
        "Resident memory of PID 1.",
        status.pid1_resident_bytes as f64,
    );
    board(&mut page, &status.board);
    health(&mut page, &status.health);
    update(&mut page, &status.update);
    storage(&mut page, &facts.storage);
    folders(&mut page, &facts.folders);
    services(&mut page, &facts.services);
    page.text
}

/// What the board does not say has no sample.
fn board(page: &mut Page, board: &Board) {
    if let Some(clock) = board.clock_hz {
        page.one("microdc_board_clock_hertz", "gauge", "Current clock frequency of the processor.", clock as f64);
    }
    if let Some(milli) = board.temperature_millicelsius {
        let degrees = milli as f64 / 1e3;
        page.one("microdc_board_temperature_celsius", "gauge", "Current temperature of the processor.", degrees);
    }
    if let Some(throttled) = board.throttled {
        let mut now =
            page.family("microdc_board_throttled", "gauge", "Whether this currently slows the processor down.");
        for (bit, cause, _) in THROTTLED_BITS {
            now.sample(&[("cause", cause)], flag(throttled.now(bit)));
        }
        let help = "Whether this has slowed the processor down since power-on.";
        let mut before = page.family("microdc_board_throttled_since_power_on", "gauge", help);
        for (bit, cause, _) in THROTTLED_BITS {
            before.sample(&[("cause", cause)], flag(throttled.before(bit)));
        }
    }
    if let Some(built) = board.eeprom_built {
        let help = "Build time of the EEPROM release.";
        page.one("microdc_board_eeprom_build_timestamp_seconds", "gauge", help, f64::from(built));
        let help = "Whether the EEPROM is older than microdc requires.";
        page.one("microdc_board_eeprom_too_old", "gauge", help, flag(eeprom::shortcoming(built).is_some()));
    }
}

fn health(page: &mut Page, report: &HealthReport) {
    let mut verdicts =
        page.family("microdc_health_verdict", "gauge", "1 for the verdict over all checks of the role.");
    for &verdict in Verdict::ALL {
        verdicts.sample(&[("verdict", verdict.word())], flag(report.verdict == verdict));
    }
    let mut checks = page.family("microdc_health_check_passed", "gauge", "Whether the check passes.");
    for check in &report.checks {
        checks.sample(&[("check", &check.name)], flag(check.verdict == Verdict::Passed));
    }
}

fn update(page: &mut Page, update: &UpdateStatus) {
    let mut phases = page.family("microdc_update_phase", "gauge", "1 for the current state of updates.");
    for &phase in PhaseKind::ALL {
        phases.sample(&[("phase", phase.word())], flag(phase == update.phase.kind()));
    }
    if let Phase::Installing { done, blocks, .. } = update.phase {
        page.one("microdc_update_blocks_done", "gauge", "Blocks of the update that are in place.", done as f64);
        page.one("microdc_update_blocks", "gauge", "Blocks of the update.", blocks as f64);
    }
    let index = update.rollback_index as f64;
    page.one("microdc_update_rollback_index", "gauge", "The lowest rollback index that is accepted.", index);
    page.one("microdc_update_failed_total", "counter", "Trials that failed on this node.", update.failures as f64);
    let mut refused = page.family("microdc_update_refused", "gauge", "Releases that failed here; always 1.");
    for failed in &update.failed {
        let manifest = failed.release.manifest.to_string();
        let labels =
            [("version", failed.release.version.as_str()), ("manifest", &manifest), ("reason", &failed.reason)];
        refused.sample(&labels, 1.0);
    }
    let mut slots = page.family("microdc_update_default_slot", "gauge", "1 for the slot that the EEPROM starts.");
    for slot in Slot::BOTH {
        slots.sample(&[("slot", &slot.to_string())], flag(update.default_slot == Some(slot)));
    }
    let mut standby = page.family("microdc_update_standby_info", "gauge", "Content of the other slot; always 1.");
    if let Some(release) = &update.standby {
        standby.sample(&[("version", &release.version), ("manifest", &release.manifest.to_string())], 1.0);
    }
}

fn storage(page: &mut Page, storage: &Storage) {
    let mut sizes = page.family("microdc_disk_size_bytes", "gauge", "Size of a disk.");
    for disk in &storage.disks {
        let serial = disk.serial.as_ref().map(ToString::to_string).unwrap_or_default();
        sizes.sample(&[("disk", &disk.name), ("serial", &serial)], disk.size as f64);
    }
    let mut claims = page.family("microdc_data_claim", "gauge", "1 for the outcome of the claim of data.");
    for &claim in DataClaim::ALL {
        claims.sample(&[("claim", claim.word())], flag(claim == storage.data.claim()));
    }
}

fn folders(page: &mut Page, folders: &[FolderUse]) {
    type Value = fn(&FolderUse) -> u64;
    let families: [(&'static str, &str, Value); 4] = [
        ("microdc_folder_used_bytes", "What a folder with a limit holds.", |folder| folder.used_bytes),
        ("microdc_folder_limit_bytes", "The most that the folder may hold.", |folder| folder.limit_bytes),
        ("microdc_folder_files", "Files and folders in a folder with a limit.", |folder| folder.files),
        ("microdc_folder_files_limit", "How many files and folders it may have.", |folder| folder.files_limit),
    ];
    for (name, help, value) in families {
        let mut family = page.family(name, "gauge", help);
        for folder in folders {
            family.sample(&[("path", &folder.path), ("services", &folder.services.join(","))], value(folder) as f64);
        }
    }
}

fn services(page: &mut Page, services: &[ServiceStatus]) {
    let mut states = page.family("microdc_service_state", "gauge", "1 for the state that the service is in.");
    for service in services {
        for &state in ServiceState::ALL {
            states.sample(&[("service", &service.name), ("state", state.word())], flag(service.state == state));
        }
    }
    let mut each = |name, kind, help, value: &dyn Fn(&ServiceStatus) -> Option<f64>| {
        let mut family = page.family(name, kind, help);
        for service in services {
            if let Some(value) = value(service) {
                family.sample(&[("service", &service.name)], value);
            }
        }
    };
    each("microdc_service_restarts_total", "counter", "Number of restarts.", &|service| {
        Some(f64::from(service.restarts))
    });
    each("microdc_service_up_seconds", "gauge", "Time since it became ready.", &|service| service.up_s);
    each("microdc_service_memory_bytes", "gauge", "Memory of its processes, page cache included.", &|service| {
        service.memory_bytes.map(|bytes| bytes as f64)
    });
}

/// 1 for yes.
pub(super) fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// The text as it grows.
#[derive(Default)]
pub(super) struct Page {
    pub text: String,
}

impl Page {
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { name, text: &mut self.text }
    }

    /// A family with one sample and no labels.
    pub(super) fn one(&mut self, name: &'static str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }
}

/// One family of samples.
pub(super) struct Family<'p> {
    name: &'static str,
    text: &'p mut String,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// A label's value: backslash, quote and line feed are escaped, and what would act on a terminal is replaced.
fn escaped(text: &str) -> String {
    contract::text::lines(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::grammar::samples;
    use contract::control::Status;
    use contract::health::CheckReport;
    use proptest::prelude::*;

    fn facts(name: &str, cluster: &str) -> Facts {
        let service = |name: &str, state, up_s, memory_bytes| ServiceStatus {
            name: name.to_owned(),
            state,
            pid: None,
            restarts: 3,
            up_s,
            memory_bytes,
            note: None,
        };
        Facts {
            status: Status {
                name: name.to_owned(),
                cluster: Some(cluster.to_owned()),
                role: "router".to_owned(),
                version: "7".to_owned(),
                profile: "router".to_owned(),
                slot: Slot::B,
                trial: true,
                disk: "nvme0n1".to_owned(),
                state_persistent: true,
                config: "state".to_owned(),
                uptime_s: 12.5,
                addresses: String::new(),
                not_ready: vec!["bgpd".to_owned()],
                ready: 1,
                pid1_resident_bytes: 2_400_000,
                board: Board::default(),
                update: contract::update::UpdateStatus::default(),
                health: HealthReport {
                    verdict: Verdict::Failed,
                    since_s: 1.0,
                    checks: vec![CheckReport {
                        name: "bgpd".to_owned(),
                        verdict: Verdict::Failed,
                        reason: None,
                        deadline_s: 1.0,
                    }],
                    cause: None,
                },
                problems: Vec::new(),
                warnings: Vec::new(),
            },
            storage: Storage {
                data: contract::storage::Data::Refused { reason: "x".to_owned() },
                ..Storage::default()
            },
            folders: vec![FolderUse {
                path: "/var/lib/frr".to_owned(),
                services: vec!["bgpd".to_owned(), "zebra".to_owned()],
                used_bytes: 4096,
                limit_bytes: 1 << 21,
                files: 3,
                files_limit: 1024,
            }],
            services: vec![
                service("bgpd", ServiceState::BackOff, None, None),
                service("zebra", ServiceState::Ready, Some(9.5), Some(4096)),
            ],
        }
    }

    #[test]
    fn the_facts_are_samples_that_the_grammar_knows() {
        let text = of(&facts("r1", "rack1"));
        let samples = samples(&text).unwrap();
        let value = |wanted: &str| samples.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        for (name, wanted) in [
            (
                "microdc_node_info{name=\"r1\",cluster=\"rack1\",role=\"router\",version=\"7\",slot=\"B\",disk=\"nvme0n1\"}",
                1.0,
            ),
            ("microdc_node_uptime_seconds", 12.5),
            ("microdc_node_trial", 1.0),
            ("microdc_node_services_not_ready", 1.0),
            ("microdc_health_verdict{verdict=\"failed\"}", 1.0),
            ("microdc_health_verdict{verdict=\"passed\"}", 0.0),
            ("microdc_health_check_passed{check=\"bgpd\"}", 0.0),
            ("microdc_update_phase{phase=\"committed\"}", 1.0),
            ("microdc_update_failed_total", 0.0),
            ("microdc_update_default_slot{slot=\"A\"}", 0.0),
            ("microdc_data_claim{claim=\"refused\"}", 1.0),
            ("microdc_data_claim{claim=\"ready\"}", 0.0),
            ("microdc_folder_used_bytes{path=\"/var/lib/frr\",services=\"bgpd,zebra\"}", 4096.0),
            ("microdc_folder_limit_bytes{path=\"/var/lib/frr\",services=\"bgpd,zebra\"}", 2_097_152.0),
            ("microdc_folder_files{path=\"/var/lib/frr\",services=\"bgpd,zebra\"}", 3.0),
            ("microdc_folder_files_limit{path=\"/var/lib/frr\",services=\"bgpd,zebra\"}", 1024.0),
            ("microdc_init_resident_memory_bytes", 2_400_000.0),
            ("microdc_service_state{service=\"bgpd\",state=\"back-off\"}", 1.0),
            ("microdc_service_state{service=\"bgpd\",state=\"ready\"}", 0.0),
            ("microdc_service_restarts_total{service=\"zebra\"}", 3.0),
            ("microdc_service_memory_bytes{service=\"zebra\"}", 4096.0),
        ] {
            assert_eq!(value(name), Some(wanted), "{name} in {text}");
        }
        assert_eq!(value("microdc_service_up_seconds{service=\"bgpd\"}"), None);
    }

    #[test]
    fn what_the_board_does_not_say_has_no_sample() {
        let mut facts = facts("r1", "rack1");
        assert!(!of(&facts).contains("microdc_board"));
        facts.status.board = Board {
            clock_hz: Some(1_500_000_000),
            temperature_millicelsius: Some(41_234),
            throttled: Some(contract::board::Throttled(0x40001)),
            eeprom_built: Some(eeprom::WANTED - 1),
        };
        let text = of(&facts);
        samples(&text).unwrap();
        for line in [
            "microdc_board_clock_hertz 1500000000",
            "microdc_board_temperature_celsius 41.234",
            "microdc_board_throttled{cause=\"under-voltage\"} 1",
            "microdc_board_throttled{cause=\"throttled\"} 0",
            "microdc_board_throttled_since_power_on{cause=\"throttled\"} 1",
            "microdc_board_eeprom_too_old 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn a_label_escapes_what_the_format_says_and_carries_nothing_that_acts_on_a_terminal() {
        let text = of(&facts("a\\b\"c\"\nd", "x\u{1b}[2J\u{202e}y\u{2028}z\u{9b}"));
        assert!(text.contains("name=\"a\\\\b\\\"c\\\"\\nd\""), "{text}");
        assert!(text.contains("cluster=\"x\u{fffd}[2J\u{fffd}y\u{fffd}z\u{fffd}\""), "{text}");
        assert!(text.chars().all(|c| contract::text::is_plain(c) || c == '\n'));
    }

    proptest! {
        #[test]
        fn whatever_the_names_are_the_text_keeps_to_the_grammar(name in ".{0,30}", cluster in "[\\\\\"\n{}a ]{0,12}") {
            let text = of(&facts(&name, &cluster));
            prop_assert!(samples(&text).is_ok(), "{:?} in {text}", samples(&text));
        }
    }
}
