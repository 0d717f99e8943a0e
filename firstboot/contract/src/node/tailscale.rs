//! `[tailscale]`: a node in a tailnet.

use super::network::is_domain;
use super::problem::{Problem, problem};
use super::secrets::is_kept;
use super::section::{Common, Section};
use crate::secret::Secret;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// How the node joins its tailnet. It is known there by its own name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tailscale {
    /// An authentication key, with which the node joins at its first start; what it is afterwards stays on `state`.
    pub auth_key: Secret,
    /// URL of another control server than Tailscale's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Networks behind this node that the tailnet may reach through it.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub announce: Vec<IpNet>,
    /// Take the networks that others of the tailnet announce.
    #[serde(default)]
    pub accept: bool,
}

impl Section for Tailscale {
    fn check(&self, _: &Common<'_>, found: &mut Vec<Problem>) {
        let key = self.auth_key.expose();
        let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_kept(key) && (!word(key) || key.contains(['"', '\\'])) {
            found.push(problem(["tailscale", "auth_key"], "an authentication key is one word"));
        }
        if let Some(server) = &self.server
            && !is_server(server)
        {
            let message = format!("{server:?} is not a control server; write it like \"https://headscale.lan\"");
            found.push(problem(["tailscale", "server"], message));
        }
        for (at, net) in self.announce.iter().enumerate() {
            if net.addr() != net.network() {
                let at = at.to_string();
                let message = format!("{net} has host bits set; the network is {}", net.trunc());
                found.push(problem(["tailscale", "announce", at.as_str()], message));
            }
        }
    }
}

/// `http://` or `https://`, a name or an IPv4 address, perhaps a port.
fn is_server(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest)).is_some_and(|rest| match rest.split_once(':') {
        None => is_domain(rest),
        Some((host, port)) => {
            is_domain(host) && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    #[test]
    fn what_is_no_key_no_server_and_no_net_is_refused_without_the_key_being_shown() {
        let parse = |rest: &str| {
            NodeConfig::parse(format!("name = \"n1\"\n[tailscale]\n{rest}\n").as_bytes())
                .map_err(|error| error.to_string())
        };
        let fine = "auth_key = \"tskey-auth-k123\"";
        assert!(parse(fine).is_ok() && parse("auth_key = \"*\"").is_ok());
        assert!(parse(&format!("{fine}\nserver = \"http://10.0.0.9:8080\"\nannounce = [\"10.1.0.0/24\"]")).is_ok());
        for (text, reason) in [
            ("auth_key = \"\"".to_owned(), "one word"),
            ("auth_key = \"tskey-auth k\"".to_owned(), "one word"),
            (format!("{fine}\nserver = \"headscale.lan\""), "not a control server"),
            (format!("{fine}\nserver = \"https://a b\""), "not a control server"),
            (format!("{fine}\nannounce = [\"10.1.0.1/24\"]"), "the network is 10.1.0.0/24"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("tskey"), "{text}: {error}");
        }
    }
}
