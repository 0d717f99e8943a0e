//! How long a trial may take in the profiles that come with the builder. The images under test have less patience, so that
//! a trial that must fail fails soon; what operators get is held here.

use contract::role::Trial;
use microdc::profile::{check, load};
use std::collections::BTreeMap;
use std::path::Path;

/// In seconds: settling, network, services, commit; and how many health checks have a deadline, by deadline.
type Patience = ([u64; 4], &'static [(u64, usize)]);

const SHIPPED: [(&str, Patience); 5] = [
    ("k3s-agent", ([30, 120, 600, 900], &[(120, 3), (600, 2)])),
    ("k3s-server", ([30, 120, 600, 900], &[(120, 3), (600, 3)])),
    ("minio", ([30, 120, 180, 600], &[(120, 4), (300, 1)])),
    ("router", ([30, 120, 180, 600], &[(120, 6)])),
    ("tinkerbell", ([30, 120, 300, 600], &[(120, 3), (300, 2)])),
];

#[test]
fn the_shipped_profiles_give_a_trial_the_time_that_real_nodes_need() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles");
    assert_eq!(microdc::pipeline::all_profiles(&folder.join("..")).unwrap(), SHIPPED.map(|(name, _)| name));
    for (name, (trial, health)) in SHIPPED {
        let profile = load(&folder.join(format!("{name}.toml"))).unwrap();
        let spec = check::role_spec(&profile, "1", Vec::new()).unwrap();
        let Trial { settle_ms, network_ms, services_ms, commit_ms } = spec.update;
        let found = [settle_ms, network_ms, services_ms, commit_ms].map(|milliseconds| milliseconds / 1000);
        let mut deadlines = BTreeMap::new();
        for check in &spec.health {
            *deadlines.entry(check.deadline_ms / 1000).or_insert(0) += 1;
        }
        assert_eq!((found, deadlines), (trial, health.iter().copied().collect()), "{name}");
    }
}
