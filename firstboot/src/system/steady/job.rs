//! A command of k3s that is under way, and what its last lines say of it.

use super::super::k3s::commands::SNAPSHOTS;
use super::super::k3s::snapshots;
use crate::service::{Exit, Moment};
use contract::control::Reply;
use rustix::process::Pid;
use std::fmt;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot,
    Snapshots,
    Restore,
    Reset,
    Drain,
    Uncordon,
}

/// A command that is under way.
pub struct Job {
    pub(super) kind: Kind,
    pub(super) run: Vec<String>,
    /// Who asked, and waits for the answer.
    pub(super) client: Option<u64>,
    /// Lines of the service's log before it.
    pub(super) seen: u64,
    /// Its process, once it runs.
    pub(super) pid: Option<Pid>,
    pub(super) exit: Option<Exit>,
    /// When it is due to end, and whether it was ended for that.
    pub(super) limit: Moment,
    pub(super) late: bool,
    pub(super) look_at: Moment,
}

impl Job {
    /// Whether k3s is held down for it, so that nothing may interrupt it.
    pub fn holds(&self) -> bool {
        matches!(self.kind, Kind::Restore | Kind::Reset)
    }

    /// When [`Loop::step_job`] is due next.
    pub fn deadline(&self) -> Moment {
        match self.pid {
            Some(_) if self.late => Moment::MAX,
            Some(_) => self.limit,
            None => self.look_at,
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Snapshot => "a snapshot of the cluster's database",
            Kind::Snapshots => "the list of snapshots of the cluster's database",
            Kind::Restore => "the restoration of the cluster's database",
            Kind::Reset => "the reset of the cluster's database",
            Kind::Drain => "the draining of this node",
            Kind::Uncordon => "the uncordoning of this node",
        })
    }
}

/// What came of a command that ended well: the answer for who asked for it.
///
/// # Errors
/// It did not do what it is for.
pub(super) fn outcome(kind: Kind, lines: &[String]) -> Result<Reply, String> {
    let said = |word: &str| lines.iter().rev().find(|line| line.contains(word)).map(|line| message(line));
    let words = match kind {
        Kind::Snapshots => return snapshots::list(lines, Path::new(SNAPSHOTS)).map(Reply::K3sSnapshots),
        Kind::Snapshot => said("Snapshot").unwrap_or_else(|| "a snapshot was made".to_owned()),
        Kind::Restore => {
            "the snapshot is the cluster's database now, and this server its only member; k3s starts again. Every \
                          other server must be joined anew"
                .to_owned()
        }
        Kind::Reset => {
            "this server is the only member of the cluster's database now; k3s starts again. Every other server must \
                        be joined anew"
                .to_owned()
        }
        Kind::Drain => "the node is drained".to_owned(),
        Kind::Uncordon => "the node is uncordoned".to_owned(),
    };
    Ok(Reply::Done(words))
}

/// The last line that says what went wrong.
pub(super) fn complaint(lines: &[String]) -> Option<String> {
    let bad = |line: &&String| ["fatal", "error", "Error"].iter().any(|word| line.contains(word));
    let line = lines.iter().rev().find(bad).or_else(|| lines.iter().rev().find(|line| !line.trim().is_empty()))?;
    Some(message(line))
}

/// The message of a line of logrus, which k3s writes with: what is in `msg="..."`. Others are their own.
fn message(line: &str) -> String {
    let Some((_, rest)) = line.split_once("msg=\"") else { return line.trim().to_owned() };
    let rest = rest.trim_end();
    rest.strip_suffix('"').unwrap_or(rest).replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn what_k3s_says_of_its_snapshot_is_the_answer() {
        let log = lines(&["level=info msg=\"Snapshot on-demand-s1-1 saved.\"", "level=info msg=\"Reconciling\""]);
        let done = |words: &str| Ok(Reply::Done(words.to_owned()));
        assert_eq!(outcome(Kind::Snapshot, &log), done("Snapshot on-demand-s1-1 saved."));
        assert_eq!(outcome(Kind::Snapshot, &[]), done("a snapshot was made"));
        assert_eq!(
            outcome(Kind::Snapshots, &lines(&["Name Location Size Created"])),
            Ok(Reply::K3sSnapshots(Vec::new()))
        );
        assert!(outcome(Kind::Snapshots, &log).is_err());
    }

    #[test]
    fn the_last_line_that_complains_is_the_reason() {
        let log = lines(&["I0101 fine", "level=fatal msg=\"no such \\\"bucket\\\"\"", "bye"]);
        assert_eq!(complaint(&log).unwrap(), "no such \"bucket\"");
        assert_eq!(complaint(&lines(&["one", "two", ""])).unwrap(), "two");
        assert_eq!(complaint(&[]), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(text in ".{0,80}") {
            let _ = (message(&text), complaint(std::slice::from_ref(&text)), outcome(Kind::Snapshot, &[text]));
        }
    }
}
