//! What a service tells PID 1 (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// PID 1's socket, or none where nobody listens.
#[derive(Debug, Default)]
pub struct Notify(Option<PathBuf>);

impl Notify {
    /// The one that PID 1 has given to this process.
    #[must_use]
    pub fn inherited() -> Notify {
        Notify(std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from))
    }

    #[cfg(test)]
    pub fn to(path: PathBuf) -> Notify {
        Notify(Some(path))
    }

    /// Says on the console when it cannot be told.
    pub fn tell(&self, message: &str) {
        if let Some(path) = &self.0
            && let Err(error) = UnixDatagram::unbound().and_then(|socket| socket.send_to(message.as_bytes(), path))
        {
            println!("cannot tell PID 1: {error}");
        }
    }
}
