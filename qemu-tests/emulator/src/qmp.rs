//! QEMU's control channel (QMP, docs/interop/qmp-spec): events in, commands out.

use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The writing half; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Commands(Arc<Mutex<UnixStream>>);

impl Commands {
    /// Sends a command. Its answer is not waited for: what matters comes as an event.
    pub(crate) fn send(&self, command: &str, arguments: Value) -> io::Result<()> {
        let mut line = json!({"execute": command, "arguments": arguments}).to_string();
        line.push('\n');
        let mut stream = self.0.lock().map_err(|_| io::Error::other("a thread panicked while it wrote to QMP"))?;
        stream.write_all(line.as_bytes())
    }
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Events {
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// What a wait for an event brought.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Event {
        name: String,
        data: Value,
    },
    /// Nothing within the time.
    Quiet,
    /// QEMU has closed the channel: it is gone or going.
    Closed,
}

/// Both halves of a new channel, with the handshake sent.
pub(crate) fn open(stream: UnixStream) -> io::Result<(Commands, Events)> {
    let commands = Commands(Arc::new(Mutex::new(stream.try_clone()?)));
    commands.send("qmp_capabilities", json!({}))?;
    Ok((commands, Events { reader: BufReader::new(stream), line: Vec::new() }))
}

impl Events {
    /// The next event within `patience`. Greetings and answers are passed over.
    pub(crate) fn next(&mut self, patience: Duration) -> Next {
        if self.reader.get_ref().set_read_timeout(Some(patience)).is_err() {
            return Next::Closed;
        }
        loop {
            // On a time-out what was read so far stays in `line`.
            match self.reader.read_until(b'\n', &mut self.line) {
                Ok(0) => return Next::Closed,
                Ok(_) if self.line.last() != Some(&b'\n') => return Next::Closed,
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Next::Quiet,
                    io::ErrorKind::Interrupted => continue,
                    _ => return Next::Closed,
                },
            }
            let message: Value = serde_json::from_slice(&self.line).unwrap_or(Value::Null);
            self.line.clear();
            if let Some(name) = message["event"].as_str() {
                return Next::Event { name: name.to_owned(), data: message["data"].clone() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_among_answers_even_in_pieces() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let (_commands, mut events) = open(ours).unwrap();
        qemu.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"SHUTD").unwrap();
        assert_eq!(events.next(Duration::from_millis(20)), Next::Quiet);
        qemu.write_all(b"OWN\", \"data\": {\"reason\": \"guest-reset\"}}\n").unwrap();
        let found = events.next(Duration::from_secs(5));
        assert_eq!(found, Next::Event { name: "SHUTDOWN".to_owned(), data: json!({"reason": "guest-reset"}) });
        drop(qemu);
        assert_eq!(events.next(Duration::from_secs(5)), Next::Closed);
    }
}
