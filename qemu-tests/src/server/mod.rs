//! Servers that are the test itself, on a network of the emulator: what they say, and when they fall silent, is the test's
//! to decide. [`dhcp`] leases (RFC 2131) · [`ntp`] the time (RFC 5905) · [`advertisement`] IPv6 prefixes (RFC 4861)
//! · [`tls`] whatever is sent by TLS

pub mod advertisement;
pub mod dhcp;
pub mod ntp;
pub mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A thread that serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub(crate) fn start(mut turn: impl FnMut() + Send + 'static) -> Serving {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::SeqCst) {
                turn();
            }
        });
        Serving { stop, thread: Some(thread) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
