//! The server of bundles, asked over raw connections: files and parts of them come as they are, and nothing comes that is
//! not in the folder.

use contract::names::{HTTP_FAILED, HTTP_NODE, HTTP_PROGRESS};
use microdc::serve::{Event, Server};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LOOPBACK: &str = "127.0.0.1:0";
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Answer {
    status: u16,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next answer; `body` says whether one follows the head.
    fn answer(&mut self, body: bool) -> Answer {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?} is not an answer")).parse().unwrap();
        let mut fields = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            fields.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = fields.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut bytes = vec![0; if body { length } else { 0 }];
        self.0.read_exact(&mut bytes).unwrap();
        Answer { status, fields, body: bytes }
    }

    /// Whether the server has ended the connection, with nothing more to say.
    fn is_over(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok() && rest.is_empty()
    }
}

/// One request on a connection of its own. `lines` are the request line and the fields but `Host`.
fn ask(server: &Server, lines: &str) -> Answer {
    let mut client = Client::to(server.address());
    client.send(format!("{}\r\nHost: r1\r\n\r\n", lines.replace('\n', "\r\n")).as_bytes());
    client.answer(!lines.starts_with("HEAD"))
}

fn get(server: &Server, path: &str) -> Answer {
    ask(server, &format!("GET {path} HTTP/1.1"))
}

/// Some bytes that are not alike anywhere.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn folder() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let bytes = content(3_000_000);
    std::fs::write(folder.path().join("router-1.bundle"), &bytes).unwrap();
    (folder, bytes)
}

fn start(folder: &Path) -> Server {
    Server::start(folder, LOOPBACK.parse().unwrap()).unwrap()
}

#[test]
fn a_file_comes_whole_and_in_parts() {
    let (folder, bytes) = folder();
    let server = start(folder.path());
    let whole = get(&server, "/router-1.bundle");
    assert_eq!((whole.status, whole.field("accept-ranges")), (200, "bytes"));
    assert!(whole.body == bytes);
    for (range, first, end) in [
        ("0-0", 0, 1),
        ("4096-12287", 4096, 12_288),
        ("2999999-", 2_999_999, 3_000_000),
        ("-5", 2_999_995, 3_000_000),
        ("1-9999999", 1, 3_000_000),
    ] {
        let part = ask(&server, &format!("GET /router-1.bundle HTTP/1.1\nRange: bytes={range}"));
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.field("content-range"), format!("bytes {first}-{}/3000000", end - 1));
        assert!(part.body == bytes[first..end], "{range}");
    }
    let beyond = ask(&server, "GET /router-1.bundle HTTP/1.1\nRange: bytes=3000000-");
    assert_eq!((beyond.status, beyond.field("content-range")), (416, "bytes */3000000"));
    assert!(ask(&server, "GET /router-1.bundle HTTP/1.1\nRange: bytes=0-1,5-6").body == bytes);
    let head = ask(&server, "HEAD /router-1.bundle HTTP/1.1");
    assert_eq!((head.status, head.field("content-length")), (200, "3000000"));
}

#[test]
fn an_entity_tag_names_one_content_of_a_file() {
    let (folder, bytes) = folder();
    let server = start(folder.path());
    let path = folder.path().join("router-1.bundle");
    let tag = get(&server, "/router-1.bundle").field("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag} is strong");
    let part = |field: &str, tag: &str| {
        ask(&server, &format!("GET /router-1.bundle HTTP/1.1\nRange: bytes=0-9\n{field}: {tag}"))
    };
    assert_eq!(part("If-Range", &tag).status, 206);
    assert_eq!(part("If-Match", &tag).status, 206);
    assert_eq!(part("If-None-Match", &tag).status, 304);

    // Another file of the same length and time takes its place, as a build puts it there.
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    let other = folder.path().join("new");
    std::fs::write(&other, vec![7; bytes.len()]).unwrap();
    std::fs::File::options().append(true).open(&other).unwrap().set_modified(time).unwrap();
    std::fs::rename(&other, &path).unwrap();
    let now = part("If-Range", &tag);
    assert_eq!(now.status, 200, "the whole of the new file");
    assert!(now.body.iter().all(|&byte| byte == 7));
    assert_eq!(part("If-Match", &tag).status, 412);
    assert_eq!(part("If-None-Match", &tag).status, 206);
    let changed = get(&server, "/router-1.bundle");
    assert_ne!(changed.field("etag"), tag);
    let mut date = Command::new("date");
    date.args(["-u", "-r"]).arg(&path).arg("+%a, %d %b %Y %H:%M:%S GMT").env("LC_ALL", "C");
    let date = date.output().unwrap().stdout;
    assert_eq!(changed.field("last-modified"), String::from_utf8(date).unwrap().trim());
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let above = tempfile::tempdir().unwrap();
    let secret = b"a secret that stands beside the folder";
    std::fs::write(above.path().join("secret"), secret).unwrap();
    let folder = above.path().join("out");
    std::fs::create_dir_all(folder.join("deep/deeper")).unwrap();
    std::fs::write(folder.join("inside.bundle"), "inside").unwrap();
    std::fs::write(folder.join("deep/deeper/file.img"), "deep").unwrap();
    std::fs::write(folder.join(".hidden"), secret).unwrap();
    symlink("../secret", folder.join("link.bundle")).unwrap();
    symlink(above.path().join("secret"), folder.join("absolute.bundle")).unwrap();
    symlink("..", folder.join("up")).unwrap();
    symlink("/", folder.join("root")).unwrap();
    symlink("/proc/self/root", folder.join("magic")).unwrap();
    symlink("deep/deeper/file.img", folder.join("fine.img")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe.bundle"), rustix::fs::Mode::RUSR).unwrap();
    let server = start(&folder);
    for (path, text) in [("/inside.bundle", "inside"), ("/deep/deeper/file.img", "deep"), ("/fine.img", "deep")] {
        assert_eq!(get(&server, path).body, text.as_bytes(), "{path}");
    }
    let secret_path = above.path().join("secret");
    let secret_path = secret_path.to_str().unwrap();
    let encoded: String = secret_path.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut hostile: Vec<String> = [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/%252e%252e/secret",
        "/deep/../../secret",
        "/./../secret",
        "//../secret",
        "/deep/..//../secret",
        "/..;/secret",
        "/..\\secret",
        "/..%5csecret",
        "/%c0%ae%c0%ae/secret",
        "/inside.bundle/../../secret",
        "/link.bundle",
        "/absolute.bundle",
        "/up/secret",
        "/root/etc/passwd",
        "/magic/etc/passwd",
        "/.hidden",
        "/%2ehidden",
        "/inside.bundle%00",
        "/inside.bundle%00.img",
        "/deep",
        "/deep/",
        "/pipe.bundle",
        "/inside.bundle/",
        "/INSIDE.bundle",
        "/%",
        "/%2",
        "/*",
        "/~root",
        "/dev/mem",
        "http://r1/../secret",
        "http://r1/%2e%2e/secret",
        "file:///etc/passwd",
    ]
    .map(str::to_owned)
    .into();
    hostile.extend([
        format!("/{secret_path}"),
        secret_path.to_owned(),
        format!("/{encoded}"),
        format!("/{}", "a/".repeat(900)),
    ]);
    for path in hostile {
        let answer = get(&server, &path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.windows(6).any(|bytes| bytes == b"secret"), "{path}");
    }
}

#[test]
fn what_is_no_request_is_refused_and_the_server_goes_on() {
    let (folder, _) = folder();
    let server = start(folder.path());
    for (bytes, status) in [
        (&b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"[..], 405),
        (b"DELETE /router-1.bundle HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"PUT /new HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nGET /router-1.bundle HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
    ] {
        let mut client = Client::to(server.address());
        client.send(bytes);
        let answer = client.answer(true);
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(bytes));
        assert_eq!(answer.field("connection"), "close");
        assert!(client.is_over(), "{}", String::from_utf8_lossy(bytes));
    }
    let mut client = Client::to(server.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(16_384)).as_bytes());
    assert_eq!(client.answer(true).status, 431);
    assert!(!folder.path().join("new").exists());
    assert_eq!(get(&server, "/router-1.bundle").status, 200);
}

#[test]
fn one_connection_serves_many_requests_even_when_they_come_together() {
    let (folder, bytes) = folder();
    let server = start(folder.path());
    let mut client = Client::to(server.address());
    let request = |range: &str| format!("GET /router-1.bundle HTTP/1.1\r\nHost: a\r\nRange: bytes={range}\r\n\r\n");
    client.send(format!("{}{}{}", request("0-9"), request("10-19"), request("9000000-")).as_bytes());
    for (status, part) in [(206, &bytes[..10]), (206, &bytes[10..20]), (416, &[][..])] {
        let answer = client.answer(true);
        assert_eq!((answer.status, answer.body.as_slice()), (status, part));
    }
    client.send(b"HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer(false).status, 404);
    client.send(b"GET /router-1.bundle HTTP/1.0\r\n\r\n");
    assert!(client.answer(true).body == bytes);
    assert!(client.is_over(), "HTTP/1.0 ends with the answer");
}

#[test]
fn the_log_tells_of_each_request_and_of_each_tenth_of_a_node() {
    let (folder, _) = folder();
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let sink = events.clone();
    let log = Box::new(move |event: &Event| sink.lock().unwrap().push(event.clone()));
    let server = Server::logging(folder.path(), LOOPBACK.parse().unwrap(), log).unwrap();
    // A line is written when its answer has gone out, so it may still come.
    let written = |wanted: usize, kind: fn(&Event) -> bool| {
        let began = Instant::now();
        while events.lock().unwrap().iter().filter(|event| kind(event)).count() < wanted {
            assert!(began.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for (done, lines) in [(0, 1), (1, 1), (50, 2), (99, 3), (100, 4)] {
        let said = format!("{HTTP_NODE}: r1\n{HTTP_PROGRESS}: {done}/100");
        assert_eq!(ask(&server, &format!("GET /router-1.bundle HTTP/1.1\nRange: bytes=8-9\n{said}")).status, 206);
        written(lines, |event| matches!(event, Event::Progress { .. }));
    }
    let failed = format!("{HTTP_NODE}: r2\n{HTTP_FAILED}: nvme0n1 holds an XFS file system");
    assert_eq!(ask(&server, &format!("HEAD /nothing HTTP/1.1\n{failed}")).status, 404);
    let index = String::from_utf8(get(&server, "/").body).unwrap();
    assert!(index.contains("/router-1.bundle  3000000 bytes") && index.contains("r1: 100 %"), "{index}");
    let json = ask(&server, "GET / HTTP/1.1\nAccept: application/json").body;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["bundles"][0]["name"], "router-1.bundle");
    assert_eq!(json["nodes"]["r1"]["done"], 100);
    assert_eq!(server.progress()["r1"], (100, 100));

    written(8, |event| matches!(event, Event::Request { .. }));
    written(1, |event| matches!(event, Event::Failed { .. }));
    let events = events.lock().unwrap();
    let percents: Vec<u64> = events
        .iter()
        .filter_map(|event| if let Event::Progress { percent, .. } = event { Some(*percent) } else { None })
        .collect();
    assert_eq!(percents, [0, 50, 99, 100]);
    let failed = events.iter().find(|event| matches!(event, Event::Failed { .. })).map(ToString::to_string);
    assert_eq!(failed.as_deref(), Some("r2: not installed: nvme0n1 holds an XFS file system"));
    let Event::Request { node, status, from, bytes, cut, path, .. } = &events[0] else { panic!("{:?}", events[0]) };
    assert_eq!((node.as_deref(), *status, *from, *bytes, *cut), (Some("r1"), 206, Some(8), 2, false));
    assert_eq!(path, "/router-1.bundle");
}

#[test]
fn a_server_that_ends_lets_its_clients_go() {
    let (folder, _) = folder();
    let server = start(folder.path());
    let address = server.address();
    let mut idle = Client::to(address);
    let mut slow = Client::to(address);
    slow.send(b"GET /router-1.bun");
    idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.answer(true).status, 200);
    drop(server);
    assert!(idle.is_over());
    let mut rest = Vec::new();
    let _ = slow.0.read_to_end(&mut rest);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn many_clients_at_once_each_get_what_they_asked_for() {
    let (folder, bytes) = folder();
    let server = start(folder.path());
    std::thread::scope(|scope| {
        for number in 0..64 {
            let (server, bytes) = (&server, &bytes);
            scope.spawn(move || {
                let mut client = Client::to(server.address());
                for round in 0..8 {
                    let first = (number * 31_337 + round * 77_777) % 2_900_000;
                    let end = first + 65_536;
                    let range = format!("{first}-{}", end - 1);
                    client.send(
                        format!("GET /router-1.bundle HTTP/1.1\r\nHost: a\r\nRange: bytes={range}\r\n\r\n")
                            .as_bytes(),
                    );
                    assert!(client.answer(true).body == bytes[first..end], "client {number}, {range}");
                }
            });
        }
    });
}

#[test]
fn the_program_announces_itself_and_ends_cleanly_at_ctrl_c() {
    let (folder, bytes) = folder();
    for json in [false, true] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microdc"));
        command.arg("serve").arg(folder.path()).args(["--listen", LOOPBACK]).args(json.then_some("--json"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = if json {
            let said: serde_json::Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
            assert_eq!(said["bundles"][0]["bytes"], 3_000_000);
            format!("{}/router-1.bundle", said["urls"][0].as_str().unwrap())
        } else {
            let line = lines.by_ref().find(|line| line.contains("ssh operator@NODE update ")).unwrap();
            assert!(lines.next().unwrap().is_empty());
            line.rsplit(' ').next().unwrap().to_owned()
        };
        // By a client that knows more of HTTP than this test.
        let body = ureq::get(&url).call().unwrap().body_mut().read_to_vec().unwrap();
        assert!(body == bytes);
        let line = lines.next().unwrap();
        assert!(line.contains("/router-1.bundle") && line.contains("3000000"), "{line}");
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(&line).is_ok());
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let end = child.wait_with_output().unwrap();
        assert!(end.status.success(), "{}: {}", end.status, String::from_utf8_lossy(&end.stderr));
        assert!(end.stderr.is_empty(), "{}", String::from_utf8_lossy(&end.stderr));
    }
}
