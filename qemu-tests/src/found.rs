//! What a stand-in found on a node (qemu-tests/guest/src/bin/stand-in): a line for each fact, then files.

use crate::agent::Agent;

/// The words of one stand-in.
#[derive(Clone, Debug)]
pub struct Found(String);

impl Found {
    /// Waits until the stand-in of this name has written all.
    #[must_use]
    pub fn by(agent: Agent<'_>, name: &str) -> Found {
        // What makes containers has a /run of its own.
        let first = agent.cat(&format!("/sys/fs/cgroup/services/{name}/inside/init.scope/cgroup.procs"));
        let root = first.lines().next().map_or_else(String::new, |pid| format!("/proc/{pid}/root"));
        let path = format!("{root}/run/stand-in/{name}");
        Found(agent.until("the stand-in runs", |agent| {
            Some(agent.cat(&path)).filter(|text| text.contains("== /proc/self/mountinfo"))
        }))
    }

    /// # Panics
    /// When this is none of its lines.
    pub fn has(&self, fact: &str) {
        assert!(self.0.lines().any(|line| line == fact), "no {fact:?} in:\n{}", self.0);
    }

    /// What follows this word, of each fact that begins with it.
    #[must_use]
    pub fn all(&self, what: &str) -> Vec<&str> {
        let facts = self.0.split("\n== ").next().unwrap_or_default();
        facts.lines().filter_map(|line| line.strip_prefix(what)?.strip_prefix(' ')).collect()
    }

    /// A file as it was.
    ///
    /// # Panics
    /// When the stand-in did not look at it.
    #[must_use]
    pub fn file(&self, path: &str) -> &str {
        let at = format!("== {path}\n");
        let rest = self.0.split_once(&at).unwrap_or_else(|| panic!("no file {path} in:\n{}", self.0)).1;
        rest.split("\n== ").next().unwrap_or_default()
    }

    /// The line of a mount in `mountinfo`.
    ///
    /// # Panics
    /// When nothing is mounted there.
    #[must_use]
    pub fn mount(&self, point: &str) -> &str {
        let mounts = self.file("/proc/self/mountinfo");
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(point));
        line.unwrap_or_else(|| panic!("nothing on {point}:\n{mounts}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_and_files_are_told_apart() {
        let found = Found(
            "run /usr/bin/k3s server\nenv A=1\nenv B=2\n== /run/a\nenv C=3\n== /proc/self/mountinfo\n\
             1 2 8:1 /x /data rw shared:1 - ext4 d rw\n"
                .to_owned(),
        );
        assert_eq!(found.all("env"), ["A=1", "B=2"]);
        assert_eq!(found.file("/run/a"), "env C=3");
        assert!(found.mount("/data").contains("8:1"));
        found.has("env C=3");
    }
}
