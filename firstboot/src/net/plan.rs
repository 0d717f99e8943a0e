//! The next steps from the observed to the wanted state: a pure function, called again after each step and on every
//! change that the kernel reports, until nothing is left to do.

use super::life::Life;
use super::route::WantedRoute;
use super::seen::{Address, IPV6_METRIC, Kind, Link, Route, Seen};
use super::sysfs::accept_ra_value;
use super::wanted::{Wanted, WantedAddress, WantedLease, WantedLink};
use ipnet::IpNet;
use std::net::IpAddr;

/// One request to the kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Makes an interface.
    Make {
        name: String,
        make: Make,
    },
    /// Takes away an interface that has the name of another one.
    Unmake {
        name: String,
        index: u32,
    },
    /// Takes or refuses router advertisements.
    Advertisements {
        name: String,
        take: bool,
    },
    Mtu {
        name: String,
        index: u32,
        mtu: u32,
    },
    /// Makes it a port of a bridge, or of none.
    Join {
        name: String,
        index: u32,
        controller: Option<u32>,
    },
    Up {
        name: String,
        index: u32,
    },
    /// Adds an address, or gives it a new time to live.
    AddAddress {
        index: u32,
        net: IpNet,
        life: Life,
    },
    RemoveAddress {
        index: u32,
        net: IpNet,
    },
    AddRoute(Route),
    RemoveRoute(Route),
}

/// How an interface is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Make {
    Vlan { on: u32, id: u16 },
    Bridge { stp: bool },
    WireGuard,
}

/// Times to live that differ by less are the same: seconds pass between asking and looking.
const SLACK_S: u32 = 5;

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Make { .. } => f.write_str("create it"),
            Step::Unmake { .. } => f.write_str("remove an interface of that name"),
            Step::Advertisements { .. } => f.write_str("set whether router advertisements are accepted"),
            Step::Mtu { mtu, .. } => write!(f, "set its MTU to {mtu} bytes"),
            Step::Join { .. } => f.write_str("make it a port of its bridge"),
            Step::Up { .. } => f.write_str("bring it up"),
            Step::AddAddress { net, .. } => write!(f, "add the address {net}"),
            Step::RemoveAddress { net, .. } => write!(f, "remove the address {net}"),
            Step::AddRoute(Route { to, via: Some(via), .. }) => write!(f, "route {to} by {via}"),
            Step::AddRoute(Route { to, .. }) => write!(f, "route {to}"),
            Step::RemoveRoute(Route { to, .. }) => write!(f, "remove the route to {to}"),
        }
    }
}

impl Step {
    /// Name of the interface, where the step knows it.
    #[must_use]
    pub fn interface<'s>(&'s self, seen: &'s Seen) -> &'s str {
        let index = match self {
            Step::Make { name, .. }
            | Step::Unmake { name, .. }
            | Step::Advertisements { name, .. }
            | Step::Mtu { name, .. }
            | Step::Join { name, .. }
            | Step::Up { name, .. } => return name,
            Step::AddAddress { index, .. } | Step::RemoveAddress { index, .. } => *index,
            Step::AddRoute(route) | Step::RemoveRoute(route) => route.index,
        };
        seen.links.iter().find(|link| link.index == index).map_or("", |link| &link.name)
    }
}

/// The steps that can be taken now, in order.
#[must_use]
pub fn plan(wanted: &Wanted, seen: &Seen) -> Vec<Step> {
    let mut steps = Vec::new();
    for want in &wanted.links {
        link(want, seen, &mut steps);
    }
    for want in &wanted.links {
        if let Some(link) = seen.link(&want.name).filter(|link| link.up) {
            addresses(want, link, seen, &mut steps);
            routes(want, link, seen, &mut steps);
        }
    }
    steps
}

/// The interface itself.
fn link(want: &WantedLink, seen: &Seen, steps: &mut Vec<Step>) {
    use super::wanted::Made;
    let name = &want.name;
    let index = |name: &String| seen.link(name).map(|link| link.index);
    // What it would be made from now: a VLAN needs the interface below.
    let make = match &want.made {
        None => None,
        Some(Made::Bridge { stp }) => Some(Make::Bridge { stp: *stp }),
        Some(Made::WireGuard) => Some(Make::WireGuard),
        Some(Made::Vlan { on, id }) => match index(on) {
            Some(on) => Some(Make::Vlan { on, id: *id }),
            None => return,
        },
    };
    let Some(link) = seen.link(name) else {
        steps.extend(make.map(|make| Step::Make { name: name.clone(), make }));
        return;
    };
    let fits = match (&make, &link.kind) {
        (Some(Make::Vlan { on, id }), Kind::Vlan { on: there, id: number }) => on == there && id == number,
        (Some(Make::Bridge { .. }), Kind::Bridge) | (Some(Make::WireGuard), Kind::WireGuard) | (None, _) => true,
        (Some(_), _) => false,
    };
    if !fits {
        // A port of the board cannot be removed; the kernel's refusal is told.
        steps.push(Step::Unmake { name: name.clone(), index: link.index });
        return;
    }
    if link.accept_ra.is_some_and(|setting| setting != accept_ra_value(want.advertisements)) {
        steps.push(Step::Advertisements { name: name.clone(), take: want.advertisements });
    }
    if let Some(mtu) = want.mtu.filter(|&mtu| mtu != link.mtu) {
        steps.push(Step::Mtu { name: name.clone(), index: link.index, mtu });
    }
    if let Some(bridge) = &want.port_of {
        let controller = index(bridge);
        if controller.is_some() && controller != link.controller {
            steps.push(Step::Join { name: name.clone(), index: link.index, controller });
        }
    }
    if !link.up {
        steps.push(Step::Up { name: name.clone(), index: link.index });
    }
}

fn addresses(want: &WantedLink, link: &Link, seen: &Seen, steps: &mut Vec<Step>) {
    let here = || seen.addresses.iter().filter(|address| address.index == link.index);
    for address in here().filter(|address| !address.by_kernel) {
        let wanted = want.addresses.iter().any(|wanted| wanted.net == address.net);
        // Left by an earlier run of this program: it stays in use until this run has its own answer.
        let lease = if address.net.addr().is_ipv4() { want.lease } else { want.lease6 };
        let former_lease = lease == WantedLease::Pending && address.valid_s.is_some();
        if !wanted && !former_lease {
            steps.push(Step::RemoveAddress { index: link.index, net: address.net });
        }
    }
    for wanted in &want.addresses {
        let there = here().find(|address| address.net == wanted.net);
        if let Some(life) = next_life(wanted, there) {
            steps.push(Step::AddAddress { index: link.index, net: wanted.net, life });
        }
    }
}

/// The life that an address is to be given now; `None` when it has the right one. An IPv6 address gets its end when it is known to be
/// no one else's: one that has an end and is found to be a duplicate is taken away by the kernel without a word
/// (net/ipv6/addrconf.c, `addrconf_dad_stop`).
fn next_life(wanted: &WantedAddress, there: Option<&Address>) -> Option<Life> {
    let first = if wanted.life != Life::Fixed && wanted.net.addr().is_ipv6() { Life::Tried } else { wanted.life };
    let Some(there) = there else { return Some(first) };
    if there.in_doubt && first == Life::Tried {
        return None;
    }
    let same = |there: Option<u32>, wanted: Option<u32>| match (there, wanted) {
        (None, None) => true,
        (Some(there), Some(wanted)) => there.abs_diff(wanted) <= SLACK_S,
        _ => false,
    };
    let fits = match wanted.life {
        Life::Fixed | Life::Tried => there.valid_s.is_none(),
        // IPv4 has no preferred lifetimes.
        Life::Leased { preferred_s, valid_s } => {
            same(there.valid_s, valid_s) && (wanted.net.addr().is_ipv4() || same(there.preferred_s, preferred_s))
        }
    };
    (!fits).then_some(wanted.life)
}

fn routes(want: &WantedLink, link: &Link, seen: &Seen, steps: &mut Vec<Step>) {
    let reachable = |route: &WantedRoute| match route.via {
        _ if route.on_link || route.unreachable => true,
        // Without a link the kernel has no IPv6 route to the net either.
        Some(IpAddr::V6(via)) => link.carrier && (via.is_unicast_link_local() || covered(via.into(), link, seen)),
        Some(via) => covered(via, link, seen),
        None => route.to.addr().is_ipv4() || link.carrier,
    };
    let real = |route: &WantedRoute| Route {
        index: link.index,
        to: route.to,
        via: route.via,
        metric: match route.to {
            IpNet::V6(_) if route.metric == 0 => IPV6_METRIC,
            _ => route.metric,
        },
        dhcp: route.dhcp,
        on_link: route.on_link,
        unreachable: route.unreachable,
    };
    let wanted: Vec<Route> = want.routes.iter().filter(|route| reachable(route)).map(real).collect();
    let there = || seen.routes.iter().filter(|route| route.index == link.index);
    // Static routes of others may be on the same interface; what DHCP brought is ours alone.
    for route in there().filter(|route| route.dhcp && want.lease != WantedLease::Pending) {
        if !wanted.iter().any(|wanted| wanted.same(route)) {
            steps.push(Step::RemoveRoute(*route));
        }
    }
    for route in wanted {
        if !there().any(|there| there.same(&route)) {
            steps.push(Step::AddRoute(route));
        }
    }
}

fn covered(address: IpAddr, link: &Link, seen: &Seen) -> bool {
    seen.addresses.iter().any(|own| own.index == link.index && own.net.contains(&address))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
