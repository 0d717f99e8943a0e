//! What PID 1 tells the network's child, in the file [`contract::names::NETWORK_JOB`].

use contract::node::Network;
use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkJob {
    /// Sent with DHCP requests.
    pub host_name: String,
    /// Without interfaces: DHCP on the first Ethernet port.
    pub network: Network,
}
