//! Dotted paths, as `when` and the `config` of a health check name them. They are followed as the node follows them
//! (`firstboot/src/service/when.rs`, `firstboot/src/health/wanted.rs`).

use super::super::diagnostic::nearest;
use super::super::field::join;
use super::super::value::Mistake;
use super::types::{Type, Unknown, Why};
use contract::node::when_paths;

/// Follows the path of a `when`, or several with `or` between them. Each leads through tables; whatever is at its end is asked for.
///
/// # Errors
/// When no node.toml has anything there.
pub fn when(text: &str) -> Result<(), Mistake> {
    when_paths(text).try_for_each(one)
}

fn one(path: &str) -> Result<(), Mistake> {
    follow(path, |place, key| place.key(key)).map(drop).map_err(|unknown| {
        let through = unknown.why == Why::List;
        let list =
            format!("`when` does not look into lists; `when = \"{}\"` asks for one that is not empty", unknown.at);
        let (message, help) = explain(&unknown);
        (message, if through { Some(list) } else { help })
    })
}

/// Follows the path of a health check's `config`. It leads through tables and lists, and ends at texts or numbers.
///
/// # Errors
/// When no node.toml has such values there.
pub fn values(path: &str) -> Result<(), Mistake> {
    let mut found =
        follow(path, |place, key| into_lists(place.clone()).key(key)).map_err(|unknown| explain(&unknown))?;
    found = into_lists(found);
    if found.is_text_or_number() {
        return Ok(());
    }
    let message = format!("`{path}` in node.toml is neither a string nor a number, nor a list of them");
    Err((message, Some("name the key of an address, such as `router.neighbor.address`".to_owned())))
}

fn follow(
    path: &str,
    step: impl Fn(&Type<'static>, &str) -> Result<Type<'static>, Unknown>,
) -> Result<Type<'static>, Unknown> {
    path.split('.').try_fold(Type::node_toml(), |place, key| step(&place, key))
}

/// A list is looked into; what may be a list or a single value is both.
fn into_lists(mut place: Type<'static>) -> Type<'static> {
    let mut level = place.clone();
    while let Some(element) = level.element() {
        place = place.or(&element);
        level = element;
    }
    place
}

/// The words for a key that no node.toml has.
#[must_use]
pub fn explain(unknown: &Unknown) -> Mistake {
    let Unknown { at, key, why } = unknown;
    let whole = join(at, key);
    let help = match why {
        Why::Keys(keys) => match nearest(key, keys.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{}`?", join(at, near)),
            None if at.is_empty() => format!("node.toml has {}", listed(keys)),
            None => format!("[{at}] has {}", listed(keys)),
        },
        Why::List => format!("`{at}` is a list, and its entries have no key `{key}`"),
        Why::Value => format!("`{at}` is a single value and has no keys"),
    };
    (format!("`{whole}` is not a key of node.toml"), Some(help))
}

fn listed(keys: &[String]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_node_can_have_is_accepted_whether_an_example_has_it_or_not() {
        for path in [
            "name",
            "router",
            "router.dhcp",
            "router.dhcp.eth1",
            "router.dhcp.eth1.lease",
            "router.neighbor",
            "ssh.keys",
            "network.eth0.addresses",
            "network.wg0.wireguard.listen_port",
            "k3s.labels",
            "k3s.labels.zone",
            "minio.settings.X",
            "metrics.listen",
            "hosts.db1",
            "tinkerbell.api.key",
            "disks.data",
            "nas",
            "tailscale",
            "time.serve",
            "bgp or router.asn or router.config",
        ] {
            assert_eq!(when(path), Ok(()), "{path}");
        }
        for path in [
            "router.neighbor.address",
            "router.neighbor.asn",
            "bgp.neighbor.address",
            "network.eth0.gateway",
            "router.router_id",
            "network.eth0.route.via",
            "hosts.db1",
            "time.servers",
            "k3s.node_ip",
            "minio.peers",
            "disks.data",
            "k3s.token",
        ] {
            assert_eq!(values(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_path_that_no_node_can_have_is_refused_with_what_may_be_meant() {
        for (path, help) in [
            ("router.dchp", "did you mean `router.dhcp`?"),
            ("rotuer", "did you mean `router`?"),
            ("bgp or router.dchp", "did you mean `router.dhcp`?"),
            ("bgp or ", "node.toml has `"),
            ("rotuer.dhcp", "did you mean `router`?"),
            ("router.neighbour", "did you mean `router.neighbor`?"),
            ("network.eth0.adresses", "did you mean `network.eth0.addresses`?"),
            ("router.zzz", "[router] has `"),
            ("", "node.toml has `"),
            ("router.", "[router] has `"),
            (".router", "node.toml has `"),
            ("name.first", "`name` is a single value"),
            ("ssh.keys.0", "does not look into lists; `when = \"ssh.keys\"`"),
            ("router.neighbor.address", "`when = \"router.neighbor\"`"),
            ("network.\"eth0.5\".dhcp", "[network.\"eth0] has `"),
        ] {
            let (message, found) = when(path).unwrap_err();
            assert!(message.ends_with("is not a key of node.toml"), "{path}: {message}");
            assert!(found.as_deref().is_some_and(|found| found.contains(help)), "{path}: {found:?}");
        }
        for (path, wanted) in [
            ("router.neighbour.address", "did you mean `router.neighbor`?"),
            ("router.neighbor.adress", "did you mean `router.neighbor.address`?"),
            ("router.neighbor", "neither a string nor a number"),
            ("router.neighbor.bfd", "neither a string nor a number"),
            ("network", "neither a string nor a number"),
            ("router.asn.x", "`router.asn` is a single value"),
        ] {
            let (message, help) = values(path).unwrap_err();
            assert!(format!("{message}; {help:?}").contains(wanted), "{path}: {message}; {help:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_followed_to_an_end(path in "[a-z_.\"0-9]{0,40}|\\PC{0,20}") {
            let _ = when(&path);
            let _ = values(&path);
        }
    }
}
