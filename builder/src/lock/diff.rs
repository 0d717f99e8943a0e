//! What changes from one lock to another, for people and machines.

use super::Lock;
use crate::report::human_bytes;
use contract::hash::Digest;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One entry of a lock that is not as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `package` or `artifact`.
    pub kind: &'static str,
    pub name: String,
    /// What was locked before; nothing for what is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Entry>,
    /// What is locked now; nothing for what is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Entry>,
}

/// What a change tells of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// A package's version; an artifact's source.
    pub version: String,
    /// In bytes.
    pub size: u64,
    pub sha256: Digest,
}

impl Lock {
    /// What changes from this lock to `newer`: packages first, each kind in the order of names.
    #[must_use]
    pub fn differences(&self, newer: &Lock) -> Vec<Change> {
        let packages = |lock: &Lock| -> BTreeMap<String, Entry> {
            let entry = |package: &super::LockedPackage| Entry {
                version: package.version.clone(),
                size: package.size,
                sha256: package.sha256,
            };
            lock.packages.iter().map(|(name, package)| (name.clone(), entry(package))).collect()
        };
        let artifacts = |lock: &Lock| -> BTreeMap<String, Entry> {
            let entry = |artifact: &super::LockedArtifact| Entry {
                version: artifact.from.to_string(),
                size: artifact.size,
                sha256: artifact.sha256,
            };
            lock.artifacts.iter().map(|(name, artifact)| (name.clone(), entry(artifact))).collect()
        };
        let mut changes = compare("package", packages(self), packages(newer));
        changes.extend(compare("artifact", artifacts(self), artifacts(newer)));
        changes
    }
}

fn compare(kind: &'static str, mut old: BTreeMap<String, Entry>, mut new: BTreeMap<String, Entry>) -> Vec<Change> {
    let names: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
    let changes = names.into_iter().map(|name| Change { kind, old: old.remove(&name), new: new.remove(&name), name });
    changes.filter(|change| change.old != change.new).collect()
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if old.version == new.version => {
                write!(f, "~ {name} {}: different content, {}", new.version, sizes(old.size, new.size))
            }
            (Some(old), Some(new)) => {
                write!(f, "~ {name} {} → {}, {}", old.version, new.version, sizes(old.size, new.size))
            }
            (None, Some(new)) => write!(f, "+ {name} {}, {}", new.version, human_bytes(new.size)),
            (Some(old), None) => write!(f, "- {name} {}, {}", old.version, human_bytes(old.size)),
            (None, None) => write!(f, "  {name}"),
        }
    }
}

fn sizes(old: u64, new: u64) -> String {
    if old == new { human_bytes(new) } else { format!("{} → {}", human_bytes(old), human_bytes(new)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{LockedArtifact, LockedFrom, LockedPackage};

    fn lock(packages: &[(&str, &str, u64)], artifacts: &[(&str, u64)]) -> Lock {
        let mut lock = Lock::default();
        for (name, version, size) in packages {
            let package = LockedPackage {
                name: (*name).into(),
                version: (*version).into(),
                architecture: "arm64".into(),
                suite: "trixie".into(),
                component: "main".into(),
                path: format!("pool/{name}.deb"),
                size: *size,
                sha256: Digest::of(format!("{name} {version} {size}").as_bytes()),
            };
            lock.packages.insert((*name).into(), package);
        }
        for (name, size) in artifacts {
            let sha256 = Digest::of(format!("{name} {size}").as_bytes());
            let artifact = LockedArtifact { name: (*name).into(), from: LockedFrom::File, size: *size, sha256 };
            lock.artifacts.insert((*name).into(), artifact);
        }
        lock
    }

    #[test]
    fn versions_sizes_what_is_new_and_what_is_gone_are_told() {
        let old =
            lock(&[("chrony", "4.6", 2048), ("frr", "10.3-3", 5 << 20), ("libc6", "2.41", 1024)], &[("banner", 6)]);
        let new =
            lock(&[("frr", "10.3-4", 6 << 20), ("dnsmasq", "2.91", 1024), ("libc6", "2.41", 1024)], &[("banner", 7)]);
        let lines: Vec<String> = old.differences(&new).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "- chrony 4.6, 2.0 KiB",
                "+ dnsmasq 2.91, 1.0 KiB",
                "~ frr 10.3-3 → 10.3-4, 5.0 MiB → 6.0 MiB",
                "~ banner a file: different content, 6 B → 7 B",
            ]
        );
        assert!(old.differences(&old).is_empty());
    }
}
