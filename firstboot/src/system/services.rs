//! Stage: the services of the role, and the network as one more of them.

use super::node::Node;
use crate::config::intake::Origin;
use crate::config::role::{Unset, environments};
use crate::config::store::{Access, write_atomic};
use crate::config::templates::{Missing, needs};
use crate::health::Health;
use crate::net::NetworkJob;
use crate::service::{Ground, LOOKS, Places, Supervisor, wanted};
use contract::names;
use contract::node::Time;
use contract::role::{Capability, Identity, Limits, NETWORK, Ready, Restart, Sandbox, Service, ServiceKind, TIME};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who has no rights at all.
const NOBODY: u32 = 65_534;

/// Makes the supervisor and the health gate. Services that need a file which could not be rendered are given up.
/// `absent` names the interfaces that were not there before.
pub fn prepare(
    node: &Node,
    cgroups: Option<PathBuf>,
    missing: &[Missing],
    absent: BTreeSet<String>,
) -> (Supervisor, Health) {
    let now = super::events::now();
    let mut trouble = Vec::new();
    let mut folder = |path: &Path, mode: u32| {
        let made = std::fs::create_dir_all(path)
            .and_then(|()| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)));
        made.map_err(|error| trouble.push(format!("cannot make {}: {error}", path.display()))).is_ok()
    };
    // Services reach their own socket, and see no others' names.
    folder(Path::new(names::RUN), 0o755);
    folder(Path::new(names::NOTIFY), 0o711);
    let mut on_state = |name: &str, mode| {
        let path = Path::new(names::STATE_MOUNT).join(name);
        folder(&path, mode).then_some(path)
    };
    let logs = on_state(names::STATE_LOGS, 0o750);
    let once = on_state(names::STATE_ONCE, 0o700);
    let timers = on_state(names::STATE_TIMERS, 0o700);
    let config = serde_json::to_value(&node.intake.config).unwrap_or_default();
    let mut services = node.role.services.clone();
    let unset = environments(&mut services, &node.intake.config);
    services.insert(NETWORK.to_owned(), network_service(&services));
    if needs_time(&services, &config) {
        services.insert(TIME.to_owned(), time_service());
    }
    if let Err(error) = write_job(node, absent) {
        trouble.push(format!("cannot write {}: {error}", names::NETWORK_JOB));
    }
    for text in trouble {
        super::events::say(format_args!("warning: {text}"));
    }
    let looks = cgroups.as_ref().and_then(|folder| Some(folder.parent()?.join(LOOKS)));
    let mut health = Health::new(&node.role.health, &node.role.services, &config, &node.storage, looks.clone());
    if node.intake.origin == Origin::Default {
        health.blame("no node.toml is in force");
    }
    let ground = Some(Ground::of(&node.role));
    let places = Places { cgroups, looks, logs, once, timers, notify: PathBuf::from(names::NOTIFY), ground };
    let mut supervisor = Supervisor::new(services, &config, places);
    for Missing { to, reason } in missing {
        let users = node.role.services.iter().filter(|(_, service)| needs(service, to));
        for (name, _) in users {
            supervisor.give_up(name, &format!("no {to}: {reason}"), now);
        }
    }
    for Unset { service, reason } in unset {
        supervisor.give_up(&service, &reason, now);
    }
    if let Err(reason) = super::directories::data_folder(&node.storage.data) {
        for (name, _) in node.role.services.iter().filter(|(_, service)| service.needs_data) {
            supervisor.give_up(name, &reason, now);
        }
    }
    (supervisor, health)
}

fn write_job(node: &Node, absent: BTreeSet<String>) -> std::io::Result<()> {
    let config = &node.intake.config;
    let subnets = config.router.iter().flat_map(|router| router.subnets.clone());
    let job = NetworkJob {
        host_name: config.name.as_str().to_owned(),
        network: config.network.clone(),
        absent,
        time_servers: config.time.servers == Time::default().servers,
        subnets: subnets.map(|(name, subnet)| (name.into(), subnet)).collect(),
    };
    let job = contract::secret::revealed(|| serde_json::to_vec(&job))?;
    write_atomic(Path::new(names::NETWORK_JOB), &job, Access::root(0o600))
}

/// The network as a service: a child of this same program, with the rights to set up the network and no others.
pub(super) fn network_service(services: &BTreeMap<String, Service>) -> Service {
    let before =
        |(name, service): (&String, &Service)| (service.kind == ServiceKind::BeforeNetwork).then(|| name.clone());
    Service {
        run: vec![names::FIRSTBOOT.to_owned(), "network".to_owned()],
        kind: ServiceKind::Daemon,
        identity: Identity::default(),
        capabilities: vec![Capability::NetAdmin, Capability::NetRaw, Capability::NetBindService],
        after: services.iter().filter_map(before).collect(),
        ready: Some(Ready::Notify),
        check: None,
        causes: Vec::new(),
        restart: Restart::default(),
        kill: contract::role::Kill::All,
        stop_timeout_ms: 3_000,
        start_timeout_ms: 60_000,
        once: false,
        unless: None,
        timer: None,
        limits: Limits { memory: Some(64 << 20), pids: Some(16), ..Limits::default() },
        environment: BTreeMap::new(),
        environment_files: Vec::new(),
        working_folder: None,
        new_privileges: false,
        mounts: Vec::new(),
        sandbox: Sandbox {
            network_settings: true,
            folders: vec![names::NETWORK_FOLDER.to_owned()],
            ..Sandbox::default()
        },
        needs_data: false,
        when: None,
    }
}

/// Whether a service that this node wants comes after the true time. Where none does, no one waits for it.
fn needs_time(services: &BTreeMap<String, Service>, config: &serde_json::Value) -> bool {
    let asked = |service: &&Service| service.when.as_ref().is_none_or(|path| wanted(config, path));
    services.values().filter(asked).any(|service| service.after.iter().any(|name| name == TIME))
}

/// The true time as a service: a child without rights, which is ready when the clock is. It waits as long as it takes.
fn time_service() -> Service {
    Service {
        run: vec![names::FIRSTBOOT.to_owned(), TIME.to_owned()],
        capabilities: Vec::new(),
        identity: Identity { uid: NOBODY, gid: NOBODY, ..Identity::default() },
        sandbox: Sandbox::default(),
        start_timeout_ms: 365 * 24 * 3600 * 1000,
        limits: Limits { memory: Some(16 << 20), pids: Some(4), ..Limits::default() },
        ..network_service(&BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_true_time_is_waited_for_only_where_a_wanted_service_needs_it() {
        let mut service = time_service();
        service.after = vec![TIME.to_owned()];
        service.when = Some("hosts.timekeeper".to_owned());
        let services = BTreeMap::from([("timely".to_owned(), service)]);
        assert!(!needs_time(&services, &serde_json::json!({"name": "r1"})));
        assert!(needs_time(&services, &serde_json::json!({"hosts": {"timekeeper": "10.0.0.9"}})));
        assert!(!needs_time(&BTreeMap::new(), &serde_json::json!({})));
    }

    #[test]
    fn the_network_waits_for_what_must_come_before_it() {
        let mut service = network_service(&BTreeMap::new());
        service.kind = ServiceKind::BeforeNetwork;
        let services = BTreeMap::from([("firewall".to_owned(), service)]);
        assert_eq!(network_service(&services).after, ["firewall"]);
    }
}
