//! The list of snapshots, as k3s writes it (k3s 1.36, pkg/cli/etcdsnapshot): a line for each, with its name, its place, its
//! bytes, and when it was made.

use contract::control::K3sSnapshot;
use std::path::Path;

/// The head of the list. Lines of k3s's log may be among the list's own.
const HEAD: [&str; 4] = ["Name", "Location", "Size", "Created"];
/// How places begin: on a server, and in the bucket.
const PLACES: [&str; 2] = ["file://", "s3://"];

/// Reads the list. `here` is where this node keeps its own.
///
/// # Errors
/// The list is not there.
pub fn list(lines: &[String], here: &Path) -> Result<Vec<K3sSnapshot>, String> {
    let head = lines.iter().position(|line| words(line) == Some(HEAD));
    let head = head.ok_or("k3s has written no list of its snapshots")?;
    Ok(lines.iter().skip(head + 1).filter_map(|line| snapshot(line, here)).collect())
}

fn snapshot(line: &str, here: &Path) -> Option<K3sSnapshot> {
    let [name, location, size, created] = words(line)?;
    let placed = PLACES.iter().any(|place| location.starts_with(place));
    if !placed || name.contains('/') || !is_time(created) {
        return None;
    }
    Some(K3sSnapshot {
        name: name.to_owned(),
        size_bytes: size.parse().ok()?,
        created: created.to_owned(),
        location: location.to_owned(),
        here: location.starts_with("file://")
            && here.join(name).symlink_metadata().is_ok_and(|found| found.is_file()),
    })
}

fn words(line: &str) -> Option<[&str; 4]> {
    line.split_whitespace().collect::<Vec<_>>().try_into().ok()
}

/// Whether a text has the form `2026-01-31T12:00:00Z`, or has an offset at its end.
fn is_time(text: &str) -> bool {
    let form = |(byte, wanted): (u8, u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() > 19
        && text.bytes().zip(*b"0000-00-00T00:00:00").all(form)
        && text.bytes().skip(19).all(|byte| byte.is_ascii_digit() || b"Z+-:.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn snapshots_are_found_among_the_lines_of_the_log() {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join("on-demand-s1-1700000000"), "x").unwrap();
        let text = "level=info msg=\"Reconciling\"\n\
            Name                    Location                                                  Size    Created\n\
            on-demand-s1-1700000000 file:///var/lib/rancher/k3s/server/db/snapshots/on-demand-s1-1700000000 4096 2023-11-14T22:13:20Z\n\
            I1114 22:13:21.000000       1 trace.go:236] four words here\n\
            etcd-snapshot-s2-1700000009 file:///elsewhere/etcd-snapshot-s2-1700000009 2048 2023-11-14T23:13:29+01:00\n\
            on-demand-s1-1700000000 s3://etcd/rack1/on-demand-s1-1700000000 4096 2023-11-14T22:13:20Z\n";
        let found = list(&lines(text), here.path()).unwrap();
        let seen: Vec<(&str, u64, bool)> =
            found.iter().map(|one| (one.name.as_str(), one.size_bytes, one.here)).collect();
        let wanted = [
            ("on-demand-s1-1700000000", 4096, true),
            ("etcd-snapshot-s2-1700000009", 2048, false),
            ("on-demand-s1-1700000000", 4096, false),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(found[2].location, "s3://etcd/rack1/on-demand-s1-1700000000");
    }

    #[test]
    fn a_list_without_snapshots_is_one_and_no_list_is_none() {
        let nowhere = Path::new("/nowhere");
        assert_eq!(list(&lines("Name Location Size Created"), nowhere), Ok(Vec::new()));
        assert!(list(&lines("a file:///a 1 2023-11-14T22:13:20Z"), nowhere).unwrap_err().contains("no list"));
    }

    proptest! {
        #[test]
        fn what_is_listed_is_found_again_whatever_the_log_says_in_between(
            names in prop::collection::vec("[a-z0-9.-]{1,20}", 0..5), size: u64, noise in "\\PC{0,60}",
        ) {
            let mut text = vec![HEAD.join("  ")];
            for name in &names {
                text.push(format!("{name} s3://etcd/{name} {size} 2023-11-14T22:13:20Z"));
                text.push(noise.clone());
            }
            let found = list(&text, Path::new("/nowhere")).unwrap();
            let found: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
            prop_assert_eq!(found, names.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
