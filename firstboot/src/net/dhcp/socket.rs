//! The wire of a DHCP conversation: a packet socket, which hears and speaks without an address; and, for a renewal, a UDP
//! socket to the server.

use super::client::Wire;
use super::message::{CLIENT, LONGEST, SERVER, from_server, to_everybody};
use crate::sys::packet::PacketSocket;
use std::io;
use std::net::Ipv4Addr;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

pub struct Link {
    packets: AsyncFd<PacketSocket>,
    /// Where there is one, questions go through it. Answers are heard as packets all the same: a refusal comes to
    /// everybody.
    server: Option<UdpSocket>,
}

impl Link {
    /// On the interface of this number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(index: u32) -> Result<Link, String> {
        let packets = PacketSocket::waited_for(index).map_err(|error| format!("no packet socket: {error}"))?;
        Ok(Link { packets, server: None })
    }

    /// Lets questions go from the node's own address to one server. Where that is impossible they go to everybody.
    pub async fn towards(mut self, interface: &str, own: Ipv4Addr, server: Ipv4Addr) -> Link {
        self.server = udp(interface, own, server).await.ok();
        self
    }
}

async fn udp(interface: &str, own: Ipv4Addr, server: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((own, CLIENT)).await?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.connect((server, SERVER)).await?;
    Ok(socket)
}

impl Wire for Link {
    async fn send(&self, message: &[u8]) -> io::Result<()> {
        if let Some(server) = &self.server {
            // An answer of ICMP to an earlier question is no matter here.
            if server.send(message).await.is_ok() {
                return Ok(());
            }
        }
        let packet = to_everybody(message);
        loop {
            let mut ready = self.packets.writable().await?;
            if let Ok(sent) = ready.try_io(|packets| packets.get_ref().broadcast(&packet)) {
                return sent;
            }
        }
    }

    async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; LONGEST];
        loop {
            let mut ready = self.packets.readable().await?;
            let Ok(read) = ready.try_io(|packets| packets.get_ref().receive(&mut buffer)) else { continue };
            if let Some(message) = buffer.get(..read?).and_then(from_server) {
                return Ok(message.to_vec());
            }
        }
    }
}
