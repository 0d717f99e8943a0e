//! `firstboot metrics FILE`: serves the node's metrics to Prometheus, on the address and port that are in the file. An
//! unprivileged service: PID 1 parses no packets, and this child can only read facts from PID 1.
//!
//! - [`http`] what a client asks and what it is answered · [`text`] facts as text

pub mod http;
pub mod text;

#[cfg(test)]
mod grammar;

use crate::notify::Notify;
use crate::operator::client;
use anyhow::Context as _;
use contract::control::{FACTS_SOCKET, Reply, Request};
use contract::per_source::PerSource;
use http::{Asked, HEAD_MAX};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

/// Connections at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// Of these from one source; more are closed at once.
const PER_SOURCE: usize = 8;
/// Time for a whole request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// PID 1 is asked at most once in this time, however many scrape.
const FRESH: Duration = Duration::from_secs(1);
/// Time between two tries to listen: the address may come later than this service.
const RETRY: Duration = Duration::from_secs(1);

/// Runs it; returns only when it is impossible.
pub fn run(arguments: &[String]) {
    let result =
        arguments.first().context("`metrics` needs the file with the address to listen on").and_then(|path| {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
            let address = text
                .trim()
                .parse()
                .with_context(|| format!("{:?} is not a valid address with a port", text.trim()))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(LocalSet::new().run_until(serve(address)))
        });
    if let Err(error) = result {
        println!("metrics cannot be served: {error:#}");
        std::process::exit(1);
    }
}

async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = listen(address).await;
    Notify::inherited().tell(&format!("READY=1\nSTATUS=at http://{address}/metrics"));
    take_all(listener).await
}

/// Takes every connection there is room for.
async fn take_all(listener: TcpListener) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let sources = PerSource::new(PER_SOURCE);
    let facts = Rc::new(Kept::default());
    loop {
        let place = Arc::clone(&room).acquire_owned().await.context("connections are no longer counted")?;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(held) = sources.take(peer.ip()) else { continue };
                let facts = Rc::clone(&facts);
                tokio::task::spawn_local(async move {
                    let _ = tokio::time::timeout(PATIENCE, converse(stream, &facts)).await;
                    drop((place, held));
                });
            }
            // Out of descriptors or memory: not asked again at once.
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Listens as soon as the address is there.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut said = String::new();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => {
                let why = format!("cannot listen on {address}: {error}");
                if why != said {
                    println!("{why}; retrying");
                    Notify::inherited().tell(&format!("STATUS={why}"));
                    said = why;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One request and its answer. An error means that the client is gone.
async fn converse(mut stream: TcpStream, facts: &Kept) -> std::io::Result<()> {
    let mut head = Vec::new();
    let asked = loop {
        let mut buffer = [0; 2048];
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        head.extend(buffer.get(..length).unwrap_or_default());
        match http::parse(&head) {
            Asked::More if head.len() < HEAD_MAX => {}
            Asked::More => break Asked::Refused(431),
            asked => break asked,
        }
    };
    let answer = match asked {
        Asked::Metrics { head_only } => match facts.text() {
            Ok(text) => http::answer(200, text::CONTENT_TYPE, &text, head_only),
            Err(error) => {
                println!("no metrics: {error}");
                http::refusal(503)
            }
        },
        Asked::Refused(status) => http::refusal(status),
        Asked::More => http::refusal(400),
    };
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

/// The last text, and when PID 1 was asked for it.
#[derive(Default)]
struct Kept(RefCell<Option<(Instant, String)>>);

impl Kept {
    fn text(&self) -> Result<String, client::AskError> {
        let mut kept = self.0.borrow_mut();
        if let Some((asked, text)) = &*kept
            && asked.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let mut text = String::new();
        client::ask(FACTS_SOCKET, &Request::Metrics, None, |reply| {
            if let Reply::Metrics(facts) = reply {
                text = text::of(&facts);
            }
            true
        })?;
        *kept = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn half_open_connections_of_one_address_keep_nobody_else_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let serving = async { take_all(TcpListener::from_std(listener).unwrap()).await };
            runtime.block_on(LocalSet::new().run_until(serving)).unwrap();
        });
        let from = |own: [u8; 4]| {
            // Another address of this machine: all of 127.0.0.0/8 is its own.
            let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
            let socket = socket.unwrap();
            rustix::net::bind(&socket, &SocketAddr::from((own, 0))).unwrap();
            rustix::net::connect(&socket, &address).unwrap();
            let stream = std::net::TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream
        };
        // They say nothing, as long as they may.
        let _silent: Vec<_> = (0..120).map(|_| from([127, 0, 0, 1])).collect();
        let mut other = from([127, 0, 0, 2]);
        std::io::Write::write_all(&mut other, b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer:?}");
        // One more of the first ones is closed without a word.
        assert_eq!(from([127, 0, 0, 1]).read(&mut [0]).unwrap_or(0), 0);
    }
}
