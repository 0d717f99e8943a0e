//! `[k3s.registries]`: where containerd gets images from, and as whom. k3s's own file of that name (k3s 1.36, "Private
//! Registry Configuration") is rendered from it.

use super::haproxy::Server;
use super::network::is_domain;
use super::problem::{Problem, problem};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Certificate authorities of one's own are those of `[certificates]`: containerd trusts what the node trusts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// For a registry, or `*` for all: URLs that are asked before it, in this order, such as
    /// `"registry.example" = ["https://cache.rack1.lan:5000"]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// For a registry or a mirror, as `name` or `name:port`: as whom it is asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logins: BTreeMap<String, Login>,
}

/// As whom a registry is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

impl Registries {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mirrors.is_empty() && self.logins.is_empty()
    }

    /// What types alone cannot say.
    pub(super) fn check(&self, found: &mut Vec<Problem>) {
        for (name, urls) in &self.mirrors {
            let path = ["k3s", "registries", "mirrors", name.as_str()];
            if name != "*" && !is_host(name) {
                found.push(problem(path, not_a_registry(name)));
            }
            if urls.is_empty() {
                found.push(problem(path, "no mirror is named; write it like [\"https://cache.rack1.lan:5000\"]"));
            }
            if let Some(url) = urls.iter().find(|url| !is_url(url)) {
                let message =
                    format!("{url:?} is not a valid mirror; write it like \"https://cache.rack1.lan:5000\"");
                found.push(problem(path, message));
            }
        }
        for (name, login) in &self.logins {
            let path = ["k3s", "registries", "logins", name.as_str()];
            if !is_host(name) {
                found.push(problem(path, not_a_registry(name)));
            }
            // Both stand between double quotes in YAML.
            let plain = |text: &str| text.chars().all(|c| !c.is_control() && c != '"' && c != '\\');
            if login.username.is_empty() || !plain(&login.username) || !plain(login.password.expose()) {
                found.push(problem(path, "a username and a password without `\"`, `\\` and line ends are needed"));
            }
        }
    }
}

fn not_a_registry(name: &str) -> String {
    format!("{name:?} is not a registry; write it like \"registry.example\" or \"registry.rack1.lan:5000\"")
}

/// A name or an address, perhaps with a port.
pub(super) fn is_host(text: &str) -> bool {
    is_domain(text) || Server::try_from(text.to_owned()).is_ok()
}

/// `http://` or `https://`, a host, and perhaps a path.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let path = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    rest.is_some_and(|rest| {
        let (host, more) = rest.split_once('/').unwrap_or((rest, ""));
        is_host(host) && more.bytes().all(path)
    })
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    const HEAD: &str = "name = \"s1\"\n[disks]\ndata = \"ext4\"\n[k3s.registries]\n";

    fn parse(text: &str) -> Result<NodeConfig, String> {
        NodeConfig::parse(format!("{HEAD}{text}\n").as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn mirrors_and_logins_are_taken_and_passwords_are_secrets() {
        let text = format!(
            "{HEAD}mirrors = {{ \"registry.example\" = [\"https://cache.rack1.lan:5000/v2/hub\"], \"*\" = [\"http://10.0.0.9:5000\"] }}\n\
             [k3s.registries.logins.\"cache.rack1.lan:5000\"]\nusername = \"rack1\"\npassword = \"hunter2hunter2\"\n"
        );
        let config = NodeConfig::parse(text.as_bytes()).unwrap();
        let hidden = super::super::secrets::hide(&text, &config);
        assert!(hidden.contains("rack1") && !hidden.contains("hunter"), "{hidden}");
    }

    #[test]
    fn what_would_not_be_a_registry_is_refused_at_its_key() {
        for (text, key, reason) in [
            ("mirrors = { \"https://registry.example\" = [\"https://a\"] }", "mirrors", "is not a registry"),
            ("mirrors = { \"registry.example\" = [] }", "mirrors.registry.example", "no mirror is named"),
            (
                "mirrors = { \"registry.example\" = [\"cache.lan\"] }",
                "mirrors.registry.example",
                "is not a valid mirror",
            ),
            (
                "mirrors = { \"registry.example\" = [\"https://a\\\"b\"] }",
                "mirrors.registry.example",
                "is not a valid mirror",
            ),
            ("logins = { \"a b\" = { username = \"x\", password = \"y\" } }", "logins.a b", "is not a registry"),
            ("logins = { \"a\" = { username = \"\", password = \"y\" } }", "logins.a", "a username and a password"),
            (
                "logins = { \"a\" = { username = \"x\", password = \"a\\nb\" } }",
                "logins.a",
                "a username and a password",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key) && error.contains(reason), "{text}: {error}");
        }
    }
}
