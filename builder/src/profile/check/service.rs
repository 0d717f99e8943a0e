//! Services of a profile: what they name must exist, and none may wait for another in a circle.

use super::super::diagnostic::{Place, did_you_mean};
use super::super::schema::{Check as CheckText, Looker, Ready as ReadyText, Service as ServiceText};
use super::super::value::Located;
use super::Checker;
use super::limits::Disk;
use contract::role::{
    Cause, Check, Directory, EnvironmentFile, Kill, Limits, Mount, NETWORK, NO_TIMEOUT_MS, Ready, Restart, Sandbox,
    Schedule, Service, ServiceKind, TIME, Timer,
};
use std::collections::{BTreeMap, BTreeSet};

/// Size of a service's folder in memory, in bytes: what it may take from the node at most.
const TEMPORARY_SIZE: u64 = 64 << 20;
/// Time in which a daemon must be ready where nothing is said, in milliseconds.
const START_TIMEOUT_MS: u64 = 30_000;
/// How much later a service by the clock may run where nothing is said, at most, in milliseconds.
const JITTER_MS: u64 = 5 * 60 * 1000;
/// Mode of a folder that a service keeps.
const KEPT_MODE: u32 = 0o750;

impl Checker<'_> {
    pub(super) fn services(&mut self) -> BTreeMap<String, Service> {
        let profile = self.profile;
        let mut services = BTreeMap::new();
        for (name, entry) in &profile.services {
            if name == NETWORK || name == TIME {
                self.wrong(
                    &entry.place,
                    format!("{name:?} is reserved for firstboot and cannot name a service"),
                    None,
                );
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
        self.program(&written.run, place);
        for other in &written.after {
            let by_the_clock = |entry: &Located<ServiceText>| entry.value.every.is_some() || entry.value.at.is_some();
            if self.profile.services.get(other).is_some_and(by_the_clock) {
                let message = format!("`after` names {other:?}, which is run by the clock: nothing can wait for it");
                self.wrong(place, message, None);
            }
            if other != NETWORK && other != TIME && !self.profile.services.contains_key(other) {
                let help = did_you_mean(other, self.profile.services.keys().map(String::as_str));
                self.wrong(place, format!("`after` names the unknown service {other:?}"), help);
            }
        }
        if written.kind != ServiceKind::Daemon && written.ready.is_some() {
            let message = "a one-shot service is ready when it has ended; `ready` is for daemons".to_owned();
            self.wrong(place, message, None);
        }
        if written.kind != ServiceKind::Daemon && written.kill == Kill::Main {
            let message = "`kill = \"main\"` is for daemons; what a one-shot has started ends with it".to_owned();
            self.wrong(place, message, Some("set kind = \"daemon\", or leave out `kill`".to_owned()));
        }
        if written.kind == ServiceKind::Daemon {
            for (key, is_set) in [
                ("once", written.once),
                ("unless", written.unless.is_some()),
                ("every", written.every.is_some()),
                ("at", written.at.is_some()),
            ] {
                if is_set {
                    let message =
                        format!("`{key}` is for services that end; a daemon runs for as long as the node does");
                    self.wrong(place, message, Some("set kind = \"oneshot\"".to_owned()));
                }
            }
        }
        if let Some(path) = &written.unless {
            self.absolute(path, place);
        }
        if let Some(folder) = &written.working_folder {
            self.absolute(folder, place);
        }
        if written.limits.cpu_weight.is_some_and(|weight| !(1..=10_000).contains(&weight)) {
            self.wrong(place, "`limits.cpu_weight` must be 1 to 10000; 100 is the usual weight".to_owned(), None);
        }
        let ready = written.ready.as_ref().and_then(|ready| self.ready(ready, place));
        let mounts = self.mounts(written, place);
        let environment_files = written.environment_files.iter().map(|text| {
            let (path, optional) = text.strip_prefix('-').map_or((text.as_str(), false), |path| (path, true));
            self.absolute(path, place);
            EnvironmentFile { path: path.to_owned(), optional }
        });
        let environment_files = environment_files.collect();
        let default = Restart::default();
        Service {
            run: written.run.clone(),
            kind: written.kind,
            identity: self.user(&written.user, place),
            capabilities: written.capabilities.clone(),
            after: written.after.clone(),
            ready,
            check: written.check.as_ref().map(|check| self.check(check, place)),
            causes: self.causes(&written.causes, place),
            restart: Restart {
                first_delay_ms: written.restart.first_delay.map_or(default.first_delay_ms, |span| span.0),
                longest_delay_ms: written.restart.longest_delay.map_or(default.longest_delay_ms, |span| span.0),
                quiet_ms: written.restart.quiet.map_or(default.quiet_ms, |span| span.0),
            },
            kill: written.kill,
            stop_timeout_ms: written.stop_timeout.0,
            start_timeout_ms: match (written.start_timeout, written.kind) {
                (Some(span), _) => span.0,
                (None, ServiceKind::Daemon) => START_TIMEOUT_MS,
                (None, ServiceKind::Oneshot | ServiceKind::BeforeNetwork) => NO_TIMEOUT_MS,
            },
            once: written.once,
            unless: written.unless.clone(),
            timer: self.timer(written, place),
            limits: Limits {
                memory: written.limits.memory.map(|bytes| bytes.0),
                pids: written.limits.pids,
                cpu_weight: written.limits.cpu_weight,
                open_files: written.limits.open_files,
            },
            environment: written.environment.clone(),
            environment_files,
            working_folder: written.working_folder.clone(),
            new_privileges: written.new_privileges,
            mounts,
            sandbox: self.sandbox(written, place),
            needs_data: !written.data.is_empty(),
            when: written.when.as_ref().map(|when| when.get_ref().clone()),
        }
    }

    /// What lines of its log mean.
    fn causes(&mut self, written: &[Cause], place: &Place) -> Vec<Cause> {
        if written.iter().any(|cause| cause.line.trim().is_empty() || cause.means.trim().is_empty()) {
            let message =
                "an entry of `causes` has an empty `line` or `means`: every line would match, or say nothing";
            self.wrong(place, message.to_owned(), None);
        }
        written.to_vec()
    }

    /// When it is run by the clock.
    fn timer(&mut self, written: &ServiceText, place: &Place) -> Option<Timer> {
        let schedule = match (written.every, &written.at) {
            (None, None) => {
                if written.jitter.is_some() {
                    self.wrong(place, "`jitter` belongs to `every` or `at`".to_owned(), None);
                }
                return None;
            }
            (Some(_), Some(_)) => {
                self.wrong(place, "`every` and `at` exclude each other".to_owned(), None);
                return None;
            }
            (Some(span), None) if span.0 < 1000 => {
                self.wrong(place, "`every` is at least 1s".to_owned(), None);
                return None;
            }
            (Some(span), None) => Schedule::EveryMs(span.0),
            (None, Some(text)) => match minute_of_day(text) {
                Some(minute) => Schedule::AtMinute(minute),
                None => {
                    let message = format!("`at` is {text:?}, which is not a time of day");
                    self.wrong(place, message, Some("write it like \"03:30\"; it is UTC".to_owned()));
                    return None;
                }
            },
        };
        if written.once {
            self.wrong(place, "`once` and a time by the clock exclude each other".to_owned(), None);
        }
        let usual = match schedule {
            Schedule::EveryMs(ms) => (ms / 10).min(JITTER_MS),
            Schedule::AtMinute(_) => JITTER_MS,
        };
        Some(Timer { schedule, jitter_ms: written.jitter.map_or(usual, |span| span.0) })
    }

    fn ready(&mut self, written: &ReadyText, place: &Place) -> Option<Ready> {
        Some(match written {
            ReadyText::Tcp(address) => {
                self.address(address, place);
                Ready::Tcp(address.clone())
            }
            ReadyText::Unix(path) => Ready::Unix(path.clone()),
            ReadyText::Path(path) => Ready::Path(path.clone()),
            ReadyText::Notify(wanted) => return wanted.then_some(Ready::Notify),
            ReadyText::Alive(span) => Ready::AliveMs(span.0),
            ReadyText::Http(http) => Ready::Http(self.http(http, place)),
            ReadyText::Run(Looker::Program(run)) => {
                self.program(run, place);
                Ready::Program(run.clone())
            }
            ReadyText::Run(Looker::With { program: run, capabilities }) => {
                self.program(run, place);
                Ready::ProgramWith { run: run.clone(), capabilities: capabilities.clone() }
            }
        })
    }

    fn check(&mut self, written: &CheckText, place: &Place) -> Check {
        let (run, mistake) = match written {
            CheckText::Run(run) => (run, None),
            CheckText::Reports { run, mistake } => (run, Some(mistake.clone())),
        };
        self.program(run, place);
        Check { run: run.clone(), mistake }
    }

    /// The differences in what it sees, in an order in which none covers another by accident.
    fn mounts(&mut self, written: &ServiceText, place: &Place) -> Vec<Mount> {
        let temporary = written.temporary.iter();
        let mut mounts: Vec<Mount> = Vec::new();
        mounts.extend(written.hidden.iter().cloned().map(Mount::Hidden));
        mounts.extend(temporary.map(|path| Mount::Temporary { path: path.clone(), size_bytes: TEMPORARY_SIZE }));
        mounts.extend(written.mounts.iter().map(|mount| Mount::Bind {
            from: mount.from.clone(),
            to: mount.to.clone(),
            read_only: mount.read_only,
        }));
        mounts.extend(written.read_only.iter().cloned().map(Mount::ReadOnly));
        for mount in &mounts {
            match mount {
                Mount::Temporary { path, .. } | Mount::ReadOnly(path) | Mount::Hidden(path) => {
                    self.absolute(path, place);
                }
                Mount::Bind { from, to, .. } => {
                    self.absolute(from, place);
                    self.absolute(to, place);
                }
            }
        }
        mounts
    }

    /// The exceptions from its confinement, with the folders that it keeps among those that it may change.
    fn sandbox(&mut self, written: &ServiceText, place: &Place) -> Sandbox {
        let mut sandbox = written.sandbox.clone();
        for device in &sandbox.devices {
            self.absolute(device, place);
            if !device.starts_with("/dev/") {
                let message = format!("`sandbox.devices` names {device:?}, which is not below /dev");
                self.wrong(place, message, None);
            }
        }
        for folder in &sandbox.folders {
            self.absolute(folder, place);
        }
        if sandbox.containers && sandbox.unconfined {
            let help = "`containers` gives what containers are made with; leave `unconfined` out".to_owned();
            self.wrong(place, "`sandbox` says both `containers` and `unconfined`".to_owned(), Some(help));
        }
        if sandbox.containers && (written.user != "root" || !written.new_privileges) {
            let help = "set `new_privileges = true` and leave `user` out".to_owned();
            self.wrong(place, "`sandbox.containers` is for root with new privileges".to_owned(), Some(help));
        }
        let kept = written.persistent.iter().chain(&written.data);
        sandbox.folders.extend(kept.map(|folder| folder.path().to_owned()));
        sandbox
    }

    /// Folders on `state` and `data` that services ask for themselves.
    pub(super) fn kept_folders(&mut self) -> Vec<Directory> {
        let profile = self.profile;
        let mut kept: Vec<Directory> = Vec::new();
        for entry in profile.services.values() {
            let owner = self.accounts.users.get(&entry.value.user).cloned().unwrap_or_default();
            let on_state = entry.value.persistent.iter().map(|folder| (folder, Disk::State));
            for (folder, disk) in on_state.chain(entry.value.data.iter().map(|folder| (folder, Disk::Data))) {
                let path = folder.path();
                self.absolute(path, &entry.place);
                if profile.directories.contains_key(path) || kept.iter().any(|other| other.path == path) {
                    let message = format!("{path} is kept by two entries of this profile");
                    self.wrong(&entry.place, message, Some("remove one of them".to_owned()));
                }
                let owner = contract::role::Identity { groups: Vec::new(), ..owner.clone() };
                let limit_bytes = self.limit(path, folder.limit(), &entry.place, Some(disk));
                let data = disk == Disk::Data;
                kept.push(Directory {
                    path: path.to_owned(),
                    owner,
                    mode: KEPT_MODE,
                    persistent: true,
                    data,
                    limit_bytes,
                });
            }
        }
        kept
    }

    /// A program and its arguments.
    pub(super) fn program(&mut self, run: &[String], place: &Place) {
        match run.first() {
            Some(program) => self.absolute(program, place),
            None => self.wrong(place, "`run` does not name a program".to_owned(), None),
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
                settled.insert(TIME);
            }
            for (name, service) in services {
                let known = |other: &String| other == NETWORK || other == TIME || services.contains_key(other);
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
            self.wrong(&entry.place.clone(), message, Some("remove one `after` from the cycle".to_owned()));
        }
    }
}

/// `03:30` as minutes since midnight.
fn minute_of_day(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, below: u32| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| digits && *number < below)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}

#[cfg(test)]
mod tests {
    use super::minute_of_day;

    #[test]
    fn a_time_of_day_is_two_digits_a_colon_and_two_digits() {
        assert_eq!(minute_of_day("00:00"), Some(0));
        assert_eq!(minute_of_day("03:30"), Some(210));
        assert_eq!(minute_of_day("23:59"), Some(1439));
        for wrong in ["24:00", "3:30", "03:60", "0330", "03:30:00", "+3:30", "", ":", "aa:bb"] {
            assert_eq!(minute_of_day(wrong), None, "{wrong}");
        }
    }
}
