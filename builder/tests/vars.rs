//! Variables: declared in a profile, set in a node.toml, checked by `microdc node check` before the file goes to its node.

use microdc::profile::{check, load};
use std::path::Path;
use std::process::Command;

const HEAD: &str = "role = \"edge\"\nsummary = \"s\"\nexample = \"n.toml\"\nkernel = { package = \"k\" }\n\
                    firmware = { package = \"f\" }\noverlays = [\"./overlay\"]\nuser = { root = { id = 0 } }\n";
const VARS: &str = "[vars.greeting]\ntype = \"string\"\ndefault = \"hello\"\n[vars.workers]\ntype = \"integer\"\n\
                    [vars.token]\ntype = \"secret\"\nsummary = \"of the registry\"\n";
const SERVICE: &str = "[service.web]\nrun = [\"/web\"]\nenvironment = { TOKEN = \"{{ vars.secret.token }}\" }\n\
                       when = \"vars.workers\"\n[[template]]\nfrom = \"web.j2\"\nto = \"/run/web\"\n";

/// A folder with a profile whose text ends with `rest`.
fn folder(rest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let templates = folder.path().join("overlay/usr/lib/microdc/templates");
    std::fs::create_dir_all(&templates).unwrap();
    std::fs::write(templates.join("web.j2"), "{{ vars.greeting }} x {{ vars.workers }}\n").unwrap();
    std::fs::write(folder.path().join("p.toml"), format!("{HEAD}{rest}")).unwrap();
    folder
}

fn mistake(rest: &str) -> String {
    let folder = folder(rest);
    let loaded = load(&folder.path().join("p.toml"));
    loaded.map_or_else(|error| error.to_string(), |_| panic!("accepted: {rest}"))
}

#[test]
fn declarations_are_in_the_role_spec() {
    let folder = folder(&format!("{VARS}{SERVICE}"));
    let profile = load(&folder.path().join("p.toml")).unwrap();
    let spec = check::role_spec(&profile, "1", Vec::new()).unwrap();
    let json = serde_json::to_value(&spec.vars).unwrap();
    let wanted = serde_json::json!({
        "greeting": { "kind": "string", "default": "hello" },
        "workers": { "kind": "integer" },
        "token": { "kind": "secret" },
    });
    assert_eq!(json, wanted);
}

#[test]
fn mistakes_in_declarations_and_uses_are_shown_at_their_line() {
    for (rest, parts) in [
        ("[vars.a]\ntype = \"secret\"\ndefault = \"x\"\n", ["p.toml:8:7", "the secret a has a default"]),
        (
            "[vars.a]\ntype = \"integer\"\ndefault = \"x\"\n",
            ["p.toml:8:7", "a is an integer, and its default is a string"],
        ),
        ("[vars.A]\ntype = \"string\"\n", ["p.toml:8:7", "\"A\" is not a valid name of a variable"]),
        ("[vars.secret]\ntype = \"string\"\n", ["p.toml:8:7", "\"secret\" is not a valid name"]),
        ("[vars.a]\ntype = \"number\"\n", ["p.toml:9:8", "unknown variant `number`"]),
        (
            "[vars.token]\ntype = \"secret\"\n[service.web]\nrun = [\"/web\"]\nenvironment = { T = \"{{ vars.token }}\" }\n",
            ["the profile declares no variable `token`", "it is a secret: `vars.secret.token`"],
        ),
        (
            "[service.web]\nrun = [\"/web\"]\nwhen = \"vars.gone\"\n",
            ["p.toml:10:8", "the profile declares no variable `gone`"],
        ),
        (SERVICE, ["web.j2:1:", "the profile declares no variable `greeting`"]),
    ] {
        let said = mistake(rest);
        for part in parts {
            assert!(said.contains(part), "no {part:?} in:\n{said}");
        }
    }
}

fn node_check(folder: &Path, node: &str, status: i32) -> String {
    std::fs::write(folder.join("node.toml"), node).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_microdc"));
    command.args(["node", "check", "node.toml", "--profile", "p.toml"]).current_dir(folder);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(status), "{text}");
    text
}

#[test]
fn node_check_names_every_variable_that_does_not_fit_and_never_a_secret() {
    let folder = folder(&format!("{VARS}{SERVICE}"));
    node_check(folder.path(), "name = \"n1\"\n[vars]\nworkers = 2\n[vars.secret]\ntoken = \"hunter2\"\n", 0);
    let said = node_check(folder.path(), "name = \"n1\"\n[vars]\nworkers = \"two\"\ntoken = \"hunter2\"\n", 1);
    for part in [
        "node.toml:3:11",
        "the profile declares an integer, not a string",
        "node.toml:4:9",
        "this is a secret: write it under [vars.secret]",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    let said = node_check(folder.path(), "name = \"n1\"\n", 1);
    for part in ["the profile needs an integer", "the profile needs a secret: set it under [vars.secret]"] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}
