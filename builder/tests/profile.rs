//! Profiles: what they may say, how parts compose, and how mistakes are shown.

use contract::role::{Role, ServiceKind};
use microdc::profile::load::ProfileError;
use microdc::profile::{Profile, check, load};
use std::path::{Path, PathBuf};

/// A folder of profiles; every file not given is the smallest that works.
struct Folder(tempfile::TempDir);

const WHOLE: &str = r#"
role = "router"
summary = "a test"
example = "node.toml"
kernel = { package = "linux-image-arm64" }
firmware = { package = "raspi-firmware" }
user = { root = { id = 0 } }
"#;

impl Folder {
    fn new(files: &[(&str, &str)]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("profiles/parts")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join("profiles").join(name), text).unwrap();
        }
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("profiles").join(name)
    }

    fn load(&self) -> Result<Profile, ProfileError> {
        load(&self.path("t.toml"))
    }

    /// The text that an operator sees.
    fn mistake(&self) -> String {
        match self.load() {
            Ok(profile) => match check::role_spec(&profile, "1", Vec::new()) {
                Ok(_) => panic!("no mistake was found"),
                Err(mistakes) => mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            },
            Err(error) => error.to_string(),
        }
    }
}

#[test]
fn a_typo_in_a_key_is_shown_in_its_line_with_a_proposal() {
    let text = format!("{WHOLE}\n[service.bgpd]\nrun = [\"/usr/lib/frr/bgpd\"]\ncapabilites = [\"NET_RAW\"]\n");
    let folder = Folder::new(&[("t.toml", &text)]);
    let Err(ProfileError::Mistakes(mistakes)) = folder.load() else { panic!("the typo was not found") };
    let line = text.lines().position(|line| line.starts_with("capabilites")).unwrap() + 1;
    assert_eq!((mistakes[0].line, mistakes[0].column), (line, 1));
    assert_eq!(mistakes[0].help.as_deref(), Some("did you mean `capabilities`?"));
    let shown = mistakes[0].to_string();
    assert!(shown.contains("t.toml") && shown.contains("capabilites = [\"NET_RAW\"]"), "{shown}");
}

#[test]
fn two_includes_that_contradict_each_other_are_both_shown() {
    let folder = Folder::new(&[
        ("t.toml", &format!("include = [\"a\", \"b\"]\n{WHOLE}")),
        ("parts/a.toml", "[sysctl]\n\"kernel.panic\" = \"10\"\n"),
        ("parts/b.toml", "[sysctl]\n\"kernel.panic\" = \"0\"\n"),
    ]);
    let shown = folder.mistake();
    assert!(shown.contains("contradict each other about sysctl.kernel.panic"), "{shown}");
    assert!(shown.contains("a.toml") && shown.contains("b.toml"), "{shown}");
}

#[test]
fn the_file_that_includes_decides() {
    let folder = Folder::new(&[
        ("t.toml", &format!("include = [\"a\", \"b\"]\n{WHOLE}\n[sysctl]\n\"kernel.panic\" = \"5\"\n")),
        ("parts/a.toml", "[sysctl]\n\"kernel.panic\" = \"10\"\n"),
        ("parts/b.toml", "[sysctl]\n\"kernel.panic\" = \"0\"\n"),
    ]);
    let profile = folder.load().unwrap();
    assert_eq!(profile.sysctls["kernel.panic"].value, "5");
}

#[test]
fn a_part_that_is_included_twice_counts_once() {
    let folder = Folder::new(&[
        ("t.toml", &format!("include = [\"a\", \"b\"]\n{WHOLE}")),
        ("parts/a.toml", "include = [\"c\"]"),
        ("parts/b.toml", "include = [\"c\"]"),
        ("parts/c.toml", "[packages.frr]\ntake = [\"usr/lib/frr/zebra\"]\n"),
    ]);
    assert_eq!(folder.load().unwrap().packages["frr"].1.patterns.len(), 1);
}

#[test]
fn a_circle_of_includes_is_refused() {
    let folder = Folder::new(&[
        ("t.toml", &format!("include = [\"a\"]\n{WHOLE}")),
        ("parts/a.toml", "include = [\"b\"]"),
        ("parts/b.toml", "include = [\"a\"]"),
    ]);
    assert!(folder.mistake().contains("includes itself"));
}

#[test]
fn what_a_profile_lacks_is_named() {
    let folder = Folder::new(&[("t.toml", "summary = \"nothing else\"\n")]);
    let shown = folder.mistake();
    for key in ["role", "example", "kernel.package", "firmware.package"] {
        assert!(shown.contains(&format!("no `{key}`")), "{key}: {shown}");
    }
}

#[test]
fn wrong_references_are_shown_with_a_proposal() {
    let service =
        |body: &str| format!("{WHOLE}\n[service.zebra]\nrun = [\"/x\"]\n[service.bgpd]\nrun = [\"/x\"]\n{body}");
    for (text, reason, proposal) in [
        (service("after = [\"zebar\"]"), "unknown service \"zebar\"", "`zebra`"),
        (service("user = \"rot\""), "no user \"rot\"", "`root`"),
        (service("[[health]]\nservice = \"bgp\"\nstable = \"1s\""), "unknown service \"bgp\"", "`bgpd`"),
        (service("run2 = 1"), "unknown field `run2`", "`run`"),
        (service("stop_timeout = \"ten\""), "no time span", ""),
        (service("kind = \"demon\""), "unknown variant `demon`", "`daemon`"),
        (service("capabilities = [\"NET_ADMN\"]"), "unknown variant `NET_ADMN`", "`NET_ADMIN`"),
        (format!("{WHOLE}\noverlays = [\"nowhere\"]"), "no overlay \"nowhere\"", ""),
        (format!("include = [\"bse\"]\n{WHOLE}"), "there is no part", ""),
        (format!("{WHOLE}\n[disk]\nroot = \"3MiB\""), "multiple of 1 MiB, from 8 MiB", ""),
        (format!("{WHOLE}\n[[template]]\nfrom = \"a\"\nto = \"/etc/a\""), "rendered into /run", ""),
    ] {
        let shown = Folder::new(&[("t.toml", &text)]).mistake();
        assert!(shown.contains(reason), "{reason}: {shown}");
        assert!(shown.contains(proposal), "{proposal}: {shown}");
    }
}

#[test]
fn services_that_wait_for_each_other_are_refused() {
    let text = format!(
        "{WHOLE}\n[service.a]\nrun = [\"/x\"]\nafter = [\"b\"]\n[service.b]\nrun = [\"/x\"]\nafter = [\"a\"]\n\
         [service.c]\nrun = [\"/x\"]\n"
    );
    assert!(Folder::new(&[("t.toml", &text)]).mistake().contains("wait for each other and would never start: a, b"));
    let text = format!("{WHOLE}\n[service.a]\nrun = [\"/x\"]\nkind = \"before-network\"\nafter = [\"network\"]\n");
    assert!(Folder::new(&[("t.toml", &text)]).mistake().contains("wait for each other"));
}

#[test]
fn an_unknown_profile_is_answered_with_the_known_ones() {
    let folder = Folder::new(&[("router.toml", WHOLE)]);
    let error = load::find("roter", folder.0.path()).unwrap_err().to_string();
    assert!(error.contains("did you mean `router`?"), "{error}");
    let error = load::find("zzz", folder.0.path()).unwrap_err().to_string();
    assert!(error.contains("known profiles: router"), "{error}");
}

#[test]
fn the_router_profile_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let profile = load(&root.join("profiles/router.toml")).unwrap();
    assert_eq!(profile.role, Role::Router);
    let spec = check::role_spec(&profile, "1", Vec::new()).unwrap();
    assert_eq!(spec.services["firewall"].kind, ServiceKind::BeforeNetwork);
    assert_eq!(spec.services["bgpd"].identity.uid, spec.services["zebra"].identity.uid);
    assert_eq!(spec.sysctls["net/ipv4/ip_forward"], "1");
}
