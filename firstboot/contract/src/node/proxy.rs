//! `[proxy]`: how programs on the node reach servers outside the site. Services get it as environment variables, which Go
//! programs, curl and others know; the node's own updates do not use it.

use super::problem::{Problem, problem};
use super::section::{Common, Section};
use super::tinkerbell::Url;
use serde::{Deserialize, Serialize};

/// A proxy for HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// For `http://` (`HTTP_PROXY`), such as `http://proxy.rack1.lan:3128`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Url>,
    /// For `https://` (`HTTPS_PROXY`). Default: as `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<Url>,
    /// Names, domains (`.rack1.lan`), addresses and networks that are reached without it (`NO_PROXY`), besides this node's
    /// own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

impl Section for Proxy {
    fn check(&self, _: &Common<'_>, found: &mut Vec<Problem>) {
        if self.http.is_none() && self.https.is_none() {
            found.push(problem(["proxy"], "`http`, `https` or both are needed"));
        }
        let plain = |text: &str| {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:/*_".contains(&byte);
            !text.is_empty() && text.bytes().all(fine)
        };
        for (at, _) in self.except.iter().enumerate().filter(|(_, text)| !plain(text)) {
            let message = "this is not a name, a domain, an address or a network";
            found.push(problem(["proxy", "except", at.to_string().as_str()], message));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    #[test]
    fn a_proxy_is_a_url_and_exceptions_are_words() {
        let parse = |text: &str| NodeConfig::parse(format!("name = \"s1\"\n[proxy]\n{text}\n").as_bytes());
        let fine = parse("http = \"http://10.0.0.9:3128\"\nexcept = [\".rack1.lan\", \"10.0.0.0/8\", \"fd00::/8\"]");
        assert_eq!(fine.unwrap().proxy.unwrap().except.len(), 3);
        for (text, reason) in [
            ("", "`http`, `https` or both"),
            ("http = \"proxy:3128\"", "not a valid URL"),
            ("http = \"http://a\"\nexcept = [\"a b\"]", "proxy.except.0"),
            ("http = \"http://a\"\nexcept = [\"a\\nB=1\"]", "proxy.except.0"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
