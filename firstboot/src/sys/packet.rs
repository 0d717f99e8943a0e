//! A packet socket for IPv4 on one interface (packet(7), linux/if_packet.h): DHCP is spoken before there is an address. It
//! hears UDP packets to port 68 and nothing else (linux/filter.h), so that traffic does not wake its reader.

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// IPv4, in network order (linux/if_ether.h, `ETH_P_IP`).
const IPV4: u16 = 0x0800_u16.to_be();
/// To everybody on the link.
const BROADCAST: [u8; 6] = [0xff; 6];

/// The filter: (code, jump if true, jump if false, value). The packet begins with its IPv4 header.
const FILTER: [(u32, u8, u8, u32); 9] = [
    // Protocol: UDP.
    (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 9),
    (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 6, 17),
    // No fragments.
    (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 6),
    (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 4, 0, 0x3fff),
    // The destination port stands 2 bytes behind the header.
    (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
    (libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 2),
    (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, 68),
    (libc::BPF_RET | libc::BPF_K, 0, 0, 0xffff),
    (libc::BPF_RET | libc::BPF_K, 0, 0, 0),
];

/// The socket. It never waits.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    index: u32,
}

impl PacketSocket {
    /// Opens it on the interface of this number.
    ///
    /// # Errors
    /// What the kernel says: without CAP_NET_RAW, or when there is no such interface.
    pub fn open(index: u32) -> io::Result<PacketSocket> {
        // Without a protocol nothing comes before the filter is there and the interface is chosen.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            PacketSocket { socket: socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?, index };
        socket.filter()?;
        let address = socket.address()?;
        // SAFETY: the address is a sockaddr_ll of the length given, and is only read.
        let result = unsafe {
            libc::bind(socket.socket.as_raw_fd(), (&raw const address).cast(), length::<libc::sockaddr_ll>())
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
    }

    /// Opens it, to be waited for by the runtime of the caller.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn waited_for(index: u32) -> io::Result<AsyncFd<PacketSocket>> {
        let socket = PacketSocket::open(index)?;
        // SAFETY: the descriptor is the socket's own, and is closed with it and not before.
        unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
    }

    fn filter(&self) -> io::Result<()> {
        let mut filter = FILTER.map(|(code, jt, jf, k)| libc::sock_filter { code: code as u16, jt, jf, k });
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the program points to as many instructions as it says; the kernel copies them.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                length::<libc::sock_fprog>(),
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Everybody on the link.
    fn address(&self) -> io::Result<libc::sockaddr_ll> {
        let mut sll_addr = [0; 8];
        for (to, from) in sll_addr.iter_mut().zip(BROADCAST) {
            *to = from;
        }
        Ok(libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: IPV4,
            sll_ifindex: i32::try_from(self.index).map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: BROADCAST.len() as u8,
            sll_addr,
        })
    }

    /// Sends an IPv4 packet, header included, to everybody on the link.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn broadcast(&self, packet: &[u8]) -> io::Result<()> {
        let address = self.address()?;
        // SAFETY: packet and address are only read, within their lengths.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                length::<libc::sockaddr_ll>(),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet, from its IPv4 header on; what does not fit into `buffer` is cut off. Its length.
    ///
    /// # Errors
    /// What the kernel says; that none is there is [`io::ErrorKind::WouldBlock`].
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, _) = recv(&self.socket, buffer, RecvFlags::empty())?;
        Ok(length)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::os::fd::AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

const fn length<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
