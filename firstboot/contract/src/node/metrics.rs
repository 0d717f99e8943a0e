//! `[metrics]`: where Prometheus may read the node's metrics. Without it nothing listens.

use super::listen;
use super::problem::Problem;
use super::section::{Common, Section};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address and TCP port, such as `10.0.0.1:9100` or `[fd00::1]:9100`. A router's firewall opens the port on the
    /// interface that has the address, for connections to that address. With `0.0.0.0` or `[::]` the service listens on
    /// every address, and the router's firewall stays closed unless `router.firewall.tcp` opens the port.
    pub listen: SocketAddr,
}

impl Section for Metrics {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        let Common { network, .. } = *node;
        found.extend(listen::check(&["metrics", "listen"], self.listen, network).err());
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    #[test]
    fn metrics_are_served_on_an_own_address_only() {
        let parse = |listen: &str, port: &str| {
            let text = format!("name = \"r1\"\n[metrics]\nlisten = \"{listen}\"\n[network.eth0]\n{port}\n");
            NodeConfig::parse(text.as_bytes()).map_err(|error| error.to_string())
        };
        let fixed = "addresses = [\"10.0.0.1/24\", \"fd00::1/64\"]";
        for fine in ["10.0.0.1:9100", "[fd00::1]:9100", "0.0.0.0:9100", "[::]:80", "127.0.0.1:9100"] {
            let config = parse(fine, fixed).unwrap();
            assert_eq!(serde_json::to_value(config).unwrap()["metrics"]["listen"], fine);
        }
        assert!(parse("10.0.0.2:9100", fixed).unwrap_err().contains("not one of this node's addresses"));
        assert!(parse("10.0.0.2:9100", "dhcp = true").is_ok());
        assert!(parse("10.0.0.1:0", fixed).unwrap_err().contains("not a valid port"));
        for wrong in ["10.0.0.1", "9100", ":9100", "r1:9100"] {
            assert!(parse(wrong, fixed).is_err(), "{wrong}");
        }
    }
}
