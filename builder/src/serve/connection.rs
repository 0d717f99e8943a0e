//! One client connection: requests in, responses out, until either side closes it.

use super::answer::{self, Answer};
use super::request::{self, Asked, HEAD_MAX, Request};
use super::{Event, Shared, range};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a connection may be silent between requests.
const IDLE: Duration = Duration::from_secs(60);
/// How long the head of a request may take, from its first byte on.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what is sent.
const STALLED: Duration = Duration::from_secs(30);
/// Most bytes that one call of sendfile(2) moves: the time allowed is for each.
const PIECE: u64 = 1 << 20;

/// Serves one client to the end of its connection.
pub(super) fn serve(stream: &TcpStream, peer: SocketAddr, shared: &Shared) {
    // Of a client that goes away nothing more is to be said than the log does.
    let _ = talk(stream, peer, shared);
}

fn talk(mut stream: &TcpStream, peer: SocketAddr, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(STALLED))?;
    let mut buffer = Vec::new();
    loop {
        let asked = read(stream, &mut buffer, shared)?;
        let began = Instant::now();
        let Some(asked) = asked else { return Ok(()) };
        let (answer, file, request, method) = match asked {
            Asked::More => return Ok(()),
            Asked::Refused(status, method, path) => {
                let request = Request { path, ..Request::default() };
                (answer::refusal(status, method == "HEAD", false), None, request, method)
            }
            Asked::For(request, length) => {
                buffer.drain(..length);
                let (answer, file) = decide(&request, shared);
                let method = if request.head_only { "HEAD" } else { "GET" };
                (answer, file, *request, method.to_owned())
            }
        };
        // Before the answer: whoever has it finds the progress counted.
        let told = request.report.as_ref().and_then(|report| {
            let now = shared.nodes.heard(report, request.path.trim_start_matches('/'))?;
            Some((report.node.clone(), now))
        });
        let (first, end) = answer.part;
        let said = stream.write_all(&answer.bytes);
        let bytes = file.as_ref().filter(|_| said.is_ok()).map_or(0, |file| send(stream, file, first, end));
        let cut = bytes < end - first;
        (shared.log)(&Event::Request {
            at: crate::clock::now(),
            client: peer.ip().to_canonical(),
            node: request.report.as_ref().map(|report| report.node.clone()),
            method,
            path: request.path.clone(),
            status: answer.status,
            from: (answer.status == 206).then_some(first),
            bytes,
            cut,
            seconds: began.elapsed().as_secs_f64(),
        });
        if let Some((node, now)) = told {
            let (percent, done, blocks) = (now.percent(), now.done, now.blocks);
            (shared.log)(&Event::Progress { node, file: now.file, done, blocks, percent });
        }
        if let Some((node, reason)) = request.report.and_then(|report| Some((report.node, report.failed?))) {
            (shared.log)(&Event::Failed { node, reason });
        }
        said?;
        // A client that takes nothing more, or a file that became shorter: its end cannot be said in any other way.
        if cut {
            return Ok(());
        }
        if !answer.keep {
            return end_politely(stream);
        }
    }
}

/// Says that nothing follows, and takes what the client has still under way: an answer sent before could be lost otherwise.
fn end_politely(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut rest = [0; 4096];
    for _ in 0..16 {
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

/// What is asked next; nothing when the client has ended or stays silent.
fn read(mut stream: &TcpStream, buffer: &mut Vec<u8>, shared: &Shared) -> io::Result<Option<Asked>> {
    let mut deadline = Instant::now() + if buffer.is_empty() { IDLE } else { HEAD_TIME };
    loop {
        match request::parse(buffer) {
            Asked::More => {}
            asked => return Ok(Some(asked)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let late = || Asked::Refused(408, String::new(), String::new());
            return Ok((!buffer.is_empty()).then(late));
        }
        if shared.ending.load(Ordering::SeqCst) {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        let mut bytes = [0; 4096];
        let room = bytes.len().min(HEAD_MAX.saturating_sub(buffer.len()).max(1));
        match stream.read(&mut bytes[..room]) {
            Ok(0) => return Ok(None),
            Ok(length) => {
                if buffer.is_empty() {
                    deadline = Instant::now() + HEAD_TIME;
                }
                buffer.extend(&bytes[..length]);
            }
            // The loop sees that time is up.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The answer to a request, and the file that it sends.
fn decide(request: &Request, shared: &Shared) -> (Answer, Option<File>) {
    let Request { head_only, keep, .. } = *request;
    if request.path == "/" {
        let (bundles, nodes) = (shared.folder.list(), shared.nodes.all());
        return (answer::index(&bundles, &nodes, request.json, head_only, keep), None);
    }
    let Some(served) = shared.folder.file(&request.path) else {
        return (answer::refusal(404, head_only, keep), None);
    };
    let share = range::share(request, served.length, &served.tag);
    (answer::file(&served, share, head_only, keep), Some(served.file))
}

/// Sends these bytes of a file; gives how many went out.
fn send(stream: &TcpStream, file: &File, first: u64, end: u64) -> u64 {
    let mut at = first;
    while at < end {
        let piece = usize::try_from((end - at).min(PIECE)).unwrap_or(usize::MAX);
        match rustix::fs::sendfile(stream, file, Some(&mut at), piece) {
            Ok(1..) | Err(rustix::io::Errno::INTR) => {}
            // The file has become shorter, or the client went away or takes nothing: the count says how far it came.
            Ok(0) | Err(_) => break,
        }
    }
    at - first
}
