//! An HTTP server on loopback that serves files from memory, and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How one answer goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is closed after so many bytes of the body.
    Cut(usize),
    /// Nothing more is sent after so many bytes of the body, and the connection stays open.
    Stall(usize),
    Status(u16),
    /// Another path on this server.
    Redirect(String),
    /// The range is not heeded: the whole file comes.
    IgnoreRange,
    /// The range is answered with one that begins elsewhere.
    OtherRange,
}

/// One request that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    /// First byte asked for.
    pub from: Option<usize>,
    /// Bytes of the body that were sent.
    pub sent: usize,
}

/// What the server says of a version of a file, and in which form it sends it.
#[derive(Clone, Debug)]
struct Tagged {
    tag: String,
    packed: bool,
}

#[derive(Default)]
struct State {
    tagged: BTreeMap<String, Tagged>,
    files: BTreeMap<String, Vec<u8>>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    requests: Vec<Request>,
}

pub struct Server {
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        // The thread ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Server { address, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().files.insert(path.to_owned(), bytes.into());
    }

    /// Gives a file an entity tag; to who takes it, it comes packed.
    pub fn tag(&self, path: &str, tag: &str, packed: bool) {
        self.state.lock().unwrap().tagged.insert(path.to_owned(), Tagged { tag: tag.to_owned(), packed });
    }

    pub fn remove(&self, path: &str) {
        self.state.lock().unwrap().files.remove(path);
    }

    pub fn paths(&self) -> Vec<String> {
        self.state.lock().unwrap().files.keys().cloned().collect()
    }

    /// The next answers for `path`, in this order; then it is served well again.
    pub fn fail(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.entry(path.to_owned()).or_default().extend(faults);
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    pub fn requests_of(&self, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path == path).collect()
    }

    pub fn forget_requests(&self) {
        self.state.lock().unwrap().requests.clear();
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let (mut from, mut if_none_match, mut takes_packed) = (None, None, false);
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "if-none-match" => if_none_match = Some(value.to_owned()),
                "accept-encoding" => takes_packed = value.contains("gzip"),
                _ => (),
            }
        }
    }
    let (file, fault, tagged, index) = {
        let mut state = state.lock().unwrap();
        let fault = state.faults.get_mut(&path).and_then(VecDeque::pop_front);
        state.requests.push(Request { path: path.clone(), from, sent: 0 });
        let tagged = state.tagged.get(&path).cloned();
        (state.files.get(&path).cloned(), fault, tagged, state.requests.len() - 1)
    };
    let empty = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let head = match (&fault, &file) {
        (Some(Fault::Status(status)), _) => empty(&format!("{status} Fault")),
        (Some(Fault::Redirect(to)), _) => {
            format!("HTTP/1.1 302 Found\r\nLocation: /{to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        (_, None) => empty("404 Not Found"),
        (None, Some(_)) if tagged.is_some() && if_none_match == tagged.as_ref().map(|tagged| tagged.tag.clone()) => {
            empty("304 Not Modified")
        }
        _ => String::new(),
    };
    let Some(file) = file.filter(|_| head.is_empty()) else {
        let _ = stream.write_all(head.as_bytes());
        return;
    };
    let mut extra = tagged.as_ref().map(|tagged| format!("ETag: {}\r\n", tagged.tag)).unwrap_or_default();
    let file = match tagged.is_some_and(|tagged| tagged.packed && takes_packed) {
        true => {
            extra.push_str("Content-Encoding: gzip\r\n");
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&file).unwrap();
            encoder.finish().unwrap()
        }
        false => file,
    };
    let from = if matches!(fault, Some(Fault::IgnoreRange)) { None } else { from };
    let start = from.unwrap_or(0);
    if start >= file.len() && start > 0 {
        let _ = stream.write_all(empty("416 Range Not Satisfiable").as_bytes());
        return;
    }
    let start = if matches!(fault, Some(Fault::OtherRange)) { 0 } else { start };
    let body = &file[start..];
    let head = match from {
        None => {
            format!("HTTP/1.1 200 OK\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())
        }
        Some(_) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\n\
             Connection: close\r\n\r\n",
            body.len(),
            file.len() - 1,
            file.len()
        ),
    };
    let count = match fault {
        Some(Fault::Cut(count) | Fault::Stall(count)) => count.min(body.len()),
        _ => body.len(),
    };
    state.lock().unwrap().requests[index].sent = count;
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&body[..count]);
    let _ = stream.flush();
    if matches!(fault, Some(Fault::Stall(_))) {
        thread::sleep(Duration::from_secs(30));
    }
}
