//! What a service of a node needs of memory, by the node's own metrics.

use crate::s3::http;

/// Memory of a service's processes with their page cache, in bytes. `port` of this host's loopback leads to the node's metrics.
///
/// # Panics
/// When the node does not say.
#[must_use]
pub fn of_service(port: u16, service: &str) -> f64 {
    let page = http(port, "GET", "/metrics", "", b"").expect("the node has no metrics");
    let page = String::from_utf8(page.body).expect("the metrics are not text");
    let name = format!("microdc_service_memory_bytes{{service=\"{service}\"}} ");
    let sample = page.lines().find_map(|line| line.strip_prefix(&name));
    sample.and_then(|sample| sample.parse().ok()).unwrap_or_else(|| panic!("no memory of {service} in\n{page}"))
}
