//! The addresses of an order: which one is asked, and why others are not. A server's lie is not the bundle's fault: the
//! server is given up with its reason, and another one is asked.

use super::error::InstallError;
use super::http;
use super::tally::Tally;
use contract::update::UpdateEvent;

/// One of the addresses.
pub(super) struct Server {
    pub url: String,
    /// Where its redirects led the last time.
    pub found_at: Option<String>,
    /// Of its file.
    pub version: Option<String>,
    /// Whether the front of its file was compared with the one that is being installed.
    pub known: bool,
    standing: Standing,
    /// What went wrong the last time.
    last: String,
}

#[derive(Debug, PartialEq)]
enum Standing {
    Asked,
    /// It has not what the server before it had begun with. It is asked from the start when no other one is left.
    Aside,
    /// It is not asked any more.
    GivenUp(String),
}

pub(super) struct Servers {
    all: Vec<Server>,
    at: usize,
    /// Failures in a row, over all servers.
    pub failures: u32,
}

impl Servers {
    pub fn new(urls: &[String]) -> Servers {
        let server = |url: &String| Server {
            url: url.clone(),
            found_at: None,
            version: None,
            known: false,
            standing: http::check(url).err().map_or(Standing::Asked, Standing::GivenUp),
            last: String::new(),
        };
        Servers { all: urls.iter().map(server).collect(), at: 0, failures: 0 }
    }

    pub fn get(&self, server: usize) -> Option<&Server> {
        self.all.get(server)
    }

    pub fn get_mut(&mut self, server: usize) -> Option<&mut Server> {
        self.all.get_mut(server)
    }

    /// The one that was asked last.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The one that is to be asked.
    pub fn current(&mut self) -> Option<usize> {
        let count = self.all.len();
        let next = (0..count).map(|step| (self.at + step) % count).find(|&at| self.is_asked(at))?;
        self.at = next;
        Some(next)
    }

    pub fn is_asked(&self, server: usize) -> bool {
        self.all.get(server).is_some_and(|server| server.standing == Standing::Asked)
    }

    /// How many are asked.
    fn count(&self) -> usize {
        (0..self.all.len()).filter(|&at| self.is_asked(at)).count()
    }

    /// From here on this one is not asked. It is told, unless that is the end of all.
    pub fn give_up(&mut self, server: usize, reason: String, tally: &mut Tally<'_>) {
        if !self.is_asked(server) {
            return;
        }
        let Some(lost) = self.all.get_mut(server) else { return };
        lost.standing = Standing::GivenUp(reason.clone());
        let url = lost.url.clone();
        if self.all.iter().any(|server| !matches!(server.standing, Standing::GivenUp(_))) {
            tally.tell(UpdateEvent::GivenUp { url, reason });
        }
    }

    /// This one is not asked before [`Servers::begin_anew`].
    pub fn set_aside(&mut self, server: usize) {
        if let Some(server) = self.all.get_mut(server).filter(|server| server.standing == Standing::Asked) {
            server.standing = Standing::Aside;
        }
    }

    /// It failed, and may be better later: the next one is asked then. Gives its address and how often all have failed in
    /// a row; `None` when that was too often, and those that are asked are given up.
    pub fn failed(
        &mut self,
        server: usize,
        reason: &str,
        tries: u32,
        tally: &mut Tally<'_>,
    ) -> Option<(String, u32)> {
        self.failures += 1;
        let failed = self.all.get_mut(server)?;
        failed.found_at = None;
        reason.clone_into(&mut failed.last);
        let url = failed.url.clone();
        let failures = self.failures;
        // Each is asked at least once.
        if failures < tries.max(u32::try_from(self.count()).unwrap_or(u32::MAX)) {
            self.at = server + 1;
            return Some((url, failures));
        }
        self.failures = 0;
        for at in 0..self.all.len() {
            let last = self.all.get(at).map(|server| server.last.clone()).unwrap_or_default();
            self.give_up(at, format!("given up after {failures} failures in a row: {last}"), tally);
        }
        None
    }

    /// Forgets what was begun. Returns whether there is any to begin with.
    pub fn begin_anew(&mut self) -> bool {
        for server in &mut self.all {
            server.known = false;
            server.version = None;
            if server.standing == Standing::Aside {
                server.standing = Standing::Asked;
            }
        }
        self.count() > 0
    }

    /// Why none is asked any more.
    pub fn reasons(&self) -> InstallError {
        let each = |server: &Server| match &server.standing {
            Standing::GivenUp(reason) => format!("{}: {reason}", server.url),
            Standing::Asked | Standing::Aside => format!("{}: not asked", server.url),
        };
        let reasons = self.all.iter().map(each).collect::<Vec<_>>().join("; ");
        match self.all.len() {
            1 => InstallError::Server(reasons),
            count => InstallError::Servers { count, reasons },
        }
    }

    /// As it is to be told when no server is left: with one address its own error, else every server's reason.
    pub fn refusal(&self, error: InstallError) -> InstallError {
        if self.all.len() == 1 { error } else { self.reasons() }
    }
}
