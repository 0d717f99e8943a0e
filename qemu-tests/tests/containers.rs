//! What k3s needs from a node, shown with Debian's containerd and runc: containers run under firstboot on an image with the
//! part `containerd-host`.

use contract::control::{Call, Request as Ask, VERSION};
use contract::layout::Partition;
use emulator::{Machine, Network, Node};
use qemu_tests::agent::Agent;
use qemu_tests::attack::{CONTAINER_HOST, only_what_is_expected_is_reached};
use qemu_tests::figures::figure;
use qemu_tests::foreign;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request};
use qemu_tests::router::{STEP, number_after, service, wait_up};
use qemu_tests::s3::{Answer, http};
use qemu_tests::server::tls::Authority;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The image in containerd, made on the node from the probe's own program.
const IMAGE: &str = "test.local/probe:1";
/// How a program gets there.
const INSIDE: [&str; 3] = ["/usr/lib/microdc/probe", "enter", "containerd"];
/// The cgroups of containers, as the node sees them.
const CGROUPS: &str = "/sys/fs/cgroup/services/containerd/inside/default";
/// 48 MiB.
const LIMIT: &str = "50331648";

/// The image in the registry that the other node runs.
const PULLED: &str = "10.0.0.2:5000/probe:1";

/// Where a container answers by HTTP, in the node's own network.
const WEB: u16 = 7100;

/// The node of this number, with more lines in its node.toml under `[network.eth0]`, and a port of this host that leads to
/// its port [`WEB`].
fn start(number: u8, lan: &Network, more: &str) -> (Node, u16) {
    let name = format!("n{number}");
    let config = format!(
        "name = \"{name}\"\n[cluster]\nname = \"rack1\"\n[network.eth1]\naddresses = [\"10.0.2.15/24\"]\n\
         [network.eth0]\naddresses = [\"10.0.0.{number}/24\"]\n{more}\
         [disks]\ndata = \"ext4\"\n"
    );
    let machine = Machine::new(images::containerd()).name(&name).serial(&format!("MICRODC{number}")).network(lan);
    let mut machine = machine.user_network().port(PORT).disk_size(4 << 30).deadline(Duration::from_secs(900));
    let port = machine.forward(WEB).unwrap();
    (machine.node_config(config).start().unwrap(), port)
}

fn run(agent: Agent<'_>, words: &[&str]) -> Result<String, String> {
    agent.ask(&Request::Run(words.iter().map(|&word| word.to_owned()).collect()))
}

/// Runs a program among the processes of containerd.
fn inside(agent: Agent<'_>, words: &[&str]) -> Result<String, String> {
    run(agent, &[&INSIDE, words].concat())
}

fn fine_inside(agent: Agent<'_>, words: &[&str]) -> String {
    inside(agent, words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn fine(agent: Agent<'_>, words: &[&str]) -> String {
    run(agent, words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn begin(agent: Agent<'_>, name: &str, words: &[&str]) {
    let run = words.iter().map(|&word| word.to_owned()).collect();
    agent.ask(&Request::Begin { name: name.to_owned(), run }).unwrap();
}

/// `ctr run` of the image with a network and a limit of memory.
fn container<'w>(name: &'w str, act: &[&'w str]) -> Vec<&'w str> {
    let head = ["/usr/bin/ctr", "run", "--rm", "--cni", "--memory-limit", LIMIT, IMAGE, name, "/probe"];
    [&INSIDE, head.as_slice(), act].concat()
}

/// What containers leave behind when they are not cleaned up.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    cgroups: String,
    mounts: Vec<String>,
    links: Vec<String>,
    namespaces: usize,
    rules: Vec<String>,
    addresses: String,
}

fn traces(agent: Agent<'_>) -> Traces {
    let probe = "/usr/lib/microdc/probe";
    let lines =
        |text: String, word: &str| text.lines().filter(|line| line.contains(word)).map(str::to_owned).collect();
    Traces {
        cgroups: run(agent, &[probe, "list", CGROUPS]).unwrap_or_default(),
        mounts: lines(
            fine_inside(agent, &[probe, "cat", "/proc/self/mounts"]),
            "/run/containerd/io.containerd.runtime",
        ),
        links: lines(agent.cat("/proc/net/dev"), "veth"),
        namespaces: fine(agent, &[probe, "network-namespaces"]).lines().count(),
        rules: lines(fine(agent, &["/usr/sbin/iptables-save", "-t", "nat"]), "10.42.0."),
        addresses: run(agent, &[probe, "list", "/run/cni/networks/pods"]).unwrap_or_default(),
    }
}

#[test]
fn containers_start_are_limited_reach_other_nodes_and_leave_nothing() {
    let lan = Network::new();
    let route = "[[network.eth0.route]]\nto = \"10.42.0.0/24\"\nvia = \"10.0.0.1\"\n";
    let authority = Authority::new("10.0.0.2");
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let [certificate, key] = authority.server().each_ref().map(text);
    let registry = format!(
        "{route}[vars]\nregistry_certificate = \"\"\"\n{certificate}\"\"\"\n\
         [vars.secret]\nregistry_key = \"\"\"\n{key}\"\"\"\n"
    );
    let trust = format!("[certificates]\ntrust = [\"\"\"\n{}\"\"\"]\n", text(&authority.certificate()));
    let ((mut one, web), (mut other, _)) = (start(1, &lan, &trust), start(2, &lan, &registry));
    wait_up(&other, "n2").unwrap();
    begin(Agent(&other), "listen", &["/usr/lib/microdc/probe", "listen", "0.0.0.0:7000"]);
    wait_up(&one, "n1").unwrap();
    let agent = Agent(&one);
    the_system_is_as_container_engines_want_it(agent);
    let begun = Instant::now();
    fine_inside(agent, &["/usr/lib/microdc/probe", "oci-image", IMAGE, "/tmp/image.tar"]);
    fine_inside(agent, &["/usr/bin/ctr", "images", "import", "--platform", "linux/arm64", "/tmp/image.tar"]);
    figure("an image imported into containerd", format_args!("{:.1} s", begun.elapsed().as_secs_f64()));

    let begun = Instant::now();
    let said = fine(agent, &container("first", &["talk-and-end", "hello"]));
    assert_eq!(said.trim(), "hello");
    figure("a container from ctr run to its removal", format_args!("{:.1} s", begun.elapsed().as_secs_f64()));
    // The bridge stays; with it as it is after a first container, nothing else is left by those that follow.
    let before = traces(agent);
    assert_eq!(
        (before.links.len(), before.namespaces, before.mounts.len(), before.rules.len()),
        (0, 1, 0, 0),
        "{before:?}"
    );

    it_reaches_another_node(agent);
    its_limit_of_memory_is_enforced(agent);
    the_one_that_runs_is_seen_and_cleaned_up(agent, &before);
    assert_eq!(traces(agent), before);
    what_is_kept_lies_on_data(agent);
    an_image_is_pulled_from_a_registry_that_the_node_trusts(agent, &other);
    only_what_is_expected_is_reached(agent, &[("containerd", CONTAINER_HOST)]);
    containers_outlive_their_engine(&one);
    other.kill();
    a_container_serves(agent);
    one.power_off().unwrap();
    one.wait_off(STEP).unwrap();
    a_container_has_its_time_to_end(&one);
    assert!(!one.console().contains("could not be unmounted"), "{}", one.console());
    the_container_serves_again(&mut one, web);
}

/// One that containerd starts again after a restart of the node, by the labels of its plug-in `restart`.
fn a_container_serves(agent: Agent<'_>) {
    let labels = ["containerd.io/restart.status=running", "containerd.io/restart.policy=always"];
    let address = format!("0.0.0.0:{WEB}");
    let run = ["/usr/bin/ctr", "run", "-d", "--net-host", "--label", labels[0], "--label", labels[1], IMAGE, "web"];
    fine_inside(agent, &[&run[..], &["/probe", "http", &address]].concat());
}

/// From the return of power to its answer, and where the time goes.
fn the_container_serves_again(node: &mut Node, port: u16) {
    node.kill();
    let (begun, mark) = (Instant::now(), node.console().len());
    node.power_on().unwrap();
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            assert!(begun.elapsed() < STEP, "it does not serve:\n{}", node.console());
            std::thread::sleep(Duration::from_millis(100));
        }
        begun.elapsed().as_secs_f32()
    };
    let said = |text: &str| until(&|| node.console().get(mark..).is_some_and(|console| console.contains(text)));
    let (up, engine) = (said("n1 is up"), said("service containerd ready"));
    let answers = || matches!(http(port, "GET", "/", "", b""), Ok(Answer { status: 200, .. }));
    let served = until(&answers);
    figure(
        "power back to a container's answer by HTTP",
        format_args!("{served:.1} s: {up:.1} s until the node was up, {engine:.1} s until containerd was ready"),
    );
}

/// Where a container notes how it fares: on `data`, as the node and as containerd sees it.
const NOTES: [&str; 2] = ["/data/directories/var/lib/containerd/notes", "/var/lib/containerd/notes"];

/// A restart at an operator's word and a kill, after which the same process goes on and the engine knows it.
fn containers_outlive_their_engine(node: &Node) {
    let agent = Agent(node);
    agent.write(NOTES[0], "");
    let mount = format!("type=bind,src={},dst=/notes,options=rbind:rw", NOTES[1]);
    let run = ["/usr/bin/ctr", "run", "-d", "--mount", &mount, IMAGE, "outliving", "/probe", "until-term", "/notes"];
    fine_inside(agent, &run);
    let beats = |agent: Agent<'_>| agent.cat(NOTES[0]).matches("beat").count();
    agent.until("it runs", |agent| (beats(agent) > 0).then_some(()));
    let processes = format!("{CGROUPS}/outliving/cgroup.procs");
    let process = agent.cat(&processes);
    assert_eq!(process.lines().count(), 1, "{process}");
    let restart = Call { version: VERSION, request: Ask::Restart { service: "containerd".to_owned() } };
    let restart = Request::Call(serde_json::to_string(&restart).unwrap());
    for (restarts, blow) in [(1, restart), (2, Request::Kill { name: "containerd".to_owned(), signal: 9 })] {
        agent.ask(&blow).unwrap();
        agent.until("containerd is back", |agent| {
            let page = agent.0.page("s", STEP).unwrap();
            let line = service(&page, "containerd");
            (line.contains(": ready") && number_after(line, "restarts") == Some(restarts)).then_some(())
        });
        assert_eq!(agent.cat(&processes), process, "{blow}");
        let (before, listed) = (beats(agent), fine_inside(agent, &["/usr/bin/ctr", "tasks", "ls"]));
        assert!(listed.lines().any(|line| line.contains("outliving") && line.contains("RUNNING")), "{listed}");
        agent.until("it goes on", |agent| (beats(agent) > before + 1).then_some(()));
    }
    // A new one is as good as before.
    let said = fine(agent, &container("after", &["talk-and-end", "hello"]));
    assert_eq!(said.trim(), "hello");
}

/// At the node's end it was asked, and ended when it was done.
fn a_container_has_its_time_to_end(node: &Node) {
    let path =
        format!("{}?offset={}", node.disk().path().display(), node.disk().extent(Partition::Data).unwrap().offset);
    let notes = foreign::run("debugfs", &["-R", "cat /directories/var/lib/containerd/notes"], "", path.as_ref());
    let (_, after) = notes.split_once("TERM").unwrap_or_else(|| panic!("it was not asked: {notes}"));
    assert!(after.contains("ended") && !after.contains("beat"), "{notes}");
}

fn the_system_is_as_container_engines_want_it(agent: Agent<'_>) {
    let mounts = agent.cat("/proc/self/mountinfo");
    let mount = |point: &str| {
        let found = mounts.lines().find(|line| line.split(' ').nth(4) == Some(point));
        found.unwrap_or_else(|| panic!("nothing on {point}:\n{mounts}"))
    };
    for shared in ["/", "/data", "/var/lib/containerd", "/run", "/sys/fs/cgroup"] {
        assert!(mount(shared).contains(" shared:"), "{}", mount(shared));
    }
    for (point, kind) in
        [("/sys/fs/bpf", "bpf"), ("/dev/shm", "tmpfs"), ("/dev/pts", "devpts"), ("/sys/fs/cgroup", "cgroup2")]
    {
        assert!(mount(point).contains(&format!(" - {kind} ")), "{}", mount(point));
    }
    // Programs may run from there.
    assert!(!mount("/var/lib/containerd").contains("noexec"), "{}", mount("/var/lib/containerd"));
    assert_eq!(agent.cat("/proc/1/cgroup").trim(), "0::/init");
    let controllers = agent.cat("/sys/fs/cgroup/cgroup.subtree_control");
    for controller in ["cpu", "cpuset", "io", "memory", "pids"] {
        assert!(controllers.split_whitespace().any(|found| found == controller), "no {controller} in {controllers}");
    }
    agent.has_modules(&[
        "overlay",
        "br_netfilter",
        "nf_conntrack",
        "vxlan",
        "veth",
        "bridge",
        "nft_compat",
        "xt_comment",
        "xt_MASQUERADE",
        "xt_conntrack",
        "xt_nat",
        "xt_mark",
        "xt_statistic",
        "xt_addrtype",
        "xt_multiport",
        "ip_set",
        "xt_set",
    ]);
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/bridge/bridge-nf-call-iptables", "1"),
        ("net/bridge/bridge-nf-call-ip6tables", "1"),
        ("vm/overcommit_memory", "1"),
        ("kernel/panic", "10"),
        ("kernel/keys/root_maxkeys", "1000000"),
    ] {
        assert_eq!(agent.cat(&format!("/proc/sys/{setting}")).trim(), value, "{setting}");
    }
    assert_eq!(agent.cat("/etc/machine-id").trim().len(), 32);
    for name in ["iptables", "ip6tables"].map(|name| format!("/usr/sbin/{name}")) {
        let version = fine(agent, &[&name, "--version"]);
        assert!(version.contains("nf_tables"), "{version}");
        for half in ["-save", "-restore"] {
            fine(agent, &[&format!("{name}{half}"), "--version"]);
        }
    }
    let page = agent.0.page("s", STEP).unwrap();
    assert!(service(&page, "containerd").contains(": ready"), "{page}");
}

/// Over the bridge: by a route as itself, and masqueraded by a rule as kube-proxy and flannel make them, of iptables with
/// the kernel's xt modules behind nft_compat.
fn it_reaches_another_node(agent: Agent<'_>) {
    let said = fine(agent, &container("caller", &["fetch", "10.0.0.2:7000"]));
    assert!(said.contains("fetched \"you are 10.42.0."), "{said}");
    let rule = |verb: &'static str| {
        let words =
            "-s 10.42.0.0/24 -m addrtype --dst-type UNICAST -m comment --comment pods -j MASQUERADE --random-fully";
        let head = ["/usr/sbin/iptables", "-t", "nat", verb, "POSTROUTING"];
        fine(agent, &head.into_iter().chain(words.split(' ')).collect::<Vec<_>>());
    };
    rule("-A");
    let said = fine(agent, &container("masked", &["fetch", "10.0.0.2:7000"]));
    assert!(said.contains("fetched \"you are 10.0.0.1:"), "{said}");
    rule("-D");
}

fn its_limit_of_memory_is_enforced(agent: Agent<'_>) {
    let error = run(agent, &container("greedy", &["hold-memory", "200"])).unwrap_err();
    // 128 and SIGKILL: as ctr hands it on.
    assert!(error.contains("exit status: 137") && !error.contains("holding"), "{error}");
    agent.until("what was greedy is gone", |agent| {
        let mounts = fine_inside(agent, &["/usr/lib/microdc/probe", "cat", "/proc/self/mounts"]);
        (!mounts.contains("/greedy/")).then_some(())
    });
}

fn the_one_that_runs_is_seen_and_cleaned_up(agent: Agent<'_>, before: &Traces) {
    begin(agent, "staying", &container("staying", &["hold-memory", "20"]));
    agent
        .until("it holds its memory", |agent| agent.cat("/run/staying.log").contains("holding 20 MiB").then_some(()));
    let group = format!("{CGROUPS}/staying");
    assert_eq!(agent.cat(&format!("{group}/memory.max")).trim(), LIMIT);
    let held: u64 = agent.cat(&format!("{group}/memory.current")).trim().parse().unwrap();
    assert!((20 << 20..48 << 20).contains(&held), "{held}");
    assert!(agent.cat(&format!("{group}/memory.events")).contains("oom_kill 0"));
    let now = traces(agent);
    assert_eq!((now.links.len(), now.namespaces), (1, 2), "{now:?}");
    assert!(!now.mounts.is_empty() && now.addresses.contains("10.42.0.") && now != *before, "{now:?}");
    fine_inside(agent, &["/usr/bin/ctr", "tasks", "kill", "--signal", "SIGKILL", "staying"]);
    let end = agent.until("ctr has ended", |agent| Some(agent.cat("/run/staying.end")).filter(|end| !end.is_empty()));
    assert_eq!(end, "exit status: 137");
    assert_eq!(agent.cat(&format!("{group}/memory.max")), "");
}

/// By containerd itself (`--local=false`), as for a pod, and not by ctr.
fn an_image_is_pulled_from_a_registry_that_the_node_trusts(agent: Agent<'_>, registry: &Node) {
    Agent(registry).until("the registry is ready", |agent| {
        let page = agent.0.page("s", STEP).unwrap();
        service(&page, "registry").contains(": ready").then_some(())
    });
    let ctr = "/usr/bin/ctr";
    fine_inside(agent, &[ctr, "images", "tag", IMAGE, PULLED]);
    fine_inside(agent, &[ctr, "images", "push", "--platform", "linux/arm64", PULLED]);
    fine_inside(agent, &[ctr, "images", "rm", "--sync", IMAGE, PULLED]);
    assert_eq!(fine_inside(agent, &[ctr, "content", "ls", "-q"]), "");
    let pull = [ctr, "images", "pull", "--local=false", "--platform", "linux/arm64", PULLED];
    let begun = Instant::now();
    fine_inside(agent, &pull);
    figure("an image pulled from a TLS registry", format_args!("{:.1} s", begun.elapsed().as_secs_f64()));
    fine_inside(agent, &[ctr, "images", "tag", PULLED, IMAGE]);
    let said = fine(agent, &container("pulled", &["talk-and-end", "pulled"]));
    assert_eq!(said.trim(), "pulled");
    // The node that runs it has no such certificate in its own node.toml.
    let error = inside(Agent(registry), &pull).unwrap_err();
    assert!(error.contains("certificate signed by unknown authority"), "{error}");
}

fn what_is_kept_lies_on_data(agent: Agent<'_>) {
    let listed = run(agent, &["/usr/lib/microdc/probe", "list", "/data/directories/var/lib/containerd"]).unwrap();
    assert!(listed.contains("io.containerd.snapshotter.v1.overlayfs"), "{listed}");
    assert!(fine_inside(agent, &["/usr/bin/ctr", "images", "ls", "-q"]).contains(IMAGE));
}
