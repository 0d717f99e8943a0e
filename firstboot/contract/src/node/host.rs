//! Names of hosts: the node's own, and those of others with their addresses.

use super::network::is_domain;
use super::problem::{Problem, problem};
use super::values;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A host name: letters, digits and hyphens, 1 to 63 of them, no hyphen at either end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a node that no one named: `microdc`.
impl Default for HostName {
    fn default() -> HostName {
        HostName("microdc".to_owned())
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<HostName, String> {
        let fine = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fine {
            Ok(HostName(text))
        } else {
            Err(format!(
                "{text:?} is not a valid host name: 1 to 63 letters, digits and hyphens, no hyphen at either end"
            ))
        }
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> String {
        name.0
    }
}

/// Addresses by host name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Hosts(BTreeMap<String, Addresses>);

/// One address, or a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Addresses(
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::OneOrMany<IpAddr>"))]
    #[serde(deserialize_with = "values::one_or_many")]
    Vec<IpAddr>,
);

impl Hosts {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name with each of its addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        self.0.iter().flat_map(|(name, list)| list.0.iter().map(move |address| (name.as_str(), *address)))
    }

    pub(super) fn check(&self, found: &mut Vec<Problem>) {
        let wrong = self.0.keys().filter(|name| !is_domain(name));
        found.extend(
            wrong.map(|name| problem(["hosts", name.as_str()], format!("{name:?} is not a valid host name"))),
        );
    }
}
