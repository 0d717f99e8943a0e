//! The progress of each node, as reported in its request headers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Most nodes that are remembered: a client can invent names.
const NODES: usize = 4096;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) node: String,
    /// Blocks done, and blocks of all.
    pub(super) progress: Option<(u64, u64)>,
    /// Why it is not installed.
    pub(super) failed: Option<String>,
}

/// Longest reason that is taken, in bytes.
const REASON: usize = 512;

impl Report {
    /// Reads the headers; what is not a valid name of a node or no progress counts as not said.
    pub(super) fn parse(node: Option<&str>, progress: Option<&str>, failed: Option<&str>) -> Option<Report> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let node = node.filter(|name| (1..=63).contains(&name.len()) && name.bytes().all(fine))?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let progress = progress.and_then(|text| {
            let (done, all) = text.split_once('/')?;
            Some((number(done)?, number(all)?)).filter(|(done, all)| done <= all && *all > 0)
        });
        let failed = failed.map(str::trim).filter(|reason| (1..=REASON).contains(&reason.len())).map(str::to_owned);
        Some(Report { node: node.to_owned(), progress, failed })
    }
}

/// Where a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct NodeProgress {
    /// The file that it asked for last.
    pub(super) file: String,
    pub(super) done: u64,
    pub(super) blocks: u64,
}

impl NodeProgress {
    /// In whole per cent.
    pub(super) fn percent(&self) -> u64 {
        (u128::from(self.done) * 100 / u128::from(self.blocks.max(1))) as u64
    }
}

/// All nodes, by name.
#[derive(Default)]
pub(super) struct Nodes(Mutex<BTreeMap<String, NodeProgress>>);

impl Nodes {
    /// Remembers what a node says; tells where it stands now when that is worth a line: at the beginning, with each tenth, at the
    /// end, and when it begins again.
    pub(super) fn heard(&self, report: &Report, file: &str) -> Option<NodeProgress> {
        let (done, blocks) = report.progress?;
        let now = NodeProgress { file: file.to_owned(), done, blocks };
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= NODES && !nodes.contains_key(&report.node) {
            return None;
        }
        let before = nodes.insert(report.node.clone(), now.clone());
        let step = |node: &NodeProgress| (node.file.clone(), node.blocks, node.percent() / 10);
        (before.as_ref().map(step) != Some(step(&now))).then_some(now)
    }

    pub(super) fn all(&self) -> BTreeMap<String, NodeProgress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_of_once_for_each_tenth() {
        let nodes = Nodes::default();
        let mut told = Vec::new();
        for done in 0..=1000 {
            let report = Report { node: "r1".to_owned(), progress: Some((done, 1000)), failed: None };
            told.extend(nodes.heard(&report, "a.bundle").map(|node| node.percent()));
        }
        assert_eq!(told, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
        let anew = Report { node: "r1".to_owned(), progress: Some((0, 500)), failed: None };
        assert!(nodes.heard(&anew, "b.bundle").is_some());
        assert_eq!(nodes.all()["r1"].file, "b.bundle");
    }

    #[test]
    fn what_is_no_name_or_no_progress_counts_as_not_said() {
        let fine = Report::parse(Some("rack1-r1.a"), Some("1/2"), None).unwrap();
        assert_eq!((fine.node.as_str(), fine.progress), ("rack1-r1.a", Some((1, 2))));
        for name in ["", "a b", "a\u{1b}[2J", "\u{e4}", &"x".repeat(64)] {
            assert_eq!(Report::parse(Some(name), Some("1/2"), Some("x")), None, "{name:?}");
        }
        assert_eq!(Report::parse(None, Some("1/2"), Some("x")), None);
        for progress in ["", "1", "2/1", "0/0", "-1/2", "+1/2", "1/2/3", "1/99999999999999999999"] {
            assert_eq!(Report::parse(Some("r1"), Some(progress), None).unwrap().progress, None, "{progress:?}");
        }
    }

    #[test]
    fn an_endless_reason_and_an_empty_one_count_as_not_said() {
        let said = |reason: &str| Report::parse(Some("r1"), None, Some(reason)).unwrap().failed;
        assert_eq!(said(" no disk ").as_deref(), Some("no disk"));
        assert_eq!((said(" "), said(&"x".repeat(REASON + 1))), (None, None));
    }

    #[test]
    fn invented_names_do_not_fill_the_memory() {
        let nodes = Nodes::default();
        for number in 0..NODES + 100 {
            let report = Report { node: format!("n{number}"), progress: Some((1, 2)), failed: None };
            let _ = nodes.heard(&report, "a");
        }
        assert_eq!(nodes.all().len(), NODES);
    }
}
