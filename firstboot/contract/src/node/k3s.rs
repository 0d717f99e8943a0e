//! `[k3s]`: a node's place in a Kubernetes cluster. Servers and agents have the same table; what a server needs besides
//! may be left out, and agents are not asked for it.

use super::disks::DataKind;
use super::haproxy::Server;
use super::listen::may_be_own;
use super::network::{Network, is_domain};
use super::problem::{Problem, problem};
use super::registries::Registries;
use super::secrets::is_kept;
use super::section::{Common, Section};
use super::snapshots::Snapshots;
use super::values;
use crate::secret::Secret;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Longest token that is taken, in bytes; k3s makes ones of 106.
const LONGEST_TOKEN: usize = 512;
/// How long a node may be drained, in seconds.
const DRAIN: std::ops::RangeInclusive<u32> = 10..=3600;
/// Longest name in a label, and longest prefix before it, in bytes (Kubernetes, "Labels and Selectors").
const LONGEST_NAME: usize = 63;
const LONGEST_PREFIX: usize = 253;

/// Settings of k3s. Images, containers and the cluster's database are on the node's `data`, which must be a file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct K3s {
    /// The cluster's shared secret. Without one, a first server generates its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The secret that agents join with, if it differs from the servers'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<Secret>,
    /// A server of the cluster to join, such as `https://10.0.0.1:6443`. Required for agents and for all servers but
    /// the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUrl>,
    /// Whether this server starts a new cluster with embedded etcd that other servers can join.
    #[serde(default)]
    pub cluster_init: bool,
    /// Addresses of this node in the cluster, one of each family. Default: the address of the default route.
    #[serde(default, deserialize_with = "values::one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::OneOrMany<IpAddr>"))]
    pub node_ip: Vec<IpAddr>,
    /// Set when the node joins, and not changed afterwards.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// As `key=value:NoSchedule`. Set when the node joins, and not changed afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Additional names and addresses of the API for its certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_san: Vec<String>,
    /// Networks of pods, one of each family; the same on every server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub cluster_cidr: Vec<IpNet>,
    /// Networks of services, one of each family; the same on every server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub service_cidr: Vec<IpNet>,
    /// Where images come from, and who may fetch them.
    #[serde(default, skip_serializing_if = "Registries::is_empty")]
    pub registries: Registries,
    /// Copies of the cluster's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Snapshots>,
    /// Seconds that the pods of this server have to move to other nodes before it restarts or powers off in order. Without it
    /// the node is not drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<u32>,
    /// Components of k3s to leave out: `traefik`, `servicelb` ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disable: Vec<Component>,
}

/// A component of k3s that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    Coredns,
    Servicelb,
    Traefik,
    LocalStorage,
    MetricsServer,
    Runtimes,
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<$name, String> {
                $check(&text)?;
                Ok($name(text))
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    };
}

text!(
    /// `https://`, a name or an address, and a port.
    ServerUrl,
    server_url
);
text!(
    /// A name of up to 63 letters, digits, `-`, `_` and `.`, perhaps behind a domain and a slash.
    LabelKey,
    label_key
);
text!(
    /// Nothing, or up to 63 letters, digits, `-`, `_` and `.`, with a letter or a digit at both ends.
    LabelValue,
    label_value
);
text!(
    /// `key=value:Effect` or `key:Effect`; the effect is `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    Taint,
    taint
);

fn server_url(text: &str) -> Result<(), String> {
    let server = text.strip_prefix("https://").and_then(|rest| Server::try_from(rest.to_owned()).ok());
    server.map(drop).ok_or_else(|| format!("{text:?} is not a server; write it like \"https://10.0.0.1:6443\""))
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= LONGEST_NAME
        && text.bytes().all(inner)
        && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

fn label_key(text: &str) -> Result<(), String> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let lower = |prefix: &str| !prefix.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_name(name)
        && prefix.is_none_or(|prefix| prefix.len() <= LONGEST_PREFIX && lower(prefix) && is_domain(prefix))
    {
        return Ok(());
    }
    Err(format!("{text:?} is not a valid label key; they look like \"disk\" or \"example.org/disk\""))
}

/// Whether kubelet may set a label on its own node (Kubernetes 1.36, pkg/kubelet/apis/well_known_labels.go,
/// `IsKubeletLabel`, by which cmd/kubelet/app/options checks `--node-labels`).
fn kubelet_takes(key: &str) -> bool {
    const WELL_KNOWN: [&str; 11] = [
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
    ];
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within =
        |parent: &str| domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    WELL_KNOWN.contains(&key)
        || !(within("kubernetes.io") || within("k8s.io"))
        || within("node.kubernetes.io")
        || within("kubelet.kubernetes.io")
}

fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() || is_name(text) {
        return Ok(());
    }
    Err(format!("{text:?} is not a valid label value: up to {LONGEST_NAME} letters, digits, `-`, `_` and `.`"))
}

fn taint(text: &str) -> Result<(), String> {
    let wrong = || {
        format!(
            "{text:?} is not a valid taint; write it like \"key=value:NoSchedule\" (or PreferNoSchedule, NoExecute)"
        )
    };
    let (what, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (key, value) = what.split_once('=').unwrap_or((what, ""));
    let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect);
    if known && label_key(key).is_ok() && label_value(value).is_ok() { Ok(()) } else { Err(wrong()) }
}

impl Section for K3s {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        let here = |key: &str, message: &str| problem(["k3s", key], message);
        for (key, secret) in [("token", &self.token), ("agent_token", &self.agent_token)] {
            let wrong = secret.as_ref().and_then(|secret| wrong_token(secret.expose()));
            found.extend(wrong.map(|message| here(key, message)));
        }
        if self.cluster_init && self.server.is_some() {
            found.push(here("cluster_init", "a node either starts a cluster or joins the one at k3s.server"));
        }
        if self.server.is_some() && self.token.is_none() {
            found.push(here("server", "k3s.token is required to join it: the first server has it"));
        }
        self.check_labels(found);
        self.check_addresses(node.network, found);
        if self.drain.is_some_and(|seconds| !DRAIN.contains(&seconds)) {
            found.push(here("drain", "pods have 10 to 3600 seconds to move"));
        }
        self.registries.check(found);
        if let Some(snapshots) = &self.snapshots {
            snapshots.check(found);
        }
        if !matches!(node.disks.data, DataKind::Xfs | DataKind::Ext4) {
            let message = "k3s keeps images and containers on `data`: set data = \"ext4\" (or \"xfs\") under [disks]";
            found.push(problem(["k3s"], message));
        }
    }
}

impl K3s {
    fn check_labels(&self, found: &mut Vec<Problem>) {
        for key in self.labels.keys().filter(|key| !kubelet_takes(key.as_str())) {
            let message = format!(
                "kubelet refuses to give its own node the label {}: of the labels under kubernetes.io and k8s.io it may set \
                 only those under node.kubernetes.io and kubelet.kubernetes.io, and a few well-known ones; set it with \
                 `kubectl label node`, or use a domain of your own",
                key.as_str()
            );
            found.push(problem(["k3s", "labels", key.as_str()], message));
        }
    }

    fn check_addresses(&self, network: &Network, found: &mut Vec<Problem>) {
        for (at, address) in self.node_ip.iter().enumerate() {
            if address.is_unspecified() || address.is_loopback() || !may_be_own(*address, network) {
                let message = format!("{address} is not one of this node's addresses, which are under network.*");
                found.push(problem(["k3s", "node_ip", at.to_string().as_str()], message));
            }
        }
        found.extend(one_of_each("node_ip", self.node_ip.iter().map(IpAddr::is_ipv4)).err());
        for (key, nets) in [("cluster_cidr", &self.cluster_cidr), ("service_cidr", &self.service_cidr)] {
            for (at, net) in nets.iter().enumerate().filter(|(_, net)| net.addr() != net.network()) {
                let message = format!("{net} has host bits set; the network is {}", net.trunc());
                found.push(problem(["k3s", key, at.to_string().as_str()], message));
            }
            found.extend(one_of_each(key, nets.iter().map(|net| net.addr().is_ipv4())).err());
        }
        for (at, name) in self.tls_san.iter().enumerate() {
            // It becomes a word of a configuration file.
            if name.parse::<IpAddr>().is_err() && !is_domain(name) {
                let message = format!("{name:?} is neither a host name nor an address");
                found.push(problem(["k3s", "tls_san", at.to_string().as_str()], message));
            }
        }
    }
}

/// What is wrong with a token. It stands between double quotes in k3s's configuration (YAML).
fn wrong_token(token: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if is_kept(token) {
        // A star stands for what the node has.
        None
    } else if token.is_empty() || token.len() > LONGEST_TOKEN {
        Some("a token has 1 to 512 bytes")
    } else if !token.bytes().all(plain) {
        Some("a token of printable ASCII characters, without spaces, `\"` and `\\`")
    } else {
        None
    }
}

/// At most one of IPv4 and one of IPv6.
fn one_of_each(key: &str, is_ipv4: impl Iterator<Item = bool>) -> Result<(), Problem> {
    if values::one_of_each(is_ipv4) {
        Ok(())
    } else {
        Err(problem(["k3s", key], "at most one of each family is allowed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeConfig;
    use proptest::prelude::*;

    const HEAD: &str = "name = \"s1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\", \"fd00::1/64\"]\n";
    const DISKS: &str = "[disks]\ndata = \"ext4\"\n";

    fn parse(k3s: &str) -> Result<K3s, String> {
        let config = NodeConfig::parse(format!("{HEAD}{DISKS}[k3s]\n{k3s}\n").as_bytes());
        config.map(|config| config.k3s.unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_an_agent_and_a_node_that_says_nothing_are_fine() {
        assert_eq!(parse("").unwrap(), K3s::default());
        let server = parse(
            "cluster_init = true\ntoken = \"K10abc::server:s3cret\"\nnode_ip = \"10.0.0.1\"\n\
             tls_san = [\"api.rack1.lan\", \"10.0.0.9\"]\ndisable = [\"traefik\", \"local-storage\"]\n\
             cluster_cidr = [\"10.42.0.0/16\", \"fd42::/56\"]",
        );
        assert_eq!(server.unwrap().node_ip, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        let agent = parse(
            "server = \"https://[fd00::9]:6443\"\ntoken = \"x\"\nnode_ip = [\"10.0.0.1\", \"fd00::1\"]\n\
             labels = { \"example.org/disk\" = \"nvme\", empty = \"\" }\ntaints = [\"a=b:NoExecute\", \"c:NoSchedule\"]",
        );
        assert_eq!(agent.unwrap().server.unwrap().as_str(), "https://[fd00::9]:6443");
    }

    #[test]
    fn what_no_cluster_can_use_is_refused_with_its_reason() {
        for (k3s, reason) in [
            ("server = \"10.0.0.1\"", "https://10.0.0.1:6443"),
            ("server = \"http://10.0.0.1:6443\"", "not a server"),
            ("server = \"https://10.0.0.1:0\"", "not a server"),
            ("server = \"https://10.0.0.1:6443/x\"", "not a server"),
            ("server = \"https://10.0.0.1:+6443\"", "not a server"),
            ("server = \"https://a b\"", "not a server"),
            ("server = \"https://[10.0.0.1]:6443\"", "not a server"),
            ("server = \"https://s1:6443\"", "k3s.token is required"),
            ("server = \"https://s1:6443\"\ntoken = \"x\"\ncluster_init = true", "either starts a cluster or joins"),
            ("token = \"\"", "1 to 512 bytes"),
            ("token = \"a\\\"b\"", "printable ASCII"),
            ("token = \"a\\nb\"", "printable ASCII"),
            ("agent_token = \"a b\"", "printable ASCII"),
            ("node_ip = \"10.0.0.2\"", "not one of this node's addresses"),
            ("node_ip = \"127.0.0.1\"", "not one of this node's addresses"),
            ("node_ip = [\"10.0.0.1\", \"10.0.0.1\"]", "one of each family"),
            ("cluster_cidr = [\"10.42.0.1/16\"]", "the network is 10.42.0.0/16"),
            ("service_cidr = [\"10.43.0.0/16\", \"10.44.0.0/16\"]", "one of each family"),
            ("labels = { \"-a\" = \"b\" }", "not a valid label key"),
            ("labels = { \"node-role.kubernetes.io/worker\" = \"true\" }", "kubectl label node"),
            ("labels = { \"kubernetes.io/role\" = \"x\" }", "kubelet refuses"),
            ("labels = { \"a.k8s.io/role\" = \"x\" }", "kubelet refuses"),
            ("labels = { \"A.org/a\" = \"b\" }", "not a valid label key"),
            ("labels = { a = \"b\\n\" }", "not a valid label value"),
            ("taints = [\"a=b\"]", "not a valid taint"),
            ("taints = [\"a=b:Never\"]", "not a valid taint"),
            ("tls_san = [\"a, b\"]", "neither a host name nor an address"),
            ("drain = 9", "10 to 3600 seconds"),
            ("drain = true", "invalid type"),
            ("disable = [\"etcd\"]", "unknown variant"),
            ("token = 3", "a secret is a string"),
        ] {
            let found = parse(k3s).unwrap_err();
            assert!(found.contains(reason), "{k3s}: {found}");
        }
        let without = NodeConfig::parse(format!("{HEAD}[k3s]\n").as_bytes()).unwrap_err().to_string();
        assert!(without.contains("under [disks]"), "{without}");
    }

    #[test]
    fn labels_that_kubelet_sets_are_taken() {
        for key in [
            "disk",
            "example.org/disk",
            "notkubernetes.io/x",
            "node.kubernetes.io/x",
            "a.node.kubernetes.io/x",
            "kubernetes.io/arch",
            "topology.kubernetes.io/zone",
        ] {
            parse(&format!("labels = {{ \"{key}\" = \"a\" }}")).unwrap();
        }
    }

    #[test]
    fn its_tokens_are_secrets() {
        let text = format!("{HEAD}{DISKS}[k3s]\ntoken = \"hunter2hunter2\"\nagent_token = \"hunter3hunter3\"\n");
        let config = NodeConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(super::super::secrets::places(&text, &config).len(), 2);
        let hidden = super::super::secrets::hide(&text, &config);
        assert!(!hidden.contains("hunter"), "{hidden}");
        assert_eq!(super::super::secrets::restore(&hidden, Some(&text)).unwrap(), text);
    }

    proptest! {
        /// Nothing that is taken can leave its place in a configuration file.
        #[test]
        fn what_is_taken_has_no_quotes_spaces_or_line_ends(text in "[ -~\\n\\t]{0,40}") {
            let fine = |text: &str| !text.contains(['"', '\\', '\'', ' ', '\n', '\t', '#', '{', '}']);
            let all = [
                server_url(&text).is_ok(),
                label_key(&text).is_ok(),
                label_value(&text).is_ok(),
                taint(&text).is_ok(),
            ];
            prop_assert!(all.iter().all(|taken| !taken || fine(&text)), "{:?}", text);
            if wrong_token(&text).is_none() && !is_kept(&text) {
                prop_assert!(!text.contains(['"', '\\', ' ', '\n', '\t']));
            }
        }
    }
}
