//! Known holes of an image's packages: `microdc audit`, against a server that misbehaves.

use crate::end_to_end::{MICRODC, said};
use crate::looking;
use crate::source_kit::server::{Fault, Server};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In the structure of https://security-tracker.debian.org/tracker/data/json, which its team documents on
/// https://security-team.debian.org/security_tracker.html; the issues are made up.
const DATA: &str = r#"{
 "came": {"CVE-2026-0001": {"scope": "local", "releases": {
  "trixie": {"status": "open", "repositories": {"trixie": "8"}, "urgency": "unimportant"}}}},
 "frr": {
  "CVE-2026-1001": {"description": "A peer can stop bgpd.", "debianbug": 1100001, "scope": "remote", "releases": {
   "bookworm": {"status": "open", "repositories": {"bookworm": "1.0-1"}, "urgency": "high"},
   "sid": {"status": "resolved", "repositories": {"sid": "1.3-1"}, "fixed_version": "1.2-2", "urgency": "high"},
   "trixie": {"status": "resolved", "repositories": {"trixie": "1.1-1", "trixie-security": "1.1-1+deb13u1"},
    "fixed_version": "1.1-1+deb13u1", "urgency": "high"}}},
  "CVE-2026-1002": {"description": "Fixed long ago.", "scope": "remote", "releases": {
   "trixie": {"status": "resolved", "repositories": {"trixie": "1.1-1"}, "fixed_version": "1.0-7", "urgency": "high"}}},
  "CVE-2026-1003": {"description": "Never in trixie.", "releases": {
   "trixie": {"status": "resolved", "repositories": {"trixie": "1.1-1"}, "fixed_version": "0", "urgency": "medium"}}},
  "CVE-2026-1004": {"releases": {
   "trixie": {"status": "undetermined", "repositories": {"trixie": "1.1-1"}, "urgency": "not yet assigned"}}}},
 "libx": {"CVE-2026-2001": {"description": "Nobody has judged it.", "scope": "local", "releases": {
  "sid": {"status": "resolved", "repositories": {"sid": "1:3.1"}, "fixed_version": "1:3.1", "urgency": "not yet assigned"},
  "trixie": {"status": "open", "repositories": {"trixie": "1:3.0"}, "urgency": "not yet assigned",
   "nodsa": "Minor issue", "nodsa_reason": "postponed"}}}},
 "libx1": {"CVE-2026-6666": {"releases": {
  "trixie": {"status": "open", "repositories": {"trixie": "9"}, "urgency": "high"}}}}
}"#;

struct Bench {
    folder: tempfile::TempDir,
    data: PathBuf,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("tracker.json");
    std::fs::write(&data, DATA).unwrap();
    Bench { folder, data }
}

impl Bench {
    fn run(&self, arguments: &[&str], status: i32) -> String {
        let mut command = Command::new(MICRODC);
        command.arg("audit").args(arguments).current_dir(self.folder.path());
        command.env("MICRODC_CACHE", self.folder.path().join("cache"));
        said(&command.output().unwrap(), status)
    }

    /// The image, against the data in the file.
    fn image(&self, arguments: &[&str], status: i32) -> String {
        let file = [text(looking::image()), "--data", text(&self.data)];
        self.run(&[&file[..], arguments].concat(), status)
    }

    fn audited_from(&self, server: &Server, arguments: &[&str], status: i32) -> String {
        let url = server.url("data");
        let file = [text(looking::image()), "--url", &url];
        self.run(&[&file[..], arguments].concat(), status)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Names and levels of the holes in a report as JSON; what an exit status other than 0 adds is cut off.
fn holes(said: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::Deserializer::from_str(said).into_iter().next().unwrap().unwrap();
    let holes = report["report"]["holes"].as_array().unwrap();
    let text = |hole: &Value, key: &str| hole[key].as_str().unwrap().to_owned();
    holes.iter().map(|hole| (text(hole, "id"), text(hole, "level"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, level)| ((*id).to_owned(), (*level).to_owned())).collect()
}

const ALL: [(&str, &str); 3] =
    [("CVE-2026-1001", "high"), ("CVE-2026-2001", "unassigned"), ("CVE-2026-0001", "unimportant")];

#[test]
fn the_holes_of_an_image_are_those_of_its_source_packages_in_its_release_the_worst_first() {
    let bench = bench();
    let found = bench.image(&["--json"], 1);
    assert_eq!(holes(&found), pairs(&ALL), "not libx1's, which is the name of a package and not of a source");
    let report: Value = serde_json::Deserializer::from_str(&found).into_iter().next().unwrap().unwrap();
    let first = &report["report"]["holes"][0];
    assert_eq!(
        (&first["version"], &first["packages"][0], &first["bug"]),
        (&"1.1-1".into(), &"frr".into(), &1_100_001.into())
    );
    let fix = serde_json::json!({ "state": "available", "version": "1.1-1+deb13u1", "suite": "trixie-security" });
    assert_eq!(first["fix"], fix);
    let second = &report["report"]["holes"][1];
    assert_eq!((&second["version"], &second["packages"][0]), (&"1:3.0".into(), &"libx1".into()));
    assert_eq!(second["fix"], serde_json::json!({ "state": "elsewhere", "version": "1:3.1", "release": "sid" }));
    assert_eq!(report["report"]["undetermined"][0]["id"], "CVE-2026-1004");
    assert_eq!(report["report"]["not_covered"], serde_json::json!(["firstboot"]));
    assert_eq!(report["report"]["guessed"], serde_json::json!([]));

    let shown = bench.image(&[], 1);
    for line in [
        "4 packages from 4 source packages",
        "1.1-1+deb13u1 in trixie-security: build again",
        "none in trixie; sid has 1:3.1 (postponed)",
        "3 vulnerabilities: 1 high, 1 unassigned, 1 unimportant",
        "a new build closes 1 of them",
        "2 vulnerabilities at unassigned or above",
        "(not from a Debian package): firstboot",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
}

#[test]
fn the_exit_status_follows_the_level_what_a_build_closes_and_what_is_accepted() {
    let bench = bench();
    bench.image(&["--fail-on", "high"], 1);
    bench.image(&["--fail-on", "high", "--ignore", "CVE-2026-1001"], 0);
    bench.image(&["--ignore", "CVE-2026-1001"], 1);
    let list = bench.folder.path().join("accepted");
    std::fs::write(&list, "CVE-2026-1001 # no peers\nCVE-2026-2001\nCVE-2026-9999\n").unwrap();
    let accepted = bench.image(&["--ignore-file", text(&list)], 0);
    assert!(accepted.contains("2 accepted by name") && accepted.contains("not there (any more): CVE-2026-9999"));
    bench.image(&["--ignore-file", text(&list), "--fail-on", "unimportant"], 1);
    bench.image(&["--ignore-file", text(&list), "--fail-on", "unimportant", "--fixable"], 0);
    let fixable = bench.image(&["--fixable", "--json"], 1);
    assert_eq!(holes(&fixable), pairs(&ALL[..1]));

    std::fs::write(&list, "CVE-2026-1001, CVE-2026-2001\n").unwrap();
    assert!(bench.image(&["--ignore-file", text(&list)], 3).contains("accepted line 1"));
    bench.image(&["--ignore", "all"], 2);
    bench.image(&["--fail-on", "dreadful"], 2);
}

#[test]
fn both_bills_of_materials_and_the_lock_lead_to_what_the_image_leads_to() {
    let bench = bench();
    for format in ["cyclonedx", "spdx"] {
        let bill = bench.folder.path().join(format!("{format}.json"));
        let mut command = Command::new(MICRODC);
        command.args(["sbom", text(looking::image()), "--format", format, "-o", text(&bill)]);
        said(&command.output().unwrap(), 0);
        let found = bench.run(&[text(&bill), "--data", text(&bench.data), "--json"], 1);
        assert_eq!(holes(&found), pairs(&ALL), "{format}");
    }
    let lock = bench.folder.path().join("x.lock");
    std::fs::write(
        &lock,
        format!(
            "format = 1\n[[package]]\nname = \"libx1\"\nversion = \"1:3.0+b1\"\narchitecture = \"arm64\"\nsuite = \"trixie\"\n\
             component = \"main\"\npath = \"pool/main/libx/libx/libx1_3.0+b1_arm64.deb\"\nsize = 1\nsha256 = \"{:064}\"\n",
            0
        ),
    )
    .unwrap();
    let found = bench.run(&[text(&lock), "--data", text(&bench.data)], 1);
    assert!(found.contains("CVE-2026-2001") && found.contains("told by their path in the archive: libx1"), "{found}");
    assert!(bench.run(&["no-such-profile", "--data", text(&bench.data)], 3).contains("no-such-profile"));
}

#[test]
fn data_is_fetched_once_and_again_only_when_it_has_changed() {
    let (bench, server) = (bench(), Server::start());
    assert!(bench.audited_from(&server, &["--offline"], 3).contains("--data"), "there is no copy yet");
    assert!(server.requests().is_empty());
    for packed in [true, false] {
        server.put("data", DATA);
        server.tag("data", if packed { "W/\"1\"" } else { "\"3\"" }, packed);
        assert_eq!(holes(&bench.audited_from(&server, &["--json"], 1)), pairs(&ALL));
        server.forget_requests();
        assert_eq!(holes(&bench.audited_from(&server, &["--json"], 1)), pairs(&ALL));
        let sent: Vec<usize> = server.requests().iter().map(|request| request.sent).collect();
        assert_eq!(sent, [0], "asked once, and nothing came");
    }
    server.put("data", DATA.replace("\"high\"", "\"low\""));
    server.tag("data", "\"4\"", true);
    let changed = holes(&bench.audited_from(&server, &["--json"], 1));
    assert_eq!(changed[1], ("CVE-2026-1001".to_owned(), "low".to_owned()));
    server.remove("data");
    assert_eq!(holes(&bench.audited_from(&server, &["--json", "--offline"], 1)), changed);
}

#[test]
fn data_that_is_cut_off_or_something_else_is_no_verdict_and_does_not_become_the_copy() {
    let (bench, server) = (bench(), Server::start());
    server.put("data", DATA);
    server.tag("data", "\"1\"", false);
    server.fail("data", [Fault::Status(503), Fault::Cut(300)]);
    bench.audited_from(&server, &[], 1);

    for (tag, junk) in [
        ("\"2\"", DATA[..DATA.len() / 2].to_owned()),
        ("\"3\"", "<html>Sign in to the network</html>".to_owned()),
        ("\"4\"", "{}".to_owned()),
        ("\"5\"", DATA.replace("\"trixie\"", "\"duke\"")),
        ("\"6\"", DATA.replace("\"open\"", "[]")),
    ] {
        server.put("data", junk);
        server.tag("data", tag, false);
        let said = bench.audited_from(&server, &[], 3);
        assert!(said.contains("the audit could not be completed"), "{said}");
    }
    server.fail("data", [Fault::Status(404)]);
    assert!(bench.audited_from(&server, &[], 3).contains("HTTP 404"));
    assert_eq!(
        holes(&bench.audited_from(&server, &["--offline", "--json"], 1)),
        pairs(&ALL),
        "the good copy is still there"
    );

    let empty = bench.folder.path().join("empty.json");
    std::fs::write(&empty, "{}").unwrap();
    let said = bench.run(&[text(looking::image()), "--data", text(&empty)], 3);
    assert!(said.contains("contains no packages of trixie"), "{said}");
}
