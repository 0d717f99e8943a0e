//! Files shown to real programs of this machine.

use super::*;
use contract::role::{Directory, Identity, Template};
use std::collections::BTreeMap;
use std::path::Path;

const TEXT: &str = "name = \"r1\"\n[haproxy]\nconfig = \"\"\"\nglobal\n  lgo stdout\n\"\"\"\n";

fn service(check: &[&str], mistake: Option<&str>) -> Service {
    let mut service: Service = serde_json::from_value(serde_json::json!({
        "run": ["/bin/true"], "kind": "daemon", "identity": {"uid": 65_534, "gid": 65_534}, "when": "haproxy",
        "restart": {"first_delay_ms": 1, "longest_delay_ms": 1, "quiet_ms": 1}, "stop_timeout_ms": 1,
        "start_timeout_ms": 1,
    }))
    .unwrap();
    let run = check.iter().map(|&word| word.to_owned()).collect();
    service.check = Some(Check { run, mistake: mistake.map(str::to_owned) });
    service
}

/// A role without anything.
fn empty() -> RoleSpec {
    serde_json::from_value(serde_json::json!({
        "format": 1, "role": "router", "summary": "", "version": "", "modules": [], "sysctls": {},
        "directories": [], "templates": [], "services": {}, "health": [],
    }))
    .unwrap()
}

/// What a role with this one service makes of a node config.
fn accept(service: Service, text: &str) -> Result<Vec<String>, String> {
    // A service does not see what is in /tmp.
    let folder = tempfile::tempdir_in("/run").unwrap();
    std::fs::write(folder.path().join("x.j2"), "# made\n{{ haproxy.config if haproxy is defined }}\n").unwrap();
    let owner = Identity { uid: 65_534, gid: 65_534, groups: Vec::new() };
    let role = RoleSpec {
        directories: vec![Directory {
            path: "/run/x".to_owned(),
            owner: owner.clone(),
            mode: 0o700,
            persistent: false,
            data: false,
            limit_bytes: None,
        }],
        templates: vec![Template { from: "x.j2".to_owned(), to: "/run/x/x.cfg".to_owned(), owner, mode: 0o400 }],
        services: BTreeMap::from([("x".to_owned(), service)]),
        ..empty()
    };
    let scratch = folder.path().join("scratch");
    let checker =
        Checker { role: &role, templates: folder.path(), scratch: scratch.clone(), cgroups: None, feed: &|| {} };
    let found = checker.accept(&NodeConfig::parse(text.as_bytes()).unwrap(), text);
    assert!(!scratch.exists(), "what holds secrets is removed");
    found
}

#[test]
fn a_program_that_refuses_a_file_is_named_with_the_line_and_key_of_node_toml() {
    let script =
        "grep -n lgo /run/x/x.cfg | sed 's,^\\([0-9]*\\):.*,parsing [/run/x/x.cfg:\\1] : unknown keyword,'; exit 1";
    let refused = accept(service(&["/bin/sh", "-c", script], None), TEXT).unwrap_err();
    assert!(refused.starts_with("line 5, column 3: haproxy.config: /bin/sh, which checks"), "{refused}");
    assert!(refused.ends_with("parsing [/run/x/x.cfg:3] : unknown keyword"), "{refused}");
    assert_eq!(accept(service(&["/bin/grep", "-q", "lgo", "/run/x/x.cfg"], None), TEXT), Ok(Vec::new()));
}

#[test]
fn a_program_that_reports_a_mistake_and_ends_well_is_believed() {
    let says = ["/bin/echo", "No such command on config line 3: lgo"];
    assert_eq!(accept(service(&says, None), TEXT), Ok(Vec::new()));
    let refused = accept(service(&says, Some("on config line")), TEXT).unwrap_err();
    assert!(refused.contains("No such command on config line 3"), "{refused}");
}

#[test]
fn a_check_sees_its_files_and_nothing_of_the_running_node_and_may_not_change_more() {
    for (script, well) in [
        ("test \"$(ls /run)\" = x && test \"$(ls /run/x)\" = x.cfg", true),
        ("touch /run/x/more", true),
        ("touch /run/more", false),
        ("touch /usr/more", false),
        ("test $(id -u) = 65534", true),
    ] {
        assert_eq!(accept(service(&["/bin/sh", "-c", script], None), TEXT).is_ok(), well, "{script}");
    }
}

#[test]
fn what_cannot_be_checked_is_told_and_refuses_nothing() {
    let notes = accept(service(&["/nowhere"], None), TEXT).unwrap();
    assert!(
        notes.join("\n").contains("the files of the service x were not checked: cannot start /nowhere"),
        "{notes:?}"
    );
    // A service that the node does not want is not asked.
    assert_eq!(accept(service(&["/bin/false"], None), "name = \"r1\"\n"), Ok(Vec::new()));
    assert!(accept(service(&["/bin/false"], None), TEXT).unwrap_err().contains("it says nothing"));
}

#[test]
fn a_template_that_cannot_be_rendered_is_told_before_any_program_runs() {
    let folder = tempfile::tempdir().unwrap();
    let role = RoleSpec {
        templates: vec![Template {
            from: "none.j2".to_owned(),
            to: "/run/x".to_owned(),
            owner: Identity::default(),
            mode: 0o644,
        }],
        ..empty()
    };
    let scratch = folder.path().join("scratch");
    let checker = Checker { role: &role, templates: Path::new("/nowhere"), scratch, cgroups: None, feed: &|| {} };
    let config = NodeConfig::parse(b"name = \"r1\"").unwrap();
    assert!(checker.accept(&config, "name = \"r1\"").unwrap_err().contains("cannot read /nowhere/none.j2"));
}
