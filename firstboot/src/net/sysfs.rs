//! Interfaces as the kernel shows them in /sys/class/net.

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
pub fn index(name: &str) -> Option<u32> {
    read(name, "ifindex")?.parse().ok()
}

/// Whether the interface has a link. One that is down has none.
#[must_use]
pub fn carrier(name: &str) -> bool {
    read(name, "carrier").as_deref() == Some("1")
}

/// Its hardware address, as six hex bytes with colons.
#[must_use]
pub fn address(name: &str) -> Option<String> {
    read(name, "address")
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

/// The Ethernet port with the lowest number that is a device of its own, and its hardware address.
#[must_use]
pub fn first_ethernet() -> Option<(String, String)> {
    let is_port = |name: &String| {
        let device: PathBuf = Path::new(CLASS).join(name).join("device");
        read(name, "type").as_deref() == Some(ETHERNET) && device.exists()
    };
    let name = names().into_iter().filter(is_port).min_by_key(|name| index(name).unwrap_or(u32::MAX))?;
    let address = address(&name)?;
    Some((name, address))
}
