//! IDs derived from the inputs of a build, so that nothing is random.

use contract::hash::Digest;
use uuid::Uuid;

/// What all ids of an image are derived from.
///
/// Take what stays the same from build to build, such as the role's name: metadata blocks of the root file system
/// are seeded with its id, and equal blocks need not be fetched again by an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(Digest);

impl Seed {
    /// A seed from some texts. Where one text ends and the next begins makes a difference.
    #[must_use]
    pub fn of(parts: &[&str]) -> Seed {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part.as_bytes());
        }
        Seed(Digest::of(&bytes))
    }

    /// The id of one thing: a version 8 UUID (RFC 9562, section 5.8) from SHA-256.
    #[must_use]
    pub fn uuid(&self, label: &str) -> Uuid {
        let mut bytes = b"microdc id\0".to_vec();
        bytes.extend(self.0.0);
        bytes.extend(label.as_bytes());
        let digest = Digest::of(&bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&digest.0[..16]);
        uuid::Builder::from_custom_bytes(id).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_seed_and_label() {
        let seed = Seed::of(&["router"]);
        assert_eq!(seed.uuid("disk"), seed.uuid("disk"));
        assert_ne!(seed.uuid("disk"), seed.uuid("root"));
        assert_ne!(seed.uuid("disk"), Seed::of(&["minio"]).uuid("disk"));
        assert_ne!(Seed::of(&["ab", "c"]), Seed::of(&["a", "bc"]));
        assert_eq!(seed.uuid("disk").get_version_num(), 8);
    }
}
