//! WireGuard tunnels by generic netlink (linux/wireguard.h): what is wanted is compared with what the kernel has, and set
//! when it differs. Endpoints roam: a peer's present one is left alone.

use contract::node::{Endpoint, Peer, WireGuard, WireGuardKey};
use futures::StreamExt as _;
use genetlink::GenetlinkHandle;
use ipnet::IpNet;
use netlink_packet_generic::GenlMessage;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd,
    WireguardDeviceFlags, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The connection.
pub struct Tunnels(GenetlinkHandle);

/// A tunnel as it is in the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tunnel {
    private_key: Option<[u8; 32]>,
    pub public_key: Option<WireGuardKey>,
    pub port: u16,
    pub peers: BTreeMap<WireGuardKey, PeerState>,
}

/// A peer as it is in the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerState {
    preshared_key: [u8; 32],
    pub endpoint: Option<SocketAddr>,
    keepalive: u16,
    allowed: Vec<IpNet>,
    /// Seconds since 1970; 0 when there was none.
    pub handshake: i64,
    /// Bytes.
    pub received: u64,
    pub sent: u64,
}

impl Tunnels {
    /// Opens the connection; its task ends with the runtime.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> std::io::Result<Tunnels> {
        let (connection, handle, _) = genetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Tunnels(handle))
    }

    /// The state of a tunnel.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn tunnel(&mut self, name: &str) -> Result<Tunnel, String> {
        let mut tunnel = Tunnel::default();
        let attributes = vec![WireguardAttribute::IfName(name.to_owned())];
        for message in self.request(WireguardCmd::GetDevice, attributes, NLM_F_DUMP).await? {
            tunnel.take(message);
        }
        Ok(tunnel)
    }

    /// Makes the tunnel as it is wanted, if it is not. `address` gives the address of an endpoint, where it is known.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn apply(
        &mut self,
        name: &str,
        wanted: &WireGuard,
        there: &Tunnel,
        address: impl Fn(&Endpoint) -> Option<SocketAddr>,
    ) -> Result<(), String> {
        if there.is(wanted) {
            return Ok(());
        }
        self.request(WireguardCmd::SetDevice, attributes(name, wanted, address), NLM_F_ACK).await.map(|_| ())
    }

    /// Seeks peers at other addresses.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn seek(&mut self, name: &str, moved: &[(WireGuardKey, SocketAddr)]) -> Result<(), String> {
        let peer = |(key, address): &(WireGuardKey, SocketAddr)| {
            WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(key.0),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
                WireguardPeerAttribute::Endpoint(*address),
            ])
        };
        let peers = WireguardAttribute::Peers(moved.iter().map(peer).collect());
        let attributes = vec![WireguardAttribute::IfName(name.to_owned()), peers];
        self.request(WireguardCmd::SetDevice, attributes, NLM_F_ACK).await.map(|_| ())
    }

    async fn request(
        &mut self,
        cmd: WireguardCmd,
        attributes: Vec<WireguardAttribute>,
        flags: u16,
    ) -> Result<Vec<WireguardMessage>, String> {
        let mut message = NetlinkMessage::from(GenlMessage::from_payload(WireguardMessage { cmd, attributes }));
        message.header.flags = NLM_F_REQUEST | flags;
        let mut answers = self.0.request(message).await.map_err(|error| format!("WireGuard: {error}"))?;
        let mut found = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer.map_err(|error| format!("WireGuard: {error}"))?.payload {
                NetlinkPayload::InnerMessage(message) => found.push(message.payload),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(format!("WireGuard: {}", error.to_io()));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn attributes(
    name: &str,
    wanted: &WireGuard,
    address: impl Fn(&Endpoint) -> Option<SocketAddr>,
) -> Vec<WireguardAttribute> {
    let mut attributes = vec![
        WireguardAttribute::IfName(name.to_owned()),
        WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers),
        WireguardAttribute::ListenPort(wanted.listen_port.unwrap_or(0)),
    ];
    // The node config was checked: it is a key.
    attributes.extend(key(wanted.private_key.expose()).map(WireguardAttribute::PrivateKey));
    attributes.push(WireguardAttribute::Peers(wanted.peers.iter().map(|wanted| peer(wanted, &address)).collect()));
    attributes
}

fn key(text: &str) -> Option<[u8; 32]> {
    WireGuardKey::parse(text).ok().map(|key| key.0)
}

fn peer(wanted: &Peer, address: &impl Fn(&Endpoint) -> Option<SocketAddr>) -> WireguardPeer {
    let mut attributes = vec![
        WireguardPeerAttribute::PublicKey(wanted.public_key.0),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps),
        WireguardPeerAttribute::PersistentKeepalive(wanted.keepalive.unwrap_or(0)),
    ];
    let preshared = wanted.preshared_key.as_ref().and_then(|secret| key(secret.expose()));
    attributes.extend(preshared.map(WireguardPeerAttribute::PresharedKey));
    attributes.extend(wanted.endpoint.as_ref().and_then(address).map(WireguardPeerAttribute::Endpoint));
    let allowed = wanted.allowed.iter().map(|net| {
        let family = match net {
            IpNet::V4(_) => WireguardAddressFamily::Ipv4,
            IpNet::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(net.addr()),
            WireguardAllowedIpAttr::Cidr(net.prefix_len()),
        ])
    });
    attributes.push(WireguardPeerAttribute::AllowedIps(allowed.collect()));
    WireguardPeer(attributes)
}

impl Tunnel {
    /// Whether this is what is wanted.
    fn is(&self, wanted: &WireGuard) -> bool {
        let same = |peer: &Peer| {
            self.peers.get(&peer.public_key).is_some_and(|there| {
                let mut allowed = peer.allowed.clone();
                allowed.sort_unstable();
                let preshared = peer.preshared_key.as_ref().and_then(|secret| key(secret.expose()));
                there.allowed == allowed
                    && there.preshared_key == preshared.unwrap_or_default()
                    && there.keepalive == peer.keepalive.unwrap_or(0)
            })
        };
        // The kernel clears the bits that no private key has (RFC 7748, section 5).
        let clamped = key(wanted.private_key.expose()).map(|mut key| {
            key[0] &= 248;
            key[31] = (key[31] & 127) | 64;
            key
        });
        self.private_key == clamped
            && wanted.listen_port.is_none_or(|port| port == self.port)
            && self.peers.len() == wanted.peers.len()
            && wanted.peers.iter().all(same)
    }

    /// Takes one message of a dump; a peer with many nets goes over several.
    fn take(&mut self, message: WireguardMessage) {
        for attribute in message.attributes {
            match attribute {
                WireguardAttribute::PrivateKey(key) => self.private_key = Some(key),
                WireguardAttribute::PublicKey(key) => self.public_key = Some(WireGuardKey(key)),
                WireguardAttribute::ListenPort(port) => self.port = port,
                WireguardAttribute::Peers(peers) => peers.into_iter().for_each(|peer| self.take_peer(peer)),
                _ => {}
            }
        }
    }

    fn take_peer(&mut self, peer: WireguardPeer) {
        let public = peer.0.iter().find_map(|attribute| match attribute {
            WireguardPeerAttribute::PublicKey(key) => Some(WireGuardKey(*key)),
            _ => None,
        });
        let Some(public) = public else { return };
        let state = self.peers.entry(public).or_default();
        for attribute in peer.0 {
            match attribute {
                WireguardPeerAttribute::PresharedKey(key) => state.preshared_key = key,
                WireguardPeerAttribute::Endpoint(endpoint) => state.endpoint = Some(endpoint),
                WireguardPeerAttribute::PersistentKeepalive(seconds) => state.keepalive = seconds,
                WireguardPeerAttribute::LastHandshake(time) => state.handshake = time.seconds,
                WireguardPeerAttribute::RxBytes(bytes) => state.received = bytes,
                WireguardPeerAttribute::TxBytes(bytes) => state.sent = bytes,
                WireguardPeerAttribute::AllowedIps(nets) => {
                    state.allowed.extend(nets.iter().filter_map(net));
                    state.allowed.sort_unstable();
                }
                _ => {}
            }
        }
    }
}

fn net(allowed: &WireguardAllowedIp) -> Option<IpNet> {
    let (mut address, mut length) = (None, None);
    for attribute in &allowed.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(found) => address = Some(*found),
            WireguardAllowedIpAttr::Cidr(found) => length = Some(*found),
            _ => {}
        }
    }
    IpNet::new(address?, length?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::node::NodeConfig;

    const A: &str = "Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";
    const B: &str = "b3RoZXIga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";

    fn wanted(extra: &str) -> WireGuard {
        let text = format!(
            "name = \"r1\"\n[network.wg0.wireguard]\nprivate_key = \"{A}\"\nlisten_port = 51820\n\
             [[network.wg0.wireguard.peer]]\npublic_key = \"{B}\"\nallowed = [\"fd00::/8\", \"10.0.0.0/8\"]\n{extra}"
        );
        let config = NodeConfig::parse(text.as_bytes()).unwrap();
        let interface = config.network.interfaces().values().next().unwrap().clone();
        interface.wireguard.unwrap()
    }

    /// What is sent is what a dump would bring, but for the flags and the clamped key.
    #[test]
    fn a_tunnel_that_is_as_wanted_is_left_alone() {
        let mut there = Tunnel::default();
        let attributes = attributes("wg0", &wanted("endpoint = \"10.0.0.1:5\"\n"), Endpoint::address);
        there.take(WireguardMessage { cmd: WireguardCmd::GetDevice, attributes });
        if let Some(key) = &mut there.private_key {
            key[0] &= 248;
            key[31] = (key[31] & 127) | 64;
        }
        assert!(there.is(&wanted("")), "{there:?}");
        assert!(there.is(&wanted("endpoint = \"10.9.9.9:9\"\n")), "endpoints roam");
        assert!(!there.is(&wanted("keepalive = 25\n")));
        assert!(!there.is(&wanted(&format!("preshared_key = \"{A}\"\n"))));
        assert!(!Tunnel::default().is(&wanted("")));
        there.peers.insert(WireGuardKey([9; 32]), PeerState::default());
        assert!(!there.is(&wanted("")), "somebody else's peer");
    }
}
