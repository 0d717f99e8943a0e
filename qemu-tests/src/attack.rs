//! What a service that fell could reach: the probe makes its attempts as each service of a node, by the node's own code of
//! confinement.

use crate::agent::Agent;
use crate::probe::Request;
use std::collections::BTreeSet;

/// A service, and the attempts by which it reaches what is its own affair. All others must be refused.
pub type Expected<'e> = (&'e str, &'e [&'e str]);

/// What whoever is root in a service that makes containers reaches, or in a privileged container of it.
pub const CONTAINER_HOST: &[&str] = &[
    // Its own init, in its own namespace.
    "init-seen",
    "init-environment",
    "init-memory",
    "init-files",
    "init-traced",
    "init-signalled",
    // What containers are made with.
    "bpf",
    "keyring",
    "host-name",
    "memory-mounted",
    "proc-mounted",
    "mount-namespace",
    "user-namespace",
    "own-program",
    "run",
    // CAP_SYSLOG, which kubelet has, and files of the machine that root may write: a restart at worst.
    "kernel-log",
    "sysfs",
    "sysrq",
];

/// The attempts with which a service reached what it wanted; `bare` leaves its confinement out.
///
/// # Panics
/// When the attempts cannot be made.
#[must_use]
pub fn reached(agent: Agent<'_>, service: &str, bare: bool) -> BTreeSet<String> {
    let bare: &[&str] = if bare { &["--bare"] } else { &[] };
    let head = ["/usr/lib/microdc/firstboot", "confine-as", service];
    let words = head.iter().chain(bare).chain(&["/usr/lib/microdc/probe", "attack"]);
    let said = agent
        .ask(&Request::Run(words.map(|&word| word.to_owned()).collect()))
        .unwrap_or_else(|error| panic!("{service}: {error}"));
    let attempts = said.lines().filter_map(|line| line.strip_prefix("attempt ")?.split_once(": "));
    let attempts: Vec<(&str, &str)> = attempts.collect();
    assert!(attempts.len() > 40, "{service}: {said}");
    eprintln!("{service}: {said}");
    attempts.into_iter().filter(|(_, how)| *how == "reached").map(|(name, _)| name.to_owned()).collect()
}

/// # Panics
/// When a service reaches something else than what is expected.
pub fn only_what_is_expected_is_reached(agent: Agent<'_>, services: &[Expected<'_>]) {
    let mut wrong = Vec::new();
    for (service, expected) in services {
        let found = reached(agent, service, false);
        let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
        if found != expected {
            let more: Vec<_> = found.difference(&expected).collect();
            let less: Vec<_> = expected.difference(&found).collect();
            wrong.push(format!("{service} reached {more:?}, and not {less:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
