//! One interface: waits until it is there, sets it up, keeps its lease, and begins again when it was taken away and came
//! back. Errors are said plainly and tried again.

use super::board::{Board, Facts};
use super::kernel::{Kernel, Route, plain};
use super::{dhcp, sysfs};
use contract::node::Interface;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// How long a static interface waits for its link before it counts as settled.
const LINK_PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks at an interface.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time between two tries after an error.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// What one interface's task knows.
pub struct Task {
    pub name: String,
    pub config: Interface,
    pub host_name: Rc<str>,
    pub kernel: Kernel,
    pub board: Rc<Board>,
}

/// Brings up `lo`, which everything else takes for granted.
pub async fn bring_up_loopback(kernel: &Kernel) {
    if let Some(index) = sysfs::index("lo")
        && let Err(error) = kernel.up(index, None).await
    {
        println!("lo: {}", plain(&error));
    }
}

/// Looks after the interface for ever. `settled` is told when it has all it should have for the first time.
pub async fn keep(task: Task, settled: oneshot::Sender<()>) {
    let mut settled = Some(settled);
    task.publish(Facts::default());
    loop {
        let index = task.appearance().await;
        task.set_up(index).await;
        let lasts = async {
            task.wait_for_link().await;
            if task.config.dhcp {
                dhcp::keep(&task, index, &mut settled).await;
            } else {
                settle(&mut settled);
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = lasts => {}
            () = task.disappearance(index) => println!("{}: it is gone; waiting for it to come back", task.name),
        }
        task.publish(Facts::default());
    }
}

/// Tells once that the interface has what it should have.
pub fn settle(settled: &mut Option<oneshot::Sender<()>>) {
    if let Some(settled) = settled.take() {
        let _ = settled.send(());
    }
}

impl Task {
    pub fn publish(&self, facts: Facts) {
        self.board.set(&self.name, facts);
    }

    /// What it has without DHCP.
    #[must_use]
    pub fn static_facts(&self) -> Facts {
        Facts { addresses: self.config.addresses.clone(), dns: self.config.dns.clone() }
    }

    async fn appearance(&self) -> u32 {
        let begin = Instant::now();
        let mut said = false;
        loop {
            if let Some(index) = sysfs::index(&self.name) {
                return index;
            }
            if !said && begin.elapsed() >= LINK_PATIENCE {
                println!("{}: there is no such interface; waiting for it", self.name);
                said = true;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn disappearance(&self, index: u32) {
        while sysfs::index(&self.name) == Some(index) {
            sleep(RETRY_EVERY).await;
        }
    }

    /// Everything that does not need a link. What fails is tried again until it works or the interface is gone.
    async fn set_up(&self, index: u32) {
        let mut last = String::new();
        while let Err(error) = self.try_set_up(index).await {
            if error != last {
                println!("{}: {error}; trying again every {} s", self.name, RETRY_EVERY.as_secs());
                last = error;
            }
            sleep(RETRY_EVERY).await;
            if sysfs::index(&self.name) != Some(index) {
                return;
            }
        }
        self.publish(self.static_facts());
    }

    async fn try_set_up(&self, index: u32) -> Result<(), String> {
        let config = &self.config;
        let said = |what: String| move |error| format!("cannot {what}: {}", plain(&error));
        self.kernel.remove_others(index, &config.addresses).await.map_err(said("clear old addresses".to_owned()))?;
        self.kernel.up(index, config.mtu).await.map_err(said("bring it up".to_owned()))?;
        for &address in &config.addresses {
            self.kernel.add_address(index, address).await.map_err(said(format!("add the address {address}")))?;
        }
        // With DHCP the gateway's net may come with the lease.
        if let Some(gateway) = config.gateway
            && config.addresses.iter().any(|net| net.contains(&gateway))
        {
            let route = Route::default_by(gateway);
            self.kernel.add_route(index, &route).await.map_err(said(format!("route by {gateway}")))?;
        }
        Ok(())
    }

    async fn wait_for_link(&self) {
        let begin = Instant::now();
        while !sysfs::carrier(&self.name) {
            if begin.elapsed() >= LINK_PATIENCE {
                println!("{}: no link", self.name);
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
