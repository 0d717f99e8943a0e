//! A router at home: no BGP, one address outside, a LAN with names behind it; or IPv6 alone, with the provider's prefix.

use emulator::network::Host;
use emulator::network::frame::{Body, Packet};
use emulator::{Machine, Network};
use qemu_tests::images;
use qemu_tests::router::{STEP, service, wait_page, wait_up};
use qemu_tests::server::advertisement;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// A router with nothing but IPv6 to its provider, whose prefix goes to its LAN.
const SIX: &str = "name = \"six\"\n[network.eth0]\nra = true\n[network.eth1]\naddresses = [\"10.1.0.1/24\"]\n\
    [router]\nmasquerade = [\"eth0\"]\n[router.subnet.eth1]\nfrom = \"eth0\"\nnumber = 1\n";

/// What Kea gives (qemu-tests/overlays/kea), and what becomes of it.
const LEASED: &str = "2001:db8:f::50";
const PREFIX: &str = "2001:db8:1::/56";
const INSIDE_SIX: &str = "2001:db8:1:1::1/64";

/// Whether the page of the network has a line with all of these words.
fn has(page: &str, words: &[&str]) -> bool {
    page.lines().any(|line| words.iter().all(|word| line.contains(word)))
}

/// The preferred lifetimes of the LAN's prefix, in the order in which a capture has them.
fn advertised(capture: &Path) -> Vec<u32> {
    let pcap = std::fs::read(capture).unwrap();
    let prefix: Ipv6Addr = "2001:db8:1:1::".parse().unwrap();
    let (mut at, mut found) = (24, Vec::new());
    while let Some(head) = pcap.get(at..at + 16) {
        let length = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let Some(frame) = pcap.get(at + 16..at + 16 + length) else { break };
        found.extend(advertisement::preferred(frame, prefix));
        at += 16 + length;
    }
    found
}

/// The provider's router says that servers give addresses; Debian's Kea is the server. The node is ready with its leased address
/// and not before; its LAN gets a part of the prefix; and all of it goes when Kea is gone, and comes back with it.
#[test]
fn a_router_of_ipv6_alone_leases_its_address_and_its_lans_prefix_and_loses_them_with_the_server() {
    let (provider, lan) = (Network::new(), Network::new());
    let capture = tempfile::NamedTempFile::new().unwrap();
    lan.capture(capture.path()).unwrap();
    let patience = Duration::from_secs(1200);
    let kea = Machine::new(images::kea()).name("kea").serial("MICRODCKEA").network(&provider).deadline(patience);
    let kea = kea.node_config("name = \"kea\"\n[network.eth0]\naddresses = [\"2001:db8:f::1/64\"]\n");
    let six = Machine::new(images::router()).name("six").serial("MICRODCSIX").node_config(SIX).deadline(patience);
    let upstream = provider.host(Ipv4Addr::new(192, 0, 2, 254), 24, None).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                upstream.send_frame(&advertisement::managed("2001:db8:f::".parse().unwrap()));
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut kea = kea.start().unwrap();
            wait_up(&kea, "kea").unwrap();
            let node = six.network(&provider).network(&lan).start().unwrap();
            let ready = node.expect("network ready: ", STEP).unwrap();
            assert!(ready.contains(&format!("eth0 {LEASED}/128")), "{ready}");
            let holds = |page: &str| {
                has(page, &["lease eth0 2001:db8:f::50 from fe80::"])
                    && has(page, &[&format!("prefix eth0 {PREFIX} from fe80::")])
                    && has(page, &["link eth1 up", INSIDE_SIX])
                    && has(page, &["route unreachable 2001:db8:1::/56", "proto dhcp"])
            };
            let page = wait_page(&node, "the lease and the prefix", holds);
            for fact in ["resolver 2001:db8:f::53", "search kea.example", "time server 2001:db8:f::123"] {
                assert!(page.contains(fact), "no {fact}:\n{page}");
            }
            let begin = Instant::now();
            while advertised(capture.path()).iter().all(|preferred| *preferred == 0) {
                assert!(begin.elapsed() < STEP, "the prefix is not advertised on the LAN:\n{}", node.console());
                std::thread::sleep(Duration::from_millis(250));
            }

            // Longer than its lifetime of 40 s it is held because it is renewed.
            std::thread::sleep(Duration::from_secs(45).saturating_sub(begin.elapsed()));
            assert!(holds(&node.page("r", STEP).unwrap()), "{}", node.page("r", STEP).unwrap());

            kea.power_off().unwrap();
            kea.wait_off(STEP).unwrap();
            let page = wait_page(&node, "the server's silence", |page| {
                !page.contains("2001:db8:f::50") && !page.contains("2001:db8:1:")
            });
            assert!(has(&page, &["link eth1 up", "10.1.0.1/24"]), "{page}");
            let begin = Instant::now();
            while advertised(capture.path()).last() != Some(&0) {
                assert!(begin.elapsed() < STEP, "the LAN is not told that its prefix is over:\n{}", node.console());
                std::thread::sleep(Duration::from_millis(250));
            }
            kea.power_on().unwrap();
            wait_page(&node, "the server's return", holds);
        }));
        over.store(true, Ordering::SeqCst);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}
