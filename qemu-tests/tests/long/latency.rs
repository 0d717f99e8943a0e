//! A role serves on while its node takes an update: what a client of the node's HTTP service waits, before and meanwhile.

use contract::control::{Call, Request as Ask, VERSION};
use emulator::{Machine, Node};
use microdc::serve::Server;
use qemu_tests::bundles;
use qemu_tests::figures::figure;
use qemu_tests::forge::Forge;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request, ask};
use qemu_tests::router::wait_up;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ADDRESS: &str = "10.0.2.15:9100";
const LONG: Duration = Duration::from_secs(600);

/// How long one request takes, from connecting to the answer's end.
fn request(port: u16) -> std::io::Result<Duration> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: r1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") {
        return Err(std::io::Error::other(format!("an answer of {answer:?}")));
    }
    Ok(begin.elapsed())
}

/// Half of them are done within this time, and 99 of 100.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    format!("median {:.1} ms, 99 % within {:.1} ms, {} requests", at(50), at(99), times.len())
}

/// Lets PID 1 take the bundle; gives what it said.
fn update(node: &Node, url: String) -> String {
    let request = Ask::Update { urls: vec![url], dry_run: false, force: false };
    let call = serde_json::to_string(&Call { version: VERSION, request }).unwrap();
    let mut port = node.port(PORT).unwrap();
    port.set_read_timeout(Some(LONG)).unwrap();
    let out = port.try_clone().unwrap();
    // The node may restart before all is said.
    ask(&mut port, out, &Request::Call(call))
        .map_or(String::new(), |answer| String::from_utf8_lossy(&answer.unwrap()).into())
}

#[test]
fn a_node_answers_its_clients_while_it_takes_an_update() {
    let image = images::router_with_probe();
    // Nothing of the other slot is in its place: every block is read, hashed and written.
    let release = Forge::of(&image).version("latency-2").manifest(|manifest| manifest.rollback_index += 1).finish();
    let folder = tempfile::tempdir().unwrap();
    bundles::write(&release, &folder.path().join("b.bundle"));
    let server = Server::start(folder.path(), "127.0.0.1:0".parse().unwrap()).unwrap();

    let config = format!(
        "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\n[router]\nasn = 65001\n[metrics]\nlisten = \
         \"{ADDRESS}\"\n"
    );
    let mut machine = Machine::new(image).name("r1").port(PORT).user_network().node_config(config).deadline(LONG);
    let port = machine.forward(9100).unwrap();
    let node = machine.start().unwrap();
    wait_up(&node, "r1").unwrap();

    let quiet: Vec<Duration> = (0..100).map(|_| request(port).unwrap()).collect();
    let installed = AtomicBool::new(false);
    let (busy, took) = std::thread::scope(|scope| {
        let begin = Instant::now();
        let url = format!("http://10.0.2.2:{}/b.bundle", server.address().port());
        scope.spawn(|| {
            let said = update(&node, url);
            assert!(!said.contains("refused") && !said.contains("\"failed\""), "{said}");
        });
        scope.spawn(|| {
            let line = node.expect("is installed in slot B", LONG);
            installed.store(true, Ordering::SeqCst);
            line.unwrap();
        });
        let mut busy = Vec::new();
        while !installed.load(Ordering::SeqCst) {
            match request(port) {
                Ok(time) => busy.push(time),
                // Services stop as soon as all is installed, which may be known here a moment later.
                Err(error) => {
                    std::thread::sleep(Duration::from_secs(5));
                    assert!(installed.load(Ordering::SeqCst), "not served during the installation: {error}");
                }
            }
        }
        (busy, begin.elapsed())
    });
    figure("HTTP of a node, at rest", spread(quiet));
    figure(
        "HTTP of a node, while it takes an update",
        format_args!("{}, in {:.1} s", spread(busy), took.as_secs_f32()),
    );
}
