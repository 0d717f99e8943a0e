//! What PID 1 tells the network's child, in the file [`contract::names::NETWORK_JOB`].

use super::subnets::Subnets;
use contract::node::Network;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkJob {
    /// Sent with DHCP requests.
    pub host_name: String,
    /// Without interfaces: DHCP on the first Ethernet port.
    pub network: Network,
    /// Interfaces that were not there the last time the node ran for a while: they are not waited for.
    #[serde(default)]
    pub absent: BTreeSet<String>,
    /// Whether NTP servers that leases name are used: the node config names none.
    #[serde(default)]
    pub time_servers: bool,
    /// Interfaces that have parts of prefixes which servers delegate to this router.
    #[serde(default)]
    pub subnets: Subnets,
}
