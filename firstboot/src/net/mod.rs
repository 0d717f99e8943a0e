//! The network, in children of PID 1 with few rights: what arrives from outside is parsed here, never in PID 1.
//!
//! - [`interface`] one interface from its appearance on · [`dhcp`] its lease · [`kernel`] requests to the kernel ·
//!   [`sysfs`] what the kernel shows as files · [`board`] what is told to PID 1 and to resolvers
//! - [`page`] the routing table as text, for the console
//!
//! `firstboot network` reads [`JOB`], one task an interface, so that a broken one does not hold up the others. It says
//! `READY=1` when every interface has settled or [`PATIENCE`] is over, and stays for leases and for interfaces that
//! come and go. VLANs, bridges and tunnels will be interfaces that are made before they are set up.

mod board;
mod dhcp;
mod interface;
mod kernel;
pub mod page;
mod sysfs;

pub use sysfs::first_ethernet;

use board::Board;
use contract::node::{Interface, Network};
use kernel::Kernel;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};

/// Where PID 1 leaves what is to be done, as JSON.
pub const JOB: &str = "/run/microdc/network.json";
/// How long those that wait for the network wait for an interface that does not settle.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkJob {
    /// Sent with DHCP requests.
    pub host_name: String,
    /// Without interfaces: DHCP on the first Ethernet port.
    pub network: Network,
}

/// Runs `firstboot network`; returns only when that is impossible.
pub fn run() {
    let result = read_job().and_then(|job| Ok(runtime()?.block_on(LocalSet::new().run_until(manage(job)))?));
    if let Err(error) = result {
        println!("the network cannot be set up: {error:#}");
        std::process::exit(1);
    }
}

fn read_job() -> anyhow::Result<NetworkJob> {
    Ok(serde_json::from_slice(&std::fs::read(JOB)?)?)
}

/// One thread is enough, and keeps memory small.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn manage(job: NetworkJob) -> std::io::Result<()> {
    let kernel = Kernel::open()?;
    let board = Rc::new(Board::new(std::env::var_os("NOTIFY_SOCKET").map(Into::into)));
    interface::bring_up_loopback(&kernel).await;
    let interfaces: Vec<(String, Interface)> = if job.network.interfaces().is_empty() {
        vec![(wait_for_ethernet().await, Interface { dhcp: true, ..Interface::default() })]
    } else {
        let named = job.network.interfaces().iter();
        named.map(|(name, interface)| (name.as_str().to_owned(), interface.clone())).collect()
    };
    let host_name: Rc<str> = job.host_name.into();
    let mut settling = JoinSet::new();
    for (name, config) in interfaces {
        let (settled, wait) = tokio::sync::oneshot::channel();
        let (kernel, board, host_name) = (kernel.clone(), Rc::clone(&board), Rc::clone(&host_name));
        tokio::task::spawn_local(interface::keep(
            interface::Task { name: name.clone(), config, host_name, kernel, board },
            settled,
        ));
        settling.spawn_local(async move {
            if tokio::time::timeout(PATIENCE, wait).await.is_err() {
                println!("{name}: not settled after {} s; going on with it", PATIENCE.as_secs());
            }
        });
    }
    while settling.join_next().await.is_some() {}
    board.ready();
    // The tasks go on; nothing ends this child but a signal.
    std::future::pending().await
}

async fn wait_for_ethernet() -> String {
    for turn in 0_u32.. {
        if let Some((name, _)) = first_ethernet() {
            return name;
        }
        if turn == 25 {
            println!("no Ethernet port yet; waiting for one");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    String::new()
}
