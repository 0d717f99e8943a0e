//! `[tinkerbell]`: what boots and installs other machines over the network.

use super::disks::DataKind;
use super::listen::may_be_own;
use super::network::InterfaceName;
use super::problem::{Problem, problem};
use super::secrets::is_kept;
use super::section::{Common, Section};
use super::tinkerbell_flags::{FlagName, FlagValue, KernelArg, Namespace, OWN_FLAGS};
use crate::secret::Secret;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Settings of Tinkerbell. What it keeps is on the node's `data`, which must be a file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tinkerbell {
    /// The address under which machines reach this node: for TFTP, scripts, the workflow server and syslog.
    pub public_ip: Ipv4Addr,
    /// Answers to DHCP; without it there are none, and another server sends machines here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Netboot>,
    /// Whether iPXE is served by TFTP, at port 69.
    #[serde(default = "yes")]
    pub tftp: bool,
    /// Whether the messages of machines that boot are taken, at port 514.
    #[serde(default = "yes")]
    pub syslog: bool,
    /// Where the system lies that machines are installed from (HookOS): a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub osie: Option<Url>,
    /// More options for the kernel of every machine that boots, such as `tink_worker_image=...`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_args: Vec<KernelArg>,
    /// Whether a machine that no workflow names gets one by the rules of `WorkflowRuleSet` objects.
    #[serde(default)]
    pub enroll: bool,
    /// The namespace in which machines that nobody has described are entered as `Hardware`; without it, they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover: Option<Namespace>,
    /// Whether its web page is served, on the same port as everything by HTTP. Callers sign in with a token of the API.
    #[serde(default)]
    pub ui: bool,
    /// Further flags of Tinkerbell's, without their dashes: `"log-level" = "1"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<FlagName, FlagValue>,
    /// Networks whose proxies are trusted to report a machine's address (`X-Forwarded-For`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub trusted_proxies: Vec<IpNet>,
    /// How it reaches the Kubernetes API that holds machines and workflows: a whole kubeconfig.
    pub kubeconfig: Secret,
    /// With these it runs an API of its own (and etcd), at the place that `kubeconfig` names. Upstream's `script/certs.sh`
    /// makes them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
}

/// How DHCP is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Netboot {
    /// Port that is listened on; without it, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceName>,
    #[serde(default)]
    pub mode: DhcpMode,
}

/// What machines receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DhcpMode {
    /// Known machines get their address and what to boot.
    #[default]
    Reservation,
    /// Known machines get what to boot; addresses come from another server.
    Proxy,
    /// As `proxy`, for unknown machines too.
    AutoProxy,
}

/// Keys of the API, each a whole PEM file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Whose certificates of callers count.
    pub ca: String,
    pub certificate: String,
    pub key: Secret,
    pub service_account_key: Secret,
}

/// `http://` or `https://` and what follows, without spaces and quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Url(String);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Url, String> {
        let rest = text.strip_prefix("http://").or(text.strip_prefix("https://"));
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\<>`{}".contains(&byte);
        if rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(plain)) {
            Ok(Url(text))
        } else {
            Err(format!("{text:?} is not a valid URL; write it like \"http://10.0.0.1:7173\""))
        }
    }
}

impl From<Url> for String {
    fn from(url: Url) -> String {
        url.0
    }
}

fn yes() -> bool {
    true
}

impl Section for Tinkerbell {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        let Common { disks, network, .. } = *node;
        let address = IpAddr::V4(self.public_ip);
        if address.is_unspecified() || address.is_loopback() || !may_be_own(address, network) {
            let message = format!("{address} is not one of this node's addresses, which are under network.*");
            found.push(problem(["tinkerbell", "public_ip"], message));
        }
        if let Some(name) = self.dhcp.as_ref().and_then(|dhcp| dhcp.interface.as_ref())
            && !network.interfaces().is_empty()
            && !network.interfaces().contains_key(name)
        {
            let message = format!("network.{} does not exist", name.as_str());
            found.push(problem(["tinkerbell", "dhcp", "interface"], message));
        }
        let kubeconfig = self.kubeconfig.expose();
        if !is_kept(kubeconfig) && !kubeconfig.contains("clusters:") {
            let message = "this is not a kubeconfig: it names no `clusters:`";
            found.push(problem(["tinkerbell", "kubeconfig"], message));
        }
        for name in self.settings.keys().filter(|name| OWN_FLAGS.contains(&name.as_ref())) {
            let message = format!("the node sets {} by itself, from the other keys of [tinkerbell]", name);
            found.push(problem(["tinkerbell", "settings", name.as_ref()], message));
        }
        if let Some(api) = &self.api {
            let files = [
                ("ca", api.ca.as_str()),
                ("certificate", api.certificate.as_str()),
                ("key", api.key.expose()),
                ("service_account_key", api.service_account_key.expose()),
            ];
            for (key, _) in files.iter().filter(|(_, text)| !is_kept(text) && !text.contains("-----BEGIN ")) {
                found.push(problem(["tinkerbell", "api", key], "this is not a PEM file"));
            }
        }
        if !matches!(disks.data, DataKind::Xfs | DataKind::Ext4) {
            let message = "Tinkerbell keeps machines and workflows on `data`: set data = \"ext4\" under [disks]";
            found.push(problem(["tinkerbell"], message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeConfig;
    use proptest::prelude::*;

    const HEAD: &str = "name = \"t1\"\n[network.eth0]\naddresses = [\"10.0.0.5/24\"]\n[disks]\ndata = \"ext4\"\n";

    fn parse(more: &str) -> Result<Tinkerbell, String> {
        let text = format!("{HEAD}[tinkerbell]\n{more}\n");
        let config = NodeConfig::parse(text.as_bytes());
        config.map(|config| config.tinkerbell.unwrap()).map_err(|error| error.to_string())
    }

    const FINE: &str = "public_ip = \"10.0.0.5\"\nkubeconfig = \"clusters: []\"\n";

    #[test]
    fn it_serves_tftp_and_syslog_and_no_dhcp_unless_it_is_said() {
        let tinkerbell = parse(FINE).unwrap();
        assert!(tinkerbell.tftp && tinkerbell.syslog && tinkerbell.dhcp.is_none() && tinkerbell.api.is_none());
        let dhcp = parse(&format!("{FINE}dhcp = {{ interface = \"eth0\", mode = \"auto-proxy\" }}")).unwrap().dhcp;
        assert_eq!(dhcp.unwrap().mode, DhcpMode::AutoProxy);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_reason() {
        for (more, reason) in [
            (
                "public_ip = \"10.0.0.6\"\nkubeconfig = \"clusters: []\"".to_owned(),
                "not one of this node's addresses",
            ),
            ("public_ip = \"fd00::1\"\nkubeconfig = \"clusters: []\"".to_owned(), "IPv4"),
            ("public_ip = \"10.0.0.5\"\nkubeconfig = \"x\"".to_owned(), "not a kubeconfig"),
            ("public_ip = \"10.0.0.5\"".to_owned(), "kubeconfig"),
            (format!("{FINE}dhcp = {{ interface = \"eth1\" }}"), "network.eth1 does not exist"),
            (format!("{FINE}dhcp = {{ mode = \"all\" }}"), "unknown variant"),
            (format!("{FINE}osie = \"ftp://x\""), "not a valid URL"),
            (format!("{FINE}kernel_args = [\"a b\"]"), "not a valid kernel option"),
            (format!("{FINE}discover = \"Rack\""), "not a valid namespace"),
            (format!("{FINE}settings = {{ log-level = \"1\\nA=1\" }}"), "not a valid value"),
            (format!("{FINE}settings = {{ \"--log-level\" = \"1\" }}"), "not a valid flag"),
            (format!("{FINE}settings = {{ enable-ui = \"true\" }}"), "the node sets enable-ui by itself"),
            (format!("{FINE}osie = \"http://x\\nA=1\""), "not a valid URL"),
            (
                format!(
                    "{FINE}[tinkerbell.api]\nca = \"x\"\ncertificate = \"x\"\nkey = \"x\"\nservice_account_key = \"x\""
                ),
                "not a PEM",
            ),
        ] {
            let found = parse(&more).unwrap_err();
            assert!(found.contains(reason), "{more}: {found}");
        }
        let without = HEAD.replace("[disks]\ndata = \"ext4\"\n", "");
        let found = NodeConfig::parse(format!("{without}[tinkerbell]\n{FINE}").as_bytes()).unwrap_err().to_string();
        assert!(found.contains("under [disks]"), "{found}");
    }

    #[test]
    fn keys_of_several_lines_are_secrets_too() {
        let api = "[tinkerbell.api]\nca = \"-----BEGIN CERTIFICATE-----\"\ncertificate = \"-----BEGIN CERTIFICATE-----\"\n\
                   key = \"\"\"-----BEGIN KEY-----\nhunter2\n\"\"\"\nservice_account_key = '''\n-----BEGIN KEY-----\nhunter3'''\n";
        let text = format!("{HEAD}[tinkerbell]\n{FINE}{api}");
        let config = NodeConfig::parse(text.as_bytes()).unwrap();
        let hidden = super::super::secrets::hide(&text, &config);
        assert!(
            !hidden.contains("hunter") && !hidden.contains("clusters") && hidden.contains("BEGIN CERT"),
            "{hidden}"
        );
        assert_eq!(super::super::secrets::restore(&hidden, Some(&text)).unwrap(), text);
    }

    proptest! {
        #[test]
        fn no_url_ends_its_line(text in "(?s)http://.{0,30}") {
            if let Ok(url) = Url::try_from(text) {
                prop_assert!(!String::from(url).contains(['\n', '\r', ' ', '"']));
            }
        }
    }
}
