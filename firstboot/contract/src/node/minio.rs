//! `[minio]`: object storage, on one node or on several that are one.

use super::disks::DataKind;
use super::host::{HostName, Hosts};
use super::listen;
use super::network::{Network, is_domain};
use super::problem::{Problem, problem};
use super::secrets::is_kept;
use super::section::{Common, Section};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Shortest name and password that MinIO takes, in bytes (its internal/auth/credentials.go).
const SHORTEST_USER: usize = 3;
const SHORTEST_PASSWORD: usize = 8;
/// Drives of one erasure set: MinIO spreads an object over so many of them (its cmd/endpoint-ellipses.go).
const SET: std::ops::RangeInclusive<usize> = 2..=16;
/// Port of the S3 API. The profile's checks look there.
const PORT: u16 = 9000;

/// Settings of the S3 server. Its data is on the node's `data`, which must be a file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Minio {
    /// The administrator's name and password. The same on every node of a cluster.
    pub user: Secret,
    pub password: Secret,
    /// All nodes of the cluster, including this one, by name or address: the same list in the same order on each.
    /// Default: a single node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Address for S3, on port 9000. Default: every address of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<IpAddr>,
    /// Address and port of the web console. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<SocketAddr>,
    /// Further settings of MinIO, by name (`MINIO_...`). They are secret, because some contain passwords.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Secret>,
}

/// Settings that have keys of their own here, or that would lead the server away from its place.
const OWN: [&str; 12] = [
    "MINIO_ROOT_USER",
    "MINIO_ROOT_PASSWORD",
    "MINIO_ACCESS_KEY",
    "MINIO_SECRET_KEY",
    "MINIO_VOLUMES",
    "MINIO_ENDPOINTS",
    "MINIO_ARGS",
    "MINIO_ADDRESS",
    "MINIO_CONSOLE_ADDRESS",
    "MINIO_BROWSER",
    "MINIO_CONFIG_ENV_FILE",
    "MINIO_UPDATE",
];

impl Section for Minio {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        let Common { name, disks, network, hosts, .. } = *node;
        self.credentials(found);
        self.settings(found);
        self.peers(name, network, hosts, found);
        if !matches!(disks.data, DataKind::Xfs | DataKind::Ext4) {
            let message = "MinIO keeps its objects on `data`: set data = \"xfs\" (or \"ext4\") under [disks]";
            found.push(problem(["minio"], message));
        }
        if let Some(listen) = self.listen {
            found.extend(listen::check_address(&["minio", "listen"], listen, network).err());
        }
        if let Some(console) = self.console {
            found.extend(listen::check(&["minio", "console"], console, network).err());
            if console.port() == PORT {
                found.push(problem(["minio", "console"], format!("port {PORT} is the S3 API's; 9001 is usual")));
            }
        }
    }
}

impl Minio {
    fn credentials(&self, found: &mut Vec<Problem>) {
        for (key, secret, shortest) in
            [("user", &self.user, SHORTEST_USER), ("password", &self.password, SHORTEST_PASSWORD)]
        {
            // A star stands for what the node has.
            if is_kept(secret.expose()) {
                continue;
            }
            if secret.expose().len() < shortest {
                found.push(problem(["minio", key], format!("MinIO requires at least {shortest} bytes")));
            }
            found.extend(value(secret).err().map(|message| problem(["minio", key], message)));
        }
        // An S3 request names the user between these signs (Signature Version 4, "Authorization").
        if self.user.expose().contains(['=', ',', '/']) {
            found.push(problem(["minio", "user"], "`=`, `,` and `/` are not allowed"));
        }
    }

    fn settings(&self, found: &mut Vec<Problem>) {
        for (key, secret) in &self.settings {
            let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            let message = if !key.starts_with("MINIO_") || !key.bytes().all(plain) {
                Some("not a setting of MinIO; their names are MINIO_ and upper-case letters".to_owned())
            } else if OWN.contains(&key.as_str()) {
                Some("this one is set from the other keys under [minio]".to_owned())
            } else {
                value(secret).err()
            };
            found.extend(message.map(|message| problem(["minio", "settings", key.as_str()], message)));
        }
    }

    fn peers(&self, name: &HostName, network: &Network, hosts: &Hosts, found: &mut Vec<Problem>) {
        if self.peers.is_empty() {
            return;
        }
        let mut seen = BTreeSet::new();
        for (at, peer) in self.peers.iter().enumerate() {
            let number = at.to_string();
            let here = |message: String| problem(["minio", "peers", number.as_str()], message);
            if peer.parse::<IpAddr>().is_err() && !is_domain(peer) {
                found.push(here(format!("{peer:?} is neither a host name nor an address")));
            }
            if !seen.insert(peer) {
                found.push(here("this peer is listed twice".to_owned()));
            }
        }
        let here = |message: String| problem(["minio", "peers"], message);
        let count = self.peers.len();
        if !SET.rev().any(|size| count.is_multiple_of(size)) {
            found.push(here(format!("{count} nodes cannot be divided into sets of 2 to 16, as MinIO needs them")));
        }
        if !self.peers.iter().any(|peer| is_self(peer, name, network, hosts)) {
            let name = name.as_str();
            found.push(here(format!("this node is not among them: name it as {name:?} or by one of its addresses")));
        }
    }
}

/// Whether a peer is this node: by its name, its name and a domain, an address that it has, or a name of such an address.
fn is_self(peer: &str, name: &HostName, network: &Network, hosts: &Hosts) -> bool {
    let named = peer == name.as_str() || peer.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'));
    let own = |address: IpAddr| listen::may_be_own(address, network);
    named || peer.parse().is_ok_and(own) || hosts.iter().any(|(host, address)| host == peer && own(address))
}

/// A value goes into a file of `KEY="value"` lines.
fn value(secret: &Secret) -> Result<(), String> {
    if secret.expose().chars().any(char::is_control) {
        return Err("a value is one line without control characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    const HEAD: &str = "name = \"m1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[disks]\ndata = \"xfs\"\n\
                        [hosts]\ns3-a = \"10.0.0.1\"\ns3-b = \"10.0.0.2\"\n";
    const KEYS: &str = "[minio]\nuser = \"admin\"\npassword = \"correct horse\"\n";

    fn parse(head: &str, minio: &str) -> Result<NodeConfig, String> {
        NodeConfig::parse(format!("{head}{minio}\n").as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_node_stands_alone_or_is_one_of_its_peers() {
        assert!(parse(HEAD, KEYS).unwrap().minio.unwrap().peers.is_empty());
        for peers in ["\"m1\", \"m2\"", "\"m1.lan\", \"m2.lan\"", "\"10.0.0.2\", \"10.0.0.1\"", "\"s3-a\", \"s3-b\""]
        {
            let config = parse(HEAD, &format!("{KEYS}peers = [{peers}]")).unwrap();
            assert_eq!(config.minio.unwrap().peers.len(), 2, "{peers}");
        }
        // What DHCP brings is not known.
        let head = HEAD.replace("addresses = [\"10.0.0.1/24\"]", "dhcp = true");
        assert!(parse(&head, &format!("{KEYS}peers = [\"10.0.0.8\", \"10.0.0.9\"]")).is_ok());
    }

    #[test]
    fn what_minio_would_refuse_is_refused_here() {
        let peers = |list: &str| format!("{KEYS}peers = [{list}]");
        let nineteen: Vec<String> = (1..=19).map(|n| format!("\"m{n}\"")).collect();
        for (text, reason) in [
            (peers("\"m2\", \"m3\""), "not among them"),
            (peers("\"m1\", \"m1\""), "twice"),
            (peers("\"m1\", \"m 2\""), "neither a host name nor an address"),
            (peers("\"m1\", \"http://m2\""), "neither a host name nor an address"),
            (peers("\"m1\""), "cannot be divided"),
            (peers(&nineteen.join(", ")), "cannot be divided"),
            (KEYS.replace("admin", "ad"), "at least 3 bytes"),
            (KEYS.replace("admin", "a/b"), "are not allowed"),
            (KEYS.replace("correct horse", "short"), "at least 8 bytes"),
            (KEYS.replace("correct horse", "two\\nMINIO_BROWSER=on"), "one line"),
            (format!("{KEYS}listen = \"10.0.0.9\""), "not one of this node's addresses"),
            (format!("{KEYS}console = \"10.0.0.1:9000\""), "9001 is usual"),
            (format!("{KEYS}[minio.settings]\nMINIO_VOLUMES = \"/etc\""), "set from the other keys"),
            (format!("{KEYS}[minio.settings]\nLD_PRELOAD = \"x\""), "not a setting of MinIO"),
            (format!("{KEYS}[minio.settings]\nMINIO_REGION = \"a\\nb\""), "one line"),
        ] {
            let error = parse(HEAD, &text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("correct horse"), "a secret is shown: {error}");
        }
        let error = parse(&HEAD.replace("xfs", "lvm"), KEYS).unwrap_err();
        assert!(error.contains("keeps its objects on `data`"), "{error}");
    }

    #[test]
    fn name_password_and_settings_are_never_shown() {
        let text = format!("{HEAD}{KEYS}[minio.settings]\nMINIO_SITE_NAME = \"rack-one\"\n");
        let config = NodeConfig::parse(text.as_bytes()).unwrap();
        let shown = format!("{config:?}") + &serde_json::to_string(&config).unwrap();
        for secret in ["admin", "correct horse", "rack-one"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let hidden = crate::node::secrets::hide(&text, &config);
        assert!(!hidden.contains("correct horse") && !hidden.contains("rack-one"), "{hidden}");
        assert_eq!(crate::node::secrets::restore(&hidden, Some(&text)).unwrap(), text);
    }
}
