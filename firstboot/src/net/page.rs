//! `firstboot page`: the network as lines of text: what the network's child reports, and the kernel's main routing table,
//! such as `route 10.2.0.0/16 via 10.0.0.2 dev eth0 proto bgp`.

use super::kernel::{Kernel, plain};
use super::sysfs;
use contract::network::NetworkReport;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType, RouteVia,
};
use std::fmt::Write as _;

/// Most routes on the page.
const MOST: usize = 400;

/// Writes the page to standard output.
pub fn run() {
    print!("{}", text());
}

/// The page.
#[must_use]
pub fn text() -> String {
    let read = std::fs::read(contract::names::NETWORK_REPORT).ok();
    let report: Option<NetworkReport> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let report = report.map(|report| report.to_string()).unwrap_or_default();
    let routes = super::runtime().and_then(|runtime| runtime.block_on(async { Ok(table(&Kernel::open()?).await) }));
    report + &routes.unwrap_or_else(|error| format!("the routing table cannot be read: {error}\n"))
}

async fn table(kernel: &Kernel) -> String {
    match kernel.routes().await {
        Err(error) => format!("the routing table cannot be read: {}\n", plain(&error)),
        Ok(routes) => {
            let mut text = String::new();
            for line in routes.iter().take(MOST).map(|route| line(route, sysfs::name)) {
                let _ = writeln!(text, "{line}");
            }
            if let Some(more) = routes.len().checked_sub(MOST).filter(|&more| more > 0) {
                let _ = writeln!(text, "and {more} more");
            }
            text
        }
    }
}

/// One route; `device` names an interface by its number.
fn line(route: &RouteMessage, device: impl Fn(u32) -> Option<String>) -> String {
    let header = &route.header;
    let mut text = "route".to_owned();
    if header.kind != RouteType::Unicast {
        let _ = write!(text, " {}", format!("{:?}", header.kind).to_lowercase());
    }
    let unspecified = if header.address_family == AddressFamily::Inet6 { "::" } else { "0.0.0.0" };
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => address_text(address),
        _ => None,
    });
    match (to, header.destination_prefix_length) {
        (None, 0) => text.push_str(" default"),
        (to, length) => {
            let _ = write!(text, " {}/{length}", to.as_deref().unwrap_or(unspecified));
        }
    }
    hop(&mut text, &route.attributes, None, &device);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::MultiPath(hops) => {
                for next in hops {
                    hop(&mut text, &next.attributes, Some(next.interface_index), &device);
                }
            }
            RouteAttribute::Priority(metric) => {
                let _ = write!(text, " metric {metric}");
            }
            _ => {}
        }
    }
    let _ = write!(text, " proto {}", protocol(header.protocol));
    text
}

fn hop(
    text: &mut String,
    attributes: &[RouteAttribute],
    index: Option<u32>,
    device: &impl Fn(u32) -> Option<String>,
) {
    let mut index = index;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(address) => {
                let _ = write!(text, " via {}", address_text(address).unwrap_or_default());
            }
            RouteAttribute::Via(RouteVia::Inet(address)) => {
                let _ = write!(text, " via {address}");
            }
            RouteAttribute::Via(RouteVia::Inet6(address)) => {
                let _ = write!(text, " via {address}");
            }
            RouteAttribute::Oif(number) => index = Some(*number),
            _ => {}
        }
    }
    if let Some(index) = index {
        let _ = write!(text, " dev {}", device(index).unwrap_or_else(|| format!("#{index}")));
    }
}

fn address_text(address: &RouteAddress) -> Option<String> {
    match address {
        RouteAddress::Inet(address) => Some(address.to_string()),
        RouteAddress::Inet6(address) => Some(address.to_string()),
        _ => None,
    }
}

/// Names as iproute2 and FRR write them. FRR marks its static routes with 196 (zebra/rt_netlink.h, `RTPROT_ZSTATIC`).
fn protocol(protocol: RouteProtocol) -> String {
    match protocol {
        RouteProtocol::Kernel => "kernel".to_owned(),
        RouteProtocol::Boot => "boot".to_owned(),
        RouteProtocol::Static => "static".to_owned(),
        RouteProtocol::Dhcp => "dhcp".to_owned(),
        RouteProtocol::Ra => "ra".to_owned(),
        RouteProtocol::Zebra => "zebra".to_owned(),
        RouteProtocol::Bgp => "bgp".to_owned(),
        RouteProtocol::Ospf => "ospf".to_owned(),
        RouteProtocol::Isis => "isis".to_owned(),
        RouteProtocol::Rip => "rip".to_owned(),
        RouteProtocol::Babel => "babel".to_owned(),
        RouteProtocol::Other(196) => "zstatic".to_owned(),
        other => u8::from(other).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::RouteMessageBuilder;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn shown(route: &RouteMessage) -> String {
        line(route, |index| (index == 2).then(|| "eth0".to_owned()))
    }

    #[test]
    fn a_route_is_one_line_with_gateway_device_and_protocol() {
        let four = || RouteMessageBuilder::<Ipv4Addr>::new().output_interface(2);
        let gateway = Ipv4Addr::new(10, 0, 0, 2);
        let bgp = four().destination_prefix(Ipv4Addr::new(10, 2, 0, 0), 16).gateway(gateway);
        let bgp = bgp.protocol(RouteProtocol::Bgp).priority(20).build();
        assert_eq!(shown(&bgp), "route 10.2.0.0/16 via 10.0.0.2 dev eth0 metric 20 proto bgp");
        let default = four().gateway(gateway).protocol(RouteProtocol::Dhcp).build();
        assert_eq!(shown(&default), "route default via 10.0.0.2 dev eth0 proto dhcp");
        let hole = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(Ipv4Addr::new(10, 1, 0, 0), 16);
        let hole = hole.kind(RouteType::BlackHole).protocol(RouteProtocol::Other(196)).build();
        assert_eq!(shown(&hole), "route blackhole 10.1.0.0/16 proto zstatic");
        let six = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix("fd00::".parse().unwrap(), 64);
        let six = six.output_interface(7).protocol(RouteProtocol::Kernel).build();
        assert_eq!(shown(&six), "route fd00::/64 dev #7 proto kernel");
    }
}
