//! Entries of profiles that count as a whole: services, health checks, artifacts, and what a trial must show.

use crate::profile::{Folder, WHOLE};
use microdc::profile::check;

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
         temporary = [\"/var/cache/web\"]\nhidden = [\"/boot\"]\nread_only = [\"/state\"]\n\
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
    assert_eq!(kinds, ["hidden", "temporary", "bind", "read-only"]);
    // What it keeps it may change.
    assert_eq!(web.sandbox.folders, ["/var/lib/web"]);
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
        ("[[health]]\ntcp = \"localhost\"", "not a valid address with a port"),
        ("[[health]]\nhttp = { url = \"https://127.0.0.1/\" }", "no certificate to trust"),
        ("[[health]]\nhttp = { url = \"ftp://127.0.0.1/\" }", "does not begin with http:// or https://"),
        ("[[health]]\nroute = \"10.0.0.0/99\"", "neither an address nor a prefix"),
        ("[[health]]\nroute = { confg = \"a\" }", "a.path.in.node.toml"),
        ("[[health]]\nmemory = \"1GiB\"\n[[health]]\nmemory = \"2GiB\"", "are called \"memory\""),
        ("[[health]]\ndisk = { path = \"/state\" }", "`free` or `free_percent`"),
        ("[[health]]\nsevice = \"web\"", "did you mean `service`?"),
        ("hidden = [\"boot\"]", "must be an absolute path"),
        ("temporry = [\"/tmp\"]", "did you mean `temporary`?"),
        ("limits = { cpu_weight = 0 }", "must be 1 to 10000"),
        ("ready = { tcp = \"80\" }", "not a valid address with a port"),
        ("data = [\"/var/lib/web\"]\npersistent = [\"/var/lib/web\"]", "kept by two entries"),
        ("data = [\"var/lib/web\"]", "must be an absolute path"),
        ("persistent = [\"/var/lib/web\"]\n[directory.\"/var/lib/web\"]\npersistent = true", "kept by two entries"),
    ] {
        let shown = with(text).mistake();
        assert!(shown.contains(wanted) && shown.contains("t.toml"), "{text}: {shown}");
    }
}

#[test]
fn a_folder_of_a_service_may_have_a_limit() {
    let spec = spec(
        "persistent = [\"/etc/web\", { path = \"/var/lib/web\", limit = \"200 MiB\" }]\n\
         data = [{ path = \"/srv/web\", limit = \"2GiB\" }]\n\
         [directory.\"/var/cache/web\"]\npersistent = true\nlimit = \"1MiB\"",
    );
    let limit = |path: &str| spec.directories.iter().find(|directory| directory.path == path).unwrap().limit_bytes;
    assert_eq!(
        ["/etc/web", "/var/lib/web", "/srv/web", "/var/cache/web"].map(limit),
        [None, Some(200 << 20), Some(2 << 30), Some(1 << 20)]
    );
    for folder in ["/etc/web", "/var/lib/web", "/srv/web"] {
        assert!(spec.services["web"].sandbox.folders.contains(&folder.to_owned()), "{folder}");
    }
    // Nodes of earlier releases read the others as they always have.
    let text = serde_json::to_string(&spec.directories).unwrap();
    assert_eq!(text.matches("limit_bytes").count(), 3, "{text}");
}

#[test]
fn a_limit_that_cannot_hold_is_shown_where_it_is_written() {
    let of_web = |more: &str| format!("persistent = [{{ path = \"/var/lib/web\", limit = \"9MiB\" }}]\n{more}");
    for (text, wanted, at) in [
        ("persistent = [{ path = \"/v\", limit = \"9MB\" }]".to_owned(), "\"9MB\" is not a valid size", "9MB"),
        ("persistent = [{ path = \"/v\", limt = \"9MiB\" }]".to_owned(), "did you mean `limit`?", "limt"),
        ("persistent = [{ path = \"/v\" }]".to_owned(), "missing field `limit`", "path"),
        ("persistent = [7]".to_owned(), "limit = \"200MiB\" }", "7"),
        ("persistent = [{ path = \"/v\", limit = \"0B\" }]".to_owned(), "is 0B, less than 1MiB", "0B"),
        ("data = [{ path = \"/v\", limit = \"1023KiB\" }]".to_owned(), "is 1023KiB, less than 1MiB", "1023KiB"),
        ("persistent = [{ path = \"/v\", limit = \"1GiB\" }]".to_owned(), "keep the folder on `data`", "1GiB"),
        ("[directory.\"/run/v\"]\nlimit = \"2MiB\"".to_owned(), "is not persistent", "2MiB"),
        (of_web("[directory.\"/var/lib/web/a\"]\npersistent = true"), "/var/lib/web/a is kept as well", "9MiB"),
        (of_web("[directory.\"/var/lib\"]\npersistent = true"), "/var/lib is kept as well", "9MiB"),
        (of_web("capabilities = [\"SYS_RESOURCE\"]"), "which has the capability SYS_RESOURCE", "9MiB"),
        (of_web("sandbox = { unconfined = true }"), "which has `sandbox.unconfined`", "9MiB"),
        (
            of_web(
                "[service.other]\nrun = [\"/usr/bin/web\"]\nsandbox = { unconfined = true, folders = [\"/var/lib/web\"] }",
            ),
            "does not hold for the service other",
            "9MiB",
        ),
    ] {
        let shown = with(&text).mistake();
        assert!(shown.contains(wanted), "{text}: {shown}");
        let marked = shown.lines().any(|line| line.contains(at) && line.contains('|'));
        assert!(marked && shown.contains("t.toml"), "{text}: {shown}");
    }
    // Beside it is not in it.
    spec(&of_web("[directory.\"/var/lib/web2\"]\npersistent = true"));
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
        ("to = \"usr/bin/p\"\nfile = \"p\"\n", "not an absolute path", "/usr/bin/program"),
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
    let microdc::profile::artifact::ArtifactSource::File(path) =
        own.load().unwrap().artifacts["p"].value.from.clone()
    else {
        panic!("no file")
    };
    assert_eq!(path, own.path("x"));
}
