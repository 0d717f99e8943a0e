//! One address for all servers of a cluster: each announces it by BGP, or one that is elected holds it, while its own API
//! answers. And public addresses that stand for hosts behind a router.

use contract::role::{HttpProbe, Probe};
use emulator::network::frame::Body;
use emulator::{Network, Node};
use qemu_tests::agent::Agent;
use qemu_tests::figures::figure;
use qemu_tests::images;
use qemu_tests::probe::Request;
use qemu_tests::router::{Router, STEP, wait_route, wait_up};
use qemu_tests::vip::{BY_BGP, BY_VRRP, Client, SECOND_ASN, Server, router_config};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Longest time until another server answers. The aim is a second; nodes on a busy machine take longer. What tells this from
/// BGP's own timers is that those take 9 s.
const TAKEN_OVER: Duration = Duration::from_secs(8);

/// Signals of the kernel (signal(7)).
const STOP: i32 = 19;
const CONTINUE: i32 = 18;

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 20);

/// The kernel's list of addresses and routes of a node says that the address is its own.
fn has(node: &Node, address: Ipv4Addr) -> bool {
    Agent(node).cat("/proc/net/fib_trie").lines().any(|line| line.trim_end().ends_with(&format!("-- {address}")))
}

/// Takes the server away that answers now, and waits until another one does. Gives the first one's place.
fn take_away(client: &mut Client<'_>, servers: &mut [Node], what: &str, away: impl Fn(&mut Node)) -> usize {
    let before = client.server();
    let at = Server::place(&before);
    let begin = Instant::now();
    away(&mut servers[at]);
    let (_, took) = client.other_than(&before, begin);
    figure(what, format!("{:.2} s", took.as_secs_f32()));
    assert!(took < TAKEN_OVER, "{what}: {took:?}");
    at
}

fn kill_api(node: &mut Node) {
    signal(node, "api", 9);
}

/// Sends a signal to all processes with this name.
fn signal(node: &Node, name: &str, signal: i32) {
    Agent(node).ask(&Request::Kill { name: name.to_owned(), signal }).unwrap();
}

/// What k3s's supervisor says when it is asked whether anything answers.
fn something_answers(node: &Node) {
    let ping = HttpProbe {
        url: "http://127.0.0.1:6443/ping".to_owned(),
        status: Some(200),
        body: Some("pong".to_owned()),
        ca: None,
        insecure: false,
    };
    let asked = serde_json::to_string(&Probe::Http(ping)).unwrap();
    let words = ["/usr/lib/microdc/firstboot", "probe", "10000", &asked];
    Agent(node).ask(&Request::Run(words.map(str::to_owned).to_vec())).unwrap();
}

#[test]
fn servers_announce_an_address_by_bgp_while_their_api_answers_and_a_public_address_stands_for_a_host() {
    let (backbone, lans) = (Network::new(), [Network::new(), Network::new()]);
    let elastic = format!("[[router.elastic]]\npublic = \"{PUBLIC}\"\nprivate = \"{PRIVATE}\"\n");
    let both = [1, 2].map(|number| Router { number });
    let router = |at: usize, more: &str| {
        let config = router_config(both[at], both[1 - at], more);
        let machine = both[at].machine(images::router(), &[]).node_config(config).memory(512);
        machine.network(&backbone).network(&lans[at]).start().unwrap()
    };
    let routers = [router(0, &elastic), router(1, "")];
    let mut servers: Vec<Node> = Server::ALL.iter().map(|server| server.start(server.by_bgp(), &backbone)).collect();
    for (router, name) in routers.iter().zip(["r1", "r2"]) {
        wait_up(router, name).unwrap();
    }
    a_public_address_stands_for_a_host(&routers, &lans);

    let host = lans[1].host(Ipv4Addr::new(10, 2, 0, 10), 24, Some(Ipv4Addr::new(10, 2, 0, 1))).unwrap();
    let mut client = Client::of(&host, BY_BGP);
    let all = ["10.99.0.1/32", "via 10.0.0.11", "via 10.0.0.12", "via 10.0.0.13", "proto bgp"];
    for router in &routers {
        wait_route(router, &all).unwrap();
    }
    assert_eq!(client.servers_of_flows(40).len(), 3, "connections are spread over all servers");

    a_second_speaker_that_does_not_listen_has_a_session_of_its_own(&servers[0], &routers[0]);
    wait_route(&routers[0], &all).unwrap();

    let what = "three servers with BGP, an API killed to another server's answer";
    let killed = take_away(&mut client, &mut servers, what, kill_api);
    // No connection is led to the one that is gone.
    assert!(!client.servers_of_flows(40).contains(&Server::ALL[killed].name()));
    assert!(!has(&servers[killed], BY_BGP));
    // It takes part again by itself.
    wait_route(&routers[1], &all).unwrap();

    let what = "three servers with BGP, an API that hangs behind /ping to another server's answer";
    let hung = take_away(&mut client, &mut servers, what, |node| signal(node, "openssl", STOP));
    something_answers(&servers[hung]);
    assert!(!has(&servers[hung], BY_BGP) && !client.servers_of_flows(40).contains(&Server::ALL[hung].name()));
    signal(&servers[hung], "openssl", CONTINUE);
    wait_route(&routers[1], &all).unwrap();

    let what = "three servers with BGP and BFD, power cut to another server's answer";
    let off = take_away(&mut client, &mut servers, what, Node::kill);
    let left = client.servers_of_flows(40);
    assert!(!left.contains(&Server::ALL[off].name()) && left.len() == 2, "{left:?}");
    let still = (0..3).find(|at| *at != off).unwrap();
    a_server_that_powers_off_gives_the_address_away_before_its_api_ends(&servers[still], &mut client);
}

/// The host is behind r1; who reaches it, and is reached, is behind r2.
fn a_public_address_stands_for_a_host([r1, r2]: &[Node; 2], lans: &[Network; 2]) {
    wait_route(r2, &["203.0.113.7/32", "via 10.0.0.1", "proto bgp"]).unwrap();
    wait_route(r1, &["10.2.0.0/24", "via 10.0.0.2", "proto bgp"]).unwrap();
    let near = |last| lans[0].host(Ipv4Addr::new(10, 1, 0, last), 24, Some(Ipv4Addr::new(10, 1, 0, 1))).unwrap();
    let (inside, neighbour) = (near(20), near(21));
    let outside = lans[1].host(Ipv4Addr::new(10, 2, 0, 9), 24, Some(Ipv4Addr::new(10, 2, 0, 1))).unwrap();
    let udp = |from, to, text: &str| Body::Udp { from, to, data: text.as_bytes().to_vec() };

    // In, and the answer back.
    outside.ping(PUBLIC, STEP).unwrap();
    outside.send(PUBLIC, 64, udp(4000, 5000, "in"), STEP).unwrap();
    let came = inside.receive("what came in", STEP, |packet| packet.body == udp(4000, 5000, "in")).unwrap();
    assert_eq!((came.packet.from, came.packet.to), (outside.address(), PRIVATE));
    inside.send(outside.address(), 64, udp(5000, 4000, "back"), STEP).unwrap();
    let back = outside.receive("the answer", STEP, |packet| packet.body == udp(5000, 4000, "back")).unwrap();
    assert_eq!(back.packet.from, PUBLIC);
    // Out, with the public address.
    inside.send(outside.address(), 64, udp(6000, 7000, "out"), STEP).unwrap();
    let out = outside.receive("what went out", STEP, |packet| packet.body == udp(6000, 7000, "out")).unwrap();
    assert_eq!(out.packet.from, PUBLIC);
    // A neighbour that asks for the public address is answered from there, and not past the router.
    neighbour.ping(PUBLIC, STEP).unwrap();
    // By its own address it is reached as before.
    outside.ping(PRIVATE, STEP).unwrap();
}

/// Cilium's does not listen unless it is told to (`localPort` of CiliumBGPClusterConfig), and connects from the address that
/// `localAddress` of CiliumBGPNodeConfigOverride says.
fn a_second_speaker_that_does_not_listen_has_a_session_of_its_own(server: &Node, router: &Node) {
    let (own, second) = (Server::ALL[0].address(), Server::ALL[0].second_address());
    let run = |words: String| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let port = run(format!("/usr/lib/microdc/probe listen {own}:179"));
    let refused = Agent(server).ask(&Request::Run(port)).unwrap_err();
    assert!(refused.contains("Address in use"), "{refused}");
    let speak = run(format!("/usr/lib/microdc/probe speak-bgp {second} 10.0.0.1 {SECOND_ASN} 10.100.0.0"));
    Agent(server).ask(&Request::Begin { name: "second".to_owned(), run: speak }).unwrap();
    wait_route(router, &["10.100.0.0/24", &format!("via {second}"), "proto bgp"]).unwrap();
    assert_eq!(Agent(server).cat("/run/second.end"), "", "{}", Agent(server).cat("/run/second.log"));
}

fn a_server_that_powers_off_gives_the_address_away_before_its_api_ends(server: &Node, client: &mut Client<'_>) {
    let call = r#"{"version":1,"request":{"verb":"poweroff"}}"#;
    Agent(server).ask(&Request::Call(call.to_owned())).unwrap();
    let begin = Instant::now();
    while client.servers_of_flows(40).len() > 1 {
        assert!(begin.elapsed() < STEP, "the server that powers off still answers");
    }
}

mod long {
    use super::*;

    #[test]
    fn servers_without_a_router_elect_one_that_holds_the_address_while_its_api_answers() {
        let backbone = Network::new();
        let mut servers: Vec<Node> =
            Server::ALL.iter().map(|server| server.start(server.by_vrrp(), &backbone)).collect();
        let host = backbone.host(Ipv4Addr::new(10, 0, 0, 9), 24, None).unwrap();
        let mut client = Client::of(&host, BY_VRRP);
        for (server, node) in Server::ALL.iter().zip(&servers) {
            wait_up(node, &server.name()).unwrap();
            Agent(node).until("it is a candidate", |agent| (agent.cat("/run/vip/down") == "0\n").then_some(()));
        }
        assert_eq!(client.servers_of_flows(20).len(), 1, "one of them answers");
        let holders = |servers: &[Node]| servers.iter().filter(|node| node.is_on() && has(node, BY_VRRP)).count();

        let what = "three servers with VRRP, the holder's API killed to the next one's answer";
        let killed = take_away(&mut client, &mut servers, what, kill_api);
        assert_eq!(holders(&servers), 1);
        // It comes back, and who holds the address keeps it.
        Agent(&servers[killed])
            .until("it is a candidate again", |agent| (agent.cat("/run/vip/down") == "0\n").then_some(()));
        assert_ne!(client.server(), Server::ALL[killed].name());

        let what = "three servers with VRRP, the holder's power cut to the next one's answer";
        take_away(&mut client, &mut servers, what, Node::kill);
        assert_eq!(holders(&servers), 1);
    }
}
