//! A word in a profile, a part or a template that no node.toml has stops a build at its line.

use crate::profile::load;
use std::path::Path;

const WHOLE: &str = "include = [\"part\"]\nrole = \"router\"\nsummary = \"s\"\nexample = \"n.toml\"\n\
                     overlays = [\"one\", \"two\"]\nkernel = { package = \"k\" }\nfirmware = { package = \"f\" }\n\
                     user = { root = { id = 0 } }\n";

/// What is said about a profile with these lines at its end, a part, and the templates `a.j2` of its two overlays.
fn said(own: &str, part: &str, templates: [&str; 2]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("profiles/p.toml", &format!("{WHOLE}{own}"));
    write("profiles/parts/part.toml", part);
    for (overlay, text) in ["one", "two"].into_iter().zip(templates) {
        write(&format!("overlays/{overlay}/etc/x"), "");
        if !text.is_empty() {
            write(&format!("overlays/{overlay}/usr/lib/microdc/templates/a.j2"), text);
        }
    }
    match load(&folder.path().join("profiles/p.toml")) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

/// The line of [`WHOLE`]'s file in which what is added begins.
const OWN: usize = 9;

#[test]
fn a_typo_in_when_is_shown_in_its_line_in_profiles_and_in_parts() {
    let service = "[service.a]\nrun = [\"/a\"]\nwhen = \"router.dchp\"\n";
    let check = "[[health]]\nmemory = \"1MiB\"\nwhen = \"router.dchp\"\n";
    for entry in [service, check] {
        let line = OWN + 2;
        for (said, place) in [
            (said(entry, "", [""; 2]), format!("p.toml:{line}:8")),
            (said("", entry, [""; 2]), "part.toml:3:8".to_owned()),
        ] {
            for part in [place.as_str(), "`router.dchp` is not a key of node.toml", "did you mean `router.dhcp`?"] {
                assert!(said.contains(part), "no {part:?} in:\n{said}");
            }
        }
        assert_eq!(said(&entry.replace("dchp", "dhcp"), "", [""; 2]), "");
    }
}

#[test]
fn a_typo_in_what_a_health_check_looks_at_is_shown_in_its_line() {
    for kind in ["route", "tcp", "neighbour"] {
        let check = |path: &str| format!("[[health]]\n{kind} = {{ config = \"{path}\" }}\n");
        let found = said(&check("router.neighbour.address"), "", [""; 2]);
        for part in
            [&format!("p.toml:{}:", OWN + 1), "did you mean `router.neighbor`?", "config = \"router.neighbour"]
        {
            assert!(found.contains(part), "no {part:?} in:\n{found}");
        }
        // A table would give no check at all, without a word.
        assert!(said("", &check("router.neighbor"), [""; 2]).contains("part.toml:2:"));
        assert_eq!(said(&check("router.neighbor.address"), "", [""; 2]), "");
    }
}

#[test]
fn an_entry_that_is_overridden_is_not_looked_at() {
    let entry = "[service.a]\nrun = [\"/a\"]\nwhen = \"router.dchp\"\n";
    assert_eq!(said("[service.a]\nrun = [\"/a\"]\n", entry, [""; 2]), "");
}

#[test]
fn every_mistake_is_shown_at_once() {
    let found =
        said("[service.a]\nrun = [\"/a\"]\nwhen = \"a\"\n[service.b]\nrun = [\"/a\"]\nwhen = \"b\"\n", "", [""; 2]);
    assert!(
        found.contains("`a` is not a key of node.toml") && found.contains("`b` is not a key of node.toml"),
        "{found}"
    );
}

const TEMPLATE: &str = "[[template]]\nfrom = \"a.j2\"\nto = \"/run/a\"\n";

#[test]
fn a_typo_in_a_template_is_shown_in_its_own_line_and_where_it_is_named() {
    let template = "# made\n{% if router is defined and router.fierwall is defined %}x{% endif %}\n";
    for (found, named) in
        [(said(TEMPLATE, "", [template, ""]), "p.toml:9"), (said("", TEMPLATE, [template, ""]), "part.toml:1")]
    {
        for part in [
            "one/usr/lib/microdc/templates/a.j2:2:",
            "`router.fierwall` is not a key of node.toml",
            "`router.firewall`",
            named,
        ] {
            assert!(found.contains(part), "no {part:?} in:\n{found}");
        }
    }
}

#[test]
fn the_template_that_is_in_the_image_is_the_one_that_is_looked_into() {
    let (good, bad) = ("{{ name }}", "{{ nmae }}");
    assert_eq!(said(TEMPLATE, "", [bad, good]), "");
    assert!(said(TEMPLATE, "", [good, bad]).contains("two/usr/lib/microdc/templates/a.j2:1:"));
    // It is missed when the root is there, with the line that names it.
    assert_eq!(said(TEMPLATE, "", [""; 2]), "");
    assert_eq!(said(&TEMPLATE.replace("a.j2", "../x"), "", [bad, bad]), "");
}

#[test]
fn every_profile_of_the_repository_is_sound() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(workspace.join("profiles")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".toml") && !name.ends_with(".node.toml") {
            load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}
