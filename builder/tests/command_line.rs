//! The command line as people meet it: help, manual pages, completions, colours, exit codes; `new` and `doctor`.

use crate::end_to_end::project::{Project, Warmth};
use crate::end_to_end::{MICRODC, said, workspace};
use crate::folders::copy;
use microdc::cli;
use microdc::profile::{check, load};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Every command with words of its own: `microdc`, `microdc build`, `microdc node check` ...
fn commands() -> Vec<clap::Command> {
    let mut top = cli::command().disable_help_subcommand(true);
    top.build();
    let mut all = vec![top];
    let mut at = 0;
    while at < all.len() {
        let below: Vec<clap::Command> = all[at].get_subcommands().cloned().collect();
        all.extend(below);
        at += 1;
    }
    all
}

fn microdc(arguments: &[&str]) -> Output {
    Command::new(MICRODC).args(arguments).output().unwrap()
}

#[test]
fn every_help_fits_80_columns_and_has_an_example_and_the_exit_status() {
    for mut command in commands() {
        let name = command.get_display_name().unwrap_or("microdc").to_owned();
        for help in [command.render_help().to_string(), command.render_long_help().to_string()] {
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{name}: {} columns: {line:?}", line.chars().count());
                assert!(line.trim().is_empty() || line.trim_end() == line, "{name}: blanks at the end of a line");
            }
            assert!(help.contains("Exit status: 0 "), "{name} does not say what its exit status means:\n{help}");
        }
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if command.get_subcommands().next().is_none() {
            let words = name.replace('-', " ");
            let first = format!("\n  {words}");
            let known = after.contains(&first) || after.contains(&format!("\n  {}", name.replacen('-', " ", 1)));
            assert!(after.starts_with("Example") && known, "{name} has no example of its own:\n{after}");
        }
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {} is not explained", argument.get_id());
        }
    }
}

#[test]
fn exit_codes_are_what_the_help_says() {
    assert_eq!(microdc(&["--version"]).status.code(), Some(0));
    assert_eq!(microdc(&["verify", "/nonexistent.img", "--key", "/nonexistent.pub"]).status.code(), Some(1));
    assert_eq!(microdc(&["no-such-verb"]).status.code(), Some(2));
    assert_eq!(microdc(&["build", "router", "--unsigned", "--key", "x"]).status.code(), Some(2));
    assert_eq!(microdc(&["boot", "x.img", "--raspi4b", "--forward", "22"]).status.code(), Some(2));
    assert_eq!(microdc(&["boot", "x.img", "--forward", "0"]).status.code(), Some(2));
    assert_eq!(microdc(&[]).status.code(), Some(2));
    for wrong in [
        &["verify", "x.img", "--role", "a toaster"][..],
        &["new", "edge", "--role", "Toaster"],
        &["build", "router", "--supply", "bad"],
        &["lock", "router", "--supply", "bad"],
        &["build", "router", "minio", "-o", "x.img"],
        &["bundle", "x.img", "--slot", "C"],
    ] {
        assert_eq!(microdc(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

/// What a command prints on a terminal.
fn on_a_terminal(arguments: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{MICRODC} {arguments}"), "/dev/null"]);
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("TERM", "xterm-256color");
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("script cannot be started: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn colours_are_for_terminals_and_only_where_they_are_wanted() {
    let escape = '\x1b';
    for arguments in ["--help", "build --help", "buidl"] {
        assert!(on_a_terminal(arguments, &[]).contains(escape), "{arguments}: a terminal gets colours");
        assert!(!on_a_terminal(arguments, &[("NO_COLOR", "1")]).contains(escape), "{arguments}: NO_COLOR");
        let words: Vec<&str> = arguments.split(' ').collect();
        let piped = microdc(&words);
        let both = [piped.stdout, piped.stderr].concat();
        assert!(!both.contains(&(escape as u8)), "{arguments}: not for pipes");
    }
}

#[test]
fn manual_pages_render_without_a_warning_and_fit_80_columns() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    said(&microdc(&["man", "--to", out.to_str().unwrap()]), 0);
    let pages: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(pages.len(), commands().len(), "one page a verb");
    for page in pages {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&page);
        man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").env("MANROFFSEQ", "");
        let output = man.output().unwrap_or_else(|error| panic!("man cannot be started: {error}"));
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
        let mut man = Command::new("man");
        man.args(["-E", "UTF-8", "-P", "cat", "-l"]).arg(&page);
        man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").env("MAN_KEEP_FORMATTING", "");
        let text = String::from_utf8(man.output().unwrap().stdout).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{}: {line:?}", page.display());
        }
        let name = page.file_stem().unwrap().to_str().unwrap().to_owned();
        for part in ["NAME", "SYNOPSIS", "EXIT STATUS", &name] {
            assert!(text.contains(part), "no {part} in {}:\n{text}", page.display());
        }
    }
    let one = said(&microdc(&["man", "node", "check"]), 0);
    assert!(one.contains(".TH microdc-node-check 1"), "{one}");
    assert!(said(&microdc(&["man", "cook"]), 1).contains("no verb"));
}

#[test]
fn shells_take_the_completions_and_complete_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = said(&microdc(&["completions", shell]), 0);
        for verb in ["build", "verify", "doctor"] {
            assert!(text.contains(verb), "{shell} does not know {verb}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("microdc.bash");
    std::fs::write(&file, microdc(&["completions", "bash"]).stdout).unwrap();
    let ask = "source \"$1\"; COMP_WORDS=(microdc bui); COMP_CWORD=1; _microdc microdc bui microdc; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", ask, "bash", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(said(&output, 0).trim(), "build");
}

/// A project of profiles and overlays alone.
fn project(folder: &Path) {
    for name in ["profiles", "overlays"] {
        copy(&workspace().join(name), &folder.join(name));
    }
}

fn new(folder: &Path, arguments: &[&str], status: i32) -> String {
    said(&Command::new(MICRODC).arg("new").args(arguments).current_dir(folder).output().unwrap(), status)
}

#[test]
fn a_new_profile_of_each_role_passes_the_checks_of_a_build() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    for role in ["garage", "k3s-agent", "k3s-server", "minio", "router", "tinkerbell", "edge"] {
        let name = format!("my-{role}");
        let text = new(folder.path(), &[&name, "--role", role], 0);
        assert!(text.contains(&format!("microdc build {name}")), "{text}");
        let path = folder.path().join(format!("profiles/{name}.toml"));
        let profile = load(&path).unwrap_or_else(|error| panic!("{role}: {error}"));
        assert_eq!((profile.role.value.name(), profile.compatible.profile.as_str()), (role, name.as_str()));
        assert!(profile.warnings.is_empty());
        check::role_spec(&profile, "1", Vec::new()).unwrap_or_else(|mistakes| panic!("{role}: {mistakes:?}"));
        // Its options, with their # removed, are keys that there are.
        let text = std::fs::read_to_string(&path).unwrap();
        let option = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
        let all: String =
            text.lines().map(|line| format!("{}\n", if option(&line) { &line[1..] } else { line })).collect();
        std::fs::write(&path, all).unwrap();
        load(&path).unwrap_or_else(|error| panic!("{role}, with every option: {error}"));
        let example = format!("profiles/{name}.node.toml");
        let check = |more: &[&str], status| {
            let mut command = Command::new(MICRODC);
            let output = command.args(["node", "check", &example]).args(more).current_dir(folder.path()).output();
            said(&output.unwrap(), status)
        };
        check(&["--existing"], 0);
        // Its secrets are placeholders, which a new node has nothing for.
        if std::fs::read_to_string(folder.path().join(&example)).unwrap().contains("\n[k3s]") {
            assert!(check(&[], 1).contains("write the value itself in place of `*`"));
        }
    }
}

#[test]
fn a_role_without_a_profile_is_ones_own_and_a_slip_of_the_pen_is_named() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    let text = new(folder.path(), &["store", "--role", "minoi"], 0);
    assert!(text.contains("minoi is a role of your own (did you mean `minio`?)"), "{text}");
    let text = new(folder.path(), &["edge", "--role", "edge"], 0);
    assert!(text.contains("edge is a role of your own: its profile includes"), "{text}");
    let node = |arguments: &[&str], status| {
        said(&Command::new(MICRODC).arg("node").args(arguments).current_dir(folder.path()).output().unwrap(), status)
    };
    // The profile's own example, for a node of this name.
    assert!(node(&["new", "edge", "e7"], 0).contains("name = \"e7\""));
    let text = node(&["new", "toaster", "t1"], 1);
    assert!(text.contains("neither a profile nor one of the roles garage, "), "{text}");
}

#[test]
fn a_mistake_in_a_node_config_is_shown_in_its_line_before_a_boot() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r1.toml"), "name = \"r1\"\n[tiem]\n").unwrap();
    let mut boot = Command::new(MICRODC);
    boot.args(["boot", "r1.img", "--node", "r1.toml"]).current_dir(folder.path());
    let text = said(&boot.output().unwrap(), 1);
    assert!(text.contains("r1.toml:2:2") && text.contains("did you mean `time`?"), "{text}");
}

#[test]
fn a_new_profile_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    assert!(new(folder.path(), &["router"], 1).contains("already exists"));
    for existing in ["profiles/edge.node.toml", "overlays/edge"] {
        let path = folder.path().join(existing);
        std::fs::create_dir(&path).unwrap();
        assert!(new(folder.path(), &["edge"], 1).contains(existing));
        assert!(!folder.path().join("profiles/edge.toml").exists(), "nothing is left behind");
        std::fs::remove_dir(&path).unwrap();
    }
    new(folder.path(), &["edge"], 0);
    for name in ["Edge", "../edge", "a b", "1st", ""] {
        assert!(new(folder.path(), &[name], 1).contains("is not a valid profile name"), "{name}");
    }
    let text = new(folder.path(), &["edge2", "--role", "A Toaster"], 2);
    assert!(text.contains("is not a valid name of a role"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    assert!(new(empty.path(), &["edge"], 1).contains("checkout"));
}

#[test]
fn a_new_profile_builds_at_once_from_what_the_roles_lock_names() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::new(folder.path(), Warmth::Warm);
    new(&project.folder, &["edge"], 0);
    let build = ["build", "edge", "--locked", "--offline", "--supply", "firstboot=firstboot"];
    let text = said(&project.microdc(&build).output().unwrap(), 0);
    assert!(text.contains("out/edge.img"), "{text}");
    let key = project.folder.join("keys/development.pub");
    let verify = ["verify", "out/edge.img", "--key", key.to_str().unwrap(), "--role", "router"];
    said(&project.microdc(&verify).output().unwrap(), 0);
}

/// What the doctor says in a folder, with only these programs to be found.
fn doctor(folder: &Path, path: &Path, status: i32) -> serde_json::Value {
    let mut command = Command::new(MICRODC);
    command
        .args(["doctor", "--json"])
        .current_dir(folder)
        .env("PATH", path)
        .env("MICRODC_CACHE", folder.join("cache"));
    let output = command.env_remove("MICRODC_QEMU").output().unwrap();
    said(&output, status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn health<'d>(report: &'d serde_json::Value, what: &str) -> &'d serde_json::Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("no {what} in {report}"))
}

/// A program that answers as told.
fn program(folder: &Path, name: &str, says: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{says}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn the_doctor_says_what_is_lacking_and_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let (base, path) = (folder.path().join("project"), folder.path().join("bin"));
    std::fs::create_dir_all(&path).unwrap();
    project(&base);
    // A mirror that is configured is one.
    std::fs::write(base.join("microdc.toml"), "[debian]\nmirror = \"http://127.0.0.1:9/debian\"\n").unwrap();
    let report = doctor(&base, &path, 1);
    assert_eq!(report["can_build"], false);
    assert_eq!(
        (&health(&report, "rust")["health"], &health(&report, "mirror")["health"]),
        (&"lacks".into(), &"good".into())
    );
    assert!(health(&report, "rust")["advice"].as_str().unwrap().contains("rustup"));
    for optional in ["go", "qemu", "qemu for raspi4b", "rpiboot"] {
        assert_eq!(health(&report, optional)["health"], "note", "{optional}");
        assert!(health(&report, optional)["advice"].is_string(), "{optional}");
    }

    // A Rust of the pinned version with the target, a QEMU that is too old for the raspi4b.
    let sysroot = folder.path().join("sysroot");
    std::fs::create_dir_all(sysroot.join("lib/rustlib/aarch64-unknown-linux-musl/lib")).unwrap();
    let toolchain = std::fs::read_to_string(workspace().join("rust-toolchain.toml")).unwrap();
    let pinned = toolchain.split("channel = \"").nth(1).unwrap().split('"').next().unwrap();
    let answer = format!("case $1 in --version) echo rustc {pinned} ;; *) echo {} ;; esac", sysroot.display());
    program(&path, "rustc", &answer);
    program(&path, "qemu-system-aarch64", "echo QEMU emulator version 8.2.1");
    let report = doctor(&base, &path, 0);
    assert_eq!(report["can_build"], true);
    assert_eq!(health(&report, "qemu")["health"], "good");
    assert!(health(&report, "qemu for raspi4b")["advice"].as_str().unwrap().contains("8.2"));

    // Another Rust.
    program(&path, "rustc", "echo rustc 1.60.0");
    assert!(health(&doctor(&base, &path, 1), "rust")["says"].as_str().unwrap().contains("1.60.0"));
    // No project.
    let report = doctor(folder.path(), &path, 1);
    assert_eq!(health(&report, "project")["health"], "lacks");
}

#[test]
fn keys_new_and_new_keep_private_keys_out_of_git_and_a_key_that_anyone_could_replace_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    let ignored = folder.path().join(".gitignore");
    let keys = |arguments: &[&str], status| {
        said(&Command::new(MICRODC).arg("keys").args(arguments).current_dir(folder.path()).output().unwrap(), status)
    };
    let text = keys(&["new"], 0);
    assert!(text.contains(".gitignore: git ignores private keys now"), "{text}");
    assert!(std::fs::read_to_string(&ignored).unwrap().ends_with("\n/keys/*.key\n"));
    assert!(!keys(&["new", "--name", "next"], 0).contains(".gitignore"), "once is enough");
    assert!(new(folder.path(), &["edge"], 0).contains(".gitignore"));
    let lines = std::fs::read_to_string(&ignored).unwrap();
    assert!(lines.lines().any(|line| line == "/out/") && lines.matches("/keys/*.key").count() == 1, "{lines}");

    let open = folder.path().join("keys");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let text = keys(&["show", "keys/release.pub"], 1);
    assert!(text.contains("any user could replace") && text.contains("chmod o-w"), "{text}");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o775)).unwrap();
    let text = keys(&["new", "--name", "third"], 0);
    assert!(text.contains("warning: ") && text.contains("chmod g-w"), "{text}");
}
