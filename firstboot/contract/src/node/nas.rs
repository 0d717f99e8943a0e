//! `[nas]`: how this node is known to a NAS.

use super::section::Section;
use serde::{Deserialize, Serialize};

/// Settings of the iSCSI initiator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Nas {
    /// Name of this initiator. Default: `iqn.1993-08.org.debian:01:` and the node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<Initiator>,
}

/// Longest iSCSI name, in bytes (RFC 7143, section 4.2.7.1).
const LONGEST: usize = 223;

/// An iSCSI name (RFC 7143, section 4.2.7): `iqn.YEAR-MONTH.DOMAIN[:WHATEVER]`, `eui.` and 16, or `naa.` and 16 or 32
/// hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Initiator(String);

impl Initiator {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Initiator> for String {
    fn from(name: Initiator) -> String {
        name.0
    }
}

impl TryFrom<String> for Initiator {
    type Error = String;

    fn try_from(text: String) -> Result<Initiator, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
        let digits = |text: &str, lengths: &[usize]| {
            lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let fine = match text.split_once('.') {
            Some(("iqn", rest)) => text.bytes().all(plain) && is_qualified(rest),
            Some(("eui", rest)) => digits(rest, &[16]),
            Some(("naa", rest)) => digits(rest, &[16, 32]),
            _ => false,
        };
        if fine && text.len() <= LONGEST {
            Ok(Initiator(text))
        } else {
            Err(format!(
                "{text:?} is not a valid iSCSI name; write it like \"iqn.2024-01.lan.rack1:n1\", in lower-case letters"
            ))
        }
    }
}

/// What follows `iqn.`: a month and a domain that someone owned then, and perhaps more behind a colon.
fn is_qualified(rest: &str) -> bool {
    let digit = |at: usize| rest.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let month = [0, 1, 2, 3, 5, 6].into_iter().all(digit)
        && rest.get(4..5) == Some("-")
        && rest.get(5..7).is_some_and(|month| ("01"..="12").contains(&month));
    let domain = rest.get(7..).and_then(|rest| rest.strip_prefix('.')).and_then(|rest| rest.split(':').next());
    month && domain.is_some_and(super::network::is_domain)
}

impl Section for Nas {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initiator_has_a_name_of_one_of_the_three_forms() {
        for fine in
            ["iqn.1993-08.org.debian:01:n1", "iqn.2024-12.lan.rack1", "eui.02004567A425678D", "naa.52004567BA64678D"]
        {
            assert!(Initiator::try_from(fine.to_owned()).is_ok(), "{fine}");
        }
        let long = format!("iqn.2024-01.lan:{}", "x".repeat(LONGEST));
        for wrong in [
            "",
            "n1",
            "iqn.",
            "iqn.2024-13.lan",
            "iqn.2024-1.lan",
            "iqn.2024-01.",
            "iqn.2024-01.lan:A",
            "eui.1",
            "iqn.2024-01.lan:a\nInitiatorAlias=x",
            "naa.5200",
            "iqn.2024-01.-.lan",
            &long,
        ] {
            assert!(Initiator::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }
}
