//! How far each shipped service would reach if it fell: none further than it did when this was written.

use microdc::profile::check::role_spec;
use microdc::profile::exposure::Exposure;
use microdc::profile::load;
use std::path::Path;

/// The highest mark of each service, in tenths. If a service must reach further, raise its mark here and say why in its part.
const MARKS: [(&str, &str, u32); 0] = [];

fn services(profile: &str) -> Vec<(String, u32)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap();
    let loaded = load(&root.join(profile)).unwrap();
    let role = role_spec(&loaded, "", Vec::new()).unwrap();
    role.services.iter().map(|(name, service)| (name.clone(), Exposure::of(service).tenths())).collect()
}

#[test]
fn no_shipped_service_is_more_exposed_than_its_mark() {
    let mut wrong = Vec::new();
    for profile in ["router", "minio", "k3s-server", "k3s-agent", "tinkerbell"] {
        for (service, tenths) in services(&format!("profiles/{profile}.toml")) {
            let mark =
                MARKS.iter().find(|(in_profile, name, _)| *name == service && ["", profile].contains(in_profile));
            match mark {
                Some((_, _, mark)) if tenths == *mark => {}
                Some((_, _, mark)) => wrong.push(format!("{profile}: {service} has {tenths}, not {mark}")),
                None => wrong.push(format!("{profile}: {service} has {tenths}, and no mark")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_excepted_from_confinement_raises_the_mark() {
    let strict = services("profiles/router.toml").into_iter().find(|(name, _)| name == "mgmtd").unwrap().1;
    let open = services("qemu-tests/profiles/services.toml").into_iter().find(|(name, _)| name == "probe").unwrap().1;
    assert!(strict + 20 < open, "{strict} {open}");
}
