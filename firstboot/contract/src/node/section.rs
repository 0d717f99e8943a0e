//! What a section of `node.toml` is that not every node has: a type that reads itself (serde), says what its types alone
//! cannot, and is in the one table of [`super::NodeConfig`].

use super::disks::Disks;
use super::host::{HostName, Hosts};
use super::network::Network;
use super::problem::Problem;

/// What every node config has, for sections that refer to it.
pub struct Common<'n> {
    pub name: &'n HostName,
    pub disks: &'n Disks,
    pub network: &'n Network,
    pub hosts: &'n Hosts,
    /// Names of the sections that this config has.
    pub sections: &'n [&'static str],
}

/// A section.
pub trait Section {
    /// What types alone cannot say: everything that is wrong, and under which key.
    fn check(&self, _node: &Common<'_>, _found: &mut Vec<Problem>) {}
}

/// Declares the node config: what every node has, and a table of sections, a row each: the section's name and its type.
macro_rules! node_config {
    (
        $(#[$meta:meta])*
        pub struct $config:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $field_type:ty,)*
        }
        sections { $($section:ident: $section_type:ty,)* }
    ) => {
        $(#[$meta])*
        pub struct $config {
            $($(#[$field_meta])* pub $field: $field_type,)*
            $(
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $section: Option<$section_type>,
            )*
        }

        impl $config {
            /// The names of all sections that a config may have, beside what every config has.
            pub const SECTIONS: &[&str] = &[$(stringify!($section)),*];

            /// The config of a node that has a name and nothing else: DHCP on its first Ethernet port.
            #[must_use]
            pub fn named(name: HostName) -> $config {
                let nothing = $config { $($field: Default::default(),)* $($section: None,)* };
                $config { format: FORMAT, name, ..nothing }
            }

            /// The names of the sections that this config has.
            #[must_use]
            pub fn sections(&self) -> Vec<&'static str> {
                let mut there = Vec::new();
                $(if self.$section.is_some() { there.push(stringify!($section)); })*
                there
            }

            /// What the types of sections alone cannot say.
            fn check_sections(&self, common: &Common<'_>, found: &mut Vec<Problem>) {
                $(if let Some(section) = &self.$section { section.check(common, found); })*
            }
        }
    };
}

pub(super) use node_config;
