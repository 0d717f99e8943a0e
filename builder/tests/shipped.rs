//! How long a trial may take in the profiles that come with the builder. The images under test have less patience, so that
//! a trial that must fail fails soon; what operators get is held here.

use contract::role::{RoleSpec, Trial};
use microdc::profile::{check, load};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// In seconds: settling, network, services, commit; and how many health checks have a deadline, by deadline.
type Patience = ([u64; 4], &'static [(u64, usize)]);

const SHIPPED: [(&str, Patience); 6] = [
    ("garage", ([30, 120, 180, 600], &[(120, 4), (300, 1)])),
    ("k3s-agent", ([30, 120, 600, 900], &[(120, 3), (600, 3)])),
    ("k3s-server", ([30, 120, 600, 900], &[(120, 9), (600, 5)])),
    ("minio", ([30, 120, 180, 600], &[(120, 4), (300, 1)])),
    ("router", ([30, 120, 180, 600], &[(120, 6)])),
    ("tinkerbell", ([30, 120, 300, 600], &[(120, 3), (300, 2)])),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles")
}

fn spec(name: &str) -> RoleSpec {
    let profile = load(&folder().join(format!("{name}.toml"))).unwrap();
    check::role_spec(&profile, "1", Vec::new()).unwrap()
}

#[test]
fn the_shipped_profiles_give_a_trial_the_time_that_real_nodes_need() {
    assert_eq!(microdc::pipeline::all_profiles(&folder().join("..")).unwrap(), SHIPPED.map(|(name, _)| name));
    for (name, (trial, health)) in SHIPPED {
        let spec = spec(name);
        let Trial { settle_ms, network_ms, services_ms, commit_ms } = spec.update;
        let found = [settle_ms, network_ms, services_ms, commit_ms].map(|milliseconds| milliseconds / 1000);
        let mut deadlines = BTreeMap::new();
        for check in &spec.health {
            *deadlines.entry(check.deadline_ms / 1000).or_insert(0) += 1;
        }
        assert_eq!((found, deadlines), (trial, health.iter().copied().collect()), "{name}");
    }
}

#[test]
fn the_shipped_profiles_have_the_limits_that_their_role_needs() {
    let at_least = |name: &str, key: &str, least: u64| {
        let spec = spec(name);
        let found: u64 = spec.sysctls.get(key).unwrap_or_else(|| panic!("{name}: no {key}")).parse().unwrap();
        assert!(found >= least, "{name}: {key} = {found}");
    };
    for (name, _) in SHIPPED {
        at_least(name, "fs/file-max", 1 << 20);
    }
    for name in ["k3s-server", "k3s-agent"] {
        at_least(name, "fs/inotify/max_user_instances", 8192);
        at_least(name, "fs/inotify/max_user_watches", 524_288);
        at_least(name, "net/netfilter/nf_conntrack_max", 131_072);
    }
    at_least("router", "net/netfilter/nf_conntrack_max", 262_144);
    for (name, service) in [
        ("k3s-server", "k3s"),
        ("k3s-agent", "k3s"),
        ("minio", "minio"),
        ("garage", "garage"),
        ("tinkerbell", "tinkerbell"),
    ] {
        let limits = &spec(name).services[service].limits;
        assert!(limits.open_files.is_some_and(|files| files >= 1 << 20), "{name}: {limits:?}");
    }
}
