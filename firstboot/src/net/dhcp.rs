//! DHCP for IPv4 (RFC 2131) by mozim: the lease is put on the interface, renewed, and taken off when it is lost.

use super::board::Facts;
use super::interface::{Task, settle};
use super::kernel::{Route, plain};
use super::sysfs;
use ipnet::{IpNet, Ipv4Net};
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Routes by DHCP come after static ones.
const METRIC: u32 = 1024;
/// Time between two tries after an error.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// Time between two looks at the link.
const LINK_EVERY: Duration = Duration::from_millis(500);

/// What a lease gives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    address: Ipv4Net,
    routes: Vec<Route>,
    dns: Vec<IpAddr>,
}

/// Keeps a lease for as long as the interface is there.
pub async fn keep(task: &Task, index: u32, settled: &mut Option<oneshot::Sender<()>>) {
    let mut held: Option<Offer> = None;
    let mut last_error = String::new();
    loop {
        let result = tokio::select! {
            result = client(task, index, &mut held, settled) => result,
            // After a pulled cable there may be another net: the address stays until another is leased.
            () = link_came_back(&task.name) => {
                println!("{}: the link is back; asking for a lease anew", task.name);
                continue;
            }
        };
        if let Err(error) = result
            && error != last_error
        {
            println!("{}: DHCP: {error}; trying again", task.name);
            last_error = error;
        }
        sleep(RETRY_EVERY).await;
    }
}

/// Runs one DHCP client until it fails.
async fn client(
    task: &Task,
    index: u32,
    held: &mut Option<Offer>,
    settled: &mut Option<oneshot::Sender<()>>,
) -> Result<(), String> {
    let mut config = DhcpV4Config::new(&task.name);
    let address = sysfs::address(&task.name).ok_or("it has no hardware address")?;
    config.set_iface_index(index).set_iface_mac(&address).map_err(|error| error.to_string())?;
    config.use_mac_as_client_id().set_host_name(&task.host_name);
    let mut client = DhcpV4Client::init(config, None).await.map_err(|error| error.to_string())?;
    loop {
        match client.run().await.map_err(|error| error.to_string())? {
            DhcpV4State::Done(lease) => {
                let offer = offer(&lease, index)?;
                take(task, index, held, offer).await?;
                settle(settled);
            }
            // The lease has ended: what it gave is not ours any more.
            DhcpV4State::InitReboot => drop_lease(task, index, held).await,
            DhcpV4State::Selecting | DhcpV4State::Renewing | DhcpV4State::Rebinding => {}
        }
    }
}

/// Puts a lease on the interface, in the place of the former one.
async fn take(task: &Task, index: u32, held: &mut Option<Offer>, offer: Offer) -> Result<(), String> {
    if held.as_ref().is_some_and(|held| *held != offer) {
        drop_lease(task, index, held).await;
    }
    let said = |what: String| move |error| format!("cannot {what}: {}", plain(&error));
    let address = IpNet::V4(offer.address);
    task.kernel.add_address(index, address).await.map_err(said(format!("add the address {address}")))?;
    for route in &offer.routes {
        task.kernel
            .add_route(index, route)
            .await
            .map_err(said(format!("route {} by {}", route.to, route.gateway)))?;
    }
    if let Some(gateway) = task.config.gateway {
        let route = Route::default_by(gateway);
        task.kernel.add_route(index, &route).await.map_err(said(format!("route by {gateway}")))?;
    }
    if held.is_none() {
        println!("{}: lease of {address}", task.name);
    }
    let Facts { mut addresses, mut dns } = task.static_facts();
    addresses.push(address);
    // The operator's resolvers replace those of the lease.
    if dns.is_empty() {
        dns.clone_from(&offer.dns);
    }
    *held = Some(offer);
    task.publish(Facts { addresses, dns });
    Ok(())
}

async fn drop_lease(task: &Task, index: u32, held: &mut Option<Offer>) {
    let Some(offer) = held.take() else { return };
    println!("{}: the lease of {} is given up", task.name, offer.address);
    for route in &offer.routes {
        if let Err(error) = task.kernel.remove_route(index, route).await {
            println!("{}: cannot remove the route to {}: {}", task.name, route.to, plain(&error));
        }
    }
    if let Err(error) = task.kernel.remove_address(index, IpNet::V4(offer.address)).await {
        println!("{}: cannot remove the address {}: {}", task.name, offer.address, plain(&error));
    }
    task.publish(task.static_facts());
}

/// What a server's answer means. It comes from outside: nothing in it is taken for granted.
fn offer(lease: &DhcpV4Lease, index: u32) -> Result<Offer, String> {
    let address = Ipv4Net::with_netmask(lease.yiaddr, lease.subnet_mask)
        .map_err(|_| format!("the server offers the net mask {}", lease.subnet_mask))?;
    if lease.yiaddr.is_unspecified() || lease.yiaddr.is_loopback() || lease.yiaddr.is_multicast() {
        return Err(format!("the server offers the address {}", lease.yiaddr));
    }
    let metric = METRIC.saturating_add(index);
    let route = |to: Ipv4Net, gateway: std::net::Ipv4Addr| Route {
        to: IpNet::V4(to),
        gateway: IpAddr::V4(gateway),
        on_link: !gateway.is_unspecified() && !address.contains(&gateway),
        metric,
        dhcp: true,
    };
    // RFC 3442: with classless routes the router option does not count.
    let mut routes: Vec<Route> = match (&lease.classless_routes, &lease.gateways) {
        (Some(classless), _) => classless
            .iter()
            .filter_map(|given| Some(route(Ipv4Net::new(given.destination, given.prefix_length).ok()?, given.router)))
            .collect(),
        (None, Some(gateways)) => gateways.first().map(|&by| route(Ipv4Net::default(), by)).into_iter().collect(),
        (None, None) => Vec::new(),
    };
    // What is on the link must be there before what goes through it.
    routes.sort_by_key(|route| !route.gateway.is_unspecified());
    let dns = lease.dns_srvs.iter().flatten().map(|&address| IpAddr::V4(address)).collect();
    Ok(Offer { address, routes, dns })
}

/// Ends when the link was lost and has come back.
async fn link_came_back(name: &str) {
    while sysfs::carrier(name) {
        sleep(LINK_EVERY).await;
    }
    while !sysfs::carrier(name) {
        sleep(LINK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn lease() -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(10, 0, 2, 15);
        lease.subnet_mask = Ipv4Addr::new(255, 255, 255, 0);
        lease.gateways = Some(vec![Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3)]);
        lease.dns_srvs = Some(vec![Ipv4Addr::new(10, 0, 2, 3)]);
        lease
    }

    #[test]
    fn a_lease_gives_an_address_the_first_gateway_and_resolvers() {
        let offer = offer(&lease(), 2).unwrap();
        assert_eq!(offer.address.to_string(), "10.0.2.15/24");
        let [route] = offer.routes.as_slice() else { panic!("{offer:?}") };
        assert_eq!((route.to.to_string(), route.gateway.to_string()), ("0.0.0.0/0".into(), "10.0.2.2".into()));
        assert!(!route.on_link && route.metric == 1026);
        assert_eq!(offer.dns, [IpAddr::from([10, 0, 2, 3])]);
    }

    #[test]
    fn a_gateway_outside_the_net_is_taken_to_be_on_the_link() {
        let mut lease = lease();
        lease.subnet_mask = Ipv4Addr::BROADCAST;
        assert!(offer(&lease, 2).unwrap().routes.iter().all(|route| route.on_link));
    }

    #[test]
    fn an_impossible_lease_is_refused() {
        let mut odd_mask = lease();
        odd_mask.subnet_mask = Ipv4Addr::new(255, 0, 255, 0);
        let mut loopback = lease();
        loopback.yiaddr = Ipv4Addr::LOCALHOST;
        for lease in [odd_mask, loopback, DhcpV4Lease::default()] {
            assert!(offer(&lease, 2).is_err(), "{lease:?}");
        }
    }
}
