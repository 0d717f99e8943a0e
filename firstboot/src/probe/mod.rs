//! `firstboot probe MILLISECONDS PROBE`: one check, by an unprivileged child of PID 1. What comes from a socket or a
//! network is read here, never in PID 1. `PROBE` is a [`contract::role::Probe`] as JSON, its target resolved. Status 0:
//! it is. Status 1: it is not, and one line says why.
//!
//! - here connections, space and memory · [`http`] requests · [`kubernetes`] the cluster's API · [`route`] routes and neighbours ·
//!   [`storage`] disks · [`boot_partition`] what boots

mod boot_partition;
mod http;
pub mod kubernetes;
mod route;
mod storage;

pub use http::Asker;
pub use kubernetes::ApiAsker;

use anyhow::{Context as _, bail, ensure};
use contract::names::BOOT_REPORT;
use contract::role::{Probe, Target};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Longest time for one look.
const LONGEST: Duration = Duration::from_secs(600);

/// Looks, says why not, and ends the process.
pub fn run() {
    let mut arguments = std::env::args().skip(2);
    let limit = arguments.next().and_then(|text| text.parse().ok()).map_or(LONGEST, Duration::from_millis);
    let asked = arguments.next().unwrap_or_default();
    let found = serde_json::from_str(&asked)
        .context("this is not a probe")
        .and_then(|probe| check(&probe, limit.clamp(Duration::from_millis(1), LONGEST)));
    if let Err(why) = found {
        println!("{why:#}");
        std::process::exit(1);
    }
}

fn check(probe: &Probe, limit: Duration) -> anyhow::Result<()> {
    match probe {
        Probe::Tcp(target) => connect(text(target)?, limit),
        Probe::Http(request) => http::check(request, limit),
        Probe::Kubernetes(request) => kubernetes::check(request, limit),
        Probe::Route(target) => route::leads_to(text(target)?),
        Probe::Neighbour(target) => route::answers(text(target)?, limit),
        Probe::Disk { path, free_bytes, free_percent } => space(path, *free_bytes, *free_percent),
        Probe::Memory { available_bytes } => {
            let found = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
            memory(&found, *available_bytes)
        }
        Probe::Storage { path } => storage::answers(Path::new(path)),
        Probe::BootPartition => boot_partition::check(Path::new(BOOT_REPORT)),
        Probe::Service { .. } | Probe::Program { .. } => bail!("PID 1 looks at this by itself"),
    }
}

fn text(target: &Target) -> anyhow::Result<&str> {
    match target {
        Target::Is(text) => Ok(text),
        Target::Config(path) => bail!("the path {path} in the node config was not resolved"),
    }
}

/// Connects once.
///
/// # Errors
/// Nobody accepts connections there.
pub fn connect(address: &str, limit: Duration) -> anyhow::Result<()> {
    let address: SocketAddr =
        address.parse().with_context(|| format!("{address} is not a valid address with a port"))?;
    TcpStream::connect_timeout(&address, limit).with_context(|| format!("no connection to {address}"))?;
    Ok(())
}

fn space(path: &str, bytes: u64, percent: u8) -> anyhow::Result<()> {
    let found = rustix::fs::statvfs(path).with_context(|| format!("cannot ask for the space of {path}"))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let share = found.f_bavail.saturating_mul(100).checked_div(found.f_blocks).unwrap_or(0);
    ensure!(free >= bytes, "{path} has {} MiB free, not {} MiB", free >> 20, bytes >> 20);
    ensure!(share >= percent.into(), "{path} has {share}% free, not {percent}%");
    Ok(())
}

/// `text` is /proc/meminfo, in KiB.
fn memory(text: &str, wanted: u64) -> anyhow::Result<()> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"));
    let kib: u64 =
        line.and_then(|number| number.parse().ok()).context("the kernel does not say what is available")?;
    let available = kib.saturating_mul(1024);
    ensure!(available >= wanted, "{} MiB of memory are available, not {} MiB", available >> 20, wanted >> 20);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_port_is_there_when_somebody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        check(&Probe::Tcp(Target::Is(address.clone())), SOON).unwrap();
        drop(listener);
        let why = check(&Probe::Tcp(Target::Is(address.clone())), SOON).unwrap_err();
        assert_eq!(format!("{why:#}"), format!("no connection to {address}: Connection refused (os error 111)"));
        assert!(check(&Probe::Tcp(Target::Config("a".to_owned())), SOON).is_err());
    }

    #[test]
    fn space_and_memory_are_measured_against_what_is_wanted() {
        let disk = |free_bytes, free_percent| Probe::Disk { path: "/proc/self".to_owned(), free_bytes, free_percent };
        check(&disk(0, 0), SOON).unwrap();
        assert!(format!("{:#}", check(&disk(1 << 20, 0), SOON).unwrap_err()).contains("not 1 MiB"));
        assert!(format!("{:#}", check(&disk(0, 1), SOON).unwrap_err()).contains("not 1%"));
        check(&Probe::Memory { available_bytes: 1 << 20 }, SOON).unwrap();
        let why = memory("MemTotal: 100 kB\nMemAvailable:   2048 kB\n", 3 << 20).unwrap_err();
        assert_eq!(why.to_string(), "2 MiB of memory are available, not 3 MiB");
        assert!(memory("MemAvailable: many kB\n", 0).is_err());
    }
}
