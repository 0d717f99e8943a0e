//! Turns a profile into the role spec that the node reads: names become numbers, references are followed.

use super::diagnostic::{Diagnostic, Place, did_you_mean};
use super::merge::{Located, Profile};
use super::schema::{Ready as ReadyText, Service as ServiceText};
use contract::role::{
    Directory, FORMAT, HealthCheck, Identity, Limits, NETWORK, Ready, Restart, RoleSpec, Service, ServiceKind,
    Template,
};
use std::collections::{BTreeMap, BTreeSet};

/// Accounts of a profile, by number.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    users: BTreeMap<String, Identity>,
    groups: BTreeMap<String, u32>,
}

struct Checker<'p> {
    profile: &'p Profile,
    accounts: Accounts,
    mistakes: Vec<Diagnostic>,
}

/// The role spec of a profile. `modules` are absolute paths in load order.
///
/// # Errors
/// Every mistake found: unknown users, services or groups, circles of `after`, paths that are not absolute.
pub fn role_spec(profile: &Profile, version: &str, modules: Vec<String>) -> Result<RoleSpec, Vec<Diagnostic>> {
    let mut checker = Checker { profile, accounts: Accounts::default(), mistakes: Vec::new() };
    checker.accounts();
    let directories = checker.directories();
    let templates = checker.templates();
    let sysctls = checker.sysctls();
    let services = checker.services();
    let health = checker.health();
    if !checker.mistakes.is_empty() {
        return Err(checker.mistakes);
    }
    Ok(RoleSpec {
        format: FORMAT,
        role: profile.role,
        summary: profile.summary.clone(),
        version: version.to_owned(),
        modules,
        sysctls,
        directories,
        templates,
        services,
        health,
    })
}

impl Checker<'_> {
    fn wrong(&mut self, place: &Place, message: String, help: Option<String>) {
        self.mistakes.push(Diagnostic::new(&self.profile.sources, message, place, "here", None, help));
    }

    fn accounts(&mut self) {
        let profile = self.profile;
        let mut numbers: BTreeMap<(bool, u32), &str> = BTreeMap::new();
        for (name, group) in &profile.groups {
            self.accounts.groups.insert(name.clone(), group.value.id);
            if let Some(other) = numbers.insert((false, group.value.id), name) {
                self.wrong(&group.place, format!("the groups {other} and {name} have the same number"), None);
            }
        }
        for (name, user) in &profile.users {
            if user.value.group.is_none() {
                self.accounts.groups.entry(name.clone()).or_insert(user.value.id);
            }
            if let Some(other) = numbers.insert((true, user.value.id), name) {
                self.wrong(&user.place, format!("the users {other} and {name} have the same number"), None);
            }
        }
        for (name, user) in &profile.users {
            let gid = self.group(user.value.group.as_deref().unwrap_or(name), &user.place);
            let groups = user.value.groups.iter().filter_map(|group| self.group(group, &user.place)).collect();
            let identity = Identity { uid: user.value.id, gid: gid.unwrap_or(0), groups };
            self.accounts.users.insert(name.clone(), identity);
        }
    }

    fn group(&mut self, name: &str, place: &Place) -> Option<u32> {
        let found = self.accounts.groups.get(name).copied();
        if found.is_none() {
            let help = did_you_mean(name, self.accounts.groups.keys().map(String::as_str));
            self.wrong(place, format!("there is no group {name:?}"), help.or(Some(format!("add [group.{name}]"))));
        }
        found
    }

    fn user(&mut self, name: &str, place: &Place) -> Identity {
        if let Some(found) = self.accounts.users.get(name) {
            return found.clone();
        }
        let help = did_you_mean(name, self.accounts.users.keys().map(String::as_str));
        self.wrong(place, format!("there is no user {name:?}"), help.or(Some(format!("add [user.{name}]"))));
        Identity::default()
    }

    /// `user` or `user:group`.
    fn owner(&mut self, text: &str, place: &Place) -> Identity {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let identity = self.user(user, place);
        let gid = if group.is_empty() { Some(identity.gid) } else { self.group(group, place) };
        Identity { uid: identity.uid, gid: gid.unwrap_or(0), groups: Vec::new() }
    }

    fn absolute(&mut self, path: &str, place: &Place) {
        let fine = path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains('\0');
        if !fine {
            self.wrong(place, format!("{path:?} must be an absolute path without `..`"), None);
        }
    }

    fn directories(&mut self) -> Vec<Directory> {
        let profile = self.profile;
        let one = |(path, entry): (&String, &Located<super::schema::Directory>)| {
            self.absolute(path, &entry.place);
            let written = &entry.value;
            let owner = self.owner(&written.owner, &entry.place);
            Directory { path: path.clone(), owner, mode: written.mode.0, persistent: written.persistent }
        };
        profile.directories.iter().map(one).collect()
    }

    fn templates(&mut self) -> Vec<Template> {
        let profile = self.profile;
        let one = |entry: &Located<super::schema::Template>| {
            let written = &entry.value;
            if !written.to.starts_with("/run/") {
                let message = format!("a template is rendered into /run, not to {:?}", written.to);
                self.wrong(&entry.place, message, None);
            }
            self.absolute(&written.to, &entry.place);
            let owner = self.owner(&written.owner, &entry.place);
            Template { from: written.from.clone(), to: written.to.clone(), owner, mode: written.mode.0 }
        };
        profile.templates.iter().map(one).collect()
    }

    fn sysctls(&mut self) -> BTreeMap<String, String> {
        let profile = self.profile;
        let mut sysctls = BTreeMap::new();
        for (key, value) in &profile.sysctls {
            // Both ways of writing are common: net.ipv4.ip_forward and net/ipv4/ip_forward.
            let path = if key.contains('/') { key.clone() } else { key.replace('.', "/") };
            if path.starts_with('/') || path.split('/').any(|part| part.is_empty() || part == "..") {
                self.wrong(&value.place, format!("{key:?} is no kernel setting"), None);
            }
            sysctls.insert(path, value.value.clone());
        }
        sysctls
    }

    fn services(&mut self) -> BTreeMap<String, Service> {
        let profile = self.profile;
        let mut services = BTreeMap::new();
        for (name, entry) in &profile.services {
            if name == NETWORK {
                self.wrong(&entry.place, format!("{NETWORK:?} is firstboot's own and no name for a service"), None);
            }
            let service = self.service(entry);
            services.insert(name.clone(), service);
        }
        self.circles(&services);
        services
    }

    fn service(&mut self, entry: &Located<ServiceText>) -> Service {
        let place = &entry.place;
        let written = &entry.value;
        match written.run.first() {
            Some(program) => self.absolute(program, place),
            None => self.wrong(place, "`run` names no program".to_owned(), None),
        }
        for other in &written.after {
            if other != NETWORK && !self.profile.services.contains_key(other) {
                let help = did_you_mean(other, self.profile.services.keys().map(String::as_str));
                self.wrong(place, format!("`after` names the unknown service {other:?}"), help);
            }
        }
        if written.kind != ServiceKind::Daemon && written.ready.is_some() {
            let message = "a one-shot service is ready when it has ended; `ready` is for daemons".to_owned();
            self.wrong(place, message, None);
        }
        let default = Restart::default();
        Service {
            run: written.run.clone(),
            kind: written.kind,
            identity: self.user(&written.user, place),
            capabilities: written.capabilities.clone(),
            after: written.after.clone(),
            ready: written.ready.as_ref().and_then(|ready| match ready {
                ReadyText::Tcp(address) => Some(Ready::Tcp(address.clone())),
                ReadyText::Unix(path) => Some(Ready::Unix(path.clone())),
                ReadyText::Path(path) => Some(Ready::Path(path.clone())),
                ReadyText::Notify(wanted) => wanted.then_some(Ready::Notify),
                ReadyText::Alive(span) => Some(Ready::AliveMs(span.0)),
            }),
            restart: Restart {
                first_delay_ms: written.restart.first_delay.map_or(default.first_delay_ms, |span| span.0),
                longest_delay_ms: written.restart.longest_delay.map_or(default.longest_delay_ms, |span| span.0),
                quiet_ms: written.restart.quiet.map_or(default.quiet_ms, |span| span.0),
            },
            stop_timeout_ms: written.stop_timeout.0,
            start_timeout_ms: written.start_timeout.0,
            limits: Limits {
                memory: written.limits.memory.map(|bytes| bytes.0),
                pids: written.limits.pids,
                cpu_weight: written.limits.cpu_weight,
            },
            environment: written.environment.clone(),
            when: written.when.clone(),
        }
    }

    /// Services that wait for each other would never start.
    fn circles(&mut self, services: &BTreeMap<String, Service>) {
        let mut settled: BTreeSet<&str> = BTreeSet::new();
        // What holds the network back must not wait for it.
        let network: Vec<&str> =
            services.iter().filter(|(_, s)| s.kind == ServiceKind::BeforeNetwork).map(|(name, _)| &**name).collect();
        loop {
            let before = settled.len();
            if network.iter().all(|name| settled.contains(name)) {
                settled.insert(NETWORK);
            }
            for (name, service) in services {
                let known = |other: &String| other == NETWORK || services.contains_key(other);
                if service.after.iter().all(|other| settled.contains(other.as_str()) || !known(other)) {
                    settled.insert(name);
                }
            }
            if settled.len() == before {
                break;
            }
        }
        let stuck: Vec<&str> = services.keys().map(|name| &**name).filter(|name| !settled.contains(name)).collect();
        if let Some(entry) = stuck.first().and_then(|name| self.profile.services.get(*name)) {
            let message = format!("these services wait for each other and would never start: {}", stuck.join(", "));
            self.wrong(&entry.place.clone(), message, Some("take one `after` out of the circle".to_owned()));
        }
    }

    fn health(&mut self) -> Vec<HealthCheck> {
        let profile = self.profile;
        let one = |entry: &Located<super::schema::Health>| {
            let service = &entry.value.service;
            if !profile.services.contains_key(service) {
                let help = did_you_mean(service, profile.services.keys().map(String::as_str));
                self.wrong(&entry.place, format!("the health check names the unknown service {service:?}"), help);
            }
            HealthCheck { service: service.clone(), stable_ms: entry.value.stable.0 }
        };
        profile.health.iter().map(one).collect()
    }
}
