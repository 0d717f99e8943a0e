//! A raw socket for ICMPv6 (RFC 3542, raw(7), linux/icmpv6.h): it hears router advertisements and nothing else, and asks for them.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrV6, SocketFlags, SocketType, recvfrom, sendto, socket_with,
};
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use tokio::io::unix::AsyncFd;

/// linux/icmpv6.h
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const ICMPV6_FILTER: libc::c_int = 1;
/// All routers of a link (RFC 4291, section 2.7.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// What is sent on a link and never beyond it (RFC 4861, section 6.1).
const HOPS: libc::c_int = 255;

/// The socket. It never waits.
#[derive(Debug)]
pub struct AdvertisementSocket(OwnedFd);

impl AdvertisementSocket {
    /// Opens it, to be waited for by the runtime of the caller.
    ///
    /// # Errors
    /// What the kernel says: without CAP_NET_RAW, or without IPv6.
    pub fn waited_for() -> io::Result<AsyncFd<AdvertisementSocket>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let protocol = Some(rustix::net::ipproto::ICMPV6);
        let socket = AdvertisementSocket(socket_with(AddressFamily::INET6, SocketType::RAW, flags, protocol)?);
        // A bit for each type that is kept out.
        let mut filter = [u32::MAX; 8];
        if let Some(word) = filter.get_mut(usize::from(ROUTER_ADVERTISEMENT >> 5)) {
            *word &= !(1 << (ROUTER_ADVERTISEMENT & 31));
        }
        socket.set(libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &filter)?;
        socket.set(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, &HOPS)?;
        // SAFETY: the descriptor is the socket's own, and is closed with it and not before.
        unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the kernel reads a value of the length given.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next message, from its ICMPv6 header on, whose checksum the kernel has checked: its length, and the number of the
    /// interface that it came by. Messages that did not begin on the link are passed over.
    ///
    /// # Errors
    /// What the kernel says; that none is there is [`io::ErrorKind::WouldBlock`].
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        loop {
            let (length, _, from) = recvfrom(&self.0, &mut *buffer, RecvFlags::empty())?;
            let from = from.and_then(|from| SocketAddrV6::try_from(from).ok());
            // A router's own address on the link; no router passes a packet from such a one on.
            if let Some(from) = from.filter(|from| from.ip().is_unicast_link_local()) {
                return Ok((length, from.scope_id()));
            }
        }
    }

    /// Asks the routers of a link to advertise themselves now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn solicit(&self, index: u32) -> io::Result<()> {
        // Type, code, checksum (the kernel's), reserved.
        let message = [ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        let to = SocketAddrV6::new(ALL_ROUTERS, 0, 0, index);
        sendto(&self.0, &message, SendFlags::empty(), &to)?;
        Ok(())
    }
}

impl AsFd for AdvertisementSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for AdvertisementSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
