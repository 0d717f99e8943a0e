//! Licences and origins of everything that gets compiled in, by the rules of deny.toml. Offline: what cargo knows of the
//! locked crates is enough. It cannot know of new advisories; cargo-deny can, where its database is in reach.

use qemu_tests::images::root;
use serde_json::Value;
use spdx::{Expression, ParseMode};
use std::collections::BTreeSet;
use std::process::Command;

struct Rules {
    allowed: BTreeSet<String>,
    denied: BTreeSet<String>,
}

fn rules() -> Rules {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let word = |value: &toml::Value| value.as_str().unwrap().to_owned();
    Rules {
        allowed: table["licenses"]["allow"].as_array().unwrap().iter().map(word).collect(),
        denied: table["bans"]["deny"].as_array().unwrap().iter().map(|ban| word(&ban["crate"])).collect(),
    }
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(package: &Value) -> String {
    format!("{} {}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap())
}

/// Whether a licence expression (SPDX 2.3, annex D; `/` as crates of old write OR) is met by what is allowed.
fn permitted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    Expression::parse_mode(expression, ParseMode::LAX)
        .is_ok_and(|read| read.evaluate(|requirement| allowed.contains(&requirement.to_string())))
}

#[test]
fn every_crate_has_a_permissive_licence() {
    let allowed = rules().allowed;
    let packages = packages();
    assert!(packages.len() > 100, "only {} packages: is this the workspace?", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !permitted(package["license"].as_str().unwrap_or(""), &allowed))
        .map(|package| format!("{}: {}", name(package), package["license"]))
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "not permitted by deny.toml");
}

#[test]
fn every_crate_comes_from_the_registry_with_its_checksum() {
    for package in packages() {
        let source = package["source"].as_str();
        assert!(source.is_none_or(|source| source.starts_with("registry+")), "{}: from {source:?}", name(&package));
    }
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        let own = package.get("source").is_none();
        assert!(own || package.get("checksum").is_some(), "{}: no checksum in Cargo.lock", package["name"]);
    }
}

#[test]
fn no_banned_crate_is_used() {
    let denied = rules().denied;
    let used = packages();
    let banned: Vec<String> =
        used.iter().filter(|package| denied.contains(package["name"].as_str().unwrap())).map(name).collect();
    assert_eq!(banned, Vec::<String>::new(), "banned by deny.toml");
}

#[test]
fn the_crates_of_the_workspace_are_licensed_alike() {
    for package in packages().iter().filter(|package| package["source"].is_null()) {
        assert_eq!(package["license"], "MIT OR Apache-2.0", "{}", name(package));
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed: BTreeSet<String> = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for (expression, wanted) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("MIT OR GPL-3.0-only", true),
        ("GPL-3.0-only/MIT", true),
        ("MIT AND GPL-3.0-only", false),
        ("(GPL-3.0-only OR MIT) AND ISC", true),
        ("GPL-3.0-only AND (MIT OR ISC)", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", true),
        ("Apache-2.0", false),
        ("", false),
        ("(MIT", false),
        ("MIT)", false),
    ] {
        assert_eq!(permitted(expression, &allowed), wanted, "{expression:?}");
    }
}

#[test]
fn the_test_command_runs_every_test_program_of_the_workspace() {
    let script = std::fs::read_to_string(root().join("qemu-tests/run")).unwrap();
    let run: BTreeSet<&str> = script
        .split("--test ")
        .skip(1)
        .filter_map(|rest| rest.split(|letter: char| !letter.is_alphanumeric() && letter != '-').next())
        .collect();
    let mut programs = BTreeSet::new();
    for package in packages().iter().filter(|package| package["source"].is_null()) {
        for target in package["targets"].as_array().unwrap() {
            // A program's own file has no tests: it would be linked once more for them.
            assert!(target["kind"][0] != "bin" || target["test"] == false, "{}: {}", name(package), target["name"]);
            if target["kind"][0] == "test" {
                assert_eq!(
                    target["test"],
                    true,
                    "{}: {} is not a test program by default",
                    name(package),
                    target["name"]
                );
                programs.insert(target["name"].as_str().unwrap().to_owned());
            }
        }
    }
    assert!(programs.len() >= 2, "{programs:?}");
    assert_eq!(programs.iter().map(String::as_str).collect::<BTreeSet<_>>(), run);
}

/// A file that `main.rs` does not name is in no program, and its tests would never run.
#[test]
fn every_file_of_tests_is_part_of_its_program() {
    for folder in ["builder/tests", "firstboot/tests", "qemu-tests/tests"] {
        let folder = root().join(folder);
        let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let named = main.lines().any(|line| line == format!("mod {name};"));
            assert!(name == "main" || named, "main.rs does not name {}", path.display());
        }
    }
}
