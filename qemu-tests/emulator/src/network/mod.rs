//! Networks between nodes and tests: an Ethernet hub inside this process.
//!
//! Each network card is one end of a pair of datagram sockets; the hub holds the other. No port of the host is opened,
//! so nothing outside can listen in or get in the way, and tests may run side by side.

mod capture;
pub mod frame;
mod host;

pub use host::{Host, Received};

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest frame that is carried, in bytes: a jumbo frame with its header and a VLAN tag.
const FRAME_MAX: usize = 9216 + 18;

/// A network. Clones are the same network.
#[derive(Clone, Debug, Default)]
pub struct Network(Arc<Hub>);

#[derive(Debug, Default)]
struct Hub {
    ports: Mutex<Ports>,
    capture: Mutex<Option<capture::Capture>>,
    /// Frames lost of each thousand.
    loss: AtomicU32,
    /// State of the generator that picks them: the same frames are lost in every run of a test.
    dice: AtomicU32,
}

#[derive(Debug, Default)]
struct Ports {
    next: u64,
    open: BTreeMap<u64, Port>,
}

#[derive(Debug)]
enum Port {
    Card(Arc<UnixDatagram>),
    Host(Sender<Vec<u8>>),
}

/// A network card's place on the hub; pulled out when dropped.
#[derive(Debug)]
pub(crate) struct Plug {
    hub: Arc<Hub>,
    number: u64,
    socket: Option<Arc<UnixDatagram>>,
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.hub.ports.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&self.number);
        if let Some(socket) = &self.socket {
            // Wakes the thread that reads it.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Hub {
    fn open(self: &Arc<Hub>, port: Port) -> Plug {
        let socket = match &port {
            Port::Card(socket) => Some(Arc::clone(socket)),
            Port::Host(_) => None,
        };
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.next += 1;
        let number = ports.next;
        ports.open.insert(number, port);
        Plug { hub: Arc::clone(self), number, socket }
    }

    /// Carries a frame to every port but the one it came from.
    fn carry(&self, from: u64, frame: &[u8]) {
        if let Some(capture) = self.capture.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            capture.frame(frame);
        }
        if self.loses() {
            return;
        }
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, port) in ports.open.iter().filter(|(number, _)| **number != from) {
            // A receiver that is full or gone loses the frame, as on a wire.
            match port {
                Port::Card(socket) => drop(socket.send(frame)),
                Port::Host(sender) => drop(sender.send(frame.to_vec())),
            }
        }
    }

    fn loses(&self) -> bool {
        let loss = self.loss.load(Ordering::Relaxed);
        if loss == 0 {
            return false;
        }
        // Numerical Recipes' linear congruential generator.
        let step = |seed: u32| Some(seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let dice = self.dice.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or(0);
        (dice >> 16) % 1000 < loss
    }
}

impl Network {
    #[must_use]
    pub fn new() -> Network {
        Network::default()
    }

    /// Writes every frame from now on into a pcap file.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn capture(&self, path: &Path) -> io::Result<()> {
        let capture = capture::Capture::create(path)?;
        *self.0.capture.lock().unwrap_or_else(PoisonError::into_inner) = Some(capture);
        Ok(())
    }

    /// Loses this many of each thousand frames.
    pub fn set_loss(&self, per_mille: u32) {
        self.0.loss.store(per_mille, Ordering::Relaxed);
    }

    /// A new card's place on the hub, and the end of its cable for QEMU.
    pub(crate) fn plug(&self) -> io::Result<(Plug, OwnedFd)> {
        let (ours, theirs) = UnixDatagram::pair()?;
        let ours = Arc::new(ours);
        let reader = Arc::clone(&ours);
        // A guest that does not fetch its frames must not hold up the others.
        rustix::net::sockopt::set_socket_timeout(
            &*ours,
            rustix::net::sockopt::Timeout::Send,
            Some(std::time::Duration::from_millis(20)),
        )?;
        let plug = self.0.open(Port::Card(ours));
        let (hub, number) = (Arc::clone(&self.0), plug.number);
        std::thread::Builder::new().name("hub".to_owned()).spawn(move || {
            let mut frame = [0; FRAME_MAX];
            while let Ok(length @ 1..) = reader.recv(&mut frame) {
                hub.carry(number, &frame[..length]);
            }
        })?;
        Ok((plug, theirs.into()))
    }

    fn open_host(&self) -> (Plug, mpsc::Receiver<Vec<u8>>) {
        let (sender, receiver) = mpsc::channel();
        (self.0.open(Port::Host(sender)), receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(network: &Network) -> (Plug, UnixDatagram) {
        let (plug, fd) = network.plug().unwrap();
        let socket = UnixDatagram::from(fd);
        socket.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        (plug, socket)
    }

    #[test]
    fn a_frame_reaches_every_other_card_and_not_its_sender() {
        let network = Network::new();
        let ((_p1, a), (_p2, b), (_p3, c)) = (card(&network), card(&network), card(&network));
        a.send(b"hello frame").unwrap();
        let mut buffer = [0; 64];
        for other in [&b, &c] {
            assert_eq!(other.recv(&mut buffer).unwrap(), 11);
        }
        assert!(a.recv(&mut buffer).is_err());
    }

    #[test]
    fn two_networks_do_not_hear_each_other() {
        let ((_p1, a), (_p2, b)) = (card(&Network::new()), card(&Network::new()));
        a.send(b"hello").unwrap();
        assert!(b.recv(&mut [0; 64]).is_err());
    }

    #[test]
    fn a_card_that_nobody_reads_does_not_stop_the_others() {
        let network = Network::new();
        let ((_p1, a), (_p2, _deaf), (_p3, c)) = (card(&network), card(&network), card(&network));
        // Many arrive; whoever waited for the deaf one would have lost nearly all of them.
        let reader = std::thread::spawn(move || (0..=100).take_while(|_| c.recv(&mut [0; 64]).is_ok()).count());
        for _ in 0..1000 {
            a.send(b"hello").unwrap();
        }
        assert!(reader.join().unwrap() > 100);
    }

    #[test]
    fn a_lossy_network_loses_about_what_it_was_told() {
        let network = Network::new();
        network.set_loss(300);
        let lost = (0..10_000).filter(|_| network.0.loses()).count();
        assert!((2_700..3_300).contains(&lost), "{lost}");
    }
}
