//! A web server of a few lines. What it answers is up to the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// From 0.
    pub number: usize,
    pub method: String,
    pub path: String,
    /// First and last byte.
    pub range: Option<(u64, u64)>,
    /// All lines of its head, in lower-case letters.
    pub head: String,
}

/// What comes back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// With the line of the status; without the empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// So many bytes of the body come, then the connection closes.
    pub cut: Option<usize>,
    /// Time before each byte of the body.
    pub slow: Option<Duration>,
}

pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Serves until the test program ends.
    pub fn new(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/r.bundle", listener.local_addr().unwrap());
        let (answer, asked) = (Arc::new(answer), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || converse(stream, &*answer, &log));
            }
        });
        Server { url, asked }
    }

    /// As servers should be.
    pub fn of(file: Vec<u8>) -> Server {
        Server::new(move |asked| ranged(&file, asked, "\"1\""))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// The range of a file that was asked for.
pub fn ranged(file: &[u8], asked: &Asked, tag: &str) -> Answer {
    let length = file.len() as u64;
    let Some((first, last)) = asked.range else { return whole(file) };
    if first >= length {
        return Answer { head: "HTTP/1.1 416 No\r\nContent-Length: 0\r\n".to_owned(), ..Answer::default() };
    }
    let last = last.min(length - 1);
    let body = file[first as usize..=last as usize].to_vec();
    let head = format!(
        "HTTP/1.1 206 Part\r\nContent-Range: bytes {first}-{last}/{length}\r\nETag: {tag}\r\nContent-Length: {}\r\n",
        body.len()
    );
    Answer { head, body, ..Answer::default() }
}

pub fn whole(file: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 200 Fine\r\nContent-Length: {}\r\n", file.len());
    Answer { head, body: file.to_vec(), ..Answer::default() }
}

pub fn status(line: &str) -> Answer {
    Answer { head: format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n"), ..Answer::default() }
}

pub fn redirect(to: &str) -> Answer {
    Answer { head: format!("HTTP/1.1 302 There\r\nLocation: {to}\r\nContent-Length: 0\r\n"), ..Answer::default() }
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(&Asked) -> Answer, log: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut asked = Asked::default();
        loop {
            let mut line = String::new();
            if lines.by_ref().take(8192).read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            asked.head.push_str(&line.to_ascii_lowercase());
        }
        let mut first = asked.head.split(' ');
        (asked.method, asked.path) = (first.next()?.to_owned(), first.next()?.to_owned());
        asked.range = asked.head.lines().find_map(|line| {
            let (first, last) = line.strip_prefix("range: bytes=")?.trim().split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let answer = {
            let mut log = log.lock().unwrap();
            asked.number = log.len();
            log.push(asked.clone());
            drop(log);
            answer(&asked)
        };
        stream.write_all(answer.head.as_bytes()).ok()?;
        stream.write_all(b"\r\n").ok()?;
        if asked.method == "head" {
            continue;
        }
        let body = &answer.body[..answer.cut.unwrap_or(answer.body.len()).min(answer.body.len())];
        match answer.slow {
            None => stream.write_all(body).ok()?,
            Some(pause) => {
                for byte in body {
                    std::thread::sleep(pause);
                    stream.write_all(&[*byte]).ok()?;
                }
            }
        }
        if answer.cut.is_some() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return None;
        }
    }
}
