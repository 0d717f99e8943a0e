//! The config that a kernel was built with (`/boot/config-*` of its package), and what profiles require of it. A
//! container host needs namespaces, control groups, overlayfs and more, and would otherwise fail only at run time.

use super::kernel::{Kernel, KernelError};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How the options of a kernel were set: `y`, `m`, a number or a text. Those that are not set are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig(BTreeMap<String, String>);

/// An option that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedOption {
    /// With its `CONFIG_`.
    name: String,
    /// Any of these will do.
    values: Vec<String>,
}

impl KernelConfig {
    /// # Errors
    /// When the package does not have it, or it cannot be read.
    pub fn of(kernel: &Kernel<'_>) -> Result<KernelConfig, KernelError> {
        let bytes = kernel.config()?;
        Ok(KernelConfig::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Reads lines `CONFIG_NAME=VALUE`; everything else is a comment, `# CONFIG_NAME is not set` too.
    #[must_use]
    pub fn parse(text: &str) -> KernelConfig {
        let option = |line: &str| {
            let (name, value) = line.split_once('=')?;
            name.starts_with("CONFIG_").then(|| (name.to_owned(), value.trim_matches('"').to_owned()))
        };
        KernelConfig(text.lines().filter_map(option).collect())
    }

    /// How the option is set, in words, when that is not as wanted.
    #[must_use]
    pub fn lacks(&self, wanted: &WantedOption) -> Option<String> {
        match self.0.get(&wanted.name) {
            None => Some("not set".to_owned()),
            Some(value) if wanted.values.contains(value) => None,
            Some(value) => Some(format!("{value:?}")),
        }
    }
}

impl FromStr for WantedOption {
    type Err = String;

    /// `CONFIG_NAME` for built in or as a module, `CONFIG_NAME=y|m` for any of these values.
    fn from_str(text: &str) -> Result<WantedOption, String> {
        let (name, values) = text.split_once('=').unwrap_or((text, "y|m"));
        let letters = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let named = name.strip_prefix("CONFIG_").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(letters));
        let values: Vec<String> = values.split('|').map(str::to_owned).collect();
        if !named || values.iter().any(String::is_empty) {
            return Err(format!(
                "{text:?} is not a kernel configuration option; write \"CONFIG_VETH\", or \"CONFIG_BPF=y\" for this value alone"
            ));
        }
        Ok(WantedOption { name: name.to_owned(), values })
    }
}

impl fmt::Display for WantedOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.values.join("|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> KernelConfig {
        let text = "# Linux/arm64 6.12\nCONFIG_BPF=y\nCONFIG_VETH=m\n# CONFIG_MEMCG_V1 is not set\n\
                    CONFIG_HZ=250\nCONFIG_LOCALVERSION=\"-x\"\n";
        KernelConfig::parse(text)
    }

    #[test]
    fn an_option_is_there_as_wanted_or_the_answer_says_how_it_is() {
        for (wanted, answer) in [
            ("CONFIG_BPF", None),
            ("CONFIG_VETH", None),
            ("CONFIG_BPF=y", None),
            ("CONFIG_VETH=m|y", None),
            ("CONFIG_HZ=250", None),
            ("CONFIG_LOCALVERSION=-x", None),
            ("CONFIG_VETH=y", Some("\"m\"")),
            ("CONFIG_MEMCG_V1", Some("not set")),
            ("CONFIG_BP", Some("not set")),
        ] {
            assert_eq!(config().lacks(&wanted.parse().unwrap()).as_deref(), answer, "{wanted}");
        }
    }

    #[test]
    fn what_names_no_option_is_refused() {
        for text in ["", "VETH", "CONFIG_", "CONFIG_veth", "CONFIG_A B", "CONFIG_A=", "CONFIG_A=y|", "=y"] {
            assert!(text.parse::<WantedOption>().unwrap_err().contains("CONFIG_VETH"), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_config_that_is_written_is_read(options in prop::collection::btree_map("CONFIG_[A-Z0-9_]{1,20}", "[ym]", 0..20)) {
            let text: String = options.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
            let config = KernelConfig::parse(&text);
            for name in options.keys() {
                prop_assert_eq!(config.lacks(&name.parse().unwrap()), None);
            }
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in "(?s).{0,200}") {
            let config = KernelConfig::parse(&text);
            if let Ok(wanted) = text.parse::<WantedOption>() {
                let _ = config.lacks(&wanted);
            }
        }
    }
}
