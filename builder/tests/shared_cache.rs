//! One cache under several builds at once, builds that are killed, and the removing of what is old.

use crate::end_to_end::project::{Project, Warmth, digest_in};
use crate::end_to_end::{router, said};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Several projects that share the cache of the first.
fn projects(within: &Path, count: usize) -> Vec<Project> {
    let cache = within.join("cache");
    let mut all = vec![Project::at(within.join("0"), cache.clone(), Warmth::Fetched)];
    for number in 1..count {
        all.push(Project::at(within.join(number.to_string()), cache.clone(), Warmth::Empty));
    }
    all
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The digest that the router has when it is built alone; built once.
fn alone(within: &Path) -> &'static str {
    static ALONE: OnceLock<String> = OnceLock::new();
    ALONE.get_or_init(|| Project::new(&within.join("alone"), Warmth::Warm).built(&["--offline"]))
}

/// Waits until a build has begun to unpack into this cache.
fn wait_until_unpacking(cache: &Path) {
    let begin = Instant::now();
    let holds = |name: &str| std::fs::read_dir(cache.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    while !holds("temp") && !holds("unpacked") {
        assert!(begin.elapsed() < Duration::from_secs(60), "no build began to unpack");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn builds_that_share_a_cold_cache_and_one_that_is_killed_all_end_in_the_same_image() {
    router();
    let folder = tempfile::tempdir().unwrap();
    let expected = alone(folder.path());
    let projects = projects(folder.path(), 3);
    let mut builds: Vec<Child> =
        projects.iter().map(|project| start(project.build(&["--offline", "--json"]))).collect();
    wait_until_unpacking(&projects[0].cache);
    let mut killed = builds.remove(1);
    killed.kill().unwrap();
    assert!(!killed.wait().unwrap().success(), "it was still at work");
    for build in builds {
        assert_eq!(digest_in(&said(&build.wait_with_output().unwrap(), 0)), expected);
    }
    assert!(!projects[1].image().exists(), "no half image");
    assert_eq!(projects[1].built(&["--offline"]), expected, "the killed one, once more");
}

#[test]
fn a_build_killed_at_any_moment_leaves_a_cache_that_the_next_one_completes() {
    router();
    let folder = tempfile::tempdir().unwrap();
    let expected = alone(folder.path());
    let project = projects(folder.path(), 1).remove(0);
    // Each attempt gets a little further than the one before, on what that left.
    let mut cut = 0;
    for attempt in 1..=12 {
        let mut build = start(project.build(&["--offline", "--json"]));
        std::thread::sleep(Duration::from_millis(250 * attempt));
        let running = build.try_wait().unwrap().is_none();
        build.kill().unwrap();
        build.wait().unwrap();
        if !running {
            break;
        }
        cut += 1;
        // What is under its own name is complete, whenever the end came.
        assert!(!project.image().exists() || project.built(&["--offline"]) == expected, "{attempt}");
    }
    assert!(cut >= 2, "only {cut} builds were cut off");
    assert_eq!(project.built(&["--offline"]), expected);
    // What the killed ones left is there until it is removed.
    let temp = project.cache.join("temp");
    let unfinished = || std::fs::read_dir(&temp).map_or(0, Iterator::count);
    said(&project.microdc(&["cache", "gc"]).output().unwrap(), 0);
    assert_eq!(unfinished(), 0);
    assert_eq!(project.built(&["--offline"]), expected, "the packages are all there still");
}

#[test]
fn taking_away_waits_for_the_builds_that_use_the_cache() {
    router();
    let folder = tempfile::tempdir().unwrap();
    let expected = alone(folder.path());
    let projects = projects(folder.path(), 1);
    let build = start(projects[0].build(&["--offline", "--json"]));
    wait_until_unpacking(&projects[0].cache);
    let mut everything = start(projects[0].microdc(&["cache", "gc", "--max-size", "0M"]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(everything.try_wait().unwrap().is_none(), "it waits");
    assert_eq!(digest_in(&said(&build.wait_with_output().unwrap(), 0)), expected);
    let told = said(&everything.wait_with_output().unwrap(), 0);
    let left = std::fs::read_dir(projects[0].cache.join("sha256")).unwrap();
    let files = left.flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap()).count();
    assert_eq!(files, 0, "and then takes everything: {told}");
}
