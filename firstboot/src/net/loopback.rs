//! Addresses of the loopback interface that a service has for as long as it sees fit.

use super::kernel::{Kernel, plain};
use anyhow::{Context as _, anyhow};
use ipnet::IpNet;
use rtnetlink::Error;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Number of the loopback interface, the first of every network namespace (net/loopback.h, `LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// Time to live of an address that nobody renews, in seconds, and time between two renewals.
const VALID_S: u32 = 15;
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// Some addresses, and whether they are there.
#[derive(Debug)]
pub struct LoopbackAddresses {
    nets: Vec<IpNet>,
    kernel: Option<(Runtime, Kernel)>,
    renewed: Option<Instant>,
}

impl LoopbackAddresses {
    /// Nothing is changed yet.
    ///
    /// # Errors
    /// When the kernel cannot be talked to.
    pub fn open(addresses: Vec<IpAddr>) -> anyhow::Result<LoopbackAddresses> {
        let kernel = if addresses.is_empty() {
            None
        } else {
            let runtime = super::runtime().context("no runtime")?;
            let kernel = runtime.block_on(async { Kernel::open() }).context("no connection to the kernel")?;
            Some((runtime, kernel))
        };
        Ok(LoopbackAddresses { nets: addresses.into_iter().map(IpNet::from).collect(), kernel, renewed: None })
    }

    /// Adds those that are missing, also where another program has removed them, and renews all in time.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn hold(&mut self) -> anyhow::Result<()> {
        let Some((runtime, kernel)) = &self.kernel else { return Ok(()) };
        let late = self.renewed.is_none_or(|renewed| renewed.elapsed() >= RENEW_EVERY);
        let held = runtime.block_on(async {
            let there = if late { Vec::new() } else { kernel.addresses(LOOPBACK).await? };
            for net in self.nets.iter().filter(|net| !there.contains(net)) {
                kernel.lend_address(LOOPBACK, *net, VALID_S).await?;
            }
            Ok(())
        });
        held.map_err(|error: Error| anyhow!(plain(&error)))?;
        if late {
            self.renewed = Some(Instant::now());
        }
        Ok(())
    }

    /// Removes all of them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn release(&mut self) -> anyhow::Result<()> {
        self.renewed = None;
        let Some((runtime, kernel)) = &self.kernel else { return Ok(()) };
        let released = runtime.block_on(async {
            for net in &self.nets {
                kernel.remove_address(LOOPBACK, *net).await?;
            }
            Ok(())
        });
        released.map_err(|error: Error| anyhow!(plain(&error)))
    }
}
