//! Taking a node config: good ones, and every bad one that was thought of.

use super::*;
use std::os::unix::fs::MetadataExt as _;

const NAME: &str = "microdc-abc123";
const KEY: &str = "Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";

fn take(state: &Path, bootsel: Option<&[u8]>) -> Intake {
    intake(&Keeper { state, lasting: true, name: NAME, try_out: &|_, _| Ok(Vec::new()) }, bootsel)
}

fn taken(state: &Path, bootsel: Option<&str>) -> (String, Origin, String) {
    let intake = take(state, bootsel.map(str::as_bytes));
    (intake.config.name.as_str().to_owned(), intake.origin, intake.notes.join("\n"))
}

#[test]
fn a_config_from_bootsel_is_kept_and_used_when_bootsel_has_none_any_more() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(taken(state.path(), Some("name = \"r1\"")), ("r1".into(), Origin::Bootsel, String::new()));
    assert_eq!(taken(state.path(), None), ("r1".into(), Origin::State, String::new()));
    assert_eq!(taken(state.path(), Some("name = \"r1\"")), ("r1".into(), Origin::State, String::new()));
    let mode = std::fs::metadata(state.path().join("node.toml")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_changed_config_replaces_the_kept_one() {
    let state = tempfile::tempdir().unwrap();
    taken(state.path(), Some("name = \"r1\""));
    assert_eq!(taken(state.path(), Some("name = \"r2\"")).0, "r2");
    assert_eq!(taken(state.path(), None).0, "r2");
}

#[test]
fn a_node_without_config_has_a_name_and_says_how_to_give_one() {
    let state = tempfile::tempdir().unwrap();
    let (name, origin, notes) = taken(state.path(), None);
    assert_eq!((name.as_str(), origin), (NAME, Origin::Default));
    assert!(notes.contains("bootsel"), "{notes}");
}

#[test]
fn a_kept_config_that_is_broken_does_not_stop_the_node() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("node.toml"), [0xff, 0xfe]).unwrap();
    assert_eq!(taken(state.path(), None).1, Origin::Default);
    assert_eq!(taken(state.path(), Some("name = \"r1\"")).1, Origin::Bootsel);
}

#[test]
fn a_state_that_cannot_be_written_does_not_keep_the_config_from_its_force() {
    let (name, origin, notes) = taken(Path::new("/proc/nowhere"), Some("name = \"r1\""));
    assert_eq!((name.as_str(), origin), ("r1", Origin::Bootsel));
    assert!(notes.contains("cannot be kept"), "{notes}");
}

#[test]
fn the_fallback_is_a_host_name() {
    let keeper = Keeper { state: Path::new("/nowhere"), lasting: true, name: "-", try_out: &|_, _| Ok(Vec::new()) };
    assert_eq!(intake(&keeper, None).config.name.as_str(), "microdc");
}

#[test]
fn a_config_that_the_role_cannot_do_with_is_not_taken() {
    let state = tempfile::tempdir().unwrap();
    taken(state.path(), Some("name = \"r1\""));
    let try_out = |config: &NodeConfig, _: &str| {
        if config.router.is_some() { Ok(Vec::new()) } else { Err("`router` is undefined".to_owned()) }
    };
    let keeper = Keeper { state: state.path(), lasting: true, name: NAME, try_out: &try_out };
    let refused = intake(&keeper, Some(b"name = \"r2\""));
    assert_eq!((refused.config.name.as_str(), refused.origin), ("r1", Origin::State));
    assert!(refused.notes.join("\n").contains("`router` is undefined"), "{:?}", refused.notes);
    // The one in force stays in force, although this role's version would not take it today.
    assert_eq!(intake(&keeper, Some(b"name = \"r1\"")).notes, Vec::<String>::new());
}

fn with_secret(key: &str) -> String {
    format!("name = \"r1\"\n[network.wg0.wireguard]\nprivate_key = \"{key}\"\n")
}

#[test]
fn secrets_are_kept_on_state_first_and_then_named_for_overwriting() {
    let state = tempfile::tempdir().unwrap();
    let text = with_secret(KEY);
    let first = take(state.path(), Some(text.as_bytes()));
    assert_eq!(first.secrets.iter().map(|place| &text[place.clone()]).collect::<Vec<_>>(), [KEY]);
    assert_eq!(std::fs::read_to_string(state.path().join("node.toml")).unwrap(), text);
    // The power went before they were overwritten: the next boot does it.
    let again = take(state.path(), Some(text.as_bytes()));
    assert_eq!((again.origin, again.secrets.len()), (Origin::State, 1));
    // Overwritten: the same config, and nothing left to do.
    let shown = with_secret(&"*".repeat(KEY.len()));
    let after = take(state.path(), Some(shown.as_bytes()));
    assert_eq!((after.origin, after.secrets.len(), after.notes.len()), (Origin::State, 0, 0));
    assert_eq!(after.config, first.config);
    // Edited without writing the secret again.
    let edited = take(state.path(), Some(shown.replace("r1", "r2").as_bytes()));
    assert_eq!((edited.config.name.as_str(), edited.origin), ("r2", Origin::Bootsel));
    assert_eq!(edited.config.network, first.config.network);
    assert!(std::fs::read_to_string(state.path().join("node.toml")).unwrap().contains(KEY));
}

#[test]
fn a_power_cut_while_secrets_are_overwritten_is_made_good_at_the_next_boot() {
    let state = tempfile::tempdir().unwrap();
    let text = with_secret(KEY);
    let first = take(state.path(), Some(text.as_bytes()));
    // A sector boundary went through the secret.
    let half = with_secret(&format!("{}{}", "*".repeat(20), &KEY[20..]));
    let again = take(state.path(), Some(half.as_bytes()));
    assert_eq!((again.origin, &again.config), (Origin::State, &first.config));
    assert_eq!((again.secrets, again.notes.len()), (first.secrets, 0));
    let whole = take(state.path(), Some(with_secret(&"*".repeat(KEY.len())).as_bytes()));
    assert_eq!((whole.origin, whole.secrets.len()), (Origin::State, 0));
}

#[test]
fn secrets_stay_where_they_are_when_state_does_not_last() {
    let state = tempfile::tempdir().unwrap();
    let keeper = Keeper { state: state.path(), lasting: false, name: NAME, try_out: &|_, _| Ok(Vec::new()) };
    let found = intake(&keeper, Some(with_secret(KEY).as_bytes()));
    assert!(found.secrets.is_empty() && found.notes.join("\n").contains("secrets stay on bootsel"), "{found:?}");
    let unkept =
        Keeper { state: Path::new("/proc/nowhere"), lasting: true, name: NAME, try_out: &|_, _| Ok(Vec::new()) };
    assert!(intake(&unkept, Some(with_secret(KEY).as_bytes())).secrets.is_empty());
}

#[test]
fn overwritten_secrets_of_another_node_are_not_taken_for_a_config() {
    let state = tempfile::tempdir().unwrap();
    let (_, origin, notes) = taken(state.path(), Some(&with_secret("****")));
    assert_eq!(origin, Origin::Default);
    assert!(notes.contains("line 3, column 15") && notes.contains("no secret"), "{notes}");
}

/// Each way with what must be said of it.
fn broken() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let net = |text: &str| format!("name = \"r1\"\n{text}\n").into_bytes();
    let long = [b"name = \"r1\"\n#".as_slice(), &vec![b'x'; 10 << 20]].concat();
    vec![
        ("empty", Vec::new(), "line 1, column 1: missing field `name`"),
        ("10 MB", long, "longer than 65536 bytes"),
        ("not UTF-8", b"name = \"r1\"\n# caf\xe9\n".to_vec(), "line 2, column 6: this is not UTF-8"),
        ("UTF-16, as an editor may save it", b"\xff\xfen\0a\0m\0e\0".to_vec(), "not UTF-8"),
        ("zeros, as after a bad power cut", vec![0; 4096], "line 1, column 1: a NUL byte"),
        ("truncated in a string", b"name = \"r1".to_vec(), "line 1"),
        ("truncated in a table", b"name = \"r1\"\n[network.et".to_vec(), "line 2"),
        ("a misspelt key", net("adress = 3"), "line 2, column 1: unknown field `adress`"),
        ("a misspelt key with a near one", net("[network.eth0]\nadresses = []"), "did you mean `addresses`?"),
        ("a key twice", net("name = \"r2\""), "line 2, column 1: duplicate key"),
        ("a number for a text", b"name = 5".to_vec(), "line 1, column 8: invalid type: integer"),
        ("a text for a list", net("[network.eth0]\naddresses = \"10.0.0.1/24\""), "line 3, column 13: invalid type"),
        ("no address", net("[network.eth0]\naddresses = [\"10.0.0.300/24\"]"), "line 3"),
        ("an address without its net", net("[network.eth0]\naddresses = [\"10.0.0.1\"]"), "line 3"),
        ("the net for a host", net("[network.eth0]\naddresses = [\"10.0.0.0/24\"]"), "the network itself"),
        (
            "two default routes",
            net("[network.a]\ndhcp = true\ngateway = \"10.0.0.2\"\n[network.b]\ndhcp = true\ngateway = \"10.1.0.2\""),
            "line 7, column 11: network.b.gateway: a already has a default gateway",
        ),
        (
            "a gateway outside its net",
            net("[network.eth0]\naddresses = [\"10.0.0.1/24\"]\ngateway = \"10.0.9.1\""),
            "line 4, column 11",
        ),
        ("a VLAN that is none", net("[network.v]\nvlan = { on = \"eth0\", id = 5000 }"), "1 to 4094"),
        ("a bridge of itself", net("[network.b]\nbridge.ports = [\"b\"]"), "it is stacked on itself"),
        (
            "a name that no host can have",
            b"name = \"my node\"".to_vec(),
            "line 1, column 8: \"my node\" is not a valid host name",
        ),
        ("a broken key", net("[network.w.wireguard]\nprivate_key = \"abc\""), "line 3, column 15"),
        ("a later format", net("format = 99"), "line 2, column 10: format 99 is not supported"),
        ("another kind of file", b"#!/bin/sh\nreboot\n".to_vec(), "line 2"),
        ("nested without end", net(&format!("x = {}", "[".repeat(30_000))), "line 2"),
    ]
}

#[test]
fn a_broken_config_is_named_with_its_place_and_the_last_good_one_stays() {
    let broken = broken();
    assert!(broken.len() >= 20);
    for (what, bytes, reason) in broken {
        // As it is read from bootsel: no more than the limit and one byte.
        let bytes = bytes.get(..contract::node::MAX_LENGTH + 1).unwrap_or(&bytes);
        let state = tempfile::tempdir().unwrap();
        let good = "name = \"good\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n";
        taken(state.path(), Some(good));
        let configured = take(state.path(), Some(bytes));
        let notes = configured.notes.join("\n");
        assert_eq!((configured.config.name.as_str(), configured.origin), ("good", Origin::State), "{what}: {notes}");
        assert_eq!(configured.config.network.interfaces().len(), 1, "{what}");
        assert!(
            notes.contains(reason) && notes.contains("the last valid node.toml stays in force"),
            "{what}: {notes}"
        );
        assert!(configured.secrets.is_empty(), "{what}");
        assert_eq!(std::fs::read_to_string(state.path().join("node.toml")).unwrap(), good, "{what}");

        let fresh = tempfile::tempdir().unwrap();
        let unconfigured = take(fresh.path(), Some(bytes));
        let notes = unconfigured.notes.join("\n");
        assert_eq!((unconfigured.config.name.as_str(), unconfigured.origin), (NAME, Origin::Default), "{what}");
        assert!(notes.contains(reason), "{what}: {notes}");
        assert!(!fresh.path().join("node.toml").exists(), "{what}");
    }
}
