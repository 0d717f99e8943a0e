//! Several images in one build, and locks without images.

use crate::end_to_end::project::{NOWHERE, Project, Warmth};
use crate::end_to_end::{said, sha256sum};
use serde_json::Value;

const PROFILE: &str = "profiles/router.toml";

/// A project with the router under two names, which differ in their summaries, and nothing else in `profiles/`.
fn two() -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::new(folder.path(), Warmth::Warm);
    for entry in std::fs::read_dir(project.folder.join("profiles")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() && !name.starts_with("router.") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let other = project.read(PROFILE).replace("summary = \"", "summary = \"Another: ");
    project.write("profiles/edge.toml", &other);
    project.write("profiles/edge.lock", &project.read("profiles/router.lock"));
    (folder, project)
}

fn json(text: &str) -> Value {
    serde_json::from_str(&text[text.find(['{', '[']).unwrap()..text.rfind([']', '}']).unwrap() + 1]).unwrap()
}

fn run(project: &Project, arguments: &[&str], status: i32) -> String {
    let arguments = [arguments, &["--mirror", NOWHERE]].concat();
    said(&project.microdc(&arguments).output().unwrap(), status)
}

#[test]
fn all_profiles_are_built_at_once_into_the_images_that_each_gives_alone() {
    let (_folder, project) = two();
    let supply = ["--supply", "firstboot=firstboot"];
    let text = run(&project, &[&["build", "--all", "--json"], &supply[..]].concat(), 0);
    let all = json(&text);
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["profile"].as_str().unwrap()).collect();
    assert_eq!(names, ["edge", "router"], "one entry each, in the order of names");
    for one in all.as_array().unwrap() {
        let image = one["image"].as_str().unwrap();
        assert_eq!(sha256sum(image.as_ref()), one["image_digest"].as_str().unwrap());
        let alone = project.folder.join("alone.img");
        let name = one["profile"].as_str().unwrap();
        let text =
            run(&project, &[&["build", name, "--json", "-o", alone.to_str().unwrap()], &supply[..]].concat(), 0);
        assert_eq!(json(&text)["image_digest"], one["image_digest"], "{name}");
    }
    assert_ne!(all[0]["image_digest"], all[1]["image_digest"]);
    // The packing was done once at most, whichever was first.
    let text = run(&project, &[&["build", "router", "edge", "--json"], &supply[..]].concat(), 0);
    assert!(json(&text).as_array().unwrap().iter().all(|one| one["unchanged"] == true), "{text}");
}

#[test]
fn what_fails_in_one_profile_leaves_the_others_alone() {
    let (_folder, project) = two();
    project.edit("profiles/edge.toml", "run = [\"/usr/sbin/nft\"", "run = [\"/usr/sbin/nfft\"");
    let supply = ["--supply", "firstboot=firstboot"];
    let text = run(&project, &[&["build", "edge", "router"], &supply[..]].concat(), 1);
    assert!(text.contains("edge failed: ") && text.contains("/usr/sbin/nfft is not in the image"), "{text}");
    assert!(text.contains("1 of 2 images failed: edge"), "{text}");
    assert!(text.contains("out/router.img"), "the other's summary: {text}");
    assert!(project.image().exists() && !project.folder.join("out/edge.img").exists());
    let text = run(&project, &[&["build", "edge", "router", "--json"], &supply[..]].concat(), 1);
    let all = json(text.split("edge failed").next().unwrap());
    assert!(all[0]["error"].as_str().unwrap().contains("nfft") && all[1]["unchanged"] == true, "{text}");
}

#[test]
fn a_mistake_that_concerns_all_stops_before_anything_is_made() {
    let (_folder, project) = two();
    let text = run(&project, &["build", "router", "edge", "--supply", "k3z=firstboot"], 1);
    assert!(text.contains("no profile of this build has an artifact of that name"), "{text}");
    let text = run(&project, &["build", "router", "edge", "-o", "x.img"], 2);
    assert!(text.contains("-o names a single image"), "{text}");
    let text = run(&project, &["build", "router", "router"], 1);
    assert!(text.contains("would be written twice"), "{text}");
    let text = run(&project, &["build", "router", "egde"], 1);
    assert!(text.contains("did you mean `edge`?"), "{text}");
    assert!(!project.image().exists());
}

#[test]
fn a_lock_is_completed_and_checked_without_an_image() {
    let (_folder, project) = two();
    let text = run(&project, &["lock", "--offline", "--check"], 0);
    assert!(text.contains("edge.lock: unchanged, ") && text.contains("router.lock: unchanged, "), "{text}");
    project.edit(PROFILE, ", \"wireguard\"]", "]");
    let before = project.read("profiles/router.lock");
    let text = run(&project, &["lock", "router", "--offline", "--check"], 1);
    assert!(text.contains("- wireguard-tools ") && text.contains("the locks of router are out of date"), "{text}");
    assert_eq!(project.read("profiles/router.lock"), before, "--check writes nothing");
    let text = run(&project, &["lock", "router", "--offline", "--json"], 0);
    let done = json(&text);
    assert_eq!(done[0]["changes"][0]["name"], "wireguard-tools");
    assert!(done[0]["changes"][0]["new"].is_null() && done[0]["written"] == true, "{text}");
    assert!(!project.read("profiles/router.lock").contains("wireguard-tools"));
    assert!(!project.image().exists(), "a lock is not an image");
    // What the profile wants again is asked of the indices, which are not there.
    let lock = project.read("profiles/edge.lock");
    let entries = lock.split("\n[[package]]").filter(|entry| !entry.contains("name = \"wireguard-tools\""));
    project.write("profiles/edge.lock", &entries.collect::<Vec<_>>().join("\n[[package]]"));
    let text = run(&project, &["lock", "edge", "--offline"], 1);
    assert!(text.contains("the lock of edge") && text.contains("wireguard-tools is not in the lock"), "{text}");
    let text = run(&project, &["lock", "router", "--update", "frrr"], 1);
    assert!(text.contains("--update frrr") && text.contains("did you mean `frr`?"), "{text}");
    // A lock that has too much is good enough, and a locked build leaves it as it is.
    project.write("profiles/router.lock", &before);
    project.built(&["--locked"]);
    assert_eq!(project.read("profiles/router.lock"), before, "--locked writes nothing");
}
