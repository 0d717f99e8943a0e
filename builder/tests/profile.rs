//! Profiles: what they may say, how parts compose, and how mistakes are shown.

use contract::role::ServiceKind;
use microdc::profile::load::ProfileError;
use microdc::profile::{Profile, check, load};
use std::path::{Path, PathBuf};

/// A folder of profiles; every file not given is the smallest that works.
pub struct Folder(tempfile::TempDir);

pub const WHOLE: &str = r#"
role = "router"
summary = "a test"
example = "node.toml"
kernel = { package = "linux-image-arm64" }
firmware = { package = "raspi-firmware" }
user = { root = { id = 0 } }
"#;

impl Folder {
    pub fn new(files: &[(&str, &str)]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("profiles/parts")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join("profiles").join(name), text).unwrap();
        }
        Folder(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("profiles").join(name)
    }

    pub fn load(&self) -> Result<Profile, ProfileError> {
        load(&self.path("t.toml"))
    }

    /// The text that an operator sees.
    pub fn mistake(&self) -> String {
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
fn every_single_value_that_two_includes_say_differently_is_a_contradiction() {
    let values = [
        ("summary", "", "\"one\"", "\"two\""),
        ("rollback_index", "", "1", "2"),
        ("firmware.suite", "[firmware]\n", "\"trixie\"", "\"sid\""),
        ("firmware.component", "[firmware]\n", "\"main\"", "\"non-free-firmware\""),
        ("update.settle", "[update]\n", "\"1s\"", "\"2s\""),
        ("packages.frr.suite", "[packages.frr]\n", "\"trixie\"", "\"sid\""),
    ];
    for (key, table, one, two) in values {
        let name = key.rsplit('.').next().unwrap();
        let part = |value: &str| format!("{table}{name} = {value}\n");
        // Without what the whole one says itself, which would decide.
        let whole = WHOLE.lines().filter(|line| !line.starts_with("summary")).collect::<Vec<_>>().join("\n");
        let folder = Folder::new(&[
            ("t.toml", &format!("include = [\"a\", \"b\"]\n{whole}")),
            ("parts/a.toml", &part(one)),
            ("parts/b.toml", &part(two)),
        ]);
        let shown = folder.mistake();
        assert!(shown.contains(&format!("contradict each other about {key}")), "{key}: {shown}");
    }
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
        (service("stop_timeout = \"ten\""), "not a valid time span", ""),
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
    assert_eq!(profile.compatible.to_string(), "profile \"router\" (role router)");
    let spec = check::role_spec(&profile, "1", Vec::new()).unwrap();
    assert_eq!(spec.services["firewall"].kind, ServiceKind::BeforeNetwork);
    assert_eq!(spec.services["bgpd"].identity.uid, spec.services["zebra"].identity.uid);
    assert_eq!(spec.sysctls["net/ipv4/ip_forward"], "1");
}

#[test]
fn the_profiles_of_a_cluster_are_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let spec = |name: &str| {
        let profile = load(&root.join(format!("profiles/{name}.toml"))).unwrap();
        (
            profile.role.value.to_string(),
            check::role_spec(&profile, "1", Vec::new()).unwrap_or_else(|mistakes| panic!("{mistakes:?}")),
        )
    };
    let (server, agent) = (spec("k3s-server"), spec("k3s-agent"));
    assert_eq!(
        (server.0, agent.0, spec("tinkerbell").0),
        ("k3s-server".to_owned(), "k3s-agent".to_owned(), "tinkerbell".to_owned())
    );
    let services = [&server.1.services["k3s"], &agent.1.services["k3s"]];
    for (service, verb) in services.into_iter().zip(["server", "agent"]) {
        assert_eq!(service.run, ["/usr/bin/k3s", verb, "--config", "/run/rancher/k3s/config.yaml"]);
        // All but the end of the machine and its modules, which no container needs.
        use contract::role::Capability;
        let wanted =
            Capability::ALL.iter().copied().filter(|own| !matches!(own, Capability::SysModule | Capability::SysBoot));
        assert_eq!(service.capabilities, wanted.collect::<Vec<_>>());
        // A mount namespace of its own would cut what it mounts off from the host.
        assert!(service.needs_data && service.new_privileges && service.mounts.is_empty());
    }
}

#[test]
fn an_agent_without_a_server_or_a_token_is_refused_by_its_template() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let template = root.join("overlays/k3s-agent/usr/lib/microdc/templates/k3s-agent.yaml.j2");
    let template = std::fs::read_to_string(template).unwrap();
    let render = |k3s: &str| {
        let text = format!("name = \"a1\"\n[disks]\ndata = \"ext4\"\n{k3s}");
        let config = contract::node::NodeConfig::parse(text.as_bytes()).unwrap();
        contract::template::render("k3s-agent.yaml.j2", &template, &config).map_err(|error| error.to_string())
    };
    assert!(render("").unwrap_err().contains("`k3s` is undefined"));
    assert!(render("[k3s]\ntoken = \"x\"").unwrap_err().contains("`k3s.server` is undefined"));
    let fine = render("[k3s]\nserver = \"https://s1:6443\"\ntoken = \"x\"").unwrap();
    assert!(fine.contains("server: \"https://s1:6443\"\ntoken: \"x\"\n"), "{fine}");
}

/// Everything that a profile comes to, without places and the parts' texts.
fn content(profile: &microdc::profile::Profile) -> String {
    let list = |list: &[microdc::profile::Located<String>]| {
        list.iter().map(|located| located.value.clone()).collect::<Vec<_>>()
    };
    macro_rules! named {
        ($($field:ident)*) => { [$(format!("{} {:?}", stringify!($field), {
            profile.$field.iter().map(|(name, located)| (name, &located.value)).collect::<Vec<_>>()
        })),*].join("\n") };
    }
    macro_rules! listed {
        ($($($field:ident).+)*) => { [$(format!("{} {:?}", stringify!($($field).+), {
            profile.$($field).+.iter().map(|located| &located.value).collect::<Vec<_>>()
        })),*].join("\n") };
    }
    let packages: Vec<_> = profile
        .packages
        .iter()
        .map(|(name, (_, take))| {
            let one = |one: &Option<microdc::profile::Located<String>>| one.as_ref().map(|one| one.value.clone());
            (name, list(&take.patterns), one(&take.suite), one(&take.component))
        })
        .collect();
    let update = &profile.update;
    let times = [&update.settle, &update.network, &update.services, &update.commit]
        .map(|time| time.as_ref().map(|time| time.value));
    let version = profile.version.as_ref().map(|version| &version.value);
    let one = (&profile.role.value, &profile.summary.value, version, profile.rollback_index(), profile.layout);
    let kernel = (&profile.kernel.package.value, &profile.firmware.package.value);
    let firmware = [&profile.firmware.suite, &profile.firmware.component].map(|at| at.as_ref().map(|at| &at.value));
    format!(
        "{one:?}\n{kernel:?} {firmware:?} {times:?}\n{packages:?}\n{}\n{}",
        named!(artifacts users groups links directories sysctls services),
        listed!(overlays kernel.initramfs kernel.modules kernel.options kernel.config firmware.config templates health),
    )
}

#[test]
fn what_inspect_shows_of_a_profile_is_the_same_profile_without_includes() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["profiles", "overlays"] {
        crate::folders::copy(&workspace.join(name), &copy.path().join(name));
    }
    let folder = copy.path().join("profiles");
    let mut seen = 0;
    for entry in std::fs::read_dir(workspace.join("profiles")).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".toml") || name.ends_with(".node.toml") {
            continue;
        }
        let explained = microdc::profile::explain::explain(&path).unwrap();
        let text = explained.to_toml();
        assert!(!text.contains("include ="), "{name}: {text}");
        // Paths in it are relative to the profile's folder.
        let flat = folder.join("flat.toml");
        std::fs::write(&flat, &text).unwrap();
        let flat = microdc::profile::load(&flat).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        assert_eq!(content(&flat), content(&microdc::profile::load(&path).unwrap()), "{name}");
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn what_overrides_what_is_shown_with_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "parts/a.toml",
        "summary = \"a\"\n[sysctl]\n\"net.x\" = \"1\"\n[kernel]\npackage = \"k\"\nmodules = [\"m1\"]\n",
    );
    write(
        "parts/b.toml",
        "include = [\"a\"]\n[service.s]\nrun = [\"/a\"]\n[firmware]\npackage = \"f\"\n[kernel]\nmodules = [\"m2\"]\n",
    );
    write(
        "p.toml",
        "include = [\"a\", \"b\"]\nrole = \"router\"\nsummary = \"p\"\nexample = \"n.toml\"\n[sysctl]\n\"net.x\" = \"2\"\n[service.s]\nrun = [\"/b\"]\nuser = \"root\"\n",
    );
    let explained = microdc::profile::explain::explain(&folder.path().join("p.toml")).unwrap();
    assert_eq!(explained.files, ["p.toml", "parts/a.toml", "parts/b.toml"]);
    let text = explained.to_toml();
    for wanted in [
        "# instead of \"a\"  (parts/a.toml:1)\nsummary = \"p\"",
        "# instead of \"1\"  (parts/a.toml:3)\n\"net.x\" = \"2\"",
        "# instead of { run = [\"/a\"] }  (parts/b.toml:2)\nrun = [\"/b\"]",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let places = ["# p.toml:3", "# p.toml:6", "# p.toml:8", "# p.toml:9", "# parts/a.toml:6", "# parts/b.toml:7"];
    assert!(places.iter().all(|place| text.contains(place)), "{text}");
    assert_eq!(text.matches("\"m1\"").count(), 1, "a part that is included twice counts once: {text}");
}
