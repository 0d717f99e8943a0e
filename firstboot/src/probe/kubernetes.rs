//! What the Kubernetes API says of itself and of this node, asked by the kubelet's own certificate: every node has one, and may
//! ask for the API's readiness and for its own node with it, and for little else (Kubernetes, "API health endpoints" and "Using
//! Node Authorization").

use super::http;
use crate::{kept, tls};
use anyhow::{Context as _, bail, ensure};
use contract::role::{KubernetesProbe, KubernetesQuestion};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use ureq::tls::TlsConfig;
use zeroize::Zeroizing;

/// Bytes of an answer that are read: a node names up to 50 images with all their names.
const LONGEST: u64 = 1 << 20;
/// Bytes of a file of certificates or keys.
const LONGEST_FILE: u64 = 64 * 1024;
/// Checks of the API server that are named when they fail.
const NAMED: usize = 3;
/// A random name of this run of the kernel (Linux, Documentation/admin-guide/sysctl/kernel.rst).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Asks once.
///
/// # Errors
/// No answer, or not the one that counts as good.
pub(super) fn check(request: &KubernetesProbe, limit: Duration) -> anyhow::Result<()> {
    match request.asks {
        KubernetesQuestion::Api => ApiAsker::new(request.clone(), limit).ask(),
        KubernetesQuestion::Node => {
            let (api, name) = (&request.api, request.node.as_str());
            let tls = identified(request)?;
            let mut answer = http::get(&format!("{api}/api/v1/nodes/{name}"), Some(tls), limit)?;
            let status = answer.status().as_u16();
            let body = http::body(&mut answer, LONGEST);
            match status {
                200 => {
                    let body = body.context("the answer of the API server ends early")?;
                    let boot = std::fs::read_to_string(BOOT_ID).context(BOOT_ID)?;
                    node(name, &body, boot.trim())
                }
                404 => bail!("the cluster has no node {name}: it has not joined yet, or was deleted"),
                status => readiness(status, &body.unwrap_or_default()),
            }
        }
    }
}

/// Asks again and again whether the API is ready, on a connection that is kept open where the server keeps it.
#[derive(Debug)]
pub struct ApiAsker {
    request: KubernetesProbe,
    limit: Duration,
    agent: Option<ureq::Agent>,
}

impl ApiAsker {
    /// `limit` is the time for each answer.
    #[must_use]
    pub fn new(request: KubernetesProbe, limit: Duration) -> ApiAsker {
        ApiAsker { request, limit, agent: None }
    }

    /// Asks once. After a failure it asks on a new connection, with the certificates and the key as they are then.
    ///
    /// # Errors
    /// No answer, or what is not ready.
    pub fn ask(&mut self) -> anyhow::Result<()> {
        let agent = match self.agent.take() {
            Some(agent) => agent,
            None => http::agent(Some(identified(&self.request)?), self.limit),
        };
        let url = format!("{}/readyz?verbose", self.request.api);
        let mut answer = agent.get(&url).call().with_context(|| format!("no answer from {url}"))?;
        let status = answer.status().as_u16();
        readiness(status, &http::body(&mut answer, LONGEST).unwrap_or_default())?;
        self.agent = Some(agent);
        Ok(())
    }
}

/// Whom the API must be, and who asks it.
fn identified(request: &KubernetesProbe) -> anyhow::Result<TlsConfig> {
    let read = |path: &str| match kept::read(Path::new(path), LONGEST_FILE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{path} is not there: this node has not joined a cluster yet"))
        }
        read => read.with_context(|| format!("cannot read {path}")),
    };
    let (certificate, key) = (read(&request.certificate)?, Zeroizing::new(read(&request.key)?));
    let identity = tls::identity(&certificate, &key).with_context(|| request.certificate.clone())?;
    tls::verified(&read(&request.ca)?, Some(identity)).with_context(|| request.ca.clone())
}

/// Whether an API server that gave this answer to `/readyz?verbose` is ready. Lines of failed checks begin with `[-]`.
///
/// # Errors
/// What is not ready.
pub fn readiness(status: u16, body: &str) -> anyhow::Result<()> {
    match status {
        200 => return Ok(()),
        401 | 403 => bail!("the API server does not accept this node's certificate (it answered {status})"),
        _ => {}
    }
    let failed = body.lines().filter_map(|line| line.trim().strip_prefix("[-]")?.split_whitespace().next());
    let failed: Vec<&str> = failed.collect();
    // Both are reads of etcd that a majority of its members must confirm.
    ensure!(
        !failed.iter().any(|name| *name == "etcd" || *name == "etcd-readiness"),
        "etcd has no quorum or does not answer"
    );
    ensure!(failed.is_empty(), "the API server is not ready: {}", some(&failed));
    bail!("the API server is not ready: it answered {status}")
}

/// The first of them, and how many more there are.
fn some(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let first: Vec<&str> = names.iter().take(NAMED).copied().collect();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    first.join(", ") + &rest
}

/// A node, as far as it matters here (Kubernetes API, `Node` of core/v1).
#[derive(Deserialize)]
struct Node {
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
    node_info: Info,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "bootID")]
    boot_id: String,
}

/// Whether the node `name`, as the API has it, is ready in the run of the kernel with this name.
///
/// # Errors
/// Why not.
pub fn node(name: &str, body: &str, boot_id: &str) -> anyhow::Result<()> {
    let node: Node =
        serde_json::from_str(body).with_context(|| format!("cannot parse the node {name} of the API"))?;
    ensure!(
        node.status.node_info.boot_id == boot_id,
        "the cluster knows the node {name} from before its last start: its kubelet has not reported since"
    );
    let ready = node.status.conditions.iter().find(|condition| condition.kind == "Ready");
    let ready = ready.with_context(|| format!("the node {name} has not said whether it is Ready"))?;
    if ready.status != "True" {
        let message = if ready.message.is_empty() { String::new() } else { format!(": {}", ready.message) };
        bail!("the node {name} is not Ready: {}{message}", ready.reason);
    }
    Ok(())
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod by_https;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOOT: &str = "5f0fd12a-8a5c-4d3e-9d55-0b1a3f7c2d10";

    fn said(result: anyhow::Result<()>) -> String {
        result.map_or_else(|why| format!("{why:#}"), |()| "ready".to_owned())
    }

    fn answer(status: &str, reason: &str, boot_id: &str) -> String {
        format!(
            "{{\"kind\":\"Node\",\"metadata\":{{\"name\":\"s1\"}},\"status\":{{\"conditions\":[\
             {{\"type\":\"DiskPressure\",\"status\":\"False\",\"reason\":\"KubeletHasNoDiskPressure\"}},\
             {{\"type\":\"Ready\",\"status\":\"{status}\",\"reason\":\"{reason}\",\"message\":\"cni plugin not initialized\"}}],\
             \"nodeInfo\":{{\"bootID\":\"{boot_id}\",\"kernelVersion\":\"6.12\"}}}}}}"
        )
    }

    #[test]
    fn an_api_server_that_is_not_ready_says_what_is_not() {
        let body = "[+]ping ok\n[+]log ok\n[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\n[+]etcd ok\nreadyz \
                    check failed\n";
        assert_eq!(said(readiness(500, body)), "the API server is not ready: poststarthook/rbac/bootstrap-roles");
        let without = "[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/x failed: not finished\n";
        assert_eq!(said(readiness(500, without)), "etcd has no quorum or does not answer");
        let many = "[-]a failed\n[-]b failed\n[-]c failed\n[-]d failed\n[-]e failed\n";
        assert_eq!(said(readiness(500, many)), "the API server is not ready: a, b, c and 2 more");
        assert_eq!(said(readiness(503, "apiserver not ready")), "the API server is not ready: it answered 503");
        assert!(said(readiness(401, "Unauthorized")).contains("does not accept this node's certificate"));
        assert_eq!(said(readiness(200, "[+]ping ok\nreadyz check passed\n")), "ready");
    }

    #[test]
    fn a_node_is_ready_when_its_kubelet_says_so_since_this_start() {
        assert_eq!(said(node("s1", &answer("True", "KubeletReady", BOOT), BOOT)), "ready");
        assert_eq!(
            said(node("s1", &answer("False", "KubeletNotReady", BOOT), BOOT)),
            "the node s1 is not Ready: KubeletNotReady: cni plugin not initialized"
        );
        let unknown = said(node("s1", &answer("Unknown", "NodeStatusUnknown", BOOT), BOOT));
        assert!(unknown.starts_with("the node s1 is not Ready: NodeStatusUnknown"), "{unknown}");
        let before = said(node("s1", &answer("True", "KubeletReady", "another"), BOOT));
        assert!(before.contains("has not reported since"), "{before}");
        let silent = format!("{{\"status\":{{\"nodeInfo\":{{\"bootID\":\"{BOOT}\"}}}}}}");
        assert!(said(node("s1", &silent, BOOT)).contains("has not said"));
        assert!(said(node("s1", "{}", BOOT)).contains("cannot parse"));
    }

    #[test]
    fn before_a_node_has_joined_there_is_no_certificate_and_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let request = KubernetesProbe {
            asks: KubernetesQuestion::Api,
            api: "https://127.0.0.1:1".to_owned(),
            ca: path("ca"),
            certificate: path("certificate"),
            key: path("key"),
            node: String::new(),
        };
        let why = said(check(&request, Duration::from_secs(5)));
        assert!(why.contains("certificate is not there: this node has not joined a cluster yet"), "{why}");
        for name in ["ca", "certificate", "key"] {
            std::fs::write(path(name), "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n")
                .unwrap();
        }
        let why = said(check(&request, Duration::from_secs(5)));
        assert!(why.contains("holds no certificate") && !why.contains("c2VjcmV0"), "{why}");
    }

    proptest! {
        #[test]
        fn only_a_node_that_says_so_is_ready(body in ".{0,200}", status in 0..1000_u16) {
            prop_assert!(node("s1", &body, BOOT).is_err());
            prop_assert_eq!(readiness(status, &body).is_ok(), status == 200);
        }
    }
}
