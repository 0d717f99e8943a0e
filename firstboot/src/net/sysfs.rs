//! Interfaces as the kernel shows them in /sys/class/net, and their settings in /proc/sys.

use std::path::{Path, PathBuf};

const CLASS: &str = "/sys/class/net";
/// Hardware type of Ethernet (linux/if_arp.h, `ARPHRD_ETHER`).
const ETHERNET: &str = "1";

fn read(name: &str, file: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(CLASS).join(name).join(file)).ok()?;
    Some(text.trim_end().to_owned())
}

/// Number of an interface; `None` while there is none of this name.
#[must_use]
fn index(name: &str) -> Option<u32> {
    read(name, "ifindex")?.parse().ok()
}

/// Name of the interface with this number.
#[must_use]
pub fn name(index: u32) -> Option<String> {
    names().into_iter().find(|name| self::index(name) == Some(index))
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(CLASS).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The bytes of a hardware address of Ethernet, such as `02:00:00:00:00:01`.
#[must_use]
pub fn hardware(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

/// The Ethernet port with the lowest number that is a device of its own, and its hardware address.
#[must_use]
pub fn first_ethernet() -> Option<(String, String)> {
    let is_port = |name: &String| {
        let device: PathBuf = Path::new(CLASS).join(name).join("device");
        read(name, "type").as_deref() == Some(ETHERNET) && device.exists()
    };
    let name = names().into_iter().filter(is_port).min_by_key(|name| index(name).unwrap_or(u32::MAX))?;
    let address = read(&name, "address")?;
    Some((name, address))
}

fn accept_ra_path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf").join(name).join("accept_ra")
}

/// Whether the interface takes router advertisements, as the kernel's number; `None` where there is no IPv6.
#[must_use]
pub fn accept_ra(name: &str) -> Option<u8> {
    std::fs::read_to_string(accept_ra_path(name)).ok()?.trim().parse().ok()
}

/// Value of `accept_ra`: 2 also where packets are forwarded (Documentation/networking/ip-sysctl.rst).
#[must_use]
pub fn accept_ra_value(take: bool) -> u8 {
    if take { 2 } else { 0 }
}

/// Takes or refuses router advertisements.
pub fn set_accept_ra(name: &str, take: bool) {
    if let Err(error) = std::fs::write(accept_ra_path(name), accept_ra_value(take).to_string()) {
        println!("{name}: cannot set whether router advertisements are accepted: {error}");
    }
}

/// Orders the default routes of several ports: those by router advertisement have this metric, and a route does not count
/// while its port has no link (Documentation/networking/ip-sysctl.rst). A kernel without IPv6 has half of it.
pub fn set_uplink(name: &str, metric: u32) {
    let conf = |family: &str| Path::new("/proc/sys/net").join(family).join("conf").join(name);
    // The kernel takes no 0 here.
    let _ = std::fs::write(conf("ipv6").join("ra_defrtr_metric"), metric.max(1).to_string());
    for family in ["ipv4", "ipv6"] {
        let _ = std::fs::write(conf(family).join("ignore_routes_with_linkdown"), "1");
    }
}
