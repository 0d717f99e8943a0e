//! What Tinkerbell finds on a node, by its documented environment. A stand-in runs in its place.

use emulator::{Machine, Network};
use qemu_tests::agent::Agent;
use qemu_tests::attack::{only_what_is_expected_is_reached, reached};
use qemu_tests::found::Found;
use qemu_tests::images;
use qemu_tests::probe::PORT;
use qemu_tests::router::{STEP, service, wait_up};
use std::time::Duration;

const CONFIG: &str = "name = \"t1\"\n[network.eth0]\naddresses = [\"10.0.0.5/24\"]\ngateway = \"10.0.0.254\"\n\
    [disks]\ndata = \"ext4\"\n[tinkerbell]\npublic_ip = \"10.0.0.5\"\ndhcp = { interface = \"eth0\", mode = \"proxy\" }\n\
    syslog = false\nosie = \"http://10.0.0.9:7173\"\ntrusted_proxies = [\"10.0.0.0/24\", \"10.1.0.0/24\"]\n\
    kernel_args = [\"tink_worker_image=10.0.0.9:5000/agent:v0.25.0\", \"console=ttyAMA0\"]\nenroll = true\n\
    discover = \"rack1\"\nsettings = { log-level = \"1\" }\n\
    kubeconfig = \"\"\"\nclusters: []\nusers: hunter2\n\"\"\"\n\
    [tinkerbell.api]\nca = \"-----BEGIN CERTIFICATE----- ca\"\ncertificate = \"-----BEGIN CERTIFICATE----- own\"\n\
    key = \"-----BEGIN PRIVATE KEY----- hunter2\"\nservice_account_key = \"-----BEGIN PRIVATE KEY----- hunter3\"\n";

#[test]
fn it_finds_its_documented_environment_and_is_healthy() {
    let machine =
        Machine::new(images::tinkerbell()).name("t1").network(&Network::new()).port(PORT).disk_size(6 << 30);
    let node = machine.deadline(Duration::from_secs(600)).node_config(CONFIG).start().unwrap();
    wait_up(&node, "t1").unwrap();
    let found = Found::by(Agent(&node), "tinkerbell");
    assert_eq!(found.all("run"), ["/usr/bin/tinkerbell"]);
    assert_eq!(
        found.all("env"),
        [
            "HOME=/var/lib/tinkerbell",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "TINKERBELL_BACKEND=kube",
            "TINKERBELL_BACKEND_KUBE_CONFIG=/run/tinkerbell/kubeconfig",
            "TINKERBELL_BIND_ADDRESS=0.0.0.0",
            "TINKERBELL_CLIENT_CA_FILE=/run/tinkerbell/ca.crt",
            "TINKERBELL_DHCP_BIND_INTERFACE=eth0",
            "TINKERBELL_DHCP_ENABLED=true",
            "TINKERBELL_DHCP_MODE=proxy",
            "TINKERBELL_ENABLE_EMBEDDED_ETCD=true",
            "TINKERBELL_ENABLE_EMBEDDED_KUBE_APISERVER=true",
            "TINKERBELL_ENABLE_SECONDSTAR=false",
            "TINKERBELL_ENABLE_UI=false",
            "TINKERBELL_ETCD_DIR=/var/lib/tinkerbell/etcd",
            "TINKERBELL_ETCD_SERVERS=http://localhost:2379",
            "TINKERBELL_HTTP_PORT=7171",
            "TINKERBELL_IPXE_HTTP_SCRIPT_EXTRA_KERNEL_ARGS=tink_worker_image=10.0.0.9:5000/agent:v0.25.0 console=ttyAMA0",
            "TINKERBELL_IPXE_HTTP_SCRIPT_OSIE_URL=http://10.0.0.9:7173",
            "TINKERBELL_KUBE_APISERVER_TLS_CERT_FILE=/run/tinkerbell/server.crt",
            "TINKERBELL_KUBE_APISERVER_TLS_PRIVATE_KEY_FILE=/run/tinkerbell/server.key",
            "TINKERBELL_LOG_LEVEL=1",
            "TINKERBELL_PUBLIC_IPV4=10.0.0.5",
            "TINKERBELL_SERVICE_ACCOUNT_ISSUER=api",
            "TINKERBELL_SERVICE_ACCOUNT_KEY_FILE=/run/tinkerbell/service-account-key.pem",
            "TINKERBELL_SERVICE_ACCOUNT_SIGNING_KEY_FILE=/run/tinkerbell/service-account-key.pem",
            "TINKERBELL_SYSLOG_ENABLED=false",
            "TINKERBELL_TFTP_SERVER_ENABLED=true",
            "TINKERBELL_TINK_SERVER_AUTO_DISCOVERY_ENABLED=true",
            "TINKERBELL_TINK_SERVER_AUTO_DISCOVERY_NAMESPACE=rack1",
            "TINKERBELL_TINK_SERVER_AUTO_ENROLLMENT_ENABLED=true",
            "TINKERBELL_TRUSTED_PROXIES=10.0.0.0/24,10.1.0.0/24",
        ]
    );
    // Ports below 1024 (DHCP, TFTP, syslog) and raw answers, as a user of its own.
    for fact in ["Uid 130 130 130 130", "CapEff 0000000000003400", "CapBnd 0000000000003400", "NoNewPrivs 1"] {
        found.has(fact);
    }
    found.has("keeps /var/lib/tinkerbell run 1");
    assert_eq!(found.mount("/var/lib/tinkerbell").split(' ').nth(3), Some("/directories/var/lib/tinkerbell"));
    for (file, content) in [
        ("kubeconfig", "users: hunter2"),
        ("ca.crt", "BEGIN CERTIFICATE----- ca"),
        ("server.crt", "BEGIN CERTIFICATE----- own"),
        ("server.key", "PRIVATE KEY----- hunter2"),
        ("service-account-key.pem", "PRIVATE KEY----- hunter3"),
    ] {
        let text = found.file(&format!("/run/tinkerbell/{file}"));
        assert!(text.contains(content), "{file}: {text}");
    }
    node.expect("health passed", STEP).unwrap();
    let page = node.page("s", STEP).unwrap();
    assert!(service(&page, "tinkerbell").contains(": ready"), "{page}");
    only_what_is_expected_is_reached(Agent(&node), &[("tinkerbell", &[])]);
    let bare = reached(Agent(&node), "tinkerbell", true);
    for attempt in ["init-seen", "user-namespace", "own-program"] {
        assert!(bare.contains(attempt), "{attempt} among {bare:?}");
    }
    assert!(!node.console().contains("hunter"));
}
