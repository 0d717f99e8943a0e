//! `[haproxy]`: one address in front of several servers, such as those of the k3s API.

use super::listen;
use super::network::is_domain;
use super::problem::{Problem, problem};
use super::section::{Common, Section};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// A TCP load balancer: connections are forwarded to one of the servers that answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Haproxy {
    /// Address and TCP port, such as `0.0.0.0:6443`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// A complete native configuration, instead of `listen` and `servers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// A server by `name:port`, `address:port` or `[address]:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Server(String);

impl Server {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Server {
    type Error = String;

    /// It becomes a word of a configuration file: nothing but a name or an address, and a port.
    fn try_from(text: String) -> Result<Server, String> {
        let (host, port) = text.rsplit_once(':').unwrap_or((&text, ""));
        let six = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_host = match six {
            Some(address) => matches!(address.parse(), Ok(IpAddr::V6(_))),
            None => is_domain(host),
        };
        let is_port =
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        if is_host && is_port {
            Ok(Server(text))
        } else {
            Err(format!(
                "{text:?} is not a server; write it like \"10.0.0.1:6443\", \"[fd00::1]:6443\" or \"s1:6443\""
            ))
        }
    }
}

impl From<Server> for String {
    fn from(server: Server) -> String {
        server.0
    }
}

impl Section for Haproxy {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        let Common { network, .. } = *node;
        let here = |key, message: &str| problem(["haproxy", key], message);
        if self.config.is_some() {
            if self.listen.is_some() || !self.servers.is_empty() {
                let message = "a complete configuration in `config` sets the address and the servers itself";
                found.push(here("config", message));
            }
            return;
        }
        match self.listen {
            None => found.push(here("listen", "required, such as \"0.0.0.0:6443\"")),
            Some(listen) => found.extend(listen::check(&["haproxy", "listen"], listen, network).err()),
        }
        if self.servers.is_empty() {
            found.push(here("servers", "required: at least one, such as \"10.0.0.1:6443\""));
        }
        let mut seen = BTreeSet::new();
        for (at, server) in self.servers.iter().enumerate() {
            let number = at.to_string();
            let here = |message: &str| problem(["haproxy", "servers", number.as_str()], message);
            if !seen.insert(server) {
                found.push(here("this server is listed twice"));
            }
            if self.listen.is_some_and(|listen| server.as_str().parse() == Ok(listen)) {
                found.push(here("it would forward connections to itself"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    fn parse(haproxy: &str) -> Result<NodeConfig, String> {
        let head = "name = \"l1\"\n[network.eth0]\naddresses = [\"10.0.0.9/24\"]\n[haproxy]\n";
        NodeConfig::parse(format!("{head}{haproxy}\n").as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn servers_are_names_or_addresses_with_a_port() {
        let config =
            parse("listen = \"0.0.0.0:6443\"\nservers = [\"10.0.0.1:6443\", \"[fd00::1]:6443\", \"s3.lan:6443\"]");
        assert_eq!(config.unwrap().haproxy.unwrap().servers.len(), 3);
        for wrong in
            ["10.0.0.1", "10.0.0.1:0", "10.0.0.1:70000", "fd00::1:6443", "a b:1", "a:1\\nlog x", "a:+1", ":1"]
        {
            let error = parse(&format!("listen = \"0.0.0.0:6443\"\nservers = [\"{wrong}\"]")).unwrap_err();
            assert!(error.contains("is not a server"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (text, reason) in [
            ("servers = [\"10.0.0.1:1\"]", "listen: required"),
            ("listen = \"0.0.0.0:1\"", "servers: required"),
            ("listen = \"10.0.0.1:1\"\nservers = [\"10.0.0.1:1\"]", "not one of this node's addresses"),
            ("listen = \"10.0.0.9:1\"\nservers = [\"10.0.0.9:1\"]", "to itself"),
            ("listen = \"10.0.0.9:1\"\nservers = [\"10.0.0.1:1\", \"10.0.0.1:1\"]", "twice"),
            ("listen = \"10.0.0.9:1\"\nconfig = \"global\"", "sets the address"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(parse("config = \"global\\n  maxconn 10\\n\"").is_ok());
    }
}
