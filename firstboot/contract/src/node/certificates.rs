//! `[certificates]`: certificate authorities of one's own.

use super::problem::{Problem, problem};
use super::section::{Common, Section};
use crate::certificates::Certificate;
use serde::{Deserialize, Serialize};

/// Whom programs on the node trust, besides the certificate authorities in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// Certificates in PEM; a text may have several.
    pub trust: Vec<String>,
}

impl Section for Certificates {
    fn check(&self, _: &Common<'_>, found: &mut Vec<Problem>) {
        for (at, pem) in self.trust.iter().enumerate() {
            let at = at.to_string();
            if let Err(error) = Certificate::all(pem) {
                found.push(problem(["certificates", "trust", at.as_str()], error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    #[test]
    fn a_key_or_something_else_in_place_of_a_certificate_is_refused() {
        for (pem, reason) in [
            ("-----BEGIN PRIVATE KEY-----\\nAA==\\n-----END PRIVATE KEY-----", "it has a private key"),
            ("/etc/ssl/site.pem", "it has no certificate"),
            ("-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----", "certificate 1 is not an X.509"),
        ] {
            let text = format!("name = \"n1\"\n[certificates]\ntrust = [\"{pem}\"]\n");
            let error = NodeConfig::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("certificates.trust.0") && error.contains(reason), "{error}");
        }
    }
}
