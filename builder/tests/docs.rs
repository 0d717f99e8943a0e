//! The files of builder/docs are what they say: YAML that parses, shell that the shell and shellcheck take, units and
//! workflow steps whose files and options exist.

use microdc::cli;
use std::path::{Path, PathBuf};
use std::process::Command;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(docs().join(name)).unwrap()
}

fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

/// The workflow as Python's YAML reads it.
fn workflow() -> serde_json::Value {
    yaml(&docs().join("github.yml"))
}

fn yaml(path: &Path) -> serde_json::Value {
    let read = "import json, sys, yaml; print(json.dumps(yaml.load(open(sys.argv[1]), yaml.BaseLoader)))";
    serde_json::from_str(&tool("/usr/bin/python3", &["-c", read, path.to_str().unwrap()])).unwrap()
}

/// Every script of the workflow.
fn steps() -> Vec<String> {
    let workflow = workflow();
    let steps = workflow["jobs"]["image"]["steps"].as_array().unwrap();
    steps.iter().filter_map(|step| step["run"].as_str()).map(str::to_owned).collect()
}

#[test]
fn the_workflow_is_one() {
    let workflow = workflow();
    assert!(workflow["on"]["push"].is_object() && workflow["permissions"]["contents"] == "read");
    for step in workflow["jobs"]["image"]["steps"].as_array().unwrap() {
        assert!(step["uses"].is_string() != step["run"].is_string(), "{step}");
        if let Some(action) = step["uses"].as_str() {
            assert!(action.contains("@v"), "{action} names no version");
        }
    }
    assert!(steps().len() >= 6);
}

#[test]
fn shells_and_shellcheck_take_every_script() {
    let script = docs().join("ci.sh");
    tool("sh", &["-n", script.to_str().unwrap()]);
    tool("shellcheck", &[script.to_str().unwrap()]);
    let folder = tempfile::tempdir().unwrap();
    for (number, step) in steps().iter().enumerate() {
        let path = folder.path().join(format!("{number}.sh"));
        // The runner's own default shell and options.
        std::fs::write(&path, format!("#!/bin/bash\nset -eo pipefail\n{step}\n")).unwrap();
        tool("shellcheck", &["-e", "SC2086", path.to_str().unwrap()]);
    }
}

#[test]
fn every_command_of_the_scripts_is_understood() {
    let mut lines: Vec<String> =
        steps().iter().flat_map(|step| step.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.extend(text("ci.sh").lines().map(str::to_owned));
    let mut count = 0;
    for line in lines {
        let Some(at) = line.find("microdc ") else { continue };
        if line.trim_start().starts_with('#')
            || !(at == 0 || line[..at].ends_with("$(") || line[..at].trim().is_empty())
        {
            continue;
        }
        let command = line[at..].split(['|', ')']).next().unwrap().replace('"', "");
        let words = command.split_whitespace();
        cli::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}\n{error}"));
        count += 1;
    }
    assert!(count >= 9, "{count}");
}

#[test]
fn the_timers_service_runs_a_script_that_is_there() {
    let service = text("microdc.service");
    let start = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let script = start.split(' ').next().unwrap();
    assert!(script.ends_with("builder/docs/ci.sh"), "{start}");
    assert_eq!(start.split(' ').count(), 3, "a profile and a folder");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(docs().join("ci.sh")).unwrap().permissions());
    assert_eq!(mode & 0o111, 0o111, "it can be executed");
    assert!(
        text("microdc.timer").contains("OnCalendar=") && text("microdc.timer").contains("WantedBy=timers.target")
    );
}

/// The repository's own scripts, and the workflow that runs the long tests.
#[test]
fn the_nightly_workflow_runs_the_check_and_shellcheck_takes_its_scripts() {
    let top = docs().join("../..");
    for script in [".ci/run", ".ci/stages", "qemu-tests/run", "qemu-tests/needs", "qemu-tests/garage"] {
        let output =
            Command::new("shellcheck").args(["-x", "-s", "bash", script]).current_dir(&top).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let workflow = yaml(&top.join(".github/workflows/nightly.yml"));
    assert!(workflow["on"]["schedule"].is_array() && workflow["permissions"]["contents"] == "read");
    let steps = workflow["jobs"]["long"]["steps"].as_array().unwrap();
    let run: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    assert!(run.contains(&".ci/run --long"), "{run:?}");
    for action in steps.iter().filter_map(|step| step["uses"].as_str()) {
        assert!(action.contains("@v"), "{action} names no version");
    }
}
