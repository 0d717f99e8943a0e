//! What k3s finds on a node, against what its documentation asks for. A stand-in runs in its place
//! (qemu-tests/guest/src/bin/stand-in) and says what it found; the images are those of the profiles in everything else.

use contract::control::{Call, Reply, Request as Ask, VERSION};
use contract::health::{HealthReport, Verdict};
use contract::layout::Partition;
use contract::names::NODE_CONFIG;
use emulator::{Machine, Network, Node};
use qemu_tests::agent::Agent;
use qemu_tests::attack::{CONTAINER_HOST, only_what_is_expected_is_reached};
use qemu_tests::found::Found;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request};
use qemu_tests::router::{STEP, service, wait_up};
use std::path::PathBuf;
use std::time::Duration;

const TOKEN: &str = "K10a1b2c3::server:hunter2hunter2";
const NETWORK: &str =
    "[network.eth0]\naddresses = [\"10.0.0.11/24\"]\ngateway = \"10.0.0.254\"\n[disks]\ndata = \"ext4\"\n";

const PROXY: &str = "[proxy]\nhttp = \"http://10.0.0.9:3128\"\nexcept = [\"10.0.0.0/8\"]\n";
const MORE: &str = "[k3s.registries.mirrors]\n\"registry.example\" = [\"https://cache.rack1.lan:5000\"]\n\
    [k3s.registries.logins.\"cache.rack1.lan:5000\"]\nusername = \"rack1\"\npassword = \"hunter4hunter4\"\n\
    [k3s.snapshots]\nschedule = \"0 */6 * * *\"\nkeep = 7\n[k3s.snapshots.s3]\nendpoint = \"s3.rack1.lan:9000\"\n\
    bucket = \"etcd\"\naccess_key = \"hunter5hunter5\"\nsecret_key = \"hunter6hunter6\"\n";

/// The address of all servers of the cluster.
const VIP: &str = "10.0.0.10";

fn start(image: PathBuf, name: &str, k3s: &str) -> Node {
    let config = format!("name = \"{name}\"\n{NETWORK}{PROXY}[k3s]\n{k3s}\n{MORE}");
    let machine = Machine::new(image).name(name).network(&Network::new()).port(PORT).disk_size(6 << 30);
    let node = machine.deadline(Duration::from_secs(900)).node_config(config).start().unwrap();
    wait_up(&node, name).unwrap();
    node
}

/// Where the stand-in's API has its answers, as the node sees it.
pub const ANSWERS: &str = "/data/directories/var/lib/rancher/k3s/stand-in";
/// What PID 1 answers.
pub fn call(node: &Node, request: Ask) -> Reply {
    let call = serde_json::to_string(&Call { version: VERSION, request }).unwrap();
    let said = Agent(node).ask(&Request::Call(call)).unwrap();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

pub fn health(node: &Node) -> HealthReport {
    match call(node, Ask::Health) {
        Reply::Health(report) => report,
        other => panic!("{other:?}"),
    }
}

/// Watches the node's health until it passes: the lines that it said on the way. Nothing may be missing of what has to be
/// there before: the API with etcd, and the node.
fn the_gate_passes_only_when_the_node_is_in_the_cluster(node: &Node, wanted: &[&str]) {
    let mut said: Vec<String> = Vec::new();
    let begun = std::time::Instant::now();
    loop {
        let report = health(node);
        if report.verdict == Verdict::Passed {
            break;
        }
        let line = report.line();
        if said.last() != Some(&line) {
            said.push(line);
        }
        assert!(begun.elapsed() < STEP, "{said:#?}");
        std::thread::sleep(Duration::from_millis(300));
    }
    for words in wanted {
        assert!(said.iter().any(|line| line.contains(words)), "{words} not in {said:#?}");
    }
    let ready =
        |report: &HealthReport| report.checks.iter().filter(|check| check.name.starts_with("Kubernetes")).count();
    assert!(ready(&health(node)) > 0);
}

pub fn until_health_says(node: &Node, words: &str) {
    let begun = std::time::Instant::now();
    loop {
        let line = health(node).line();
        if line.contains(words) {
            return;
        }
        assert!(begun.elapsed() < STEP, "health never said {words:?}; now it is {line}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// A quorum that is lost turns the node red, with its name, and a quorum that is back makes it well.
fn a_lost_quorum_is_named_and_takes_the_address(node: &Node) {
    let etcd = format!("{ANSWERS}/etcd");
    it_has_the_address(node, true);
    Agent(node).write(&etcd, "RAFT NO LEADER");
    until_health_says(node, "failed: etcd: http://localhost:2381/health answered 503");
    until_health_says(node, "\"reason\":\"RAFT NO LEADER\"");
    until_health_says(node, "Kubernetes API: etcd has no quorum");
    it_has_the_address(node, false);
    Agent(node).write(&etcd, "");
    until_health_says(node, "passed");
    it_has_the_address(node, true);
}

/// Waits until the node has the address of all servers, or has it no more.
fn it_has_the_address(node: &Node, wanted: bool) {
    let line = format!("-- {VIP}");
    Agent(node).until("the address of all servers comes and goes with the API", |agent| {
        let has = agent.cat("/proc/net/fib_trie").lines().any(|found| found.trim_end().ends_with(&line));
        (has == wanted).then_some(())
    });
}

/// The watcher may change addresses, and is told by another service whether the API is ready.
fn only_who_asks_the_api_sees_the_kubelets_key(agent: Agent<'_>) {
    let read = |service: &str, file: &str| {
        let words = ["/usr/lib/microdc/firstboot", "confine-as", service, "/usr/lib/microdc/probe", "cat", file];
        agent.ask(&Request::Run(words.map(str::to_owned).to_vec()))
    };
    let key = "/var/lib/rancher/k3s/agent/client-kubelet.key";
    assert!(read("vip-api", key).unwrap().contains("EC PRIVATE KEY"));
    read("vip", key).unwrap_err();
    read("vip", "/run/vip/down").unwrap();
    only_what_is_expected_is_reached(agent, &[("vip-api", &[])]);
}

/// Settings of a YAML file without its comments.
fn settings(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty()).collect()
}

/// What holds for servers and agents.
fn its_surroundings_are_what_k3s_asks_for(found: &Found, name: &str, agent: Agent<'_>, run: u32) {
    for fact in ["Uid 0 0 0 0", "NoNewPrivs 0", "files 1048576", "cgroup 0::/init.scope", "mounts those of PID 1"] {
        found.has(fact);
    }
    let mask = found.all("CapEff")[0];
    let lacks = !u64::from_str_radix(mask, 16).unwrap() & ((1 << 41) - 1);
    // SYS_MODULE, SYS_RAWIO, SYS_BOOT, MAC_OVERRIDE, MAC_ADMIN, AUDIT_READ: what reaches into the machine itself.
    assert_eq!(lacks, 1 << 16 | 1 << 17 | 1 << 22 | 1 << 32 | 1 << 33 | 1 << 37, "{mask}");
    assert_eq!(found.all("CapBnd"), [mask]);
    assert_eq!(
        found.all("env"),
        [
            "HTTPS_PROXY=http://10.0.0.9:3128",
            "HTTP_PROXY=http://10.0.0.9:3128",
            "NOTIFY_SOCKET=/run/microdc/notify/k3s",
            "NO_PROXY=localhost,127.0.0.0/8,::1,.svc,.cluster.local,s1,10.0.0.0/8",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "http_proxy=http://10.0.0.9:3128",
            "https_proxy=http://10.0.0.9:3128",
            "no_proxy=localhost,127.0.0.0/8,::1,.svc,.cluster.local,s1,10.0.0.0/8",
        ]
        .map(|line| line.replace(",s1,", &format!(",{name},")))
    );
    for folder in [
        "/etc/rancher",
        "/var/lib/rancher",
        "/var/lib/kubelet",
        "/var/log/pods",
        "/var/log/containers",
        "/opt/cni/bin",
        "/etc/cni/net.d",
    ] {
        found.has(&format!("keeps {folder} run {run}"));
    }
    // Addresses of pods do not outlast them.
    found.has("keeps /var/lib/cni run 1");
    assert!(found.all("ran from data:")[0].starts_with("iptables v"), "{:?}", found.all("ran from data:"));
    let mount = |point: &str| found.mount(point);
    for point in ["/", "/var/lib/kubelet", "/var/lib/rancher", "/run", "/sys/fs/bpf", "/sys/fs/cgroup"] {
        assert!(mount(point).contains(" shared:"), "{}", mount(point));
    }
    for (point, place) in [
        ("/var/lib/rancher", "/directories/var/lib/rancher"),
        ("/var/lib/kubelet", "/directories/var/lib/kubelet"),
        ("/etc/rancher", "/directories/etc/rancher"),
    ] {
        assert_eq!(mount(point).split(' ').nth(3), Some(place));
    }
    let device = |point: &str| mount(point).split(' ').nth(2).unwrap();
    // Of two disks, of which it sees nothing else.
    assert_ne!(device("/var/lib/rancher"), device("/etc/rancher"));
    for hidden in ["/data", "/state", "/boot/a", "/var/lib/sshd"] {
        assert!(!found.file("/proc/self/mountinfo").contains(&format!(" {hidden} ")), "{hidden}");
    }
    assert!(mount("/sys/fs/bpf").contains(" - bpf "));
    assert_eq!(agent.cat("/proc/1/cgroup").trim(), "0::/init");
    // What kubelet compares with --protect-kernel-defaults (its pkg/kubelet/cm, setupKernelTunables).
    for (setting, value) in [
        ("vm/overcommit_memory", "1"),
        ("vm/panic_on_oom", "0"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/keys/root_maxkeys", "1000000"),
        ("kernel/keys/root_maxbytes", "25000000"),
        ("net/ipv4/ip_forward", "1"),
    ] {
        assert_eq!(agent.cat(&format!("/proc/sys/{setting}")).trim(), value, "{setting}");
    }
}

/// The attempts of somebody who is root in k3s, or in a privileged pod.
fn it_does_not_take_the_node(agent: Agent<'_>) {
    // In its own mounts it can put what it likes in the place of sshd's program; sshd does not see them.
    let expected = [CONTAINER_HOST, &["sshd-replaced"]].concat();
    only_what_is_expected_is_reached(agent, &[("k3s", &expected)]);
}

/// Those that k3s's check-config, its kube-proxy, network policies, flannel and the CNI plugin bandwidth need.
const MODULES: [&str; 27] = [
    "overlay",
    "br_netfilter",
    "act_mirred",
    "cls_u32",
    "ifb",
    "sch_ingress",
    "sch_tbf",
    "nf_conntrack",
    "nf_nat",
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
    "xt_set",
    "xt_NFLOG",
    "xt_physdev",
    "ip_set",
    "ip_set_hash_ip",
    "ip_set_hash_net",
];

#[test]
fn a_first_server_finds_what_k3s_documents_and_is_healthy() {
    let k3s = format!(
        "cluster_init = true\nagent_token = \"{TOKEN}\"\nnode_ip = \"10.0.0.11\"\ntls_san = [\"api.rack1.lan\", \"10.0.0.9\"]\n\
         disable = [\"servicelb\", \"traefik\"]\nlabels = {{ \"example.org/disk\" = \"nvme\", board = \"cm4\" }}\n\
         taints = [\"example.org/slow=true:NoSchedule\"]\ncluster_cidr = [\"10.50.0.0/16\"]\n\
         [vip]\naddress = \"{VIP}\"\n[vip.vrrp]\ninterface = \"eth0\""
    );
    let mut node = start(images::k3s_server(), "s1", &k3s);
    let found = Found::by(Agent(&node), "k3s");
    assert_eq!(found.all("run"), ["/usr/bin/k3s server --config /run/rancher/k3s/config.yaml"]);
    let wanted = [
        "node-name: \"s1\"",
        "cluster-init: true",
        "agent-token: \"K10a1b2c3::server:hunter2hunter2\"",
        "node-ip: \"10.0.0.11\"",
        "tls-san:",
        "  - \"api.rack1.lan\"",
        "  - \"10.0.0.9\"",
        "  - \"10.0.0.10\"",
        "cluster-cidr: \"10.50.0.0/16\"",
        "disable:",
        "  - \"servicelb\"",
        "  - \"traefik\"",
        "node-label:",
        "  - \"board=cm4\"",
        "  - \"example.org/disk=nvme\"",
        "node-taint:",
        "  - \"example.org/slow=true:NoSchedule\"",
        "etcd-snapshot-schedule-cron: \"0 */6 * * *\"",
        "etcd-snapshot-retention: 7",
        "etcd-s3: true",
        "etcd-s3-endpoint: \"s3.rack1.lan:9000\"",
        "etcd-s3-bucket: \"etcd\"",
        "etcd-s3-access-key: \"hunter5hunter5\"",
        "etcd-s3-secret-key: \"hunter6hunter6\"",
        "private-registry: \"/run/rancher/k3s/registries.yaml\"",
        "kubelet-arg:",
        "  - \"volume-plugin-dir=/var/lib/kubelet/volumeplugins\"",
    ];
    assert_eq!(settings(found.file("/run/rancher/k3s/config.yaml")), wanted);
    assert_eq!(
        settings(found.file("/run/rancher/k3s/config.yaml.d/cilium.yaml")),
        ["flannel-backend: \"none\"", "disable-network-policy: true", "disable-kube-proxy: true"]
    );
    // Images for nodes without registries, where k3s looks for them.
    let images = found.all("images").concat();
    let place = "/var/lib/rancher/k3s/agent/images/k3s-airgap-images-arm64.tar.zst ";
    assert!(images.strip_prefix(place).is_some_and(|content| content.starts_with("stand-in")), "{images}");
    assert_eq!(found.all("manifests"), ["rack1.yaml"]);
    its_surroundings_are_what_k3s_asks_for(&found, "s1", Agent(&node), 1);
    Agent(&node).has_modules(&MODULES);
    let cilium = ["cls_bpf", "sch_ingress", "sch_fq", "geneve", "algif_hash", "xt_TPROXY", "xt_socket"];
    Agent(&node).has_modules(&cilium);
    assert_eq!(
        settings(&Agent(&node).cat("/run/rancher/k3s/registries.yaml")),
        [
            "mirrors:",
            "  \"registry.example\":",
            "    endpoint:",
            "      - \"https://cache.rack1.lan:5000\"",
            "configs:",
            "  \"cache.rack1.lan:5000\":",
            "    auth:",
            "      username: \"rack1\"",
            "      password: \"hunter4hunter4\"",
        ]
    );
    the_token_is_nowhere_to_be_seen(&node);
    let steps =
        ["cluster has no node s1", "poststarthook/rbac/bootstrap-roles", "the node s1 is not Ready: KubeletNotReady"];
    the_gate_passes_only_when_the_node_is_in_the_cluster(&node, &steps);
    let page = node.page("s", STEP).unwrap();
    assert!(service(&page, "k3s").contains(": ready"), "{page}");
    a_lost_quorum_is_named_and_takes_the_address(&node);
    only_who_asks_the_api_sees_the_kubelets_key(Agent(&node));
    it_does_not_take_the_node(Agent(&node));
    let Reply::Kubeconfig(said) = call(&node, Ask::Kubeconfig { address: "fd00::11".to_owned() }) else { panic!() };
    assert!(said.contains("server: https://[fd00::11]:6443"), "{said}");
    node.expect("an operator was given the kubeconfig, for fd00::11", STEP).unwrap();
    // Made by the server, since node.toml has none; an operator reads it, and nobody else sees it.
    let Reply::K3sToken(token) = call(&node, Ask::K3sToken) else { panic!() };
    assert!(token.starts_with("K10") && token.contains("::server:"), "{token}");
    node.expect("an operator was given the cluster's token", STEP).unwrap();
    assert!(!node.console().contains(&token));

    // What is kept is there after a power cut, and what is not is gone.
    node.kill();
    node.power_on().unwrap();
    wait_up(&node, "s1").unwrap();
    let found = Found::by(Agent(&node), "k3s");
    assert_eq!(settings(found.file("/run/rancher/k3s/config.yaml")), wanted);
    its_surroundings_are_what_k3s_asks_for(&found, "s1", Agent(&node), 2);
    let Reply::K3sToken(again) = call(&node, Ask::K3sToken) else { panic!() };
    assert_eq!(again, token);
    // The API still has the node as it was, and ready, which says nothing of this start.
    the_gate_passes_only_when_the_node_is_in_the_cluster(&node, &["its kubelet has not reported since"]);
    let once = "/data/directories/var/lib/rancher/k3s/agent/images/.cache.json";
    let exists = ["/usr/lib/microdc/probe", "exists", once].map(str::to_owned).to_vec();
    Agent(&node).ask(&Request::Run(exists)).unwrap();
}

fn the_token_is_nowhere_to_be_seen(node: &Node) {
    assert!(!node.console().contains("hunter"));
    let left = node.disk().read_file(Partition::Bootsel, NODE_CONFIG).unwrap().unwrap();
    let left = String::from_utf8_lossy(&left);
    assert!(left.contains("token = \"****") && !left.contains("hunter"), "{left}");
}

#[test]
fn an_agent_joins_with_what_k3s_documents_and_is_healthy() {
    let k3s = format!(
        "server = \"https://10.0.0.1:6443\"\ntoken = \"{TOKEN}\"\nnode_ip = \"10.0.0.11\"\n\
         labels = {{ \"example.org/disk\" = \"nvme\" }}\ntaints = [\"example.org/slow=true:PreferNoSchedule\"]"
    );
    let node = start(images::k3s_agent(), "a1", &k3s);
    let found = Found::by(Agent(&node), "k3s");
    assert_eq!(found.all("run"), ["/usr/bin/k3s agent --config /run/rancher/k3s/config.yaml"]);
    assert_eq!(
        settings(found.file("/run/rancher/k3s/config.yaml")),
        [
            "node-name: \"a1\"",
            "server: \"https://10.0.0.1:6443\"",
            "token: \"K10a1b2c3::server:hunter2hunter2\"",
            "node-ip: \"10.0.0.11\"",
            "node-label:",
            "  - \"example.org/disk=nvme\"",
            "node-taint:",
            "  - \"example.org/slow=true:PreferNoSchedule\"",
            "private-registry: \"/run/rancher/k3s/registries.yaml\"",
            "kubelet-arg:",
            "  - \"volume-plugin-dir=/var/lib/kubelet/volumeplugins\"",
        ]
    );
    its_surroundings_are_what_k3s_asks_for(&found, "a1", Agent(&node), 1);
    Agent(&node).has_modules(&MODULES);
    the_gate_passes_only_when_the_node_is_in_the_cluster(&node, &["the node a1 is not Ready: KubeletNotReady"]);
    it_does_not_take_the_node(Agent(&node));
    assert!(!node.console().contains("hunter"));

    // As when it was flashed again, while the cluster still has the password of the node that it was.
    let rejected = format!("{ANSWERS}/password-is-rejected");
    Agent(&node).write(&rejected, "yes");
    call(&node, Ask::Restart { service: "k3s".to_owned() });
    until_health_says(&node, "service k3s: the cluster knows a node a1 with another password");
    let line = health(&node).line();
    assert!(line.contains("`kubectl delete node a1`") && line.contains("secret a1.node-password.k3s"), "{line}");
    assert!(line.find("kubectl").unwrap() < line.find("it is starting").unwrap(), "the cause comes first: {line}");
    Agent(&node).write(&rejected, "no");
    until_health_says(&node, "passed");
}
