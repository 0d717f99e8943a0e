//! The checks of a role as this node has them: omitted if the node config does not enable them, and repeated for each
//! entry of a list in it.

use crate::service::wanted;
use contract::names::STATE_MOUNT;
use contract::role::{HealthCheck, KubernetesProbe, Probe, Service, Target};
use contract::storage::{Data, State, Storage};
use serde_json::Value;
use std::collections::BTreeMap;

/// Time since power-on for services of a role without checks, in milliseconds.
const USUAL_DEADLINE_MS: u64 = 120_000;

/// Time between two writes that show whether a disk answers, and how long one may take: a busy eMMC takes seconds, and the
/// kernel gives an NVMe command 30 s before it resets the controller.
const DISK_EVERY_MS: u64 = 60_000;
const DISK_TIMEOUT_MS: u64 = 45_000;

/// Without any check in the role, every service must be ready that is not run by the clock. `config` is the node config.
#[must_use]
pub fn checks(role: &[HealthCheck], services: &BTreeMap<String, Service>, config: &Value) -> Vec<HealthCheck> {
    if role.is_empty() {
        // What is run by the clock is ready in its own time.
        return services.iter().filter(|(_, service)| service.timer.is_none()).map(|(name, _)| ready(name)).collect();
    }
    let asked = role.iter().filter(|check| check.when.as_ref().is_none_or(|path| wanted(config, path)));
    asked.flat_map(|check| each(check, config)).collect()
}

/// Whether the disks of `state` and `data` still answer, on every node that has them: a disk can die under a node that
/// needs nothing of it for hours.
pub fn disks(storage: &Storage) -> Vec<HealthCheck> {
    let state = matches!(storage.state, State::Persistent { .. }).then(|| ("state", STATE_MOUNT.to_owned()));
    let data = match &storage.data {
        Data::Ready { mount: Some(mount), .. } => Some(("data", mount.clone())),
        _ => None,
    };
    let check = |(name, path): (&str, String)| HealthCheck {
        name: format!("disk of {name}"),
        probe: Probe::Storage { path },
        deadline_ms: USUAL_DEADLINE_MS,
        every_ms: DISK_EVERY_MS,
        timeout_ms: DISK_TIMEOUT_MS,
        when: None,
    };
    state.into_iter().chain(data).map(check).collect()
}

/// Time between two looks at the boot partition, which read all of it.
const BOOT_PARTITION_EVERY_MS: u64 = 6 * 60 * 60 * 1000;

/// Whether what boots is what was signed, on every node.
pub fn boot_partition() -> HealthCheck {
    HealthCheck {
        name: "boot partition".to_owned(),
        probe: Probe::BootPartition,
        every_ms: BOOT_PARTITION_EVERY_MS,
        timeout_ms: DISK_TIMEOUT_MS,
        ..ready("")
    }
}

fn ready(name: &str) -> HealthCheck {
    HealthCheck {
        name: name.to_owned(),
        probe: Probe::Service { name: name.to_owned(), stable_ms: 0 },
        deadline_ms: USUAL_DEADLINE_MS,
        every_ms: 10_000,
        timeout_ms: 5_000,
        when: None,
    }
}

/// One check for each value at the place that its target names.
fn each(check: &HealthCheck, config: &Value) -> Vec<HealthCheck> {
    let (path, probe): (&str, fn(Target) -> Probe) = match &check.probe {
        Probe::Tcp(Target::Config(path)) => (path, Probe::Tcp),
        Probe::Route(Target::Config(path)) => (path, Probe::Route),
        Probe::Neighbour(Target::Config(path)) => (path, Probe::Neighbour),
        Probe::Kubernetes(asked) => {
            let node = config.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let probe = Probe::Kubernetes(KubernetesProbe { node, ..asked.clone() });
            return vec![HealthCheck { probe, ..check.clone() }];
        }
        _ => return vec![check.clone()],
    };
    let mut found = Vec::new();
    values(config, path, &mut found);
    let one = |value: String| HealthCheck {
        name: match check.name.strip_suffix(path) {
            Some(kind) => format!("{kind}{value}"),
            None => format!("{} {value}", check.name),
        },
        probe: probe(Target::Is(value)),
        ..check.clone()
    };
    found.into_iter().map(one).collect()
}

fn values(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|entry| values(entry, path, found)),
        Value::String(text) if path.is_empty() => found.push(text.clone()),
        Value::Number(number) if path.is_empty() => found.push(number.to_string()),
        Value::Object(table) if !path.is_empty() => {
            let (key, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(entry) = table.get(key) {
                values(entry, rest, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn route(name: &str, when: Option<&str>) -> HealthCheck {
        let probe = Probe::Route(Target::Config("router.neighbor.address".to_owned()));
        HealthCheck { name: name.to_owned(), probe, when: when.map(str::to_owned), ..ready("") }
    }

    #[test]
    fn disks_are_watched_where_there_is_a_file_system_on_them() {
        let persistent =
            || State::Persistent { device: "/dev/mmcblk0p6".to_owned(), created: false, notes: Vec::new() };
        let data = |mount: Option<&str>| Data::Ready {
            disk: "nvme0n1".to_owned(),
            serial: contract::node::Serial::try_from("S1".to_owned()).unwrap(),
            device: "/dev/nvme0n1p1".to_owned(),
            kind: contract::node::DataKind::Xfs,
            size: 1 << 30,
            mount: mount.map(str::to_owned),
            created: false,
            notes: Vec::new(),
        };
        let names = |state: State, data: Data| {
            let checks = disks(&Storage { disks: Vec::new(), state, data });
            checks.into_iter().map(|check| (check.name, check.probe)).collect::<Vec<_>>()
        };
        let storage = |path: &str| Probe::Storage { path: path.to_owned() };
        let state = ("disk of state".to_owned(), storage(STATE_MOUNT));
        assert_eq!(
            names(persistent(), data(Some("/data"))),
            [state.clone(), ("disk of data".to_owned(), storage("/data"))]
        );
        assert_eq!(names(persistent(), data(None)), [state], "a raw partition belongs to its users");
        assert_eq!(names(State::default(), Data::NotWanted), []);
    }

    #[test]
    fn a_check_of_a_list_becomes_one_for_each_entry() {
        let config = json!({"router": {"neighbor": [{"address": "10.0.0.2"}, {"address": "fd00::2"}]}});
        let role =
            [route("route router.neighbor.address", None), route("way", None), route("x", Some("router.dhcp"))];
        let checks = checks(&role, &BTreeMap::new(), &config);
        let names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["route 10.0.0.2", "route fd00::2", "way 10.0.0.2", "way fd00::2"]);
        assert_eq!(checks[1].probe, Probe::Route(Target::Is("fd00::2".to_owned())));
        assert_eq!(super::checks(&role, &BTreeMap::new(), &json!({"router": 1})), []);
    }

    #[test]
    fn the_api_is_asked_for_the_node_of_the_node_config() {
        let path = || "/etc/x".to_owned();
        let asked = KubernetesProbe {
            asks: contract::role::KubernetesQuestion::Node,
            api: "https://localhost:6443".to_owned(),
            ca: path(),
            certificate: path(),
            key: path(),
            node: String::new(),
        };
        let check = HealthCheck { probe: Probe::Kubernetes(asked.clone()), ..route("node", None) };
        let found = checks(&[check], &BTreeMap::new(), &json!({ "name": "s1" }));
        let wanted = KubernetesProbe { node: "s1".to_owned(), ..asked };
        assert_eq!(found[0].probe, Probe::Kubernetes(wanted));
    }
}
