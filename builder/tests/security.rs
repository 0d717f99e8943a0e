//! How far each shipped service would reach if it fell: none further than it did when this was written.

use microdc::profile::check::role_spec;
use microdc::profile::exposure::Exposure;
use microdc::profile::load;
use std::path::Path;

/// The mark of each service, in tenths. Where a service must reach further, its mark here is raised, and its part says why.
const MARKS: [(&str, u32); 18] = [
    ("bfdd", 11),
    ("bgpd", 14),
    ("chronyd", 14),
    ("dnsmasq", 14),
    ("firewall", 12),
    ("garage", 10),
    ("hostkey", 15),
    // Containers are made with nearly every capability: SECURITY.md says what holds it.
    ("k3s", 73),
    // Root, and all of the node's network: it sends raw packets and moves addresses.
    ("keepalived", 20),
    ("metrics", 11),
    ("mgmtd", 10),
    ("minio", 10),
    // It becomes other users, and is root until it has.
    ("sshd", 25),
    ("staticd", 10),
    ("tinkerbell", 14),
    ("vip", 12),
    // Root without capabilities: it reads the kubelet's key.
    ("vip-api", 15),
    ("zebra", 14),
];

fn services(profile: &str) -> Vec<(String, u32)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap();
    let loaded = load(&root.join(profile)).unwrap();
    let role = role_spec(&loaded, "", Vec::new()).unwrap();
    role.services.iter().map(|(name, service)| (name.clone(), Exposure::of(service).tenths())).collect()
}

#[test]
fn no_shipped_service_is_more_exposed_than_its_mark() {
    let mut wrong = Vec::new();
    for profile in ["router", "minio", "garage", "k3s-server", "k3s-agent", "tinkerbell"] {
        for (service, tenths) in services(&format!("profiles/{profile}.toml")) {
            match MARKS.iter().find(|(name, _)| *name == service) {
                Some((_, mark)) if tenths == *mark => {}
                Some((_, mark)) => wrong.push(format!("{profile}: {service} has {tenths}, not {mark}")),
                None => wrong.push(format!("{profile}: {service} has {tenths}, and no mark")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_excepted_from_confinement_raises_the_mark() {
    let mark =
        |profile: &str, name: &str| services(profile).into_iter().find(|(service, _)| service == name).unwrap().1;
    let (strict, open) = (mark("profiles/router.toml", "mgmtd"), mark("profiles/k3s-agent.toml", "k3s"));
    assert!(strict < 15 && open > 70, "{strict} {open}");
}
