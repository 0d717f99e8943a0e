//! `[node_exporter]`: where Prometheus's node exporter listens. Without it, it does not run.

use super::listen;
use super::problem::Problem;
use super::section::{Common, Section};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Figures of kernel and hardware for Prometheus, by its own node exporter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeExporter {
    /// Address and TCP port; 9100 is usual, and is what `[metrics]` may have.
    pub listen: SocketAddr,
}

impl Section for NodeExporter {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        let Common { network, .. } = *node;
        found.extend(listen::check(&["node_exporter", "listen"], self.listen, network).err());
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    #[test]
    fn it_listens_on_an_own_address_only() {
        let parse = |listen: &str| {
            let head = "name = \"n1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[node_exporter]\n";
            NodeConfig::parse(format!("{head}listen = \"{listen}\"").as_bytes()).map_err(|error| error.to_string())
        };
        assert!(parse("10.0.0.1:9100").is_ok());
        assert!(parse("10.0.0.2:9100").unwrap_err().contains("not one of this node's addresses"));
        assert!(parse("10.0.0.1").is_err());
    }
}
