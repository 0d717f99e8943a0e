//! What is looked at: the Kubernetes API, requests and ports at each look; services only before the address is taken, since
//! requests go unanswered when they end.

use super::api::{Api, SOCKET, asks_for_readiness};
use super::checks::{LIMIT, named, twice};
use crate::operator::client;
use crate::probe::{Asker, connect};
use anyhow::{Context as _, bail, ensure};
use contract::control::{FACTS_SOCKET, Reply, Request, ServiceState, ServiceStatus};
use contract::role::{HealthCheck, HttpProbe, Probe, Target};
use std::path::Path;

/// Everything that must be as it should.
#[derive(Debug)]
pub struct Looks {
    api: Option<Api>,
    requests: Vec<Asker>,
    ports: Vec<String>,
    services: Vec<String>,
}

impl Looks {
    /// `names` are health checks among `checks`, or URLs.
    ///
    /// # Errors
    /// A name that is not there, or whose check cannot be made so often.
    pub fn of(names: &[String], checks: &[HealthCheck]) -> anyhow::Result<Looks> {
        ensure!(!names.is_empty(), "`vip` needs the names of health checks, or URLs");
        let mut looks = Looks { api: None, requests: Vec::new(), ports: Vec::new(), services: Vec::new() };
        for name in names {
            if name.starts_with("http://") || name.starts_with("https://") {
                let request = HttpProbe { url: name.clone(), status: None, body: None, ca: None, insecure: true };
                looks.requests.push(Asker::new(request, LIMIT)?);
                continue;
            }
            match &named(checks, name)?.probe {
                Probe::Kubernetes(request) if asks_for_readiness(request) => {
                    looks.api = Some(Api::at(Path::new(SOCKET)));
                }
                Probe::Http(request) => looks.requests.push(Asker::new(request.clone(), LIMIT)?),
                Probe::Tcp(Target::Is(address)) => looks.ports.push(address.clone()),
                Probe::Service { name, .. } => looks.services.push(name.clone()),
                _ => bail!(
                    "the health check {name:?} is neither a request, nor a port, nor a service, nor does it ask whether the \
                     Kubernetes API is ready"
                ),
            }
        }
        Ok(looks)
    }

    /// Looks once. `up` is what is believed so far.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn take(&mut self, up: bool) -> anyhow::Result<()> {
        if let Some(api) = &mut self.api {
            api.ask()?;
        }
        for request in &mut self.requests {
            twice(|again| request.ask(again))?;
        }
        for address in &self.ports {
            twice(|_| connect(address, LIMIT))?;
        }
        if up || self.services.is_empty() { Ok(()) } else { ready(&self.services, &services()?) }
    }
}

/// The services of this node, as PID 1 knows them.
fn services() -> anyhow::Result<Vec<ServiceStatus>> {
    let mut found = None;
    client::ask(FACTS_SOCKET, &Request::Metrics, None, |reply| {
        if let Reply::Metrics(facts) = reply {
            found = Some(facts.services);
        }
        true
    })
    .context("the state of services is not known")?;
    found.context("PID 1 does not say how its services are")
}

fn ready(wanted: &[String], found: &[ServiceStatus]) -> anyhow::Result<()> {
    for name in wanted {
        let service = found.iter().find(|service| service.name == *name);
        let state = service.with_context(|| format!("there is no service {name}"))?.state;
        ensure!(matches!(state, ServiceState::Ready | ServiceState::Done), "service {name} is {state}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    fn check(name: &str, probe: Probe) -> HealthCheck {
        HealthCheck { name: name.to_owned(), probe, deadline_ms: 1, every_ms: 1, timeout_ms: 1, when: None }
    }

    fn looks(names: &[&str], checks: &[HealthCheck]) -> Result<Looks, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Looks::of(&names, checks).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_cannot_be_watched_is_refused_by_its_name() {
        let checks = [check("room", Probe::Memory { available_bytes: 1 })];
        assert!(looks(&[], &checks).unwrap_err().contains("needs the names"));
        assert_eq!(looks(&["k3s API"], &checks).unwrap_err(), "the profile has no health check \"k3s API\"");
        assert!(looks(&["room"], &checks).unwrap_err().contains("neither a request, nor a port, nor a service"));
    }

    /// A server that keeps connections open and counts them; it ends each when `closed` is set.
    fn server(closed: &Arc<AtomicBool>) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ping", listener.local_addr().unwrap());
        let (count, closed) = (Arc::new(AtomicUsize::new(0)), Arc::clone(closed));
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let closed = Arc::clone(&closed);
                std::thread::spawn(move || converse(caller, &closed));
            }
        });
        (url, count)
    }

    fn converse(mut caller: TcpStream, closed: &AtomicBool) {
        let mut request = [0; 1024];
        while caller.read(&mut request).is_ok_and(|length| length > 0) {
            let _ = caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong");
            if closed.load(Ordering::SeqCst) {
                break;
            }
        }
    }

    #[test]
    fn a_connection_is_kept_between_looks_and_one_that_was_closed_is_no_failure() {
        let closed = Arc::new(AtomicBool::new(false));
        let (url, count) = server(&closed);
        let request = HttpProbe { url, status: None, body: Some("pong".to_owned()), ca: None, insecure: false };
        let mut looks = looks(&["api"], &[check("api", Probe::Http(request))]).unwrap();
        for _ in 0..5 {
            looks.take(true).unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        closed.store(true, Ordering::SeqCst);
        for _ in 0..5 {
            looks.take(true).unwrap();
        }
        assert!(count.load(Ordering::SeqCst) > 1);
    }

    #[test]
    fn an_api_that_is_gone_and_one_that_hangs_are_found_out_within_a_second() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ping", listener.local_addr().unwrap());
        let port = check("port", Probe::Tcp(Target::Is(listener.local_addr().unwrap().to_string())));
        let mut hanging = looks(&[&url], &[]).unwrap();
        let mut open = looks(&["port"], std::slice::from_ref(&port)).unwrap();
        open.take(true).unwrap();
        let begin = Instant::now();
        assert!(hanging.take(true).is_err(), "the kernel took the connection, and nobody answers");
        let took = begin.elapsed();
        assert!(took >= LIMIT && took < Duration::from_secs(20), "{took:?}");
        drop(listener);
        assert!(open.take(true).is_err() && hanging.take(true).is_err());
    }

    #[test]
    fn the_address_waits_for_services_that_are_not_ready() {
        let service = |name: &str, state| ServiceStatus {
            name: name.to_owned(),
            state,
            pid: None,
            restarts: 0,
            up_s: None,
            memory_bytes: None,
            note: None,
        };
        let found = [service("k3s", ServiceState::Starting), service("once", ServiceState::Done)];
        let wanted = |name: &str| ready(&[name.to_owned()], &found).map_err(|error| error.to_string());
        assert_eq!(wanted("once"), Ok(()));
        assert_eq!(wanted("k3s"), Err("service k3s is starting".to_owned()));
        assert_eq!(wanted("k4s"), Err("there is no service k4s".to_owned()));
        // Once the API is up, PID 1 is not asked; there is none here.
        let probe = Probe::Service { name: "k3s".to_owned(), stable_ms: 0 };
        let mut looks = looks(&["k3s"], &[check("k3s", probe)]).unwrap();
        looks.take(true).unwrap();
        assert!(looks.take(false).is_err());
    }
}
