//! `microdc node check` with profiles: what suits, what is missing, what placeholders are, and what programs say.

use crate::end_to_end::{MICRODC, said, workspace};
use crate::folders::copy;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1WqPZ3m0c1mFvYBkTt9k5N0c4d8gq3cJY1x2vV4n7b";

/// Checks a file in a folder with the shipped profiles; gives what is said.
fn check(folder: &Path, text: &str, more: &[&str], status: i32) -> String {
    std::fs::write(folder.join("n.toml"), text).unwrap();
    let output = Command::new(MICRODC).args(["node", "check", "n.toml"]).args(more).current_dir(folder).output();
    said(&output.unwrap(), status)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["profiles", "overlays"] {
        copy(&workspace().join(name), &folder.path().join(name));
    }
    folder
}

fn node(more: &str) -> String {
    format!("name = \"n1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[ssh]\nkeys = [\"{KEY}\"]\n{more}")
}

#[test]
fn a_missing_section_is_found_without_a_word_about_the_role() {
    let folder = folder();
    let text = check(folder.path(), &node(""), &[], 1);
    assert!(text.contains("no profile of this folder can use it"), "{text}");
    for line in ["router: the table [router] is missing", "minio: the table [minio] is missing"] {
        assert!(text.contains(line), "{text}");
    }
    let text = check(folder.path(), &node("[router]\nasn = 1\n"), &[], 0);
    assert!(text.contains("a valid node config for the node n1 with the profile router"), "{text}");
    let text = check(folder.path(), &node("[router]\nasn = 1\n"), &["--profile", "minio"], 1);
    assert!(text.contains("a node of the profile minio would reject it: the table [minio] is missing"), "{text}");
}

#[test]
fn all_mistakes_are_shown_at_once_each_in_its_line() {
    let folder = folder();
    let text =
        check(folder.path(), &node("[router]\nasm = 1\n[time]\nservers = 3\n[disks]\ndata = \"zfs\"\n"), &[], 1);
    for place in ["n.toml:7:1", "n.toml:9:11", "n.toml:11:8"] {
        assert!(text.contains(place), "{place} in {text}");
    }
    let text = check(folder.path(), &node("[router]\nasm = 1\n[time]\nservers = 3\n"), &["--json"], 1);
    let json = text.split("\nerror").next().unwrap();
    assert!(json.contains("\"ok\": false") && json.matches("\"line\"").count() == 2, "{text}");
}

#[test]
fn a_placeholder_is_no_secret_on_a_new_node_and_no_key_is_worth_a_warning() {
    let folder = folder();
    let tunnel = "[router]\nasn = 1\n[network.wg0.wireguard]\nprivate_key = \"****\"\n";
    let text = check(folder.path(), &node(tunnel), &[], 1);
    assert!(text.contains("n.toml:9:15") && text.contains("write the value itself in place of `*`"), "{text}");
    check(folder.path(), &node(tunnel), &["--existing"], 0);
    let text = check(folder.path(), &node("[router]\nasn = 1\n").replace(KEY, "").replace("[\"\"]", "[]"), &[], 0);
    assert!(text.contains("warning: ssh.keys has no key"), "{text}");
}

#[test]
fn the_program_of_a_service_is_run_where_the_machine_has_it() {
    let folder = folder();
    let program = folder.path().join("nft");
    let script = "#!/bin/sh\ngrep -n acept \"$3\" | sed \"s,:.*,: Error: syntax error,; s,^,$3:,\" | grep . && exit 1\nexit 0\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let profile = format!(
        "role = \"edge\"\nsummary = \"x\"\ninclude = [\"base\"]\noverlays = [\"router\"]\nexample = \"e.node.toml\"\n\
         [[template]]\nfrom = \"nftables.conf.j2\"\nto = \"/run/nftables.conf\"\n\
         [service.firewall]\nrun = [\"/bin/true\"]\ncheck = [\"{}\", \"-c\", \"/run/x\", \"/run/nftables.conf\"]\n",
        program.display()
    )
    .replace("\"-c\", \"/run/x\"", "\"-c\", \"-f\"");
    std::fs::write(folder.path().join("profiles/e.toml"), &profile).unwrap();
    std::fs::write(folder.path().join("profiles/e.node.toml"), "name = \"e\"\n").unwrap();
    let rules = |line: &str| {
        node(&format!(
            "[router]\nasn = 1\n[router.firewall]\nrules = \"\"\"\ntable inet filter {{\n  {line}\n}}\n\"\"\"\n"
        ))
    };
    let text = check(folder.path(), &rules("tcp dport 22 acept"), &["--profile", "e"], 1);
    assert!(
        text.contains("n.toml:11:3") && text.contains("which checks the files of the service firewall"),
        "{text}"
    );
    assert!(
        text.contains("refuses it: /run/nftables.conf:5: Error"),
        "as on the node, not where it was tried: {text}"
    );
    let text = check(folder.path(), &rules("tcp dport 22 accept"), &["--profile", "e"], 0);
    assert!(!text.contains("warning"), "{text}");
    // Without the program, or without rights, it is said and the file is taken.
    std::fs::write(&program, "#!/bin/sh\necho Operation not permitted\nexit 1\n").unwrap();
    let text = check(folder.path(), &rules("tcp dport 22 acept"), &["--profile", "e"], 0);
    assert!(text.contains("warning: the files of the service firewall were not checked"), "{text}");
    std::fs::remove_file(&program).unwrap();
    let text = check(folder.path(), &rules("tcp dport 22 acept"), &["--profile", "e"], 0);
    assert!(text.contains("were not checked"), "{text}");
}
