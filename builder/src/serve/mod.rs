//! A small HTTP server for bundles and images, for testing and for small sites: [`Server::start`].
//!
//! What a node's update needs from any server, and no more: GET and HEAD of files, single ranges, entity tags,
//! connections that stay open. Nothing is ever written. Only regular files inside the one folder are given out,
//! whatever a path says: the kernel resolves it beneath the folder ([`folder`]). A thread for each connection, and
//! files go from the page cache to the socket without passing through the program, so that memory grows by about 20 KiB
//! a connection.
//!
//! [`request`] what is asked · [`range`] which part of a file, and whether at all · [`answer`] what is said ·
//! [`connection`] one client · [`folder`] paths and files · [`nodes`] how far each node is · [`event`] the access log ·
//! [`addresses`] under which the machine is reached.
//!
//! Not axum with tower-http: its service of files follows links out of the folder, and its entity tags are the same for two
//! files of one length and time. What is left of it then is the reading of a request's head, which httparse does here as it
//! does on the node.

mod addresses;
mod answer;
mod connection;
mod event;
mod folder;
mod nodes;
mod range;
mod request;

pub use addresses::urls;
pub use event::Event;
pub use folder::{Listed, encode, list};

use contract::per_source::PerSource;
use folder::Folder;
use nodes::Nodes;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Most connections at once; the next ones wait until one is closed.
const CONNECTIONS: usize = 1024;
/// Of these from one source; more are closed at once. Nodes behind one address of a router share it.
const PER_SOURCE: usize = 128;
/// Stack of a connection's thread, in bytes.
const STACK: usize = 256 * 1024;
/// How often the listening thread looks whether it shall end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The part of a file of `length` bytes that a request gets: its first byte, and the one behind the last. Nothing, where it is
/// no whole request, or gets no bytes.
#[must_use]
pub fn part_of(request: &[u8], length: u64, tag: &str) -> Option<(u64, u64)> {
    let request::Asked::For(request, _) = request::parse(request) else { return None };
    match range::share(&request, length, tag) {
        range::Share::Whole => Some((0, length)),
        range::Share::Part(first, end) => Some((first, end)),
        _ => None,
    }
}

/// Takes what happens, from any thread.
pub type Log = Box<dyn Fn(&Event) + Send + Sync>;

/// A server that runs. Dropping it ends it, and every connection.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

/// What all connections share.
struct Shared {
    folder: Folder,
    nodes: Nodes,
    log: Log,
    ending: AtomicBool,
    open: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Serves the files of `folder` on `address`; port 0 lets the kernel choose one.
    ///
    /// # Errors
    /// When the folder cannot be opened or the address cannot be had.
    pub fn start(folder: &Path, address: SocketAddr) -> io::Result<Server> {
        Server::logging(folder, address, Box::new(|_| ()))
    }

    /// As [`Server::start`]; `log` gets what happens.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn logging(folder: &Path, address: SocketAddr, log: Log) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            folder: Folder::open(folder)?,
            nodes: Nodes::default(),
            log,
            ending: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let listening = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("serve".to_owned()).spawn(move || listen(&listener, &shared))?
        };
        Ok(Server { address, shared, listening: Some(listening) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nodes that said how far they are, with the blocks done and the blocks of all.
    #[must_use]
    pub fn progress(&self) -> BTreeMap<String, (u64, u64)> {
        self.shared.nodes.all().into_iter().map(|(name, node)| (name, (node.done, node.blocks))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        if let Some(listening) = self.listening.take() {
            // A panic there has been printed.
            let _ = listening.join();
        }
        for stream in self.shared.open().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Takes connections until the server ends.
fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let sources = PerSource::new(PER_SOURCE);
    for number in 0.. {
        let Some((stream, peer)) = next(listener, shared) else { return };
        let Some(held) = sources.take(peer.ip()) else { continue };
        let Ok(mine) = stream.try_clone() else { continue };
        shared.open().insert(number, mine);
        let connected = Arc::clone(shared);
        let talk = move || {
            connection::serve(&stream, peer, &connected);
            connected.open().remove(&number);
            drop(held);
        };
        let thread = std::thread::Builder::new().name("client".to_owned()).stack_size(STACK).spawn(talk);
        if thread.is_err() {
            // No room for a thread: this client is turned away, others are served.
            shared.open().remove(&number);
        }
    }
}

/// The next connection; nothing when the server ends.
fn next(listener: &TcpListener, shared: &Shared) -> Option<(TcpStream, SocketAddr)> {
    loop {
        if shared.ending.load(Ordering::SeqCst) {
            return None;
        }
        if shared.open().len() >= CONNECTIONS {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let mut wanted = [PollFd::new(listener, PollFlags::IN)];
        match rustix::event::poll(&mut wanted, Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            _ => {}
        }
        match listener.accept() {
            Ok((stream, peer)) if stream.set_nonblocking(false).is_ok() => return Some((stream, peer)),
            // It went away again, or there are no more descriptors for a while.
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
