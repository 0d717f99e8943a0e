//! A router at home: no BGP, one address outside, a LAN with names behind it.

use emulator::network::Host;
use emulator::network::frame::{Body, Packet};
use emulator::{Machine, Network};
use qemu_tests::images;
use qemu_tests::router::{STEP, service, wait_up};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// How long something that must not come is waited for.
const QUIET: Duration = Duration::from_secs(2);

const CONFIG: &str = "name = \"home\"\n\
    [network.eth0]\naddresses = [\"192.0.2.1/24\"]\n[network.eth1]\naddresses = [\"10.1.0.1/24\"]\n\
    [hosts]\nnas = \"10.1.0.5\"\n[router]\nmasquerade = [\"eth0\"]\n\
    [[router.forward]]\nprotocol = \"udp\"\nport = 5353\nto = \"10.1.0.10\"\nto_port = 5000\n\
    [router.dhcp.eth1]\nfirst = \"10.1.0.100\"\nlast = \"10.1.0.200\"\n\
    [router.dns]\ndomain = \"home.lan\"\nupstream = [\"192.0.2.53\"]\n\
    records = { \"*.apps.home.lan\" = \"10.1.0.7\" }\n";

fn udp(from: u16, to: u16, text: &str) -> Body {
    Body::Udp { from, to, data: text.as_bytes().to_vec() }
}

fn carries(packet: &Packet, port: u16, text: &str) -> bool {
    matches!(&packet.body, Body::Udp { to, data, .. } if *to == port && data == text.as_bytes())
}

/// A question for the IPv4 address of a name (RFC 1035, section 4.1).
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x6d, 0x64, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The last four bytes of the answer: the address, where there is one.
fn resolved(host: &Host, name: &str) -> Ipv4Addr {
    let begin = Instant::now();
    loop {
        let asked = Body::Udp { from: 3053, to: 53, data: question(name) };
        host.send(INSIDE, 64, asked, STEP).unwrap();
        let answer = host.receive("an answer", QUIET, |packet| {
            packet.from == INSIDE && matches!(packet.body, Body::Udp { from: 53, to: 3053, .. })
        });
        if let Ok(answer) = answer
            && let Body::Udp { data, .. } = answer.packet.body
            && let Some(last) = data.last_chunk::<4>()
        {
            assert_eq!(data[3] & 15, 0, "{name}: the answer is an error");
            return Ipv4Addr::from(*last);
        }
        assert!(begin.elapsed() < STEP, "{name}: no answer");
    }
}

#[test]
fn a_router_without_bgp_masquerades_forwards_and_knows_the_names_of_its_lan() {
    let (provider, lan) = (Network::new(), Network::new());
    let machine = Machine::new(images::router()).name("home").serial("MICRODCHOME").node_config(CONFIG);
    let node = machine.network(&provider).network(&lan).start().unwrap();
    wait_up(&node, "home").unwrap();
    let page = node.page("s", STEP).unwrap();
    for daemon in ["bgpd", "zebra"] {
        assert!(service(&page, daemon).contains(": not wanted"), "{page}");
    }
    let far = provider.host(Ipv4Addr::new(192, 0, 2, 9), 24, None).unwrap();
    let near = lan.host(Ipv4Addr::new(10, 1, 0, 10), 24, Some(INSIDE)).unwrap();

    // Out with the router's address, and back to who asked.
    near.send(far.address(), 64, udp(4000, 5000, "out"), STEP).unwrap();
    let out = far.receive("what left the LAN", STEP, |packet| carries(packet, 5000, "out")).unwrap();
    assert_eq!(out.packet.from, OUTSIDE);
    let Body::Udp { from, .. } = out.packet.body else { panic!("{out:?}") };
    far.send(OUTSIDE, 64, udp(5000, from, "back"), STEP).unwrap();
    near.receive("the answer", STEP, |packet| packet.from == far.address() && carries(packet, 4000, "back")).unwrap();

    // In by the port that is forwarded, and by no other.
    far.send(OUTSIDE, 64, udp(6000, 5353, "in"), STEP).unwrap();
    near.receive("what is forwarded", STEP, |packet| carries(packet, 5000, "in")).unwrap();
    far.send(OUTSIDE, 64, udp(6000, 5354, "no"), STEP).unwrap();
    assert!(
        near.receive("what is not", QUIET, |packet| matches!(&packet.body, Body::Udp { data, .. } if data == b"no"))
            .is_err()
    );

    for (name, address) in [
        ("nas.home.lan", Ipv4Addr::new(10, 1, 0, 5)),
        ("any.apps.home.lan", Ipv4Addr::new(10, 1, 0, 7)),
        ("home.home.lan", INSIDE),
    ] {
        assert_eq!(resolved(&near, name), address, "{name}");
    }
}
