//! What a node shows of itself to those who watch it: metrics for Prometheus, and the screen of a display.

use emulator::Node;
use emulator::network::frame::{Body, Packet};
use emulator::network::{Host, Network};
use etherparse::PacketBuilder;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request, ask};
use qemu_tests::router::{STEP, wait_up};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The node's address on the network of those who may scrape, and its one on the outside.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const METRICS: u16 = 9100;
const SSH: u16 = 22;
/// Number of TCP in an IPv4 header.
const TCP: u8 = 6;

/// Reads with Prometheus's own parser for Python, and shows families and samples as JSON.
const PARSER: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([[f.name, f.type, [[s.name, s.labels, s.value] for s in f.samples]] for f in parse(sys.stdin.read())]))
";

struct Site {
    node: Node,
    port: u16,
    stranger: Host,
}

impl Site {
    fn start() -> Site {
        let config = format!(
            "name = \"r1\"\n[cluster]\nname = \"rack1\"\n\
             [network.eth0]\naddresses = [\"{INSIDE}/24\"]\ngateway = \"10.0.2.2\"\n\
             [network.eth1]\naddresses = [\"{OUTSIDE}/24\"]\n\
             [router]\nasn = 65001\n[metrics]\nlisten = \"{INSIDE}:{METRICS}\"\n\
             [ssh]\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1WqPZ3m0c1mFvYBkTt9k5N0c4d8gq3cJY1x2vV4n7b ops\"]\n"
        );
        let outside = Network::new();
        let mut machine = emulator::Machine::new(images::router_with_probe())
            .name("r1")
            .port(PORT)
            .user_network()
            .network(&outside)
            .node_config(config);
        let port = machine.forward(METRICS).unwrap();
        let stranger = outside.host(Ipv4Addr::new(10, 9, 0, 2), 24, Some(OUTSIDE)).unwrap();
        let node = machine.start().unwrap();
        wait_up(&node, "r1").unwrap();
        Site { node, port, stranger }
    }

    /// One request over HTTP; gives head and body of the answer.
    fn http(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(STEP)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request:?}: {answer:?}"));
        (head.to_owned(), body.to_owned())
    }

    fn scrape(&self) -> serde_json::Value {
        let (head, text) = self.http("GET /metrics HTTP/1.1\r\nHost: r1\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
        let mut parser = Command::new("/usr/bin/python3")
            .args(["-c", PARSER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python with python3-prometheus-client");
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = parser.wait_with_output().unwrap();
        assert!(output.status.success(), "python3-prometheus-client does not take this:\n{text}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The value of a sample, by its name and one of its labels.
    fn sample(families: &serde_json::Value, name: &str, label: Option<(&str, &str)>) -> f64 {
        let samples = families.as_array().unwrap().iter().flat_map(|family| family[2].as_array().unwrap());
        let found = samples
            .into_iter()
            .find(|sample| sample[0] == name && label.is_none_or(|(label, value)| sample[1][label] == value));
        found.unwrap_or_else(|| panic!("no {name} with {label:?} in {families:#}"))[2].as_f64().unwrap()
    }

    /// Whether anything comes back to a SYN that the stranger sends from the outside.
    fn answered(&self, to: Ipv4Addr, port: u16, own: u16, patience: Duration) -> bool {
        let mac = self.stranger.resolve(OUTSIDE, STEP).unwrap();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(self.stranger.mac().0, mac.0)
            .ipv4(self.stranger.address().octets(), to.octets(), 64)
            .tcp(own, port, 1, 64_000)
            .syn()
            .write(&mut frame, &[])
            .unwrap();
        self.stranger.send_frame(&frame);
        let wanted = |packet: &Packet| packet.from == to && packet.body == Body::Other { protocol: TCP };
        self.stranger.receive("answer to a SYN", patience, wanted).is_ok()
    }

    /// The text on the first virtual terminal, as the kernel keeps it for its drivers of displays.
    fn screen(&self) -> String {
        let mut port = self.node.port(PORT).unwrap();
        port.set_read_timeout(Some(STEP)).unwrap();
        let out = port.try_clone().unwrap();
        let bytes = ask(&mut port, out, &Request::Cat("/dev/vcs1".to_owned())).unwrap().unwrap();
        // Rows without ends: 80 columns, as no display says otherwise.
        bytes.chunks(80).map(|row| String::from_utf8_lossy(row).trim_end().to_owned() + "\n").collect()
    }

    /// Kills the processes of this name, as soon as there is one.
    fn kill(&self, name: &str) {
        let begin = Instant::now();
        let mut port = self.node.port(PORT).unwrap();
        port.set_read_timeout(Some(STEP)).unwrap();
        let out = port.try_clone().unwrap();
        let request = Request::Kill { name: name.to_owned(), signal: 9 };
        while ask(&mut port, &out, &request).unwrap().is_err() {
            assert!(begin.elapsed() < STEP, "no process {name}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_node_shows_itself_to_prometheus_and_on_a_display() {
    let site = Site::start();
    prometheus_reads_the_facts(&site);
    the_outside_does_not_reach_the_metrics(&site);
    noise_and_slow_clients_do_not_keep_others_from_scraping(&site);
    the_screen_says_who_the_node_is_and_changes_with_it(&site);
}

fn prometheus_reads_the_facts(site: &Site) {
    let families = site.scrape();
    let value = |name, label| Site::sample(&families, name, label);
    assert_eq!(value("microdc_node_info", Some(("role", "router"))), 1.0);
    assert_eq!(value("microdc_node_info", Some(("cluster", "rack1"))), 1.0);
    assert_eq!(value("microdc_node_state_persistent", None), 1.0);
    assert_eq!(value("microdc_node_services_not_ready", None), 0.0);
    let begin = Instant::now();
    while Site::sample(&site.scrape(), "microdc_health_verdict", Some(("verdict", "passed"))) < 1.0 {
        assert!(begin.elapsed() < STEP, "the health gate is not passed: {:#}", site.scrape());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!((1e6..2e7).contains(&value("microdc_init_resident_memory_bytes", None)));
    assert!(value("microdc_service_memory_bytes", Some(("service", "bgpd"))) > 1e6);
    assert_eq!(value("microdc_service_restarts_total", Some(("service", "bgpd"))), 0.0);
    site.kill("bgpd");
    let begin = Instant::now();
    while Site::sample(&site.scrape(), "microdc_service_restarts_total", Some(("service", "bgpd"))) < 1.0 {
        assert!(begin.elapsed() < STEP, "bgpd was killed and no restart is counted");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn the_outside_does_not_reach_the_metrics(site: &Site) {
    for to in [INSIDE, OUTSIDE] {
        site.stranger.ping(to, STEP).unwrap();
        for turn in 0..2 {
            let answered = site.answered(to, METRICS, 41_000 + turn, Duration::from_secs(2));
            assert!(!answered, "{to}:{METRICS} answers to the outside");
        }
    }
    // Last, as its answers are sent again and again: a port that is open to everyone does answer.
    assert!((0..20).any(|turn| site.answered(INSIDE, SSH, 40_000 + turn, Duration::from_secs(2))));
}

fn noise_and_slow_clients_do_not_keep_others_from_scraping(site: &Site) {
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("GET /metrics/../../../etc/shadow HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
        ("\u{1}\u{2}\u{3}\r\n\r\n", "400"),
    ] {
        let (head, _) = site.http(request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {head}");
    }
    // One MiB that never becomes a request; the service hangs up after 8 KiB of it.
    let mut endless = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    endless.set_write_timeout(Some(STEP)).unwrap();
    let _ = endless.write_all(&vec![b'x'; 1 << 20]);
    // Nearly as many as one source may have, and they say nothing.
    let silent: Vec<_> = (0..5).filter_map(|_| TcpStream::connect(("127.0.0.1", site.port)).ok()).collect();
    let families = site.scrape();
    assert_eq!(Site::sample(&families, "microdc_service_restarts_total", Some(("service", "metrics"))), 0.0);
    drop(silent);
}

fn the_screen_says_who_the_node_is_and_changes_with_it(site: &Site) {
    let begin = Instant::now();
    let expect = |wanted: &[&str]| loop {
        let screen = site.screen();
        if wanted.iter().all(|wanted| screen.contains(wanted)) {
            return screen;
        }
        assert!(begin.elapsed() < STEP, "no {wanted:?} on the screen:\n{screen}");
        std::thread::sleep(Duration::from_millis(250));
    };
    let calm = expect(&[
        " microdc   r1   router ",
        "slot A",
        " cluster    rack1\n",
        "eth0 10.0.2.15/24, eth1 10.9.0.1/24",
        " disk       nvme0n1, state kept\n",
        "bgpd",
        " health     passed\n",
        " problems   none\n",
    ]);
    assert!(!calm.contains("back-off"), "{calm}");
    // The delay before the next start grows with each failure: it can be seen.
    for _ in 0..5 {
        site.kill("bgpd");
    }
    expect(&[
        "bgpd (back-off)",
        " health     failed: bgpd: ",
        " problems   bgpd: it keeps failing and being restarted",
    ]);
    expect(&[" problems   none\n"]);
}
