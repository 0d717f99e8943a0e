//! Who may use a control socket: decided by the credentials of the process at the other end and, for commands, by the
//! service that it belongs to. Being root is not enough: some services run as root, too.

use crate::sys::peer::peer;
use std::os::unix::net::UnixStream;

/// Who is welcome at a socket.
#[derive(Clone, Debug, Default)]
pub struct Visitors {
    group: Option<u32>,
    /// Names of cgroups as in `/proc/PID/cgroup`; without it, a visitor may be of any.
    cgroups: Option<Vec<String>>,
}

impl Visitors {
    /// Root and the members of `group`.
    #[must_use]
    pub fn of_group(group: Option<u32>) -> Visitors {
        Visitors { group, cgroups: None }
    }

    /// Those of them that live in one of these cgroups, or below one.
    #[must_use]
    pub fn living_in(self, cgroups: Vec<String>) -> Visitors {
        Visitors { cgroups: Some(cgroups), ..self }
    }

    fn knows(&self, uid: u32, gid: u32) -> bool {
        uid == 0 || Some(gid) == self.group
    }

    #[must_use]
    pub fn group(&self) -> Option<u32> {
        self.group
    }

    /// Whether who has connected may ask.
    #[must_use]
    pub fn welcome(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else { return false };
        self.knows(peer.uid.as_raw(), peer.gid.as_raw())
            && self.cgroups.as_ref().is_none_or(|cgroups| {
                cgroup_of_peer(stream).is_some_and(|own| cgroups.iter().any(|cgroup| lives_in(&own, cgroup)))
            })
    }
}

/// The cgroup of the process that connected, unless that process is gone: its number may then be another's.
fn cgroup_of_peer(stream: &UnixStream) -> Option<String> {
    let process = peer(stream).ok()?;
    let pid = process.number()?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    // It is not reaped yet, so that was its file.
    process.is_there().then_some(())?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

fn lives_in(own: &str, cgroup: &str) -> bool {
    own.strip_prefix(cgroup).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_cgroup() -> String {
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned()
    }

    #[test]
    fn a_visitor_is_of_its_cgroup_or_of_one_above_and_of_no_other() {
        assert!(lives_in("/services/sshd", "/services/sshd"));
        assert!(lives_in("/services/sshd/session", "/services/sshd"));
        assert!(!lives_in("/services/sshd2", "/services/sshd"));
        assert!(!lives_in("/services", "/services/sshd"));
    }

    #[test]
    fn only_root_and_the_operators_group_are_known() {
        let (nobody, operators) = (Visitors::of_group(None), Visitors::of_group(Some(1000)));
        assert!(nobody.knows(0, 0) && operators.knows(0, 5) && operators.knows(1000, 1000));
        assert!(!nobody.knows(1000, 1000) && !operators.knows(110, 110) && !operators.knows(1000, 110));
    }

    #[test]
    fn root_is_not_welcome_from_another_service() {
        let (one, other) = UnixStream::pair().unwrap();
        let gid = rustix::process::getgid().as_raw();
        let everybody = Visitors::of_group(Some(gid));
        assert!(everybody.welcome(&one));
        assert!(!everybody.clone().living_in(vec!["/services/sshd".to_owned()]).welcome(&one));
        assert!(!everybody.clone().living_in(Vec::new()).welcome(&one));
        assert!(everybody.living_in(vec![own_cgroup()]).welcome(&other));
        assert!(!Visitors::of_group(None).living_in(vec!["/nowhere".to_owned()]).welcome(&one));
    }
}
