//! Fetches pieces of a bundle by HTTP or HTTPS, from the first server that has them. A server that fails is asked again
//! after a while, and others in turn; one that lies is not asked again. Certificates are not looked at: the bundle is
//! believed by its own signature, whoever sends it, and a node needs no true time for that.

use super::error::InstallError;
use super::http;
use super::order::Order;
use super::tally::Tally;
use crate::tls;
use contract::content_range::ContentRange;
use contract::error::chain;
use contract::names::{HTTP_NODE, HTTP_PROGRESS};
use contract::update::UpdateEvent;
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
}

/// One of the addresses.
struct Server {
    url: String,
    /// Where its redirects led the last time.
    found_at: Option<String>,
    /// Of its file.
    version: Option<String>,
    /// Whether the front of its file was compared with the one that is being installed.
    known: bool,
    /// Why it is not asked any more.
    given_up: Option<String>,
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
    servers: Vec<Server>,
    /// The one that is asked.
    at: usize,
    patience: Patience,
    node: String,
    failures: u32,
    /// Front of the bundle, by which other servers' files are known to be the same.
    front: Vec<u8>,
    /// Length of the file, in bytes.
    length: Option<u64>,
}

impl Web {
    pub fn new(order: &Order, patience: Patience) -> Web {
        let agent = Agent::config_builder()
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
            .into();
        let servers = order.urls.iter().map(|url| Server {
            url: url.clone(),
            found_at: None,
            version: None,
            known: false,
            given_up: http::check(url).err(),
        });
        let node = order.node.chars().filter(char::is_ascii_graphic).take(64).collect();
        let (servers, front) = (servers.collect(), Vec::new());
        Web { agent, servers, at: 0, patience, node, failures: 0, front, length: None }
    }

    /// Length of the file as the server says it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The front of the file, at most `length` bytes; from now on every server must have the same.
    pub fn first(&mut self, length: u64, tally: &mut Tally<'_>) -> Result<First, InstallError> {
        loop {
            let answer = self.current().and_then(|server| self.ask(server, 0, length, tally));
            match answer {
                Ok(Answer::Whole(body)) => return Ok(First::Whole(body)),
                Ok(Answer::Piece(range, body)) => {
                    let mut piece = Vec::new();
                    match self.read(body, range.last - range.first + 1, &mut piece, tally) {
                        Ok(()) => {
                            self.failures = 0;
                            self.length = Some(range.length);
                            self.front = piece.clone();
                            if let Some(server) = self.servers.get_mut(self.at) {
                                server.known = true;
                            }
                            return Ok(First::Piece(piece));
                        }
                        Err(trouble) => self.trouble(trouble, tally)?,
                    }
                }
                Err(trouble) => self.trouble(trouble, tally)?,
            }
        }
    }

    /// The bytes from `offset` on. What has come is kept when a server fails.
    pub fn piece(&mut self, offset: u64, length: u64, tally: &mut Tally<'_>) -> Result<Vec<u8>, InstallError> {
        let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or(0).min(1 << 21));
        while (piece.len() as u64) < length {
            match self.part(offset, length, &mut piece, tally) {
                Ok(()) => self.failures = 0,
                Err(trouble) => self.trouble(trouble, tally)?,
            }
        }
        Ok(piece)
    }

    fn part(&mut self, offset: u64, length: u64, piece: &mut Vec<u8>, tally: &mut Tally<'_>) -> Result<(), Trouble> {
        let server = self.current()?;
        if self.servers.get(server).is_some_and(|server| !server.known) {
            self.compare(server, tally)?;
        }
        let (from, left) = (offset + piece.len() as u64, length - piece.len() as u64);
        match self.ask(server, from, left, tally)? {
            Answer::Whole(_) => Err(Trouble::Lasting("it knows no ranges".to_owned())),
            Answer::Piece(range, _) if range.last - range.first + 1 != left => {
                Err(Trouble::Lasting(format!("its file ends at {} bytes, within what is needed", range.length)))
            }
            Answer::Piece(_, body) => self.read(body, left, piece, tally),
        }
    }

    /// Another server must have the same bundle.
    fn compare(&mut self, server: usize, tally: &mut Tally<'_>) -> Result<(), Trouble> {
        let wanted = self.front.len() as u64;
        let Answer::Piece(range, body) = self.ask(server, 0, wanted, tally)? else {
            return Err(Trouble::Lasting("it knows no ranges".to_owned()));
        };
        let mut front = Vec::new();
        self.read(body, range.last - range.first + 1, &mut front, tally)?;
        if front != self.front {
            return Err(Trouble::Lasting("it has another bundle than the server before it".to_owned()));
        }
        if let Some(server) = self.servers.get_mut(server) {
            server.known = true;
        }
        Ok(())
    }

    /// What came from the server that was asked last is not what is signed. The next one, if there is any.
    pub fn distrust(&mut self, reason: &InstallError) -> bool {
        self.give_up(chain(reason));
        self.current().is_ok()
    }

    /// How many servers are not asked any more.
    pub fn given_up(&self) -> usize {
        self.servers.iter().filter(|server| server.given_up.is_some()).count()
    }

    /// Waits before another try with everything; for servers that know no ranges.
    pub fn try_again(&mut self, reason: &InstallError, tally: &mut Tally<'_>) -> Result<(), InstallError> {
        self.trouble(Trouble::Passing(chain(reason)), tally)
    }

    /// Tells the server that the slot is whole; whether it hears that is of no account.
    pub fn say_done(&mut self, tally: &Tally<'_>) {
        if let Some(server) = self.servers.get(self.at) {
            let url = server.found_at.as_ref().unwrap_or(&server.url);
            let progress = format!("{0}/{0}", tally.blocks);
            let request = self.agent.head(url).header(HTTP_NODE, &self.node).header(HTTP_PROGRESS, progress);
            let _ = request.config().timeout_global(Some(Duration::from_secs(2))).build().call();
        }
    }

    fn current(&mut self) -> Result<usize, Trouble> {
        let count = self.servers.len();
        let usable = |at: &usize| self.servers.get(*at).is_some_and(|server| server.given_up.is_none());
        let next = (0..count).map(|step| (self.at + step) % count).find(usable);
        self.at = next.ok_or_else(|| Trouble::Lasting(String::new()))?;
        Ok(self.at)
    }

    fn give_up(&mut self, reason: String) {
        if let Some(server) = self.servers.get_mut(self.at) {
            server.given_up = Some(reason);
        }
    }

    /// Goes on to the next server, at once or after a while.
    fn trouble(&mut self, trouble: Trouble, tally: &mut Tally<'_>) -> Result<(), InstallError> {
        let all_given_up = |web: &Web| web.servers.iter().all(|server| server.given_up.is_some());
        match trouble {
            Trouble::Lasting(reason) => {
                if !all_given_up(self) {
                    self.give_up(reason);
                }
                if all_given_up(self) {
                    let each = |server: &Server| {
                        format!("{}: {}", server.url, server.given_up.as_deref().unwrap_or("not asked"))
                    };
                    let reasons: Vec<String> = self.servers.iter().map(each).collect();
                    return Err(InstallError::Servers(reasons.join("; ")));
                }
                Ok(())
            }
            Trouble::Passing(reason) => {
                let url = self.servers.get(self.at).map(|server| server.url.clone()).unwrap_or_default();
                self.failures += 1;
                if self.failures >= self.patience.tries {
                    let tries = self.failures;
                    return Err(InstallError::Servers(format!(
                        "given up after {tries} failures in a row; {url}: {reason}"
                    )));
                }
                let doubled = self.patience.pause.saturating_mul(1 << (self.failures - 1).min(16));
                let delay = doubled.min(self.patience.longest_pause);
                tally.tell(UpdateEvent::Retry { url, reason, delay_s: delay.as_secs_f64() });
                std::thread::sleep(delay);
                if let Some(server) = self.servers.get_mut(self.at) {
                    server.found_at = None;
                }
                self.at += 1;
                Ok(())
            }
        }
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
        let (slowest, grace) = (self.patience.slowest, self.patience.silence);
        let paced = |answer: Response<Body>| Paced {
            body: answer.into_body().into_with_config().limit(u64::MAX).reader(),
            slowest,
            grace,
            waited: Duration::ZERO,
            bytes: 0,
        };
        if status == StatusCode::OK {
            if self.length.is_some() {
                return lasting("it does not give the range that was asked for".to_owned());
            }
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
            return lasting(format!("it gives a part of the file without saying which: {text:?}"));
        };
        let wanted = first.saturating_add(length).min(range.length).saturating_sub(1);
        if (range.first, range.last) != (first, wanted) {
            return lasting(format!("it gives the bytes {}-{}, not {first}-{wanted}", range.first, range.last));
        }
        if answer.headers().contains_key(header::CONTENT_ENCODING) {
            return lasting("it packs what it sends".to_owned());
        }
        let version = http::version(answer.headers());
        let known = self.servers.get_mut(server).map(|server| &mut server.version);
        if let Some(known) = known {
            if known.is_some() && *known != version {
                return lasting("its file was changed while it was read".to_owned());
            }
            *known = version;
        }
        if let Some(length) = self.length.filter(|length| *length != range.length) {
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
                Ok(0) => return Err(Trouble::Passing(format!("it ends early {left} bytes too early"))),
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
            Ok(_) => Err(Trouble::Lasting("it sends more than it said".to_owned())),
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
