//! The network, in children of PID 1 with few rights: what arrives from outside is parsed here, never in PID 1.
//!
//! - [`manager`] the loop: observe, plan, act, report, until nothing is left to do, on every change that the kernel reports
//! - [`job`] what is to be done · [`wanted`] what there should be ([`route`] its routes, [`life`] how long an address is there,
//!   [`subnets`] parts of delegated prefixes) · [`seen`] what there is · [`plan`] the steps from one to the other · [`settled`]
//!   whether an interface has it all · [`kernel`] requests to the kernel, [`sysfs`] what it shows as files
//! - [`clients`] who asks servers: [`dhcp`] for leases of IPv4, [`dhcp6`] for those of IPv6 · [`advertised`] what routers say ·
//!   [`wireguard`] tunnels, [`endpoints`] peers known by name · [`said`] remarks, once each · [`random`] numbers by chance
//! - [`report`] what there is to tell, [`board`] who is told: PID 1, operators, resolvers · [`page`] all of it as text
//!
//! [`loopback`] is for another child: addresses that come and go with a service.
//!
//! `firstboot network` reads [`NETWORK_JOB`]. It says `READY=1` when every interface has what it should have or
//! [`manager::PATIENCE`] is over, and stays for leases, links and interfaces that come and go.

mod advertised;
mod board;
mod clients;
mod dhcp;
pub mod dhcp6;
mod endpoints;
mod job;
mod kernel;
mod life;
mod loopback;
mod manager;
pub mod page;
mod plan;
mod random;
mod report;
mod route;
mod said;
mod seen;
mod settled;
mod subnets;
mod sysfs;
mod wanted;
mod wireguard;

pub use job::NetworkJob;
pub use loopback::LoopbackAddresses;
pub use sysfs::first_ethernet;

use contract::names::NETWORK_JOB;
use tokio::task::LocalSet;

/// Runs `firstboot network`; returns only when that is impossible.
pub fn run() {
    let result = read_job().and_then(|job| Ok(runtime()?.block_on(LocalSet::new().run_until(manager::manage(job)))?));
    if let Err(error) = result {
        println!("the network cannot be set up: {error:#}");
        std::process::exit(1);
    }
}

fn read_job() -> anyhow::Result<NetworkJob> {
    Ok(serde_json::from_slice(&std::fs::read(NETWORK_JOB)?)?)
}

/// One thread is enough, and keeps memory small.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
