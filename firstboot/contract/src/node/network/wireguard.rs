//! `[network.NAME.wireguard]`: one end of a tunnel (wireguard.com/protocol; the kernel's drivers/net/wireguard).

use super::is_domain;
use crate::node::problem::{Problem, problem};
use crate::node::secrets::is_kept;
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One end of a tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WireGuard {
    /// As `wg genkey` prints it.
    pub private_key: Secret,
    /// UDP port; without one the kernel draws it, which is enough for the end that begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    #[serde(default, rename = "peer", skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub public_key: WireGuardKey,
    /// As `wg genpsk` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preshared_key: Option<Secret>,
    /// Nets behind the peer: packets to them go to it, and only packets from them are taken from it. Routes to them are
    /// made, but for `0.0.0.0/0` and `::/0`.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub allowed: Vec<IpNet>,
    /// `address:port` or `name:port`; without one, the peer must begin. A name is looked up again and again, and the peer is
    /// sought at its new address when that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Seconds between two signs of life, for an end behind NAT; 25 is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<u16>,
}

/// Where a peer is: `192.0.2.7:51820`, `[2001:db8::7]:51820` or `vpn.example:51820`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

impl Endpoint {
    /// The address, where it is not a name.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.parse().ok()
    }

    /// The name and the port, where it is a name.
    #[must_use]
    pub fn name(&self) -> Option<(&str, u16)> {
        let (name, port) = self.0.rsplit_once(':')?;
        if self.address().is_some() { None } else { Some((name, port.parse().ok()?)) }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Endpoint, String> {
        let nowhere = |address: SocketAddr| address.port() == 0 || address.ip().is_unspecified();
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if nowhere(address) {
                Err(format!("no host can be reached at {text}"))
            } else {
                Ok(Endpoint(text))
            };
        }
        let (name, port) = text.rsplit_once(':').unwrap_or((&text, ""));
        // What ends in a number was to be an address (RFC 3696, section 2).
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_name = is_domain(name) && !last.bytes().all(|byte| byte.is_ascii_digit());
        let is_port =
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        if is_name && is_port {
            return Ok(Endpoint(text));
        }
        Err(format!(
            "{text:?} is not an endpoint; write it like \"192.0.2.7:51820\", \"[2001:db8::7]:51820\" or \"vpn.example:51820\""
        ))
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.0
    }
}

/// A key: 32 bytes, written in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct WireGuardKey(pub [u8; 32]);

impl WireGuardKey {
    /// Reads a key. What is wrong is said without the text, which may be a secret.
    ///
    /// # Errors
    /// When it is not base64 of 32 bytes.
    pub fn parse(text: &str) -> Result<WireGuardKey, &'static str> {
        let bytes = STANDARD.decode(text).unwrap_or_default();
        let key = bytes
            .try_into()
            .map_err(|_| "it is not a valid WireGuard key: 44 letters of base64, as `wg` prints them")?;
        Ok(WireGuardKey(key))
    }
}

impl std::fmt::Display for WireGuardKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl std::fmt::Debug for WireGuardKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for WireGuardKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<WireGuardKey, &'static str> {
        WireGuardKey::parse(&text)
    }
}

impl From<WireGuardKey> for String {
    fn from(key: WireGuardKey) -> String {
        key.to_string()
    }
}

impl WireGuard {
    pub(super) fn check(&self, name: &str, found: &mut Vec<Problem>) {
        let base = ["network", name, "wireguard"];
        let secret = |secret: &Secret, path: &[&str]| match WireGuardKey::parse(secret.expose()) {
            Err(_) if is_kept(secret.expose()) => None,
            Err(error) => Some(problem(base.iter().chain(path).copied(), error)),
            Ok(WireGuardKey(bytes)) if bytes == [0; 32] => {
                Some(problem(base.iter().chain(path).copied(), "a key of zeros is not valid"))
            }
            Ok(_) => None,
        };
        found.extend(secret(&self.private_key, &["private_key"]));
        for (at, peer) in self.peers.iter().enumerate() {
            let number = at.to_string();
            let at_peer =
                |key: &str, message: String| problem(base.into_iter().chain(["peer", number.as_str(), key]), message);
            let before = self.peers.get(..at).unwrap_or_default();
            if before.iter().any(|other| other.public_key == peer.public_key) {
                found.push(at_peer("public_key", "this peer is listed twice".to_owned()));
            }
            if let Some(key) = &peer.preshared_key {
                found.extend(secret(key, &["peer", number.as_str(), "preshared_key"]));
            }
            for net in &peer.allowed {
                if net.addr() != net.network() {
                    let message = format!("{net} has host bits set; the network is {}", net.trunc());
                    found.push(at_peer("allowed", message));
                }
                if before.iter().any(|other| other.allowed.contains(net)) {
                    found.push(at_peer("allowed", format!("{net} already belongs to another peer")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_or_a_name_with_a_port() {
        let parse = |text: &str| Endpoint::try_from(text.to_owned());
        assert_eq!(parse("192.0.2.7:5").unwrap().address(), Some("192.0.2.7:5".parse().unwrap()));
        assert_eq!(parse("[2001:db8::7]:5").unwrap().name(), None);
        assert_eq!(parse("vpn.example:51820").unwrap().name(), Some(("vpn.example", 51820)));
        for wrong in [
            "0.0.0.0:5",
            "192.0.2.7:0",
            "192.0.2.300:5",
            "192.0.2.7",
            "vpn.example",
            "vpn.example:0",
            "a b:5",
            ":5",
            "",
            "2001:db8::7:5",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
