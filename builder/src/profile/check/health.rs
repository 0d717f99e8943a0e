//! Checks of the health gate: each looks at exactly one thing, and that thing exists.

use super::super::diagnostic::{Place, did_you_mean};
use super::super::schema::{Health as HealthText, Http, Kubernetes, Target as TargetText};
use super::super::spanned::Spanned;
use super::super::value::Located;
use super::Checker;
use contract::role::{HealthCheck, HttpProbe, KubernetesProbe, KubernetesQuestion, Probe, Target};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The kinds of checks, as a profile names them.
const KINDS: &str = "`service`, `tcp`, `http`, `kubernetes`, `run`, `route`, `neighbour`, `disk` and `memory`";
/// Whose rights a program has that looks at something.
const NOBODY: &str = "nobody";

impl Checker<'_> {
    pub(super) fn health(&mut self) -> Vec<HealthCheck> {
        let profile = self.profile;
        let mut names = BTreeSet::new();
        let mut checks = Vec::new();
        for entry in &profile.health {
            let Some((usual, probe)) = self.probe(entry) else { continue };
            let written = &entry.value;
            let name = written.name.clone().unwrap_or(usual);
            if !names.insert(name.clone()) {
                let help = Some("give one of them another `name`".to_owned());
                self.wrong(&entry.place, format!("two health checks are called {name:?}"), help);
            }
            if written.every.0 == 0 || written.timeout.0 == 0 {
                self.wrong(&entry.place, "`every` and `timeout` must be longer than 0".to_owned(), None);
            }
            checks.push(HealthCheck {
                name,
                probe,
                deadline_ms: written.deadline.0,
                every_ms: written.every.0,
                timeout_ms: written.timeout.0,
                when: written.when.as_ref().map(|when| when.get_ref().clone()),
            });
        }
        checks
    }

    /// What one check looks at, and its usual name.
    fn probe(&mut self, entry: &Located<HealthText>) -> Option<(String, Probe)> {
        let (written, place) = (&entry.value, &entry.place);
        let mut found: Vec<(String, Probe)> = Vec::new();
        if let Some(service) = &written.service {
            if !self.profile.services.contains_key(service) {
                let help = did_you_mean(service, self.profile.services.keys().map(String::as_str));
                self.wrong(place, format!("the health check names the unknown service {service:?}"), help);
            }
            let stable_ms = written.stable.map_or(0, |span| span.0);
            found.push((service.clone(), Probe::Service { name: service.clone(), stable_ms }));
        } else if written.stable.is_some() {
            self.wrong(place, "`stable` is only valid with `service`".to_owned(), None);
        }
        if let Some(target) = written.tcp.as_ref().map(Spanned::get_ref) {
            if let TargetText::Is(address) = target {
                self.address(address, place);
            }
            found.push((format!("tcp {}", shown(target)), Probe::Tcp(target_of(target))));
        }
        if let Some(http) = &written.http {
            found.push((format!("http {}", http.url), Probe::Http(self.http(http, place))));
        }
        if let Some(asked) = &written.kubernetes {
            let name = match asked.asks {
                KubernetesQuestion::Api => "Kubernetes API",
                KubernetesQuestion::Node => "Kubernetes node",
            };
            found.push((name.to_owned(), Probe::Kubernetes(self.kubernetes(asked, place))));
        }
        if let Some(run) = &written.run {
            self.program(run, place);
            let identity = self.user(written.user.as_deref().unwrap_or(NOBODY), place);
            let name = run.first().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let probe = Probe::Program { run: run.clone(), identity, capabilities: written.capabilities.clone() };
            found.push((name.to_owned(), probe));
        } else {
            for (key, is_set) in
                [("user", written.user.is_some()), ("capabilities", !written.capabilities.is_empty())]
            {
                if is_set {
                    self.wrong(place, format!("`{key}` is only valid with `run`"), None);
                }
            }
        }
        if let Some(target) = written.route.as_ref().map(Spanned::get_ref) {
            if let TargetText::Is(text) = target
                && text.parse::<ipnet::IpNet>().is_err()
                && text.parse::<std::net::IpAddr>().is_err()
            {
                self.wrong(place, format!("{text:?} is neither an address nor a prefix"), None);
            }
            found.push((format!("route {}", shown(target)), Probe::Route(target_of(target))));
        }
        if let Some(target) = written.neighbour.as_ref().map(Spanned::get_ref) {
            if let TargetText::Is(text) = target
                && text.parse::<std::net::IpAddr>().is_err()
            {
                self.wrong(place, format!("{text:?} is not a valid address"), None);
            }
            found.push((format!("neighbour {}", shown(target)), Probe::Neighbour(target_of(target))));
        }
        if let Some(disk) = &written.disk {
            self.absolute(&disk.path, place);
            let (free_bytes, free_percent) = (disk.free.map_or(0, |b| b.0), disk.free_percent.map_or(0, |p| p.0));
            if free_bytes == 0 && free_percent == 0 {
                self.wrong(place, "`disk` needs `free` or `free_percent`".to_owned(), None);
            }
            let probe = Probe::Disk { path: disk.path.clone(), free_bytes, free_percent };
            found.push((format!("disk {}", disk.path), probe));
        }
        if let Some(bytes) = written.memory {
            found.push(("memory".to_owned(), Probe::Memory { available_bytes: bytes.0 }));
        }
        if found.len() != 1 {
            self.wrong(place, format!("a health check needs exactly one of {KINDS}"), None);
        }
        found.pop()
    }

    pub(super) fn http(&mut self, http: &Http, place: &Place) -> HttpProbe {
        let secure = http.url.starts_with("https://");
        if !secure && !http.url.starts_with("http://") {
            self.wrong(place, format!("{:?} does not begin with http:// or https://", http.url), None);
        }
        if secure && http.ca.is_none() && !http.insecure {
            let help = "set `ca` to a file of certificates, or `insecure = true` for a service on this node";
            self.wrong(place, "no certificate to trust is set".to_owned(), Some(help.to_owned()));
        }
        HttpProbe {
            url: http.url.clone(),
            status: http.status,
            body: http.body.clone(),
            ca: http.ca.clone(),
            insecure: http.insecure,
        }
    }

    fn kubernetes(&mut self, written: &Kubernetes, place: &Place) -> KubernetesProbe {
        let server = written.api.strip_prefix("https://");
        if !server.is_some_and(|server| server.contains(':') && !server.contains(['/', '?', '#', '@'])) {
            let help = Some("write it like \"https://localhost:6443\"".to_owned());
            self.wrong(place, format!("{:?} is not the address of an API server", written.api), help);
        }
        for path in [&written.ca, &written.certificate, &written.key] {
            self.absolute(path, place);
        }
        KubernetesProbe {
            asks: written.asks,
            api: written.api.clone(),
            ca: written.ca.clone(),
            certificate: written.certificate.clone(),
            key: written.key.clone(),
            node: String::new(),
        }
    }

    pub(super) fn address(&mut self, text: &str, place: &Place) {
        if text.parse::<SocketAddr>().is_err() {
            let help = Some("write it like \"127.0.0.1:80\" or \"[::1]:80\"".to_owned());
            self.wrong(place, format!("{text:?} is not a valid address with a port"), help);
        }
    }
}

fn shown(target: &TargetText) -> &str {
    match target {
        TargetText::Is(text) => text,
        TargetText::Config { config } => config,
    }
}

fn target_of(target: &TargetText) -> Target {
    match target {
        TargetText::Is(text) => Target::Is(text.clone()),
        TargetText::Config { config } => Target::Config(config.clone()),
    }
}
