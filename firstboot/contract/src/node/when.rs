//! Whether the node config asks for a service: the dotted path of [`crate::role::Service::when`].

use serde_json::Value;

/// What stands between paths of which one is enough.
const OR: &str = " or ";

/// The paths of a `when`, one of which is enough.
pub fn paths(when: &str) -> impl Iterator<Item = &str> {
    when.split(OR)
}

/// Whether the value at one of the paths is there and says something: not `null`, `false`, an empty list or an empty table.
#[must_use]
pub fn wanted(config: &Value, when: &str) -> bool {
    paths(when).any(|path| {
        let found = path.split('.').try_fold(config, |value, key| value.get(key));
        match found {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(table)) => !table.is_empty(),
            Some(_) => true,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::wanted;
    use crate::node::NodeConfig;

    #[test]
    fn a_service_is_wanted_when_its_settings_are_there_and_not_empty() {
        let text = "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[router]\nasn = 1\n\
                    [router.dhcp.eth0]\nfirst = \"10.0.0.5\"\nlast = \"10.0.0.9\"\n";
        let config = serde_json::to_value(NodeConfig::parse(text.as_bytes()).unwrap()).unwrap();
        for path in ["router", "router.asn", "router.dhcp", "network.eth0.addresses", "name"] {
            assert!(wanted(&config, path), "{path}");
        }
        for path in ["router.neighbor", "router.announce", "ssh.keys", "network.eth0.dhcp", "minio", "name.more", ""]
        {
            assert!(!wanted(&config, path), "{path}");
        }
    }
}
