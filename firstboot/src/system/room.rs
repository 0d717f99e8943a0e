//! How much room is left on `state`, looked at while the node runs: services keep folders there, and logs.

use contract::layout::MIB;
use contract::names::STATE_MOUNT;
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

/// Whether it was said that there is little left.
#[derive(Debug, Default)]
pub struct Watch {
    said: bool,
}

impl Watch {
    /// Looks. Gives a line for the console when little is left that was not told, or when there is room again.
    pub fn look(&mut self) -> Option<String> {
        self.take(problem())
    }

    fn take(&mut self, problem: Option<String>) -> Option<String> {
        match (problem, self.said) {
            (Some(problem), false) => {
                self.said = true;
                Some(format!("warning: {problem}"))
            }
            (None, true) => {
                self.said = false;
                Some("state has room again".to_owned())
            }
            _ => None,
        }
    }
}

/// What is wrong with the room on `state` now.
#[must_use]
pub fn problem() -> Option<String> {
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
        assert_eq!(watch.take(None), None);
        assert_eq!(watch.take(Some("full".to_owned())).as_deref(), Some("warning: full"));
        assert_eq!(watch.take(Some("fuller".to_owned())), None);
        assert_eq!(watch.take(None).as_deref(), Some("state has room again"));
        assert!(watch.take(Some("full".to_owned())).is_some());
    }
}
