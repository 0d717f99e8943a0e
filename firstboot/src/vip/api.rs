//! `firstboot vip-api CHECK`: says whether the Kubernetes API of this node is ready, each time the watcher asks. `CHECK` is a
//! health check of the role.
//!
//! The API answers only those who show a certificate. This process may read the kubelet's key, and has no other right; the
//! watcher may change the node's addresses, and cannot see the key. What the API sends is read here.
//!
//! At [`SOCKET`], one byte asks, and one line answers. Both ends are here.

use super::checks::{self, LIMIT, twice};
use crate::notify::Notify;
use crate::probe::ApiAsker;
use anyhow::{Context as _, bail, ensure};
use contract::role::{KubernetesProbe, KubernetesQuestion, Probe};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whoever may enter its folder may ask.
pub const SOCKET: &str = "/run/vip-api/socket";
/// Time for an answer at the socket: longer than for one of the API, which is within it.
const ANSWER: Duration = Duration::from_millis(750);
/// A caller that asks nothing for so long is not waited for: there may be another.
const IDLE: Duration = Duration::from_secs(5);
/// Bytes of a line that are read.
const LONGEST: u64 = 1024;
/// The answers; the second is followed by the reason.
const READY: &str = "ready";
const NOT_READY: &str = "not ready: ";

/// Runs it; `arguments` are those behind `vip-api`. Returns when it cannot be done.
pub fn run(arguments: &[String]) {
    if let Err(error) = serve(arguments) {
        println!("the API cannot be asked: {error:#}");
        std::process::exit(1);
    }
}

fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [name] = arguments else { bail!("`vip-api` needs the name of one health check") };
    let checks = checks::of_role()?;
    let Probe::Kubernetes(request) = &checks::named(&checks, name)?.probe else {
        bail!("the health check {name:?} does not ask the Kubernetes API");
    };
    ensure!(asks_for_readiness(request), "the health check {name:?} does not ask whether the API is ready");
    let mut asker = ApiAsker::new(request.clone(), LIMIT);
    match std::fs::remove_file(SOCKET) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {SOCKET}"));
        }
        _ => {}
    }
    let listener = UnixListener::bind(SOCKET).with_context(|| format!("cannot listen at {SOCKET}"))?;
    std::fs::set_permissions(SOCKET, std::fs::Permissions::from_mode(0o666)).context(SOCKET)?;
    Notify::inherited().tell("READY=1");
    loop {
        let (caller, _) = listener.accept().with_context(|| format!("cannot listen at {SOCKET}"))?;
        // Who has gone needs no answer.
        let _ = converse(caller, || twice(|_| asker.ask()));
    }
}

/// Whether the API's readiness is what a check asks for.
pub fn asks_for_readiness(request: &KubernetesProbe) -> bool {
    request.asks == KubernetesQuestion::Api
}

/// Answers a caller until it goes.
fn converse(mut caller: UnixStream, mut ask: impl FnMut() -> anyhow::Result<()>) -> io::Result<()> {
    caller.set_read_timeout(Some(IDLE))?;
    caller.set_write_timeout(Some(IDLE))?;
    let mut question = [0];
    while caller.read(&mut question)? > 0 {
        let answer = match ask() {
            Ok(()) => READY.to_owned(),
            Err(why) => format!("{NOT_READY}{}", contract::text::line(&format!("{why:#}"))),
        };
        caller.write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

/// The watcher's end.
#[derive(Debug)]
pub struct Api {
    socket: PathBuf,
    connection: Option<BufReader<UnixStream>>,
}

impl Api {
    #[must_use]
    pub fn at(socket: &Path) -> Api {
        Api { socket: socket.to_owned(), connection: None }
    }

    /// Asks once.
    ///
    /// # Errors
    /// Why the API is not ready, or that nobody says whether it is.
    pub fn ask(&mut self) -> anyhow::Result<()> {
        verdict(&twice(|_| self.answer().context("the service that asks the API does not answer"))?)
    }

    /// A line, on a new connection where the last answer did not come.
    fn answer(&mut self) -> io::Result<String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = UnixStream::connect(&self.socket)?;
                stream.set_read_timeout(Some(ANSWER))?;
                stream.set_write_timeout(Some(ANSWER))?;
                BufReader::new(stream)
            }
        };
        connection.get_mut().write_all(b"?")?;
        let mut line = String::new();
        if (&mut connection).take(LONGEST).read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.connection = Some(connection);
        Ok(line)
    }
}

fn verdict(line: &str) -> anyhow::Result<()> {
    match line.strip_suffix('\n') {
        Some(READY) => Ok(()),
        Some(line) if line.starts_with(NOT_READY) => bail!("{}", line.trim_start_matches(NOT_READY)),
        _ => bail!("the service that asks the API says {line:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

    /// An asker at a socket of its own: what it says of each question is `says` of their number.
    fn asker(folder: &Path, says: impl Fn(u32) -> anyhow::Result<()> + Send + 'static) -> Api {
        let socket = folder.join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let mut asked = 0;
            while let Ok((caller, _)) = listener.accept() {
                let _ = converse(caller, || {
                    asked += 1;
                    says(asked)
                });
            }
        });
        Api::at(&socket)
    }

    fn said(result: anyhow::Result<()>) -> String {
        result.map_or_else(|why| format!("{why:#}"), |()| "ready".to_owned())
    }

    #[test]
    fn the_watcher_hears_what_the_asker_finds_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let mut api = asker(folder.path(), |asked| match asked {
            2 => bail!("etcd has no quorum\nor does not answer"),
            _ => Ok(()),
        });
        assert_eq!(
            [said(api.ask()), said(api.ask()), said(api.ask())].map(|line| line.contains("ready")),
            [true, false, true]
        );
        let folder = tempfile::tempdir().unwrap();
        let mut api = asker(folder.path(), |_| bail!("etcd has no quorum\nor does not answer"));
        let why = said(api.ask());
        assert!(why.starts_with("etcd has no quorum") && !why.contains('\n'), "{why}");
    }

    #[test]
    fn an_asker_that_is_gone_and_one_that_hangs_count_as_no_answer_within_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let why = said(Api::at(&folder.path().join("none")).ask());
        assert!(why.starts_with("the service that asks the API does not answer: "), "{why}");
        let mut hanging = asker(folder.path(), |_| {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        });
        let begin = Instant::now();
        assert!(hanging.ask().is_err());
        assert!(begin.elapsed() >= ANSWER && begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    #[test]
    fn an_asker_that_was_started_again_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut caller, _) = listener.accept().unwrap();
                caller.read_exact(&mut [0]).unwrap();
                caller.write_all(b"ready\n").unwrap();
            }
        });
        let mut api = Api::at(&socket);
        assert_eq!((said(api.ask()), said(api.ask())), ("ready".to_owned(), "ready".to_owned()));
        server.join().unwrap();
    }

    proptest! {
        #[test]
        fn only_one_line_means_that_the_api_is_ready(line in "(ready|not ready: |)\\PC{0,40}\n?") {
            prop_assert_eq!(verdict(&line).is_ok(), line == "ready\n");
        }
    }
}
