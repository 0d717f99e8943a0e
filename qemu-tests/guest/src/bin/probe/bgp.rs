//! A second BGP speaker on a node, as Cilium's is: it listens nowhere, connects from an address of its own, and announces one
//! network (RFC 4271; without any capability, so AS numbers have two bytes).

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Port of BGP.
const PORT: u16 = 179;
const HOLD_S: u16 = 90;
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const KEEPALIVE: u8 = 4;

/// Announces `network` (a /24) with this AS number to `peer`, until the session ends.
pub fn speak(own: &str, peer: &str, asn: &str, network: &str) -> io::Result<()> {
    let parse = |text: &str| text.parse::<Ipv4Addr>().map_err(io::Error::other);
    let (own, peer, network) = (parse(own)?, parse(peer)?, parse(network)?);
    let asn: u16 = asn.parse().map_err(io::Error::other)?;
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((own, 0)))?;
    connect(&socket, &SocketAddr::from((peer, PORT)))?;
    let mut session = TcpStream::from(socket);

    let mut open = vec![4];
    open.extend([asn.to_be_bytes(), HOLD_S.to_be_bytes()].concat());
    open.extend(own.octets());
    open.push(0);
    send(&mut session, OPEN, &open)?;
    // The peer's own; then both agree.
    receive(&mut session)?;
    send(&mut session, KEEPALIVE, &[])?;
    receive(&mut session)?;
    println!("the session is established");
    send(&mut session, UPDATE, &update(own, asn, network))?;
    let mut keeping = session.try_clone()?;
    std::thread::spawn(move || {
        while send(&mut keeping, KEEPALIVE, &[]).is_ok() {
            std::thread::sleep(Duration::from_secs(10));
        }
    });
    loop {
        receive(&mut session)?;
    }
}

/// One network by way of `own`: nothing withdrawn, then ORIGIN, AS_PATH and NEXT_HOP (section 4.3).
fn update(own: Ipv4Addr, asn: u16, network: Ipv4Addr) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 4, 2, 1];
    attributes.extend(asn.to_be_bytes());
    attributes.extend([0x40, 3, 4]);
    attributes.extend(own.octets());
    let mut body = vec![0, 0];
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(attributes);
    body.push(24);
    body.extend(&network.octets()[..3]);
    body
}

fn send(session: &mut TcpStream, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = (19 + body.len() as u16).to_be_bytes();
    session.write_all(&[&[0xff; 16][..], &length, &[kind], body].concat())
}

/// Takes the next message, whatever it says.
fn receive(session: &mut TcpStream) -> io::Result<()> {
    let mut head = [0; 19];
    session.read_exact(&mut head)?;
    let length = u16::from_be_bytes([head[16], head[17]]).saturating_sub(19);
    io::copy(&mut session.take(length.into()), &mut io::sink())?;
    Ok(())
}
