//! The JSON Schemas against the files that there are, by an independent validator; and the reference page against the
//! types.

use contract::node::NodeConfig;
use jsonschema::Validator;
use microdc::lock::Lock;
use microdc::profile::schema::ProfileFile;
use microdc::schema::{Kind, markdown};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn validator(kind: Kind) -> Validator {
    let schema = kind.schema();
    jsonschema::meta::validate(schema.as_value()).unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
    jsonschema::draft202012::new(schema.as_value()).unwrap()
}

fn toml(text: &str) -> Value {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// What the validator finds wrong.
fn mistakes(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The files of some folders of the repository with a certain ending.
fn files(folders: &[&str], wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(workspace().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if wanted(path.file_name().unwrap().to_str().unwrap()) {
                found.push(path);
            }
        }
    }
    found
}

fn assert_all_valid(kind: Kind, files: &[PathBuf]) {
    assert!(!files.is_empty());
    let validator = validator(kind);
    for path in files {
        let found = mistakes(&validator, &toml(&std::fs::read_to_string(path).unwrap()));
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
    }
}

#[test]
fn every_profile_and_part_of_the_repository_is_valid() {
    let folders = ["profiles", "profiles/parts", "qemu-tests/profiles"];
    let profiles = files(&folders, |name| name.ends_with(".toml") && !name.ends_with(".node.toml"));
    assert!(profiles.len() > 8);
    assert_all_valid(Kind::Profile, &profiles);
}

#[test]
fn every_node_config_and_lock_of_the_repository_is_valid() {
    let folders = ["profiles", "qemu-tests/profiles"];
    assert_all_valid(Kind::Node, &files(&folders, |name| name.ends_with(".node.toml")));
    assert_all_valid(Kind::Lock, &files(&folders, |name| name.ends_with(".lock")));
}

#[test]
fn every_example_of_the_node_reference_is_valid() {
    let reference = std::fs::read_to_string(workspace().join("firstboot/contract/NODE.md")).unwrap();
    let validator = validator(Kind::Node);
    for example in reference.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let found = mistakes(&validator, &toml(example));
        assert!(found.is_empty(), "{found:#?} in\n{example}");
    }
}

/// Files with a mistake that the loader and the schema must both find.
#[test]
fn what_the_loader_refuses_the_schema_refuses() {
    let profile = [
        "colour = 3",
        "role = \"A Toaster\"",
        "role = 3",
        "compatible = \"a toaster\"",
        "summary = 3",
        "include = \"base\"",
        "[kernel]\nmodule = []",
        "[service.a]\nuser = \"a\"",
        "[service.a]\nrun = []\nlimits = { memory = \"256MB\" }",
        "[service.a]\nrun = []\ncapabilities = [\"NET_BIND\"]",
        "[service.a]\nrun = []\nready = { smoke = \"signal\" }",
        "[service.a]\nrun = []\nkind = \"demon\"",
        "[service.a]\nrun = []\nstop_timeout = \"10 parsecs\"",
        "[user.a]\ngroup = \"a\"",
        "[user.a]\nid = -1",
        "[directory.\"/x\"]\nmode = \"rw\"",
        "[[template]]\nfrom = \"a\"",
        "[[health]]\nservice = \"a\"\nstabel = \"10s\"",
        "[[health]]\ndisk = { path = \"/state\", free_percent = \"101%\" }",
        "[update]\nsettle = 30",
        "[packages.frr]\ntakes = []",
    ];
    let checker = validator(Kind::Profile);
    for text in profile {
        assert!(toml::from_str::<ProfileFile>(text).is_err(), "the loader takes {text:?}");
        assert!(!checker.is_valid(&toml(text)), "the schema takes {text:?}");
    }
    let node = [
        "",
        "name = 3",
        "name = \"r1\"\ncolour = 3",
        "name = \"r1\"\n[disks]\ndata = \"zfs\"",
        "name = \"r1\"\n[network.eth0]\nadresses = []",
        "name = \"r1\"\n[network.eth0]\naddresses = [\"everywhere\"]",
        "name = \"r1\"\n[network.eth0]\nvlan = { on = \"eth1\" }",
        "name = \"r1\"\n[router]\nannounce = 5",
        "name = \"r1\"\n[router]\nasn = 1\n[[router.neighbor]]\naddress = \"10.0.0.2\"",
        "name = \"r1\"\n[router]\nasn = -1",
        "name = \"r1\"\n[ssh]\nkey = []",
    ];
    let checker = validator(Kind::Node);
    for text in node {
        assert!(NodeConfig::parse(text.as_bytes()).is_err(), "the node takes {text:?}");
        assert!(!checker.is_valid(&toml(text)), "the schema takes {text:?}");
    }
    let lock = std::fs::read_to_string(workspace().join("profiles/router.lock")).unwrap();
    let checker = validator(Kind::Lock);
    for (from, to) in [("sha256 = \"", "sha256 = \"x"), ("size = ", "length = "), ("version = ", "versions = ")] {
        let text = lock.replacen(from, to, 1);
        assert!(Lock::parse(&text, Path::new("x.lock")).is_err() && !checker.is_valid(&toml(&text)), "{to}");
    }
}

/// Gives each table of a schema that has keys, with its place.
fn tables<'s>(place: &str, schema: &'s Value, each: &mut dyn FnMut(&str, &'s Value)) {
    if schema["properties"].is_object() {
        each(place, schema);
    }
    match schema {
        Value::Object(map) => map.iter().for_each(|(key, value)| tables(&format!("{place}/{key}"), value, each)),
        Value::Array(list) => list.iter().for_each(|value| tables(place, value, each)),
        _ => (),
    }
}

#[test]
fn no_table_takes_unknown_keys_and_every_key_says_what_it_is_for() {
    for kind in Kind::ALL {
        let schema = kind.schema();
        let mut count = 0;
        tables(kind.name(), schema.as_value(), &mut |place, table| {
            count += 1;
            assert_eq!(table["additionalProperties"], false, "{place}: unknown keys are taken");
            if kind == Kind::Profile {
                for (key, value) in table["properties"].as_object().unwrap() {
                    let described = value["description"].is_string() || table["description"].is_string();
                    assert!(
                        described,
                        "{place}: the key `{key}` has no doc comment, which is what the reference shows"
                    );
                }
            }
        });
        assert!(count > 0, "{}", kind.name());
    }
}

#[test]
fn the_reference_page_is_what_the_types_say() {
    let path = workspace().join("profiles/REFERENCE.md");
    let wanted = format!("{REFERENCE_HEAD}{}", markdown(&Kind::Profile.schema()));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "profiles/REFERENCE.md is not what the types of builder/src/profile/schema say, first here: {differs:?}\n\
         If the change is meant, update it: UPDATE=1 cargo test --release -p microdc --test integration the_reference_page"
    );
}

const REFERENCE_HEAD: &str = "\
# Keys of profiles

Generated from the types that read profiles (`builder/src/profile/schema`); a test keeps it up to date.
`microdc schema profile` prints the same as a JSON Schema. Save it as `profile.schema.json`, start a profile with the line
`#:schema ../profile.schema.json`, and an editor with a TOML language server completes keys and marks errors.

A profile and its parts have the same keys. Lists add up in the order of the includes, the file's own entries last. Single
values and named entries are replaced as a whole: a file overrides what it includes.

**Formats and renamed keys.** A file may declare `format = 1`. When a key is renamed, its old name keeps working for as long
as the format does: the build warns and points at the line. A change that breaks old files gets a new format. A microdc that
does not know a file's format rejects the file before it reads anything else in it.
";

#[test]
fn the_command_prints_what_the_tests_have_checked() {
    for kind in Kind::ALL {
        let output = Command::new(env!("CARGO_BIN_EXE_microdc")).args(["schema", kind.name()]).output().unwrap();
        assert!(output.status.success());
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(&printed, kind.schema().as_value());
    }
    let wrong = Command::new(env!("CARGO_BIN_EXE_microdc")).args(["schema", "image"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("profile, node, lock, manifest"));
}
