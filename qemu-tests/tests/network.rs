//! The network of a node: leases, links, VLANs, bridges, tunnels, under the real kernel.

use emulator::network::Host;
use emulator::network::frame::Body;
use emulator::{Machine, Network};
use qemu_tests::images;
use qemu_tests::router::{STEP, wait_page, wait_route, wait_up};
use qemu_tests::server::advertisement;
use qemu_tests::server::dhcp::{DhcpServer, Manner};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn machine(name: &str, config: &str) -> Machine {
    let config = format!("name = \"{name}\"\n{config}[router]\nasn = 65001\nrouter_id = \"10.255.0.1\"\n");
    let serial = format!("MICRODC{}", name.to_uppercase());
    let deadline = Duration::from_secs(1200);
    Machine::new(images::router()).name(name).serial(&serial).node_config(config).deadline(deadline)
}

fn four(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn lines<'p>(page: &'p str, words: &[&str]) -> Vec<&'p str> {
    page.lines().filter(|line| words.iter().all(|word| line.contains(word))).collect()
}

/// The page has the address, no other of its net, and one default route by DHCP.
fn holds(page: &str, address: &str) -> bool {
    let [link] = lines(page, &["link eth0 "])[..] else { return false };
    link.contains(&format!(" {address}/24"))
        && link.matches(" 10.0.0.").count() == 1
        && lines(page, &["lease eth0", address]).len() == 1
        && lines(page, &["route default via 10.0.0.254 dev eth0", "proto dhcp"]).len() == 1
}

#[test]
fn a_lease_is_got_late_renewed_lost_got_again_and_changed_and_survives_a_pulled_cable() {
    let (lan, other) = (Network::new(), Network::new());
    let host = Arc::new(lan.host(four(254), 24, None).unwrap());
    let manner = Manner { address: four(50), lease: 20, answers: true, odd: false };
    let server = DhcpServer::start(Arc::clone(&host), manner);
    let config = "[network.eth0]\ndhcp = true\n[network.eth1]\naddresses = [\"10.7.0.1/24\"]\n";
    let node = machine("leased", config).network(&lan).network(&other).start().unwrap();
    // No link at boot. QEMU takes a moment to listen.
    let begin = Instant::now();
    while node.set_link(0, false).is_err() {
        assert!(begin.elapsed() < STEP, "the cable cannot be pulled");
        std::thread::sleep(Duration::from_millis(20));
    }
    let up = wait_up(&node, "leased").unwrap();
    assert!(up.contains("eth0 no address, eth1 10.7.0.1/24"), "{up}");

    node.set_link(0, true).unwrap();
    node.expect("network: eth0 10.0.0.50/24", STEP).unwrap();
    wait_page(&node, "the first lease", |page| holds(page, "10.0.0.50"));
    host.ping(four(50), STEP).unwrap();

    // Renewed before its end, several times over.
    let begin = Instant::now();
    while server.count().0 < 3 {
        assert!(begin.elapsed() < STEP, "the lease is not renewed");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(holds(&node.page("r", STEP).unwrap(), "10.0.0.50"));

    // The server is gone: with the lease go the address and the route. It is back: so are they.
    server.change(|manner| manner.answers = false);
    node.expect("network: eth0 no address", STEP).unwrap();
    let page = node.page("r", STEP).unwrap();
    assert!(
        lines(&page, &["dev eth0", "10.0.0."]).is_empty() && lines(&page, &["route default"]).is_empty(),
        "{page}"
    );
    server.change(|manner| manner.answers = true);
    node.expect("network: eth0 10.0.0.50/24", STEP).unwrap();
    wait_page(&node, "the lease after the server was gone", |page| holds(page, "10.0.0.50"));

    // Another address: the old one is refused from now on.
    server.change(|manner| (manner.address, manner.lease) = (four(60), 3600));
    node.expect("10.0.0.60/24", STEP).unwrap();
    wait_page(&node, "the changed lease", |page| holds(page, "10.0.0.60"));
    assert!(server.count().1 > 0, "the server never refused the old address");
    host.ping(four(60), STEP).unwrap();

    node.set_link(0, false).unwrap();
    wait_page(&node, "the pulled cable", |page| !lines(page, &["link eth0 no link"]).is_empty());
    node.set_link(0, true).unwrap();
    wait_page(&node, "the plugged cable", |page| holds(page, "10.0.0.60") && page.contains("link eth0 up"));
    host.ping(four(60), STEP).unwrap();

    // A server of odd habits, which another one has taken the place of while the cable was out.
    server.change(|manner| (manner.address, manner.odd) = (four(61), true));
    node.set_link(0, false).unwrap();
    wait_page(&node, "the cable pulled again", |page| !lines(page, &["link eth0 no link"]).is_empty());
    node.set_link(0, true).unwrap();
    let page =
        wait_page(&node, "the odd lease", |page| !lines(page, &["link eth0 up mtu 1400", " 10.0.0.61/"]).is_empty());
    for line in [
        "search three.example",
        "search four.example",
        "time server 10.0.0.123",
        "resolver 10.0.0.254",
        "route default via 10.0.0.254 dev eth0",
    ] {
        assert!(!lines(&page, &[line]).is_empty(), "{line} is missing:\n{page}");
    }
    assert!(lines(&page, &["10.0.0.61/0"]).is_empty() && lines(&page, &["route 0.0.0.0/0"]).is_empty(), "{page}");
    let until = |page: &str| lines(page, &["lease eth0"])[0].to_owned();
    assert!(until(&page).contains("10.0.0.61"), "{page}");

    // Router advertisements: taken where DHCP is, refused where no one asked for them.
    let far = other.host(Ipv4Addr::new(10, 7, 0, 9), 24, None).unwrap();
    let begin = Instant::now();
    loop {
        host.send_frame(&advertisement::frame("fd00:5::".parse().unwrap()));
        far.send_frame(&advertisement::frame("fd00:6::".parse().unwrap()));
        let page = node.page("r", STEP).unwrap();
        if !lines(&page, &["link eth0", " fd00:5::"]).is_empty() {
            assert!(!lines(&page, &["route default via fe80::1 dev eth0"]).is_empty(), "{page}");
            // Its resolver and domain come by another way than its address.
            wait_page(&node, "names by router advertisement", |page| {
                page.contains("resolver fd00:5::53") && page.contains("search six.example")
            });
            break;
        }
        assert!(begin.elapsed() < STEP, "no address by router advertisement:\n{page}");
        std::thread::sleep(Duration::from_millis(250));
    }
    std::thread::sleep(Duration::from_secs(1));
    let page = node.page("r", STEP).unwrap();
    assert!(
        !page.contains("fd00:6::")
            && !page.contains("resolver fd00:6::53")
            && lines(&page, &["route default via fe80::1 dev eth1"]).is_empty(),
        "{page}"
    );
}

/// No IPv4 at all: the network is ready with the first address that is the node's own, and not before.
#[test]
fn a_network_of_ipv6_alone_is_ready_with_the_first_address_by_router_advertisement() {
    let lan = Network::new();
    let host = lan.host(four(254), 24, None).unwrap();
    let node = machine("six", "[network.eth0]\nra = true\n").network(&lan).start().unwrap();
    // The network begins after it, and waits for 10 s.
    node.expect("service firewall done", STEP).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(!node.console().contains("network ready"), "{}", node.console());
    let begin = Instant::now();
    while !node.console().contains("network ready") {
        host.send_frame(&advertisement::frame("fd00:5::".parse().unwrap()));
        assert!(begin.elapsed() < STEP, "the network does not become ready:\n{}", node.console());
        std::thread::sleep(Duration::from_millis(250));
    }
    let line = node.expect("network ready: ", STEP).unwrap();
    assert!(line.contains("eth0 fd00:5::") && !line.contains("fe80"), "{line}");
    let page = wait_page(&node, "names", |page| page.contains("resolver fd00:5::53"));
    assert!(page.contains("search six.example"), "{page}");
    assert!(!lines(&page, &["route default via fe80::1 dev eth0"]).is_empty(), "{page}");
}

/// A router whose dnsmasq gives this one address, for as short a time as it can: two minutes.
fn dnsmasq(address: &str) -> String {
    format!(
        "name = \"giver\"\n[network.eth0]\naddresses = [\"10.0.0.254/24\"]\n[router]\nasn = 65001\n\
         [router.dhcp.eth0]\nfirst = \"{address}\"\nlast = \"{address}\"\nlease = 120\n"
    )
}

#[test]
fn the_router_s_own_dhcp_server_may_be_gone_come_back_and_change_its_mind() {
    let lan = Network::new();
    let patience = STEP * 3;
    let giver = Machine::new(images::router()).name("giver").serial("MICRODCGIVER").network(&lan);
    let mut giver = giver.deadline(Duration::from_secs(1200)).node_config(dnsmasq("10.0.0.50")).start().unwrap();
    let node = machine("taker", "[network.eth0]\ndhcp = true\n").network(&lan).start().unwrap();
    wait_up(&giver, "giver").unwrap();
    wait_up(&node, "taker").unwrap();
    wait_page(&node, "the first lease", |page| holds(page, "10.0.0.50"));

    // Gone: with the lease go the address and the route.
    giver.power_off().unwrap();
    giver.wait_off(STEP).unwrap();
    assert!(holds(&node.page("r", STEP).unwrap(), "10.0.0.50"), "a lease holds without its server");
    node.expect("network: eth0 no address", patience).unwrap();
    let page = node.page("r", STEP).unwrap();
    assert!(
        lines(&page, &["dev eth0", "10.0.0."]).is_empty() && lines(&page, &["route default"]).is_empty(),
        "{page}"
    );

    // Back, with another address to give.
    giver.disk().write_node_config(dnsmasq("10.0.0.60").as_bytes()).unwrap();
    giver.power_on().unwrap();
    wait_page(&node, "the lease after the server was gone", |page| holds(page, "10.0.0.60"));

    // Its mind is changed while the lease still runs.
    giver.power_off().unwrap();
    giver.wait_off(STEP).unwrap();
    giver.disk().write_node_config(dnsmasq("10.0.0.70").as_bytes()).unwrap();
    giver.power_on().unwrap();
    node.expect("10.0.0.70/24", patience).unwrap();
    wait_page(&node, "the changed lease", |page| holds(page, "10.0.0.70"));
}

/// A WireGuard key pair for this run, in base64.
fn key_pair() -> (String, String) {
    use base64::Engine as _;
    let mut private = [0_u8; 32];
    rustix::rand::getrandom(&mut private, rustix::rand::GetRandomFlags::empty()).unwrap();
    let public = curve25519_dalek::MontgomeryPoint::mul_base_clamped(private);
    let text = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    (text(&private), text(public.as_bytes()))
}

/// The frames of a capture: each without the pcap record's header.
fn frames(pcap: &[u8]) -> Vec<&[u8]> {
    let (mut at, mut found) = (24, Vec::new());
    while at + 16 <= pcap.len() {
        let length = u32::from_le_bytes(pcap[at + 8..at + 12].try_into().unwrap()) as usize;
        let Some(frame) = pcap.get(at + 16..at + 16 + length) else { break };
        found.push(frame);
        at += 16 + length;
    }
    found
}

#[test]
fn a_vlan_trunk_a_bridge_and_a_wireguard_tunnel_carry_traffic() {
    let (trunk, lans) = (Network::new(), [Network::new(), Network::new()]);
    let capture = tempfile::NamedTempFile::new().unwrap();
    trunk.capture(capture.path()).unwrap();
    let ((private1, public1), (private2, public2), (preshared, _)) = (key_pair(), key_pair(), key_pair());
    // Each knows the other by name.
    let wireguard = |private: &str, public: &str, own: u8, peer: u8| {
        format!(
            "[network.wg0]\naddresses = [\"10.99.0.{own}/24\"]\n[network.wg0.wireguard]\nprivate_key = \"{private}\"\n\
             listen_port = 51820\n[[network.wg0.wireguard.peer]]\npublic_key = \"{public}\"\n\
             preshared_key = \"{preshared}\"\nendpoint = \"far.lan:51820\"\n\
             allowed = [\"10.99.0.{peer}/32\", \"10.{peer}.0.0/24\"]\n\
             [hosts]\n\"far.lan\" = \"10.10.0.{peer}\"\n"
        )
    };
    // A router on a stick: VLAN 10 for the tunnel, VLAN 20 with DHCP by dnsmasq, a second LAN that only VLAN 20 leads to.
    let one = format!(
        "[network.\"eth0.10\"]\nvlan = {{ on = \"eth0\", id = 10 }}\naddresses = [\"10.10.0.1/24\"]\n\
         [network.\"eth0.20\"]\nvlan = {{ on = \"eth0\", id = 20 }}\naddresses = [\"10.20.0.1/24\"]\n\
         [network.eth1]\naddresses = [\"10.1.0.1/24\", \"10.3.0.1/24\"]\n{}\
         [router.dhcp.\"eth0.20\"]\nfirst = \"10.20.0.100\"\nlast = \"10.20.0.100\"\n",
        wireguard(&private1, &public2, 1, 2)
    );
    let two = format!(
        "[network.\"eth0.10\"]\nvlan = {{ on = \"eth0\", id = 10 }}\naddresses = [\"10.10.0.2/24\"]\nmtu = 1400\n\
         [network.\"eth0.20\"]\nvlan = {{ on = \"eth0\", id = 20 }}\ndhcp = true\n\
         [network.br0]\nbridge.ports = [\"eth1\"]\naddresses = [\"10.2.0.1/24\"]\n{}",
        wireguard(&private2, &public1, 2, 1)
    );
    let r1 = machine("stick1", &one).network(&trunk).network(&lans[0]).start().unwrap();
    wait_up(&r1, "stick1").unwrap();
    let r2 = machine("stick2", &two).network(&trunk).network(&lans[1]).start().unwrap();
    wait_up(&r2, "stick2").unwrap();
    for (node, private) in [(&r1, &private1), (&r2, &private2)] {
        assert!(!node.console().contains(private.as_str()), "a private key is on the console");
    }

    // dnsmasq, over VLAN 20.
    wait_route(&r2, &["route default via 10.20.0.1 dev eth0.20", "proto dhcp"]).unwrap();
    let host = |lan: usize, address: [u8; 4]| -> Host {
        let [a, b, c, _] = address;
        lans[lan].host(address.into(), 24, Some(Ipv4Addr::new(a, b, c, 1))).unwrap()
    };
    let plain = host(0, [10, 3, 0, 10]);
    plain.ping(Ipv4Addr::new(10, 20, 0, 100), STEP).unwrap();

    // From LAN to LAN: through a bridge at one end, through the tunnel in between.
    let (h1, h2) = (host(0, [10, 1, 0, 10]), host(1, [10, 2, 0, 10]));
    let secret = b"this must not be seen on the trunk".to_vec();
    let body = Body::Udp { from: 4000, to: 5000, data: secret.clone() };
    let begin = Instant::now();
    // The first packet begins the handshake, and may be lost with it.
    loop {
        h1.send(h2.address(), 64, body.clone(), STEP).unwrap();
        let slice = Duration::from_secs(2);
        match h2.receive("the datagram", slice, |packet| packet.body == body) {
            Ok(arrived) => break assert_eq!(arrived.packet.ttl, 62),
            Err(error) => assert!(begin.elapsed() < STEP, "{error}"),
        }
    }
    h2.ping(h1.address(), STEP).unwrap();
    let page = wait_page(&r1, "the handshake", |page| {
        let peer = lines(page, &["peer ", " of wg0 at 10.10.0.2:51820"]);
        peer.len() == 1 && !peer[0].contains("handshake none")
    });
    assert!(!lines(&page, &["tunnel wg0 public key", &public1]).is_empty(), "{page}");
    assert!(!lines(&page, &["route 10.2.0.0/24 dev wg0", "proto static"]).is_empty(), "{page}");
    let page = r2.page("r", STEP).unwrap();
    for fact in ["link eth0.10 up mtu 1400", "link br0 up", "port of br0"] {
        assert!(page.contains(fact), "no {fact:?}:\n{page}");
    }

    // What went over the trunk: tagged frames of both VLANs, and the secret nowhere.
    let pcap = std::fs::read(capture.path()).unwrap();
    let frames = frames(&pcap);
    let tagged = |id: u16| {
        let is = |frame: &&&[u8]| {
            frame.get(12..14) == Some(&[0x81, 0])
                && frame.get(14..16).is_some_and(|tag| (u16::from_be_bytes([tag[0], tag[1]]) & 0xfff) == id)
        };
        frames.iter().filter(is).count()
    };
    assert!(tagged(10) > 4 && tagged(20) > 4, "VLAN 10: {}, VLAN 20: {} frames", tagged(10), tagged(20));
    assert!(!frames.iter().any(|frame| frame.get(12..14) == Some(&[8, 0])), "an untagged IPv4 packet");
    assert!(!pcap.windows(secret.len()).any(|window| window == secret), "the datagram went over the trunk as it is");
}
