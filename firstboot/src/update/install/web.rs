//! Fetches pieces of a bundle by HTTP or HTTPS, from the first server that has them. A server that fails is asked again
//! after a while, and others in turn; one that lies is not asked again ([`super::servers`]). Each piece comes from one
//! server alone, so that a wrong one is known to be its fault. Certificates are not looked at: the bundle is believed by
//! its own signature, whoever sends it, and a node needs no true time for that.

use super::error::InstallError;
use super::http;
use super::order::Order;
use super::servers::Servers;
use super::tally::Tally;
use crate::tls;
use contract::content_range::ContentRange;
use contract::error::chain;
use contract::names::{HTTP_NODE, HTTP_PROGRESS};
use contract::update::UpdateEvent;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, BodyReader};

/// Most redirects of one request.
const REDIRECTS: usize = 5;

/// How long servers are waited for, and how often they are asked.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To find and reach a server.
    pub connect: Duration,
    /// For the head of an answer, and between two pieces of its body.
    pub silence: Duration,
    /// A slower one is given up, in bytes a second, once it was waited for as long as `silence`.
    pub slowest: u64,
    /// Failures in a row, over all servers, after which none is asked any more.
    pub tries: u32,
    /// Time before the second try. It doubles with each.
    pub pause: Duration,
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            slowest: 4096,
            tries: 8,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// What went wrong with a server.
enum Trouble {
    /// May be better later.
    Passing(String),
    /// Will not be better.
    Lasting(String),
    /// It cannot go on with what another server has begun, and may be good by itself.
    Other,
}

/// Bytes of the bundle, all from one server.
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    pub from: usize,
}

/// What a server answers to the first question.
pub(super) enum First {
    /// The front of the file.
    Piece(Vec<u8>),
    /// It knows no ranges: the whole file comes.
    Whole(Paced),
}

pub(super) struct Web {
    agent: Agent,
    servers: Servers,
    patience: Patience,
    node: String,
    /// Front of the bundle, by which other servers' files are known to be the same.
    front: Vec<u8>,
    /// Length of the file, in bytes.
    length: Option<u64>,
}

/// Who asks servers whose word is not taken for anything: no redirect is followed, and no certificate is looked at.
pub(crate) fn agent(patience: Patience) -> Agent {
    Agent::config_builder()
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_send_request(Some(patience.silence))
        .timeout_recv_response(Some(patience.silence))
        .timeout_per_read(Some(patience.silence))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("microdc/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .tls_config(tls::unverified())
        .build()
        .into()
}

impl Web {
    pub fn new(order: &Order, patience: Patience) -> Web {
        let agent = agent(patience);
        let node = order.node.chars().filter(char::is_ascii_graphic).take(64).collect();
        Web { agent, servers: Servers::new(&order.urls), patience, node, front: Vec::new(), length: None }
    }

    /// Length of the file as the server says it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The front of the file, at most `length` bytes; from now on every server must have the same.
    pub fn first(&mut self, length: u64, tally: &mut Tally<'_>) -> Result<First, InstallError> {
        loop {
            let server = self.asked()?;
            let answer = match self.ask(server, 0, length, tally) {
                Ok(Answer::Whole(body)) => return Ok(First::Whole(body)),
                Ok(Answer::Piece(range, body)) => {
                    let mut piece = Vec::new();
                    let read = self.read(body, range.last - range.first + 1, &mut piece, tally);
                    read.map(|()| (piece, range.length))
                }
                Err(trouble) => Err(trouble),
            };
            match answer {
                Ok((piece, length)) => {
                    self.servers.failures = 0;
                    self.length = Some(length);
                    self.front.clone_from(&piece);
                    if let Some(server) = self.servers.get_mut(server) {
                        server.known = true;
                    }
                    return Ok(First::Piece(piece));
                }
                Err(trouble) => self.trouble(server, trouble, tally)?,
            }
        }
    }

    /// The bytes from `offset` on. What has come of them is kept for when the same server is asked again.
    pub fn piece(&mut self, offset: u64, length: u64, tally: &mut Tally<'_>) -> Result<Piece, InstallError> {
        let mut parts: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        loop {
            let server = self.asked()?;
            let mut bytes = parts.remove(&server).unwrap_or_default();
            match self.part(server, offset, length, &mut bytes, tally) {
                Ok(()) => {
                    self.servers.failures = 0;
                    return Ok(Piece { bytes, from: server });
                }
                Err(trouble) => {
                    parts.insert(server, bytes);
                    self.trouble(server, trouble, tally)?;
                    parts.retain(|&server, _| self.servers.is_asked(server));
                }
            }
        }
    }

    fn part(
        &mut self,
        server: usize,
        offset: u64,
        length: u64,
        piece: &mut Vec<u8>,
        tally: &mut Tally<'_>,
    ) -> Result<(), Trouble> {
        let known = self.servers.get(server).is_some_and(|server| server.known);
        if !known {
            self.compare(server, tally)?;
        }
        let (from, left) = (offset + piece.len() as u64, length.saturating_sub(piece.len() as u64));
        if left == 0 {
            return Ok(());
        }
        match self.ask(server, from, left, tally)? {
            Answer::Whole(_) if known => Err(Trouble::Lasting("it does not send the requested range".into())),
            Answer::Whole(_) => Err(Trouble::Other),
            Answer::Piece(range, _) if range.last - range.first + 1 != left => {
                Err(Trouble::Lasting(format!("its file ends at {} bytes, within what is needed", range.length)))
            }
            Answer::Piece(_, body) => self.read(body, left, piece, tally),
        }
    }

    /// Another server must have the same bundle.
    fn compare(&mut self, server: usize, tally: &mut Tally<'_>) -> Result<(), Trouble> {
        let wanted = self.front.len() as u64;
        let Answer::Piece(range, body) = self.ask(server, 0, wanted, tally)? else { return Err(Trouble::Other) };
        let mut front = Vec::new();
        self.read(body, range.last - range.first + 1, &mut front, tally)?;
        if front != self.front || self.length != Some(range.length) {
            return Err(Trouble::Other);
        }
        if let Some(server) = self.servers.get_mut(server) {
            server.known = true;
        }
        Ok(())
    }

    /// The server that is asked now.
    pub fn asked(&mut self) -> Result<usize, InstallError> {
        self.servers.current().ok_or_else(|| self.servers.reasons())
    }

    /// The one that was asked last.
    pub fn last(&self) -> usize {
        self.servers.at()
    }

    /// Whether what came from it may be used.
    pub fn is_trusted(&self, server: usize) -> bool {
        self.servers.is_asked(server)
    }

    /// What came from this server is not what is signed: it is not asked any more. Returns whether another one may have
    /// the same bundle.
    pub fn blame(&mut self, server: usize, reason: &InstallError, tally: &mut Tally<'_>) -> bool {
        self.servers.give_up(server, chain(reason), tally);
        self.servers.current().is_some()
    }

    /// Forgets the bundle that was begun. Returns whether there is a server to begin with.
    pub fn begin_anew(&mut self) -> bool {
        self.front.clear();
        self.length = None;
        self.servers.begin_anew()
    }

    /// Why nothing was installed, when no server is left.
    pub fn refusal(&self, error: InstallError) -> InstallError {
        self.servers.refusal(error)
    }

    /// Waits before another try with everything; for servers that know no ranges.
    pub fn try_again(&mut self, reason: &InstallError, tally: &mut Tally<'_>) -> Result<(), InstallError> {
        self.trouble(self.servers.at(), Trouble::Passing(chain(reason)), tally)
    }

    /// Tells the server that the slot is complete; whether it receives that does not matter.
    pub fn say_done(&mut self, tally: &Tally<'_>) {
        if let Some(server) = self.servers.get(self.servers.at()) {
            let url = server.found_at.as_ref().unwrap_or(&server.url);
            let progress = format!("{0}/{0}", tally.blocks);
            let request = self.agent.head(url).header(HTTP_NODE, &self.node).header(HTTP_PROGRESS, progress);
            let _ = request.config().timeout_global(Some(Duration::from_secs(2))).build().call();
        }
    }

    /// Goes on to the next server, at once or after a while.
    fn trouble(&mut self, server: usize, trouble: Trouble, tally: &mut Tally<'_>) -> Result<(), InstallError> {
        match trouble {
            Trouble::Other => self.servers.set_aside(server),
            Trouble::Lasting(reason) => self.servers.give_up(server, reason, tally),
            Trouble::Passing(reason) => {
                let tries = self.patience.tries;
                let Some((url, failures)) = self.servers.failed(server, &reason, tries, tally) else {
                    return Err(self.servers.reasons());
                };
                let doubled = self.patience.pause.saturating_mul(1 << (failures - 1).min(16));
                let delay = doubled.min(self.patience.longest_pause);
                tally.tell(UpdateEvent::Retry { url, reason, delay_s: delay.as_secs_f64() });
                std::thread::sleep(delay);
            }
        }
        Ok(())
    }

    /// One request: `length` bytes from `first` on.
    fn ask(&mut self, server: usize, first: u64, length: u64, tally: &Tally<'_>) -> Result<Answer, Trouble> {
        let asked = self.servers.get(server).ok_or_else(|| Trouble::Lasting(String::new()))?;
        let mut url = asked.found_at.clone().unwrap_or_else(|| asked.url.clone());
        let range = format!("bytes={first}-{}", first.saturating_add(length).saturating_sub(1));
        for _ in 0..=REDIRECTS {
            let request = self.agent.get(&url).header(header::RANGE, &range);
            let request = request.header(HTTP_NODE, &self.node);
            let request = request.header(HTTP_PROGRESS, format!("{}/{}", tally.done, tally.blocks));
            let answer = request.call().map_err(trouble_of)?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                if let Some(server) = self.servers.get_mut(server) {
                    server.found_at = Some(url);
                }
                return self.judge(server, answer, first, length);
            }
            let to = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let to = to.ok_or_else(|| Trouble::Lasting("it redirects to nowhere".to_owned()))?;
            url = http::redirect(&url, to).map_err(Trouble::Lasting)?;
        }
        Err(Trouble::Lasting(format!("it redirects more than {REDIRECTS} times")))
    }

    fn judge(&mut self, server: usize, answer: Response<Body>, first: u64, length: u64) -> Result<Answer, Trouble> {
        let status = answer.status();
        let lasting = |reason: String| Err(Trouble::Lasting(reason));
        if answer.headers().contains_key(header::CONTENT_ENCODING) {
            return lasting("it compresses what it sends".to_owned());
        }
        let (slowest, grace) = (self.patience.slowest, self.patience.silence);
        let paced = |answer: Response<Body>| Paced {
            body: answer.into_body().into_with_config().limit(u64::MAX).reader(),
            slowest,
            grace,
            waited: Duration::ZERO,
            bytes: 0,
        };
        if status == StatusCode::OK {
            return Ok(Answer::Whole(paced(answer)));
        }
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            return lasting("its file is shorter than the bundle".to_owned());
        }
        if status != StatusCode::PARTIAL_CONTENT {
            let reason = format!("it answers {}", status.as_u16());
            let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
            return Err(if passing { Trouble::Passing(reason) } else { Trouble::Lasting(reason) });
        }
        let text = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let Some(range) = ContentRange::parse(text) else {
            return lasting(format!("it sends a part of the file without saying which: {text:?}"));
        };
        let wanted = first.saturating_add(length).min(range.length).saturating_sub(1);
        if (range.first, range.last) != (first, wanted) {
            return lasting(format!("it sends the bytes {}-{}, not {first}-{wanted}", range.first, range.last));
        }
        let version = http::version(answer.headers());
        let Some(server) = self.servers.get_mut(server) else { return Err(Trouble::Other) };
        if server.version.is_some() && server.version != version {
            return lasting("its file was changed while it was read".to_owned());
        }
        server.version = version;
        if let Some(length) = self.length.filter(|length| server.known && *length != range.length) {
            return lasting(format!("its file has {} bytes, and had {length} before", range.length));
        }
        Ok(Answer::Piece(range, paced(answer)))
    }

    /// Appends `length` bytes to `piece`, or what comes of them.
    fn read(&self, mut body: Paced, length: u64, piece: &mut Vec<u8>, tally: &mut Tally<'_>) -> Result<(), Trouble> {
        let mut left = length;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let room = buffer.get_mut(..left.min(64 * 1024) as usize).unwrap_or_default();
            match body.read(room) {
                Ok(0) => return Err(Trouble::Passing(format!("it ends {left} bytes too early"))),
                Ok(count) => {
                    piece.extend(room.get(..count).unwrap_or_default());
                    left = left.saturating_sub(count as u64);
                    tally.fetched += count as u64;
                }
                Err(error) => return Err(Trouble::Passing(error.to_string())),
            }
        }
        // The end must be seen, or the connection cannot be used again.
        match body.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Trouble::Lasting("it sends more than it announced".to_owned())),
            Err(error) => Err(Trouble::Passing(error.to_string())),
        }
    }
}

enum Answer {
    Piece(ContentRange, Paced),
    Whole(Paced),
}

fn trouble_of(error: ureq::Error) -> Trouble {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Trouble::Lasting(error.to_string()),
        _ => Trouble::Passing(error.to_string()),
    }
}

/// A body that must come at a pace. Only time in which it was waited for counts.
pub(super) struct Paced {
    body: BodyReader<'static>,
    slowest: u64,
    grace: Duration,
    waited: Duration,
    bytes: u64,
}

impl Read for Paced {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let begun = Instant::now();
        let count = self.body.read(bytes)?;
        self.waited += begun.elapsed();
        self.bytes += count as u64;
        let wanted = self.waited.as_secs_f64() * self.slowest as f64;
        if self.waited > self.grace && (self.bytes as f64) < wanted {
            let why = format!("it sends fewer than {} bytes a second", self.slowest);
            return Err(std::io::Error::new(ErrorKind::TimedOut, why));
        }
        Ok(count)
    }
}
