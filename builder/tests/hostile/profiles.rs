//! Profiles and overlays.

use super::{Case, check_all, everything};
use microdc::profile::{self, check};
use microdc::tree::{Accounts, Kind, Node, Tree, overlay};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

#[test]
fn profiles() {
    const WHOLE: &str = "role = \"router\"\nsummary = \"a test\"\nexample = \"node.toml\"\n\
        kernel = { package = \"linux-image-arm64\" }\nfirmware = { package = \"raspi-firmware\" }\nuser = { root = { id = 0 } }\n";
    let said = |files: &[(&str, String)]| {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("profiles/parts")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join("profiles").join(name), text).unwrap();
        }
        let before = everything(folder.path());
        let said = match profile::load(&folder.path().join("profiles/t.toml")) {
            Err(error) => error.to_string(),
            Ok(profile) => match check::role_spec(&profile, "1", Vec::new()) {
                Ok(_) => "it was taken".to_owned(),
                Err(mistakes) => mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            },
        };
        assert_eq!(everything(folder.path()), before);
        said
    };
    let with = |text: &str| said(&[("t.toml", format!("{WHOLE}{text}"))]);
    let deep = format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let names: Vec<String> = (0..40).map(|level| format!("parts/e{level}.toml")).collect();
    let mut doublings: Vec<(&str, String)> = names
        .iter()
        .enumerate()
        .map(|(level, name)| {
            let text =
                if level == 39 { String::new() } else { format!("include = [\"e{0}\", \"e{0}\"]\n", level + 1) };
            (name.as_str(), text)
        })
        .collect();
    doublings.push(("t.toml", format!("include = [\"e0\"]\n{WHOLE}")));
    let cases: Vec<Case> = vec![
        ("no TOML", with("[["), "t.toml:"),
        ("a key that nobody knows", with("rollback = 1\n"), "rollback"),
        ("brackets without end", said(&[("t.toml", deep)]), "t.toml"),
        (
            "includes itself",
            said(&[
                ("t.toml", format!("include = [\"a\"]\n{WHOLE}")),
                ("parts/a.toml", "include = [\"a\"]\n".to_owned()),
            ]),
            "includes itself",
        ),
        (
            "two that include each other",
            said(&[
                ("t.toml", format!("include = [\"one\"]\n{WHOLE}")),
                ("parts/one.toml", "include = [\"two\"]\n".to_owned()),
                ("parts/two.toml", "include = [\"one\"]\n".to_owned()),
            ]),
            "one.toml includes itself",
        ),
        (
            "a part that is not there",
            said(&[("t.toml", format!("include = [\"/etc/passwd\"]\n{WHOLE}"))]),
            "there is no part",
        ),
        ("a folder that climbs out", with("[directory.\"/run/../etc\"]\n"), "without `..`"),
        (
            "a template outside of /run",
            with("[[template]]\nfrom = \"a.j2\"\nto = \"/etc/passwd\"\n"),
            "not to \"/etc/passwd\"",
        ),
        ("a sysctl that climbs out", with("[sysctl]\n\"../../etc/x\" = \"1\"\n"), "not a valid kernel setting"),
        (
            "a user that does not exist",
            with("[service.a]\nrun = [\"/bin/a\"]\nuser = \"ghost\"\n"),
            "no user \"ghost\"",
        ),
        (
            "a capability that does not exist",
            with("[service.a]\nrun = [\"/bin/a\"]\ncapabilities = [\"EVERYTHING\"]\n"),
            "EVERYTHING",
        ),
        (
            "services that wait for each other",
            with("[service.a]\nrun = [\"/a\"]\nafter = [\"b\"]\n[service.b]\nrun = [\"/b\"]\nafter = [\"a\"]\n"),
            "would never start",
        ),
        ("a mode that is not a valid mode", with("[directory.\"/run/x\"]\nmode = \"99999\"\n"), "99999"),
        (
            "a size behind 64 bits",
            with("[service.a]\nrun = [\"/a\"]\nlimits = { memory = \"99999999999GiB\" }\n"),
            "99999999999GiB",
        ),
        ("includes that double each time", said(&doublings), "more than 256 files are included"),
        (
            "a file that is too large to be one",
            said(&[("t.toml", format!("# {}\n{WHOLE}", "x".repeat(2 << 20)))]),
            "the limit is 1048576",
        ),
        ("a key of a kind it has not", with("[service.a]\nrun = \"/bin/a\"\n"), "t.toml"),
    ];
    check_all("profile", cases, 16);
}

#[test]
fn overlays() {
    let lay = |make: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("overlay");
        fs::create_dir_all(at.join("etc")).unwrap();
        make(&at);
        let mut tree = Tree::default();
        tree.nodes.insert("etc".to_owned(), Node::directory("base"));
        tree.nodes.insert("etc/passwd".to_owned(), Node::of(Kind::File(vec![1].into()), 0o644, "base"));
        let before = everything(folder.path());
        let result = overlay::lay(&mut tree, &at, "t", &Accounts::default());
        assert_eq!(everything(folder.path()), before);
        let said = result.map_or_else(|error| error.to_string(), |()| "it was taken".to_owned());
        said.replace(&folder.path().display().to_string(), "")
    };
    let rules = |text: &'static str| lay(&|at| fs::write(at.join("overlay.toml"), text).unwrap());
    let socket = std::cell::RefCell::new(None);
    let cases: Vec<Case> = vec![
        (
            "a pipe",
            lay(&|at| {
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mknodat(rustix::fs::CWD, at.join("etc/pipe"), rustix::fs::FileType::Fifo, mode, 0)
                    .unwrap();
            }),
            "etc/pipe is neither file",
        ),
        (
            "a socket",
            lay(&|at| *socket.borrow_mut() = Some(UnixListener::bind(at.join("etc/sock")).unwrap())),
            "etc/sock is neither file",
        ),
        (
            "a name that is not text",
            lay(&|at| fs::write(at.join(std::ffi::OsStr::from_bytes(b"etc/\xff")), "").unwrap()),
            "a name that is not UTF-8",
        ),
        (
            "a link to what is not text",
            lay(&|at| {
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(b"\xff"), at.join("etc/link")).unwrap();
            }),
            "etc/link: a name that is not UTF-8",
        ),
        ("a folder over a file", lay(&|at| fs::create_dir_all(at.join("etc/passwd/x")).unwrap()), "is a folder, but"),
        (
            "an overlay.toml that is a folder",
            lay(&|at| fs::create_dir(at.join("overlay.toml")).unwrap()),
            "cannot read",
        ),
        (
            "a rule for what is not there",
            rules("[path.\"../../etc/shadow\"]\nmode = \"0777\"\n"),
            "is not a valid pattern",
        ),
        ("a rule for another's file", rules("[path.\"etc/passwd\"]\nmode = \"0777\"\n"), "nothing at \"etc/passwd\""),
        ("a rule with a number for an owner", rules("[path.\"etc\"]\nowner = 0\n"), "overlay.toml:2"),
    ];
    check_all("overlay", cases, 9);
}
