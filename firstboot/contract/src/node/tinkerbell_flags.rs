//! What `[tinkerbell]` hands on to Tinkerbell's flags, each as a variable in a file of `KEY=value` lines: names and values are
//! checked so that none becomes another line or ends a quote.

use crate::checked_name::checked_name;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Flags that the node's own template sets, from other keys of `[tinkerbell]` or because of how it runs.
pub const OWN_FLAGS: [&str; 27] = [
    "public-ipv4",
    "bind-address",
    "http-port",
    "backend",
    "backend-kube-config",
    "dhcp-enabled",
    "dhcp-mode",
    "dhcp-bind-interface",
    "tftp-server-enabled",
    "syslog-enabled",
    "ipxe-http-script-osie-url",
    "ipxe-http-script-extra-kernel-args",
    "tink-server-auto-enrollment-enabled",
    "tink-server-auto-discovery-enabled",
    "tink-server-auto-discovery-namespace",
    "trusted-proxies",
    "enable-secondstar",
    "enable-ui",
    "enable-embedded-etcd",
    "enable-embedded-kube-apiserver",
    "etcd-dir",
    "etcd-servers",
    "service-account-key-file",
    "service-account-signing-key-file",
    "service-account-issuer",
    "kube-apiserver-tls-cert-file",
    "kube-apiserver-tls-private-key-file",
];

/// A string type that holds what a check lets through.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $holds:expr, $what:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Cow<'static, str>);

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        checked_name!(
            $name,
            String,
            |text: String| {
                let holds: fn(&str) -> bool = $holds;
                if holds(&text) { Ok(text) } else { Err(format!("{text:?} {}", $what)) }
            },
            { "type": "string", "pattern": $pattern }
        );
    };
}

/// Lower-case letters, digits and hyphens, beginning with a letter, at most so many.
fn is_hyphenated(text: &str, longest: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= longest && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(inner)
}

word!(
    /// An option of a kernel: printable, without spaces, quotes, backslashes, `$`, `#` and backquotes.
    KernelArg,
    |text| {
        let fine = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\`$#".contains(&byte);
        (1..=512).contains(&text.len()) && text.bytes().all(fine)
    },
    "is not a valid kernel option; write one an entry, such as \"console=ttyS0\", without spaces and quotes",
    r#"^[!%-&(-\[\]-_a-~]{1,512}$"#
);

word!(
    /// A namespace of Kubernetes (RFC 1123 label).
    Namespace,
    |text| is_hyphenated(text, 63) && !text.ends_with('-'),
    "is not a valid namespace: it consists of lower-case letters, digits and hyphens, and begins with a letter",
    r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
);

word!(
    /// The name of a flag, without dashes in front.
    FlagName,
    |text| is_hyphenated(text, 64),
    "is not a valid flag; write it as `tinkerbell --help` does, without the dashes in front",
    r"^[a-z][-a-z0-9]{0,63}$"
);

word!(
    /// What a flag is set to: one line, without quotes, backslashes and spaces at its ends.
    FlagValue,
    |text| {
        let fine = |c: char| !c.is_control() && !matches!(c, '"' | '\'' | '\\');
        text.len() <= 1024 && text.chars().all(fine) && text == text.trim()
    },
    "is not a valid value: it is one line, without quotes, backslashes and spaces at its ends",
    r#"^[^"'\\]{0,1024}$"#
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_be_another_line_or_end_a_quote_is_refused() {
        for text in ["a=b", "console=ttyAMA0,115200n8", "tink_worker_image=10.0.0.1:5000/agent:v0.25.0"] {
            text.parse::<KernelArg>().unwrap();
        }
        for text in ["", "a b", "a\nb", "a\"b", "a'b", "a\\b", "$(a)", "a#b", "ä"] {
            assert!(text.parse::<KernelArg>().is_err(), "{text}");
        }
        for text in ["", "1a", "-a", "--log-level", "Log", "log_level", "a=b", "a\n"] {
            assert!(text.parse::<FlagName>().is_err(), "{text}");
        }
        for text in ["a\nb", " a", "a\"", "\\", "it's", "\u{85}"] {
            assert!(text.parse::<FlagValue>().is_err(), "{text}");
        }
        for text in ["Tink", "-a", "a-", "a.b", ""] {
            assert!(text.parse::<Namespace>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_one_line_in_quotes(text in "\\PC{0,40}") {
            if let Ok(value) = text.parse::<FlagValue>() {
                let line = format!("A=\"{value}\"");
                prop_assert_eq!(line.matches('"').count(), 2);
                prop_assert!(!line.contains('\n') && !line.contains('\\'));
            }
        }
    }
}
