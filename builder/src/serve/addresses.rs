//! The addresses at which a server can be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The URLs of a server that listens on `address`: one for each address of the machine that others can use, when it
/// listens on all.
#[must_use]
pub fn urls(address: SocketAddr) -> Vec<String> {
    let mut addresses = vec![address.ip()];
    if address.ip().is_unspecified() {
        addresses = of_this_machine();
        addresses.retain(|found| found.is_ipv4() || address.is_ipv6());
        if addresses.is_empty() {
            addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
    }
    addresses.into_iter().map(|ip| format!("http://{}", SocketAddr::new(ip, address.port()))).collect()
}

/// The machine's addresses, without those that only it can use and those that need the name of a port beside them.
fn of_this_machine() -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut list = std::ptr::null_mut();
    // SAFETY: getifaddrs(3) writes a list to the pointer when it returns 0.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return found;
    }
    let mut next = list;
    // SAFETY: every entry of the list is valid until freeifaddrs below, and so is what it points to.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: as above; an address is absent or begins with its family.
        let Some(family) = (unsafe { entry.ifa_addr.as_ref() }).map(|address| i32::from(address.sa_family)) else {
            continue;
        };
        let address = match family {
            libc::AF_INET => {
                // SAFETY: an address of this family is a sockaddr_in; read_unaligned asks for no alignment.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above, with sockaddr_in6.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr))
            }
            _ => continue,
        };
        let only_here = match address {
            IpAddr::V4(four) => four.is_loopback() || four.is_link_local(),
            IpAddr::V6(six) => six.is_loopback() || six.is_unicast_link_local(),
        };
        if !only_here && !found.contains(&address) {
            found.push(address);
        }
    }
    // SAFETY: the list came from getifaddrs, and nothing points into it any more.
    unsafe { libc::freeifaddrs(list) };
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_one_address_has_one_url() {
        assert_eq!(urls("10.0.0.1:80".parse().unwrap()), ["http://10.0.0.1:80"]);
        assert_eq!(urls("[fd00::1]:8080".parse().unwrap()), ["http://[fd00::1]:8080"]);
    }

    #[test]
    fn a_server_on_all_addresses_names_real_ones() {
        let urls = urls("0.0.0.0:8080".parse().unwrap());
        assert!(!urls.is_empty());
        for url in urls {
            let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
            assert!(address.is_ipv4() && !address.ip().is_unspecified(), "{url}");
            // It is the machine's own.
            std::net::TcpListener::bind((address.ip(), 0)).unwrap();
        }
    }
}
