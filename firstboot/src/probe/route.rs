//! The kernel's routes and neighbours, read as anyone may read them (rtnetlink(7)).

use anyhow::{Context as _, bail, ensure};
use futures::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

/// The discard service: whoever gets something there throws it away.
const DISCARD: u16 = 9;

/// Whether a prefix is in the main table, or a route other than a default one leads to an address.
pub(super) fn leads_to(text: &str) -> anyhow::Result<()> {
    let routes = ask(async |kernel| {
        let four = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let six = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut routes: Vec<RouteMessage> = kernel.route().get(four).execute().try_collect().await?;
        routes.extend(kernel.route().get(six).execute().try_collect::<Vec<_>>().await?);
        Ok(routes)
    })?;
    let main = routes.iter().filter(|route| route.header.table == RouteHeader::RT_TABLE_MAIN);
    let useful = main.filter(|route| route.header.kind == RouteType::Unicast);
    let mut prefixes = useful.filter_map(prefix);
    if let Ok(wanted) = text.parse::<IpNet>() {
        let wanted = wanted.trunc();
        ensure!(prefixes.any(|found| found == wanted), "{wanted} is not in the routing table");
        return Ok(());
    }
    let Ok(address) = text.parse::<IpAddr>() else { bail!("{text:?} is neither an address nor a prefix") };
    let leads = prefixes.any(|found| found.prefix_len() > 0 && found.contains(&address));
    ensure!(leads, "no route leads to {address}");
    Ok(())
}

/// Whether an address answers on a link: it is asked until `limit`.
pub(super) fn answers(text: &str, limit: Duration) -> anyhow::Result<()> {
    let Ok(address) = text.parse::<IpAddr>() else { bail!("{text:?} is not a valid address") };
    let end = Instant::now() + limit;
    loop {
        let neighbours: Vec<NeighbourMessage> =
            ask(async |kernel| kernel.neighbours().get().execute().try_collect().await)?;
        let state = neighbours.iter().find(|entry| of(entry) == Some(address)).map(|entry| entry.header.state);
        match state {
            Some(NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp) => return Ok(()),
            _ if Instant::now() >= end => bail!("{address} does not answer on any link"),
            // A packet to it makes the kernel ask whether it is still there.
            _ => nudge(address)?,
        }
        std::thread::sleep(Duration::from_millis(100).min(limit));
    }
}

fn nudge(address: IpAddr) -> anyhow::Result<()> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).context("cannot open a socket")?;
    match socket.send_to(&[], (address, DISCARD)) {
        // What an earlier packet met does not matter here.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::HostUnreachable => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send to {address}")),
    }
}

fn ask<T>(question: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        question(handle).await.context("the kernel does not answer")
    })
}

fn prefix(route: &RouteMessage) -> Option<IpNet> {
    let length = route.header.destination_prefix_length;
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::from(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    });
    // A default route has no destination.
    IpNet::new(to?, length).ok()
}

fn of(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_its_prefix() {
        let net = "10.2.0.0/16".parse::<ipnet::Ipv4Net>().unwrap();
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(net.network(), 16).build();
        assert_eq!(prefix(&route), Some(IpNet::V4(net)));
        assert_eq!(prefix(&RouteMessageBuilder::<Ipv4Addr>::new().build()), None);
    }

    #[test]
    fn what_is_in_no_table_is_said_to_be_missing() {
        let why = leads_to("198.51.100.0/29").unwrap_err().to_string();
        assert_eq!(why, "198.51.100.0/29 is not in the routing table");
        assert!(leads_to("nonsense").is_err());
        assert!(answers("nonsense", Duration::ZERO).is_err());
    }
}
