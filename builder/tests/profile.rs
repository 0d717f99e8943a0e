//! Profiles: what they may say, how parts compose, and how mistakes are shown.

use contract::role::ServiceKind;
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
        assert_eq!(service.capabilities, contract::role::Capability::ALL);
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

/// The smallest profile with a service, and these lines more.
fn with(text: &str) -> Folder {
    let whole = WHOLE.replace("{ root = { id = 0 } }", "{ root = { id = 0 }, nobody = { id = 65534 } }");
    Folder::new(&[("t.toml", &format!("{whole}\n[service.web]\nrun = [\"/usr/bin/web\"]\n{text}\n"))])
}

fn spec(text: &str) -> contract::role::RoleSpec {
    check::role_spec(&with(text).load().unwrap(), "1", Vec::new()).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

#[test]
fn a_service_says_in_what_surroundings_it_runs() {
    let spec = spec(
        "user = \"nobody\"\nenvironment_files = [\"/run/web.env\", \"-/state/web.env\"]\n\
         working_folder = \"/var/lib/web\"\nnew_privileges = true\npersistent = [\"/var/lib/web\"]\n\
         temporary = [\"/var/cache/web\"]\nprivate_tmp = true\nhidden = [\"/boot\"]\nread_only = [\"/state\"]\n\
         mounts = [{ from = \"/data/web\", to = \"/srv\", read_only = true }]\n\
         limits = { memory = \"64MiB\", pids = 8, cpu_weight = 50, open_files = 256 }\n\
         ready = { http = { url = \"http://127.0.0.1:8080/ping\", status = 204 } }",
    );
    let web = &spec.services["web"];
    let json = serde_json::to_value(web).unwrap();
    assert_eq!(json["environment_files"][1], serde_json::json!({ "path": "/state/web.env", "optional": true }));
    assert_eq!(
        json["limits"],
        serde_json::json!({ "memory": 67108864, "pids": 8, "cpu_weight": 50, "open_files": 256 })
    );
    assert_eq!(json["ready"]["http"]["status"], 204);
    let kinds: Vec<_> =
        json["mounts"].as_array().unwrap().iter().map(|m| m.as_object().unwrap().keys().next().unwrap()).collect();
    assert_eq!(kinds, ["hidden", "temporary", "temporary", "temporary", "bind", "read-only"]);
    let kept = &spec.directories[0];
    assert!(!kept.data && !web.needs_data);
    assert_eq!(
        (kept.path.as_str(), kept.owner.uid, kept.mode, kept.persistent),
        ("/var/lib/web", 65534, 0o750, true)
    );
}

#[test]
fn a_service_that_keeps_a_folder_on_data_needs_it() {
    let spec = spec("user = \"nobody\"\ndata = [\"/var/lib/web\"]\npersistent = [\"/etc/web\"]");
    assert!(spec.services["web"].needs_data);
    let kept: Vec<_> =
        spec.directories.iter().map(|d| (d.path.as_str(), d.owner.uid, d.persistent, d.data)).collect();
    assert_eq!(kept, [("/etc/web", 65534, true, false), ("/var/lib/web", 65534, true, true)]);
}

#[test]
fn a_health_check_looks_at_one_thing_and_has_a_name() {
    let spec = spec(
        "[[health]]\nservice = \"web\"\nstable = \"10s\"\n\
         [[health]]\ntcp = \"127.0.0.1:80\"\ndeadline = \"30s\"\n\
         [[health]]\nhttp = { url = \"https://localhost/\", insecure = true, body = \"ok\" }\n\
         [[health]]\nrun = [\"/usr/bin/look\", \"hard\"]\n\
         [[health]]\nroute = { config = \"router.neighbor.address\" }\n\
         [[health]]\nneighbour = \"fe80::1\"\n\
         [[health]]\ndisk = { path = \"/state\", free = \"16MiB\", free_percent = \"5%\" }\n\
         [[health]]\nmemory = \"32MiB\"",
    );
    let names: Vec<_> = spec.health.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "web",
            "tcp 127.0.0.1:80",
            "http https://localhost/",
            "look",
            "route router.neighbor.address",
            "neighbour fe80::1",
            "disk /state",
            "memory",
        ]
    );
    assert_eq!((spec.health[0].deadline_ms, spec.health[1].deadline_ms), (120_000, 30_000));
}

#[test]
fn mistakes_in_health_checks_and_services_are_shown_in_their_place() {
    for (text, wanted) in [
        ("[[health]]\nservice = \"wev\"", "did you mean `web`?"),
        ("[[health]]\nservice = \"web\"\ntcp = \"127.0.0.1:80\"", "exactly one of"),
        ("[[health]]\ndeadline = \"5s\"", "exactly one of"),
        ("[[health]]\ntcp = \"localhost\"", "no address with a port"),
        ("[[health]]\nhttp = { url = \"https://127.0.0.1/\" }", "which certificate to trust"),
        ("[[health]]\nhttp = { url = \"ftp://127.0.0.1/\" }", "neither http:// nor https://"),
        ("[[health]]\nroute = \"10.0.0.0/99\"", "no address and no prefix"),
        ("[[health]]\nroute = { confg = \"a\" }", "a.path.in.node.toml"),
        ("[[health]]\nmemory = \"1GiB\"\n[[health]]\nmemory = \"2GiB\"", "are called \"memory\""),
        ("[[health]]\ndisk = { path = \"/state\" }", "`free` or `free_percent`"),
        ("[[health]]\nsevice = \"web\"", "did you mean `service`?"),
        ("hidden = [\"boot\"]", "must be an absolute path"),
        ("temporry = [\"/tmp\"]", "did you mean `temporary`?"),
        ("limits = { cpu_weight = 0 }", "from 1 to 10000"),
        ("ready = { tcp = \"80\" }", "no address with a port"),
        ("data = [\"/var/lib/web\"]\npersistent = [\"/var/lib/web\"]", "kept by two entries"),
        ("data = [\"var/lib/web\"]", "must be an absolute path"),
        ("persistent = [\"/var/lib/web\"]\n[directory.\"/var/lib/web\"]\npersistent = true", "kept by two entries"),
    ] {
        let shown = with(text).mistake();
        assert!(shown.contains(wanted) && shown.contains("t.toml"), "{text}: {shown}");
    }
}

#[test]
fn a_profile_says_what_a_trial_must_show_and_by_when() {
    let usual = contract::role::Trial::default();
    assert_eq!(spec("").update, usual);
    let update = spec("[update]\nsettle = \"5s\"\ncommit = \"4m\"\n").update;
    assert_eq!((update.settle_ms, update.commit_ms), (5_000, 240_000));
    assert_eq!((update.network_ms, update.services_ms), (usual.network_ms, usual.services_ms));
    let text = with("[update]\nnetwork = \"10m\"\n").mistake();
    assert!(text.contains("`update.network` (600000 ms) is later than `update.services`"), "{text}");
    let text = with("[update]\nsettled = \"10m\"\n").mistake();
    assert!(text.contains("did you mean `settle`?"), "{text}");
}

#[test]
fn mistakes_in_an_artifact_are_shown_in_their_line() {
    for (body, reason, proposal) in [
        ("to = \"/usr/bin/p\"\nurll = \"https://h.example/p\"\n", "unknown field `urll`", "did you mean `url`?"),
        ("to = \"/usr/bin/p\"\n", "needs exactly one source", "by `url`"),
        ("to = \"usr/bin/p\"\nfile = \"p\"\n", "no absolute path", "/usr/bin/program"),
        ("to = \"/usr/bin/p\"\ngo = \"example.org/p@latest\"\n", "exact version", "@v1.2.3"),
    ] {
        let text = format!("{WHOLE}\n[artifact.p]\n{body}");
        let shown = Folder::new(&[("t.toml", &text)]).mistake();
        assert!(shown.contains(reason) && shown.contains(proposal) && shown.contains("t.toml:"), "{shown}");
    }
}

#[test]
fn an_artifact_of_a_part_is_overridden_as_a_whole_and_two_parts_contradict_each_other() {
    let part = |file: &str| format!("[artifact.p]\nto = \"/etc/p\"\nfile = \"{file}\"\n");
    let head = format!("include = [\"a\", \"b\"]\n{WHOLE}");
    let parts = [("parts/a.toml", part("a")), ("parts/b.toml", part("b"))];
    let files = |own: &str| {
        let text = format!("{head}\n{own}");
        let parts = parts.iter().map(|(name, text)| (*name, text.as_str()));
        Folder::new(&std::iter::once(("t.toml", text.as_str())).chain(parts).collect::<Vec<_>>())
    };
    assert!(files("").mistake().contains("contradict each other about artifact.p"));
    let profile = files("[artifact.p]\nto = \"/etc/q\"\ngo = \"example.org/p@v1.0.0\"\n").load().unwrap();
    assert_eq!(profile.artifacts["p"].value.to, "etc/q");
    // A file is meant from the folder of the file that says it.
    let own = files("[artifact.p]\nto = \"/etc/p\"\nfile = \"x\"\n");
    let microdc::profile::artifact::From::File(path) = own.load().unwrap().artifacts["p"].value.from.clone() else {
        panic!("no file")
    };
    assert_eq!(path, own.path("x"));
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
        listed!(overlays kernel.initramfs kernel.modules kernel.options kernel.config templates health),
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
