//! The control sockets: who may connect, how much they may send, and for how long. [`super::answers`] interprets
//! requests.
//!
//! Everything is bounded, and nothing here waits: a client that sends too much, too slowly or does not take its answer
//! is dropped, and the loop goes on.

use super::events::now as clock;
use super::visitors::Visitors;
use crate::service::{Moment, Supervisor};
use contract::control::{Call, LogLine, MAX_REQUEST, Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// Clients at a time, and those of them that follow logs.
const MOST_CLIENTS: usize = 16;
const MOST_FOLLOWERS: usize = 8;
/// Clients at a time that may only read facts, so that they leave room for operators.
const MOST_READERS: usize = 4;
/// Time for a request to come, and for each piece of an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// A follower whose untaken answers are longer gets no new lines until it has taken them, in bytes.
const ENOUGH: usize = 64 * 1024;

/// Which descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Listener(Rank),
    Client(u64),
}

/// What those who come by a socket may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Everything.
    Operator,
    /// What [`Request::is_for_facts`] says.
    Reader,
}

/// A socket.
struct Listener {
    listener: UnixListener,
    rank: Rank,
    visitors: Visitors,
}

/// The sockets and their clients.
#[derive(Default)]
pub struct Control {
    doors: Vec<Listener>,
    clients: Vec<Client>,
    next: u64,
    /// No one is let in before this time: the kernel had no room for another client.
    accept_at: Moment,
}

struct Client {
    number: u64,
    rank: Rank,
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// When its patience ends; moved with every piece that it takes.
    deadline: Moment,
    stage: Stage,
}

enum Stage {
    /// Its request has not come yet.
    Asking,
    /// It has been asked, and the loop owes it an answer.
    Asked,
    /// It gets the rest of its answer.
    Leaving,
    /// It gets log lines: of each service, those after so many.
    Following(BTreeMap<String, u64>),
    /// It receives the progress of an update. What it sends meanwhile is the bundle, and not for PID 1.
    Watching,
}

impl Control {
    /// Binds `path` again for these visitors.
    ///
    /// # Errors
    /// When its folder is missing or not writable.
    pub fn open(&mut self, path: &Path, rank: Rank, visitors: Visitors) -> io::Result<()> {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        std::os::unix::fs::chown(path, Some(0), Some(visitors.group().unwrap_or(0)))?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o660))?;
        self.doors.push(Listener { listener, rank, visitors });
        Ok(())
    }

    /// Whether there is room for another client of this rank.
    fn has_room(&self, rank: Rank) -> bool {
        let same = self.clients.iter().filter(|client| client.rank == rank).count();
        same < if rank == Rank::Reader { MOST_READERS } else { MOST_CLIENTS }
    }

    /// What to wait for.
    pub fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut sources = Vec::new();
        for door in self.doors.iter().filter(|door| clock() >= self.accept_at && self.has_room(door.rank)) {
            sources.push((Source::Listener(door.rank), door.listener.as_fd(), PollFlags::IN));
        }
        for client in &self.clients {
            // A client that is gone shows by itself (HUP).
            let write = if client.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            let read = match client.stage {
                Stage::Asking | Stage::Following(_) => PollFlags::IN,
                _ => PollFlags::empty(),
            };
            sources.push((Source::Client(client.number), client.stream.as_fd(), read | write));
        }
        sources
    }

    /// When [`Control::pump`] is due next.
    pub fn deadline(&self) -> Option<Moment> {
        self.clients.iter().filter(|client| client.limited()).map(|client| client.deadline).min()
    }

    /// Moves what can be moved; gives a request that is now whole.
    pub fn ready(&mut self, source: Source, now: Moment) -> Option<(u64, Request)> {
        match source {
            Source::Listener(rank) => {
                self.accept(rank, now);
                None
            }
            Source::Client(number) => {
                self.clients.retain(|client| client.number != number || !client.has_left());
                let at = self.clients.iter().position(|client| client.number == number)?;
                let client = self.clients.get_mut(at)?;
                let step = client.read();
                let step = match client.write(now) {
                    Ok(()) => step,
                    Err(error) => Err(error),
                };
                let reader = client.rank == Rank::Reader;
                match step {
                    Ok(Some(Ok(request))) if reader && !request.is_for_facts() => {
                        let refusal = "this socket is read-only".to_owned();
                        self.reply(number, &Reply::Refused(refusal), now);
                        None
                    }
                    Ok(Some(Ok(request))) => Some((number, request)),
                    Ok(Some(Err(refusal))) => {
                        self.reply(number, &Reply::Refused(refusal), now);
                        None
                    }
                    Ok(None) => {
                        self.clients.retain(|client| !client.finished());
                        None
                    }
                    Err(_) => {
                        self.clients.remove(at);
                        None
                    }
                }
            }
        }
    }

    fn accept(&mut self, rank: Rank, now: Moment) {
        let Some(door) = self.doors.iter().find(|door| door.rank == rank).filter(|_| self.has_room(rank)) else {
            return;
        };
        match door.listener.accept() {
            Ok((stream, _)) => {
                let welcome = door.visitors.welcome(&stream);
                self.admit(stream, rank, welcome, now);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // Out of descriptors or memory: asking again at once would keep the loop busy.
            Err(_) => self.accept_at = now + Duration::from_secs(1),
        }
    }

    fn admit(&mut self, stream: UnixStream, rank: Rank, welcome: bool, now: Moment) {
        if !welcome || stream.set_nonblocking(true).is_err() {
            return;
        }
        self.next = self.next.wrapping_add(1);
        self.clients.push(Client {
            number: self.next,
            rank,
            stream,
            input: Vec::new(),
            output: Vec::new(),
            deadline: now + PATIENCE,
            stage: Stage::Asking,
        });
    }

    fn find(&mut self, number: u64) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.number == number)
    }

    /// Answers a client and lets it go.
    pub fn reply(&mut self, number: u64, reply: &Reply, now: Moment) {
        let Some(client) = self.find(number) else { return };
        client.stage = Stage::Leaving;
        client.send(reply);
        client.deadline = now + PATIENCE;
        if client.write(now).is_err() || client.finished() {
            self.clients.retain(|client| client.number != number);
        }
    }

    /// Sends a client these lines, and from now on those that come after the ones counted in `seen`.
    pub fn follow(&mut self, number: u64, lines: Vec<LogLine>, seen: BTreeMap<String, u64>, now: Moment) {
        let followers = self.clients.iter().filter(|client| matches!(client.stage, Stage::Following(_))).count();
        if followers >= MOST_FOLLOWERS {
            let refusal = format!("{MOST_FOLLOWERS} others already follow logs");
            return self.reply(number, &Reply::Refused(refusal), now);
        }
        let Some(client) = self.find(number) else { return };
        client.stage = Stage::Following(seen);
        client.send(&Reply::Logs(lines));
        client.deadline = now + PATIENCE;
        if client.write(now).is_err() {
            self.clients.retain(|client| client.number != number);
        }
    }

    /// Keeps a client that follows the progress of an update.
    pub fn watch(&mut self, number: u64) {
        if let Some(client) = self.find(number) {
            client.stage = Stage::Watching;
        }
    }

    /// The connection of a client, for another process that reads from it.
    ///
    /// # Errors
    /// When it is gone, or the kernel has no room.
    pub fn connection(&mut self, number: u64) -> io::Result<OwnedFd> {
        let client = self.find(number).ok_or(ErrorKind::NotConnected)?;
        // Who reads from it there waits for what comes. Nothing here waits anyway: see `receive` and `write`.
        client.stream.set_nonblocking(false)?;
        client.stream.as_fd().try_clone_to_owned()
    }

    /// Tells a watching client something. What is `fleeting` is left out for one that does not keep up.
    pub fn tell(&mut self, number: u64, reply: &Reply, fleeting: bool, now: Moment) {
        let Some(client) = self.find(number).filter(|client| matches!(client.stage, Stage::Watching)) else { return };
        if fleeting && !client.output.is_empty() {
            return;
        }
        if client.output.is_empty() {
            client.deadline = now + PATIENCE;
        }
        client.send(reply);
        if client.write(now).is_err() {
            self.clients.retain(|client| client.number != number);
        }
    }

    /// Gives followers their new lines, and drops those whose time is over.
    pub fn pump(&mut self, supervisor: &Supervisor, now: Moment) {
        self.clients.retain_mut(|client| {
            client.fill(supervisor, now);
            client.write(now).is_ok() && !client.finished() && !(client.limited() && now >= client.deadline)
        });
    }
}

impl Client {
    /// Whether time runs for it. A follower to whom nothing is owed may stay.
    fn limited(&self) -> bool {
        !matches!(self.stage, Stage::Following(_) | Stage::Watching) || !self.output.is_empty()
    }

    /// Whether it watched and has hung up. One that has only sent all it had still listens.
    fn has_left(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        let looked = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok();
        let gone = fds.iter().any(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR));
        matches!(self.stage, Stage::Watching) && looked && gone
    }

    fn finished(&self) -> bool {
        matches!(self.stage, Stage::Leaving) && self.output.is_empty()
    }

    fn send(&mut self, reply: &Reply) {
        // These types have no part that cannot be written as JSON.
        if let Ok(mut line) = serde_json::to_vec(reply) {
            line.push(b'\n');
            self.output.extend(line);
        }
    }

    fn fill(&mut self, supervisor: &Supervisor, now: Moment) {
        let Stage::Following(seen) = &mut self.stage else { return };
        if self.output.len() >= ENOUGH {
            return;
        }
        let mut new = Vec::new();
        for (service, seen) in seen {
            let (lines, count) = supervisor.lines_since(service, *seen);
            let lost = (count.saturating_sub(*seen)).saturating_sub(lines.len() as u64);
            *seen = count;
            let line = |line: String| LogLine { service: service.clone(), line };
            if lost > 0 {
                new.push(line(format!("({lost} lines omitted: they arrived faster than they were read)")));
            }
            new.extend(lines.into_iter().map(|text| line(text.to_owned())));
        }
        if !new.is_empty() {
            if self.output.is_empty() {
                self.deadline = now + PATIENCE;
            }
            self.send(&Reply::Logs(new));
        }
    }

    /// Reads on. An error means that it is gone.
    fn read(&mut self) -> io::Result<Option<Result<Request, String>>> {
        let mut buffer = [0; MAX_REQUEST];
        match self.stage {
            Stage::Asking => {}
            // Who follows or leaves has nothing more to say; the end of it is what matters.
            Stage::Following(_) => {
                return self.receive(&mut buffer, RecvFlags::empty()).and_then(|length| match length {
                    Some(0) => Err(ErrorKind::BrokenPipe.into()),
                    _ => Ok(None),
                });
            }
            Stage::Asked | Stage::Leaving | Stage::Watching => return Ok(None),
        }
        // What follows the request's line is left where it is: it may be a bundle.
        let seen = match self.receive(&mut buffer, RecvFlags::PEEK)? {
            None => return Ok(None),
            Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Some(length) => buffer.get(..length).unwrap_or_default(),
        };
        let line = seen.iter().position(|&byte| byte == b'\n').map_or(seen.len(), |end| end + 1);
        match self.receive(buffer.get_mut(..line).unwrap_or_default(), RecvFlags::empty())? {
            None => return Ok(None),
            Some(length) => self.input.extend(buffer.get(..length).unwrap_or_default()),
        }
        let line = self.input.iter().position(|&byte| byte == b'\n');
        let parsed = match line {
            None if self.input.len() < MAX_REQUEST => return Ok(None),
            None => Call::parse(&self.input),
            Some(end) => Call::parse(self.input.get(..end).unwrap_or_default()),
        };
        self.stage = Stage::Asked;
        self.input = Vec::new();
        Ok(Some(parsed.map_err(|error| error.to_string())))
    }

    /// What waits to be read, if anything does; nothing of no length is its end.
    fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Option<usize>> {
        let received = recv(&self.stream, buffer, flags | RecvFlags::DONTWAIT);
        again(received.map(|(length, _)| length).map_err(io::Error::from))
    }

    /// Writes on. An error means that it is gone.
    fn write(&mut self, now: Moment) -> io::Result<()> {
        while !self.output.is_empty() {
            let sent = send(&self.stream, &self.output, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            match again(sent.map_err(io::Error::from))? {
                None | Some(0) => break,
                Some(length) => {
                    self.output.drain(..length);
                    self.deadline = now + PATIENCE;
                }
            }
        }
        Ok(())
    }
}

/// Nothing, where the kernel says that it is not the time.
fn again(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of a group in the text of `/etc/group`.
#[must_use]
pub fn group_number(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
