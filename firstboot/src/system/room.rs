//! How much room is left on `state` and in folders that have limits, looked at while the node runs: services keep folders
//! there, and logs.

use super::limits;
use super::node::Node;
use contract::layout::MIB;
use contract::names::STATE_MOUNT;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Time between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A file system's room, in bytes, and its files, in number.
#[derive(Clone, Copy, Debug)]
struct Room {
    free: u64,
    all: u64,
    free_files: u64,
    all_files: u64,
}

/// What was said to have little room left.
#[derive(Debug, Default)]
pub struct Watch {
    said: BTreeSet<String>,
}

impl Watch {
    /// Looks. Gives lines for the console: what has little left and was not told, and what has room again.
    pub fn look(&mut self, node: &Node) -> Vec<String> {
        self.take(problems(node))
    }

    fn take(&mut self, problems: Vec<(String, String)>) -> Vec<String> {
        let now: BTreeSet<String> = problems.iter().map(|(place, _)| place.clone()).collect();
        let new = problems.into_iter().filter(|(place, _)| !self.said.contains(place));
        let mut lines: Vec<String> = new.map(|(_, problem)| format!("warning: {problem}")).collect();
        lines.extend(self.said.difference(&now).map(|place| format!("{place} has room again")));
        self.said = now;
        lines
    }
}

/// What is wrong with the room on `state` and in the folders that have limits, now: each place with its problem.
#[must_use]
pub fn problems(node: &Node) -> Vec<(String, String)> {
    let state = node.state_is_kept().then(state).flatten().map(|problem| ("state".to_owned(), problem));
    let folders = node.folders().into_iter().filter_map(|used| Some((used.path.clone(), limits::problem(&used)?)));
    state.into_iter().chain(folders).collect()
}

/// What is wrong with the room on `state`.
fn state() -> Option<String> {
    let found = rustix::fs::statvfs(Path::new(STATE_MOUNT)).ok()?;
    words(Room {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        all: found.f_blocks.saturating_mul(found.f_frsize),
        free_files: found.f_favail,
        all_files: found.f_files,
    })
}

/// A file system with less than a twentieth left is nearly full.
fn words(room: Room) -> Option<String> {
    let Room { free, all, free_files, all_files } = room;
    if free < all / 20 {
        return Some(format!(
            "state is nearly full: {} of {} MiB are free; logs and changes may be lost",
            free / MIB,
            all / MIB
        ));
    }
    // A file system in memory counts no files.
    (free_files < all_files / 20).then(|| {
        format!("state is nearly full: {free_files} of {all_files} files can be made; logs and changes may be lost")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Room = Room { free: 500 * MIB, all: 1000 * MIB, free_files: 50, all_files: 100 };

    #[test]
    fn less_than_a_twentieth_of_bytes_or_files_is_a_problem() {
        assert_eq!(words(HALF), None);
        let words_of = |room| words(room).unwrap();
        let full = Room { free: 12 * MIB, ..HALF };
        assert_eq!(words_of(full), "state is nearly full: 12 of 1000 MiB are free; logs and changes may be lost");
        let files = Room { free_files: 4, ..HALF };
        assert!(words_of(files).starts_with("state is nearly full: 4 of 100 files can be made"));
        assert_eq!(words(Room { free_files: 0, all_files: 0, ..HALF }), None);
    }

    #[test]
    fn it_is_said_once_and_again_only_after_there_was_room() {
        let mut watch = Watch::default();
        let found = |places: &[(&str, &str)]| {
            places.iter().map(|(place, problem)| ((*place).to_owned(), (*problem).to_owned())).collect::<Vec<_>>()
        };
        assert!(watch.take(found(&[])).is_empty());
        assert_eq!(watch.take(found(&[("state", "full")])), ["warning: full"]);
        assert!(watch.take(found(&[("state", "fuller")])).is_empty());
        assert_eq!(watch.take(found(&[("state", "full"), ("/var/lib/web", "its limit")])), ["warning: its limit"]);
        assert_eq!(watch.take(found(&[("/var/lib/web", "its limit")])), ["state has room again"]);
        assert_eq!(watch.take(found(&[("state", "full")])), ["warning: full", "/var/lib/web has room again"]);
    }
}
