//! Two routers from the same image, each with its own node.toml.

use emulator::network::frame::Body;
use emulator::{Network, Node};
use qemu_tests::figures::figure;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request, ask};
use qemu_tests::router::{Router, STEP, number_after, service, wait_route, wait_said, wait_up};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const R1: Router = Router { number: 1 };
const R2: Router = Router { number: 2 };

/// What the other announces, in the kernel of the first, and the reverse.
const LEARNT: [&str; 3] = ["10.2.0.0/24", "via 10.0.0.2", "proto bgp"];
const GIVEN: [&str; 3] = ["10.1.0.0/24", "via 10.0.0.1", "proto bgp"];

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f32())
}

#[test]
fn two_routers_tell_each_other_the_way_and_outlast_a_killed_bgpd_and_a_pulled_cable() {
    let (backbone, lans) = (Network::new(), [Network::new(), Network::new()]);
    let machine = |router: Router, config: String, image, lan| {
        router.machine(image, &[]).node_config(config).network(&backbone).network(lan)
    };
    // One of them with the probe, by which bgpd is killed; the other as it gets flashed, with a frr.conf of its owner's.
    let r1 =
        machine(R1, R1.provider_config(&[R2]), images::router_with_probe(), &lans[0]).port(PORT).start().unwrap();
    let r2 = machine(R2, R2.whole_config(R1), images::router(), &lans[1]).start().unwrap();
    bgp_brings_a_prefix_into_the_others_kernel_and_packets_follow_it(&r1, &r2, &lans);
    every_daemon_has_its_part_of_a_whole_frr_conf(&r1, &r2);
    a_killed_bgpd_is_restarted_and_its_session_comes_back(&r1, &r2);
    a_pulled_cable_takes_the_route_away_and_the_plugged_one_brings_it_back(&r1);
}

fn bgp_brings_a_prefix_into_the_others_kernel_and_packets_follow_it(r1: &Node, r2: &Node, lans: &[Network; 2]) {
    wait_up(r1, "r1").unwrap();
    let route = wait_route(r1, &LEARNT).unwrap();
    figure("two routers, power-on to the BGP prefix in the kernel", seconds(r1.uptime()));
    assert!(route.contains("dev eth0"), "{route}");
    // It came with the first update of the session, and so would have what the list keeps out.
    let page = r1.page("r", STEP).unwrap();
    assert!(!page.contains("172.16.2.0"), "a prefix that is not on the list was accepted:\n{page}");
    wait_up(r2, "r2").unwrap();
    wait_route(r2, &GIVEN).unwrap();

    let host = |net: u8| {
        let gateway = Some(Ipv4Addr::new(10, net, 0, 1));
        lans[usize::from(net) - 1].host(Ipv4Addr::new(10, net, 0, 10), 24, gateway).unwrap()
    };
    let (h1, h2) = (host(1), host(2));
    let body = Body::Udp { from: 4000, to: 5000, data: b"from one LAN to the other, through two routers".to_vec() };
    h1.send(h2.address(), 64, body.clone(), STEP).unwrap();
    let arrived = h2.receive("the datagram", STEP, |packet| packet.body == body).unwrap();
    assert_eq!((arrived.packet.from, arrived.packet.to), (h1.address(), h2.address()));
    assert_eq!(arrived.packet.ttl, 62, "two routers take one each");

    let answer = h1.ping(h2.address(), STEP).unwrap();
    assert_eq!(answer.packet.ttl, 62);
    assert!(wait_said(r1, "] health ").ends_with("health passed"), "{}", r1.console());
}

/// The static route is mgmtd's and staticd's to make; bgpd announces it.
fn every_daemon_has_its_part_of_a_whole_frr_conf(r1: &Node, r2: &Node) {
    let kept = R2.kept();
    wait_route(r2, &["route blackhole", &kept, "proto zstatic"]).unwrap();
    wait_route(r1, &[&kept, "via 10.0.0.2", "proto bgp"]).unwrap();
    let page = r2.page("s", STEP).unwrap();
    for daemon in ["zebra", "mgmtd", "staticd", "bgpd"] {
        assert!(service(&page, daemon).contains(": ready"), "{page}");
    }
}

fn a_killed_bgpd_is_restarted_and_its_session_comes_back(r1: &Node, r2: &Node) {
    wait_route(r1, &LEARNT).unwrap();
    let before = r1.page("s", STEP).unwrap();
    let pid = number_after(service(&before, "bgpd"), "pid").unwrap();

    let mut port = r1.port(PORT).unwrap();
    port.set_read_timeout(Some(STEP)).unwrap();
    let out = port.try_clone().unwrap();
    let begin = Instant::now();
    let killed = ask(&mut port, out, &Request::Kill { name: "bgpd".to_owned(), signal: 9 }).unwrap();
    assert_eq!(killed, Ok(b"1".to_vec()));
    r1.expect("service bgpd ready", STEP).unwrap();
    figure("bgpd killed to ready again", seconds(begin.elapsed()));
    let after = r1.page("s", STEP).unwrap();
    assert_ne!(number_after(service(&after, "bgpd"), "pid"), Some(pid));
    assert_eq!(number_after(service(&after, "bgpd"), "restarts"), Some(1), "{after}");

    // The other side must have it from the new session: it lost the route with the old one.
    wait_route(r2, &GIVEN).unwrap();
    wait_route(r1, &LEARNT).unwrap();
    figure("bgpd killed to session back", seconds(begin.elapsed()));
}

fn a_pulled_cable_takes_the_route_away_and_the_plugged_one_brings_it_back(r1: &Node) {
    wait_route(r1, &LEARNT).unwrap();
    r1.set_link(0, false).unwrap();
    let begin = Instant::now();
    while r1.page("r", STEP).unwrap().lines().any(|line| LEARNT.iter().all(|word| line.contains(word))) {
        assert!(begin.elapsed() < STEP, "the route stays although the cable is out");
        std::thread::sleep(Duration::from_millis(250));
    }
    r1.set_link(0, true).unwrap();
    wait_route(r1, &LEARNT).unwrap();
}
