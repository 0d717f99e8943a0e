//! One request to PID 1, and its replies.

use crate::sys::signal::{Signal, Signals};
use contract::control::{Call, Reply, Request};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest answer, in bytes; PID 1 sends far less.
const LONGEST: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer that did not come.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("cannot reach PID 1: {0}")]
    Io(#[from] io::Error),
    #[error("this nodectl does not understand PID 1's answer: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("PID 1 sent an incomplete answer")]
    Cut,
}

/// Sends a request to a socket, and passes every reply to `take` until there are no more, `take` returns false, a signal such
/// as Ctrl-C arrives, or nobody reads standard output any more.
///
/// # Errors
/// When PID 1 cannot be reached or understood.
pub fn ask(
    socket: &str,
    request: &Request,
    signals: Option<&Signals>,
    mut take: impl FnMut(Reply) -> bool,
) -> Result<(), AskError> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let streams = matches!(request, Request::Update { urls, .. } if urls.is_empty());
    let mut line = serde_json::to_vec(&Call::new(request.clone()))?;
    line.push(b'\n');
    stream.write_all(&line)?;
    if !matches!(request, Request::Logs { follow: true, .. } | Request::Update { .. }) {
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    if streams {
        // The node takes it as fast as it can write; the thread ends with this process, or when no one takes any more.
        stream.set_write_timeout(None)?;
        let mut bundle = stream.try_clone()?;
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut bundle);
            let _ = bundle.shutdown(std::net::Shutdown::Write);
        });
    }
    let mut kept = Vec::new();
    let mut answered = false;
    let mut buffer = [0; 16 * 1024];
    while !ended(&stream, signals) {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return if answered && kept.is_empty() { Ok(()) } else { Err(AskError::Cut) };
        }
        for piece in buffer.get(..length).unwrap_or_default().split_inclusive(|&byte| byte == b'\n') {
            kept.extend(piece);
            if kept.last() == Some(&b'\n') {
                answered = true;
                if !take(serde_json::from_slice(&kept)?) {
                    return Ok(());
                }
                kept.clear();
            }
        }
        if kept.len() > LONGEST {
            return Err(AskError::Cut);
        }
    }
    Ok(())
}

/// Waits until there is something to read. Returns true when it is time to stop instead.
fn ended(stream: &UnixStream, signals: Option<&Signals>) -> bool {
    let output = io::stdout();
    let mut fds =
        vec![PollFd::new(stream, PollFlags::IN), PollFd::from_borrowed_fd(output.as_fd(), PollFlags::empty())];
    fds.extend(signals.map(|signals| PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)));
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
            Ok(_) => break,
        }
    }
    let gone = fds.get(1).is_some_and(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP));
    drop(fds);
    gone || signals.is_some_and(|signals| std::iter::from_fn(|| signals.next()).any(|signal| signal != Signal::Child))
}
