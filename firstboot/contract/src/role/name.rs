//! Names that a profile declares: the role, and for which profile's nodes a slot is.

use crate::checked_name::checked_name;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// What a node is for: a name that its profile declares. 1 to [`Role::LONGEST`] lower-case letters, digits and hyphens; it
/// begins with a letter and does not end with a hyphen, so that it can be part of a host name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(Cow<'static, str>);

/// Which profile's nodes a slot is for: the profile's own name, or the one that it declares with `compatible`. 1 to
/// [`ProfileName::LONGEST`] letters, digits, hyphens, underscores and dots; it begins with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(Cow<'static, str>);

/// A text that cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "{0:?} is not a valid name of a role: use 1 to {longest} lower-case letters, digits and hyphens, beginning with a \
         letter and not ending with a hyphen", longest = Role::LONGEST
    )]
    Role(String),
    #[error(
        "{0:?} is not a valid name of a profile: use 1 to {longest} letters, digits, hyphens, underscores and dots, \
         beginning with a letter or a digit", longest = ProfileName::LONGEST
    )]
    Profile(String),
}

impl Role {
    /// Most bytes of a role's name.
    pub const LONGEST: usize = 32;

    /// A role that is known when the program is compiled. Meant for constants: there a bad name does not compile.
    ///
    /// # Panics
    /// When it is not a valid name.
    #[must_use]
    pub const fn literal(name: &'static str) -> Role {
        assert!(is_role(name.as_bytes()), "not a valid name of a role");
        Role(Cow::Borrowed(name))
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl ProfileName {
    /// Most bytes of a profile's name.
    pub const LONGEST: usize = 63;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The profile of a role that carries the role's name.
impl From<&Role> for ProfileName {
    fn from(role: &Role) -> ProfileName {
        ProfileName(role.0.clone())
    }
}

const fn is_role(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !(name[at].is_ascii_lowercase() || name[at].is_ascii_digit() || name[at] == b'-') {
            return false;
        }
        at += 1;
    }
    !name.is_empty() && at <= Role::LONGEST && name[0].is_ascii_lowercase() && name[at - 1] != b'-'
}

fn is_profile(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= ProfileName::LONGEST
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(plain)
}

checked_name!(
    Role,
    NameError,
    |text: String| if is_role(text.as_bytes()) { Ok(text) } else { Err(NameError::Role(text)) },
    { "type": "string", "pattern": "^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$" }
);
checked_name!(
    ProfileName,
    NameError,
    |text: String| if is_profile(&text) { Ok(text) } else { Err(NameError::Profile(text)) },
    { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" }
);

/// For which nodes a slot is: those of one profile. The role is what they are for; the profile says which of several
/// builds for that role they run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compatible {
    pub role: Role,
    pub profile: ProfileName,
}

/// A slot that is not for this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The data on the node's disks belongs to its role: nothing but flashing gives it another.
    #[error("it is for {slot}; this node runs {node}, and a node keeps its role until it is flashed")]
    Role { slot: Compatible, node: Compatible },
    #[error("it is for {slot}; this node runs {node}; use --force to install it anyway")]
    Profile { slot: Compatible, node: Compatible },
}

impl Compatible {
    /// What the manifest holds beside the role: nothing for the profile that carries the role's name. So such a slot is as
    /// it was before manifests had this key, and every node reads it.
    #[must_use]
    pub fn stored(&self) -> Option<ProfileName> {
        Some(self.profile.clone()).filter(|profile| profile.as_str() != self.role.name())
    }

    /// Whether a slot may run on a node of this profile.
    ///
    /// # Errors
    /// Both, by name, when it is for other nodes. With `force` only another role is an error.
    pub fn takes(&self, slot: &Compatible, force: bool) -> Result<(), Incompatible> {
        let (node, slot) = (self.clone(), slot.clone());
        if node.role != slot.role {
            return Err(Incompatible::Role { slot, node });
        }
        if node.profile != slot.profile && !force {
            return Err(Incompatible::Profile { slot, node });
        }
        Ok(())
    }
}

/// `profile "storage" (role minio)`.
impl fmt::Display for Compatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profile \"{}\" (role {})", self.profile, self.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compatible(role: &str, profile: &str) -> Compatible {
        Compatible { role: role.parse().unwrap(), profile: profile.parse().unwrap() }
    }

    #[test]
    fn a_role_is_a_name_that_fits_into_a_host_name() {
        for name in ["k3s-server", "minio", "edge", "a", "r2-d2", &"x".repeat(32)] {
            assert_eq!(name.parse::<Role>().unwrap().name(), name);
        }
        for name in ["", "Edge", "1st", "-a", "a-", "a_b", "a.b", "a b", "\u{e4}", "a\n", &"x".repeat(33)] {
            let error = name.parse::<Role>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name:?} is not a valid name of a role: use 1 to 32 ")), "{error}");
            assert!(serde_json::from_value::<Role>(name.into()).is_err());
        }
        const EDGE: Role = Role::literal("edge");
        assert_eq!(serde_json::to_string(&EDGE).unwrap(), "\"edge\"");
    }

    #[test]
    fn a_profile_may_be_named_as_files_are() {
        for name in ["router", "My_Node.v2", "9", &"x".repeat(63)] {
            assert!(name.parse::<ProfileName>().is_ok(), "{name}");
        }
        for name in ["", ".x", "-x", "a b", "a/b", "a\"", "\u{e4}", &"x".repeat(64)] {
            assert!(name.parse::<ProfileName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_node_takes_what_is_for_its_profile_and_by_force_what_is_for_its_role() {
        let profiles = [("minio", "minio"), ("minio", "storage"), ("edge", "edge"), ("edge", "minio")];
        for (at, node) in profiles.iter().enumerate() {
            for (other, slot) in profiles.iter().enumerate() {
                let (node, slot) = (compatible(node.0, node.1), compatible(slot.0, slot.1));
                assert_eq!(node.takes(&slot, false).is_ok(), at == other, "{slot} on {node}");
                assert_eq!(node.takes(&slot, true).is_ok(), node.role == slot.role, "{slot} on {node}, forced");
            }
        }
    }

    #[test]
    fn a_refusal_names_both_profiles_and_what_helps() {
        let node = compatible("minio", "minio");
        let refusal = |slot: &Compatible| node.takes(slot, false).unwrap_err().to_string();
        assert_eq!(
            refusal(&compatible("minio", "storage")),
            "it is for profile \"storage\" (role minio); this node runs profile \"minio\" (role minio); use --force to install it \
             anyway"
        );
        let other = refusal(&compatible("edge", "edge"));
        assert!(other.contains("profile \"edge\" (role edge)") && !other.contains("--force"), "{other}");
    }

    proptest! {
        #[test]
        fn every_role_is_a_host_name_and_a_profiles_name(text in "[a-z0-9-]{0,34}|\\PC{0,8}") {
            if let Ok(role) = text.parse::<Role>() {
                prop_assert!(crate::node::HostName::try_from(text.clone()).is_ok());
                prop_assert_eq!(ProfileName::from(&role).as_str().parse(), Ok(ProfileName::from(&role)));
                prop_assert_eq!(Compatible { profile: ProfileName::from(&role), role }.stored(), None);
            }
        }

        #[test]
        fn a_profiles_name_comes_through_a_manifest_as_it_was(role in "[a-z]{1,3}", profile in "[a-z]{1,3}") {
            let one = compatible(&role, &profile);
            let manifest = crate::manifest::Manifest {
                role: one.role.clone(),
                compatible: one.stored(),
                ..crate::manifest::example()
            };
            let read = crate::manifest::Manifest::parse(&manifest.to_bytes().unwrap()).unwrap();
            prop_assert_eq!(read.compatible(), one);
        }
    }
}
