//! The wire of a DHCPv6 conversation: a UDP socket with the interface's own address of the link (RFC 8415, section 13).

use super::client::Wire;
use super::message::{ALL_SERVERS, CLIENT, LONGEST, SERVER};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use tokio::net::UdpSocket;

pub struct Link {
    socket: UdpSocket,
    index: u32,
}

impl Link {
    /// On the interface of this number, whose address of the link is `local`. Such an address binds the socket to the interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn open(index: u32, local: Ipv6Addr) -> io::Result<Link> {
        Ok(Link { socket: UdpSocket::bind(SocketAddrV6::new(local, CLIENT, 0, index)).await?, index })
    }
}

impl Wire for Link {
    async fn send(&self, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrV6::new(ALL_SERVERS, SERVER, 0, self.index);
        self.socket.send_to(message, to).await.map(|_| ())
    }

    async fn receive(&self) -> io::Result<(Vec<u8>, Ipv6Addr)> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).await?;
            if let SocketAddr::V6(from) = from {
                buffer.truncate(length);
                return Ok((buffer, *from.ip()));
            }
        }
    }
}
