//! What goes wrong is told with what, where and what next; it leaves no half image, and a cache to go on with.

use crate::end_to_end::project::{NOWHERE, Project, Warmth, public_key};
use crate::end_to_end::{MICRODC, in_cache, is_root, machine_mirror, router, said};
use crate::source_kit::archive::base;
use crate::source_kit::server::{Fault, Server};
use microdc::release_key;
use microdc::source::Quiet;
use microdc::source::http::{Client, Patience};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const OLDER: &[u8] = b"an older image";
const PROFILE: &str = "profiles/router.toml";

/// A project with an older image in it.
struct Scene {
    project: Project,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(warmth: Warmth) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::new(folder.path(), warmth);
        std::fs::create_dir_all(project.folder.join("out")).unwrap();
        std::fs::write(project.image(), OLDER).unwrap();
        Scene { project, _folder: folder }
    }

    /// The one file in `out/` is the older image, as it was.
    fn assert_untouched(&self) {
        let out = std::fs::read_dir(self.project.folder.join("out")).unwrap();
        let names: Vec<_> = out.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["router.img"]);
        assert!(std::fs::read(self.project.image()).unwrap() == OLDER, "the older image was touched");
        let temp = std::fs::read_dir(self.project.cache.join("temp")).into_iter().flatten();
        let left: Vec<PathBuf> = temp.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left in the cache: {left:?}");
    }

    /// What a build says that fails, each of `parts` in it.
    fn refused(&self, further: &[&str], parts: &[&str]) -> String {
        let text = said(&self.project.build(further).output().unwrap(), 1);
        for part in parts {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
        self.assert_untouched();
        text
    }

    /// A good build works and fetches nothing.
    fn recovers(&self) {
        self.project.built(&["--offline"]);
        verify(&self.project.image());
    }
}

fn verify(image: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pub");
    std::fs::write(&key, public_key().to_text()).unwrap();
    said(&Command::new(MICRODC).arg("verify").arg(image).arg("--key").arg(key).output().unwrap(), 0);
}

/// A mirror that has one package of the lock, which the scene's cache no longer has. Gives its path on the server too.
fn mirror_of(scene: &Scene, name: &str) -> (Server, String, Vec<u8>) {
    let (path, bytes) = scene.project.forget(name);
    let server = Server::start();
    let path = format!("{}/{path}", base(&router().package(name).suite));
    server.put(&path, bytes.clone());
    (server, path, bytes)
}

#[test]
fn mistakes_in_a_profile_are_shown_where_they_are() {
    let scene = Scene::new(Warmth::Warm);
    let project = &scene.project;
    let good = std::fs::read_to_string(project.folder.join(PROFILE)).unwrap();
    let line_of = |text: &str| good.lines().position(|line| line.contains(text)).unwrap() + 1;
    let cases: [(&str, &str, &[&str]); 9] = [
        // A typo in a key.
        (
            "capabilities = [\"NET_ADMIN\"]",
            "capabilites = [\"NET_ADMIN\"]",
            &["`capabilites`", "did you mean `capabilities`?"],
        ),
        // A path that the package does not have.
        ("usr/sbin/nft\"", "usr/sbin/nfft\"", &["nothing at \"usr/sbin/nfft\"", "did you mean \"usr/sbin/nft\"?"]),
        // A program that was not taken.
        (
            "run = [\"/usr/sbin/nft\"",
            "run = [\"/usr/sbin/nftt\"",
            &["/usr/sbin/nftt is not in the image", "`/usr/sbin/nft`"],
        ),
        ("\"time\"", "\"tiem\"", &["tiem", "`time`"]),
        // What the kernel was not built with; Debian's real config has VETH as a module.
        (
            "[kernel]",
            "[kernel]\nconfig = [\"CONFIG_NAMESPACES\", \"CONFIG_VETH=y\", \"CONFIG_NOT_THERE\"]",
            &[
                "was built with other options",
                "CONFIG_VETH=y is required, but it is \"m\"",
                "CONFIG_NOT_THERE=y|m is required, but it is not set",
            ],
        ),
        ("[kernel]", "[kernel]\nconfig = [\"VETH\"]", &["\"VETH\" is not a kernel configuration option"]),
        // A module that the kernel does not have.
        ("\"vrf\",", "\"vrff\",", &["has no module \"vrff\"; did you mean \"vrf\"?"]),
        // A root that is too small for what is in it.
        (
            "[kernel]",
            "[disk]\nroot = \"16MiB\"\n[kernel]",
            &["root = \"16MiB\"", "set `[disk] root` in the profile, to \"", "MiB\" or more"],
        ),
        // Something that no node.toml has: the service would never run.
        (
            "when = \"router.dhcp or router.subnet\"",
            "when = \"router.dchp\"",
            &["`router.dchp` is not a key of node.toml", "`router.dhcp`"],
        ),
    ];
    for (from, to, parts) in cases {
        project.edit(PROFILE, from, to);
        let text = scene.refused(&[], parts);
        let place = format!("router.toml:{}:", line_of(from));
        if parts[0].contains("nftt") || from == "[kernel]" {
            assert!(text.contains("router.toml:"), "{text}");
        } else {
            assert!(text.contains(&place), "no {place:?} in:\n{text}");
        }
        project.write(PROFILE, &good);
    }

    project.write("profiles/parts/one.toml", "[sysctl]\n\"net.core.somaxconn\" = \"1\"\n");
    project.write("profiles/parts/two.toml", "[sysctl]\n\"net.core.somaxconn\" = \"2\"\n");
    project.edit(PROFILE, "include = [\"base\"", "include = [\"one\", \"two\", \"base\"");
    scene.refused(&[], &["contradict each other about sysctl.net.core.somaxconn", "one.toml", "two.toml"]);
    project.write(PROFILE, &good);

    let template = "overlays/bgp/usr/lib/microdc/templates/bgpd.conf.j2";
    let whole = std::fs::read_to_string(project.folder.join(template)).unwrap();
    project.write(template, &format!("{whole}{{{{ router.no_such_value }}}}\n"));
    let line = whole.lines().count() + 1;
    let place = format!("bgpd.conf.j2:{line}:");
    scene.refused(&[], &["`router.no_such_value` is not a key of node.toml", &place, "bgp.toml"]);
    // What a node may have, and the example has not.
    project.write(template, &format!("{whole}{{{{ haproxy.listen }}}}\n"));
    scene.refused(&[], &["template bgpd.conf.j2", "router.node.toml", "`haproxy` is undefined", &line.to_string()]);
    project.write(template, &whole);
    scene.recovers();
}

#[test]
fn an_unknown_package_is_answered_with_the_names_like_it() {
    let scene = Scene::new(Warmth::Warm);
    let project = &scene.project;
    let good = std::fs::read_to_string(project.folder.join(PROFILE)).unwrap();
    project.edit(PROFILE, "[packages.nftables]", "[packages.nftabels]");
    // Debian's own index, from the machine's mirror.
    let mirror = machine_mirror();
    let further = ["--mirror", &mirror.archive, "--security-mirror", &mirror.security];
    scene.refused(&further, &["no package \"nftabels\"", "did you mean nftables", "router.toml:"]);
    project.write(PROFILE, &good);
    scene.recovers();
}

#[test]
fn an_index_that_was_altered_or_has_expired_is_refused() {
    let scene = Scene::new(Warmth::Warm);
    let project = &scene.project;
    let good = std::fs::read_to_string(project.folder.join(PROFILE)).unwrap();
    project.write(
        PROFILE,
        &format!("{good}\n[packages.not-in-the-lock]\nsuite = \"trixie-security\"\ntake = [\"x\"]\n"),
    );
    let place = "dists/trixie-security/InRelease";
    let client = Client::new(Patience::default(), Arc::default());
    let index = client.small(&format!("{}/{place}", machine_mirror().security), 8 << 20, &Quiet).unwrap();
    let index = String::from_utf8(index).unwrap();
    let server = Server::start();
    let url = server.url("debian");

    let date = index.find("\nDate: ").unwrap() + 10;
    let mut altered = index.clone().into_bytes();
    altered[date] ^= 1;
    server.put(&format!("debian-security/{place}"), altered);
    scene.refused(&["--mirror", &url], &["trixie-security", "is not trusted", "does not verify", "InRelease"]);

    server.put(&format!("debian-security/{place}"), index.into_bytes());
    let arguments = project.build_arguments(&["--mirror", &url]);
    let mut later = Command::new("faketime");
    later.args(["+60 days", MICRODC]).args(&arguments);
    project.settle(&mut later);
    let text = said(&later.output().unwrap(), 1);
    for part in ["trixie-security", "expired", "--accept-expired trixie-security"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    scene.assert_untouched();
    project.write(PROFILE, &good);
    scene.recovers();
}

#[test]
fn a_package_that_is_cut_off_or_altered_is_refused_and_fetched_anew_afterwards() {
    let scene = Scene::new(Warmth::Warm);
    let (server, path, bytes) = mirror_of(&scene, "chrony");
    let url = server.url("debian");
    let named = format!("{}: ", "package chrony");
    server.put(&path, &bytes[..bytes.len() - 1000]);
    let sizes = format!("has {} bytes, expected {}", bytes.len() - 1000, bytes.len());
    scene.refused(&["--mirror", &url], &[&named, &path, &sizes, "try again later, or name another with --mirror"]);
    let mut altered = bytes.clone();
    altered[bytes.len() / 2] ^= 0x10;
    server.put(&path, altered);
    let expected = router().package("chrony").sha256.to_string();
    scene.refused(&["--mirror", &url], &[&named, &path, "SHA-256", &expected, "it was discarded"]);
    server.put(&path, bytes);
    server.forget_requests();
    scene.project.built(&["--mirror", &url]);
    assert_eq!(server.requests().len(), 1, "one package was fetched: {:?}", server.requests());
    scene.recovers();
}

#[test]
fn a_mirror_that_stops_midway_is_asked_again_for_what_is_missing() {
    let scene = Scene::new(Warmth::Warm);
    let (server, path, bytes) = mirror_of(&scene, "frr");
    server.fail(&path, [Fault::Stall(2_000_000), Fault::Cut(1_500_000)]);
    let text = said(&scene.project.build(&["--mirror", &server.url("debian")]).output().unwrap(), 0);
    assert!(text.contains("trying again"), "{text}");
    let requests = server.requests();
    let asked: Vec<_> = requests.iter().map(|request| request.from).collect();
    assert_eq!(asked, [None, Some(2_000_000), Some(3_500_000)]);
    assert_eq!(requests.iter().map(|request| request.sent).sum::<usize>(), bytes.len(), "no byte was fetched twice");
    scene.recovers();
}

/// A new mount namespace, in which `sh` runs a script.
fn apart(script: &str) -> Option<Command> {
    let mut unshare = Command::new("unshare");
    unshare.arg(if is_root() { "-m" } else { "-Urm" });
    let works = Command::new(unshare.get_program()).args(unshare.get_args()).arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        println!("no mount namespace can be had here: full disks are not tried");
        return None;
    }
    unshare.args(["sh", "-c", script]);
    Some(unshare)
}

#[test]
fn a_full_disk_is_named_and_the_next_build_goes_on() {
    let scene = Scene::new(Warmth::Warm);
    let project = &scene.project;
    let (server, path, bytes) = mirror_of(&scene, "frr");
    let place = in_cache("sha256", &project.cache, router().package("frr").sha256, "");
    // A disk as large as told under one folder: too small first, then large enough.
    let script = "mount -t tmpfs -o size=$1 none \"$0\" && folder=$0 large=$2 && shift 2 && { test -z \"$OLDER\" || \
                  printf %s \"$OLDER\" >\"$folder/router.img\"; } && { \"$@\"; echo \"status $?\"; ls -A \"$folder\"; } \
                  && mount -o remount,size=$large \"$folder\" && \"$@\" && echo whole";
    let arguments = project.build_arguments(&["--mirror", &server.url("debian")]);
    let full = |folder: &Path, sizes: [&str; 2], older: &str| {
        let mut command = apart(script)?;
        command.arg(folder).args(sizes).arg(MICRODC).args(&arguments);
        project.settle(&mut command);
        command.env("OLDER", older);
        let text = said(&command.output().unwrap(), 0);
        assert!(text.contains("No space left on device") && text.contains("status 1"), "{text}");
        assert!(text.contains("free some space"), "{text}");
        assert!(text.contains("\nwhole\n"), "{text}");
        Some(text)
    };
    let folder = place.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let Some(text) = full(folder, ["1m", "64m"], "") else { return };
    assert!(text.contains(&folder.display().to_string()), "{text}");
    let sent: Vec<_> = server.requests_of(&path).iter().map(|request| request.from).collect();
    assert!(matches!(sent[..], [None, Some(from)] if from > 500_000), "the second build went on: {sent:?}");
    // That disk is gone with its namespace.
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&place, bytes).unwrap();
    std::fs::write(project.image(), OLDER).unwrap();
    let out = project.folder.join("out");
    std::fs::remove_file(out.join("router.img.bmap")).unwrap();
    let text = full(&out, ["8m", "256m"], "an older image").unwrap();
    assert!(text.contains("router.img") && text.contains("status 1\nrouter.img\n"), "no half image: {text}");
    scene.assert_untouched();
    scene.recovers();
}

fn start(scene: &Scene, further: &[&str]) -> Child {
    scene.project.build(further).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for something to come true while a program runs.
fn wait_for(child: &mut Child, what: &str, mut come: impl FnMut() -> bool) {
    let start = Instant::now();
    while !come() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {what}");
        assert!(start.elapsed() < Duration::from_secs(60), "no {what} in a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ctrl-C, and what the program says until it has ended, soon.
fn interrupt(child: Child) -> String {
    let pressed = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let text = said(&child.wait_with_output().unwrap(), 130);
    assert!(pressed.elapsed() < Duration::from_secs(8), "it took {:?}", pressed.elapsed());
    text
}

#[test]
fn ctrl_c_while_a_mirror_is_silent_stops_at_once_and_keeps_what_came() {
    let scene = Scene::new(Warmth::Warm);
    let (server, path, bytes) = mirror_of(&scene, "frr");
    let url = server.url("debian");
    server.fail(&path, [Fault::Stall(1_000_000)]);
    let part = in_cache("sha256", &scene.project.cache, router().package("frr").sha256, ".part");
    let mut child = start(&scene, &["--mirror", &url]);
    wait_for(&mut child, "a million bytes", || std::fs::metadata(&part).is_ok_and(|part| part.len() == 1_000_000));
    let text = interrupt(child);
    assert!(text.contains("stopped; what was downloaded is kept"), "{text}");
    scene.assert_untouched();
    server.forget_requests();
    scene.project.built(&["--mirror", &url]);
    let sent: usize = server.requests().iter().map(|request| request.sent).sum();
    assert_eq!(sent, bytes.len() - 1_000_000, "only the rest was fetched");
    scene.recovers();
}

#[test]
fn ctrl_c_while_the_image_is_written_leaves_nothing_of_it() {
    let scene = Scene::new(Warmth::Warm);
    let part = scene.project.folder.join("out/.router.img.part");
    let mut child = start(&scene, &[]);
    wait_for(&mut child, "a beginning of the image", || part.exists());
    let text = interrupt(child);
    assert!(text.contains("interrupted"), "{text}");
    scene.assert_untouched();
    scene.recovers();
}

#[test]
fn without_network_a_full_cache_is_enough_and_an_empty_one_says_what_it_lacks() {
    let scene = Scene::new(Warmth::Fetched);
    scene.project.built(&["--mirror", NOWHERE]);
    let scene = Scene::new(Warmth::Empty);
    let text = scene.refused(&["--offline"], &["not in the cache", "--offline", "Build once without --offline"]);
    for package in router().lock.packages.values() {
        assert!(text.contains(&format!("{} {} ({} bytes)", package.name, package.version, package.size)), "{text}");
    }
    scene.refused(&["--mirror", NOWHERE], &[NOWHERE, "gave up after 5 attempts", "check the network", "--mirror"]);
}

#[test]
fn a_key_that_cannot_be_used_is_named_before_anything_is_done() {
    let scene = Scene::new(Warmth::Warm);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("release.key");
    let key = path.to_str().unwrap();
    scene.refused(&["--key", key], &[key, "cannot read", "No such file"]);
    let (path, _) = release_key::make(folder.path(), "open").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = path.to_str().unwrap();
    scene.refused(&["--key", open], &[open, "can be read by others", "chmod 600"]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "no key\n").unwrap();
    scene.refused(&["--key", open], &[open, "holds"]);
    scene.recovers();
}

#[test]
fn two_builds_at_once_share_the_cache_and_one_of_them_the_image() {
    let scene = Scene::new(Warmth::Warm);
    let (server, path, _) = mirror_of(&scene, "frr");
    let url = server.url("debian");
    let children = [start(&scene, &["--mirror", &url]), start(&scene, &["--mirror", &url])];
    let mut built = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            built += 1;
        } else {
            let text = said(&output, 1);
            assert!(text.contains("another microdc is writing this file"), "{text}");
        }
    }
    assert!(built > 0, "one of the two must win");
    assert_eq!(server.requests_of(&path).len(), 1, "the package was fetched once");
    verify(&scene.project.image());
    scene.recovers();
}
