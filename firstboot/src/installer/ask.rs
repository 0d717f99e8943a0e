//! What the server is asked and told besides the bundle: the board's node config, and why an installation failed. Its answers
//! are foreign: bounded in length and time, and parsed as any node config is.

use crate::console;
use crate::update::install::{Patience, agent};
use anyhow::{Context as _, bail};
use contract::installer::InstallOptions;
use contract::names::{HTTP_FAILED, HTTP_NODE, NODE_CONFIG};
use contract::node::{MAX_LENGTH, NodeConfig};
use std::time::Duration;
use ureq::Agent;

/// Most bytes of a reason that the server is told.
const REASON: usize = 400;

/// A node config that a server has for this board.
#[derive(Debug)]
pub struct Found {
    pub url: String,
    pub bytes: Vec<u8>,
    pub config: NodeConfig,
}

/// The first node config that is there.
///
/// # Errors
/// When there is none for this board, it cannot be used, or no server answers.
pub fn node_config(urls: &[String], patience: Patience) -> anyhow::Result<Found> {
    let agent = agent(patience);
    for url in urls {
        if let Some(bytes) = patiently(&agent, url, patience)? {
            let config = NodeConfig::parse(&bytes).with_context(|| format!("{url} is not usable"))?;
            return Ok(Found { url: url.clone(), bytes, config });
        }
    }
    match urls {
        [] => bail!("this board has no serial number and no Ethernet port by which its {NODE_CONFIG} could be found"),
        _ => bail!("there is no {NODE_CONFIG} for this board: {} is not there", urls.join(" or ")),
    }
}

/// Asks again while the server may be better later.
fn patiently(agent: &Agent, url: &str, patience: Patience) -> anyhow::Result<Option<Vec<u8>>> {
    let mut pause = patience.pause;
    let mut tries = patience.tries.max(1);
    loop {
        tries -= 1;
        match get(agent, url) {
            Ok(found) => return Ok(found),
            Err(Trouble::Lasting(reason)) => bail!("{url}: {reason}"),
            Err(Trouble::Passing(reason)) if tries == 0 => bail!("{url}: {reason}"),
            Err(Trouble::Passing(reason)) => {
                console::say(format_args!(
                    "installer: {url}: {reason}; asking again in {:.0} s",
                    pause.as_secs_f64()
                ));
                std::thread::sleep(pause);
                pause = pause.saturating_mul(2).min(patience.longest_pause);
            }
        }
    }
}

enum Trouble {
    Passing(String),
    Lasting(String),
}

/// A file, or nothing where there is none.
fn get(agent: &Agent, url: &str) -> Result<Option<Vec<u8>>, Trouble> {
    let mut answer = agent.get(url).call().map_err(|error| match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Trouble::Lasting(error.to_string()),
        _ => Trouble::Passing(error.to_string()),
    })?;
    let status = answer.status();
    match status.as_u16() {
        200 => {}
        404 | 410 => return Ok(None),
        code if status.is_server_error() || matches!(code, 408 | 425 | 429) => {
            return Err(Trouble::Passing(format!("it answers {code}")));
        }
        code => return Err(Trouble::Lasting(format!("it answers {code}"))),
    }
    let body = answer.body_mut().with_config().limit(MAX_LENGTH as u64).read_to_vec();
    match body {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ureq::Error::BodyExceedsLimit(_)) => {
            Err(Trouble::Lasting(format!("it is longer than {MAX_LENGTH} bytes, which no {NODE_CONFIG} is")))
        }
        Err(error) => Err(Trouble::Passing(error.to_string())),
    }
}

/// Tells the server of the bundle why it is not installed; whether it receives that does not matter.
pub fn say_failed(options: &InstallOptions, name: &str, reason: &str) {
    let patience =
        Patience { connect: Duration::from_secs(2), silence: Duration::from_secs(2), ..Patience::default() };
    let Some(url) = options.bundles.first() else { return };
    let request = agent(patience).head(url).header(HTTP_NODE, name).header(HTTP_FAILED, header(reason));
    let _ = request.config().timeout_global(Some(Duration::from_secs(4))).build().call();
}

/// A reason as the value of a header: ASCII, in one line.
fn header(reason: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    let text: String = reason.chars().map(plain).take(REASON).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    const HASTE: Patience = Patience {
        connect: Duration::from_secs(2),
        silence: Duration::from_secs(2),
        slowest: 0,
        tries: 3,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
    };

    /// A server that gives these answers, one for each connection; it gives back the first lines of the requests.
    fn served(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        break;
                    }
                    head.extend(byte);
                }
                asked.push(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned());
                let _ = stream.write_all(&answer);
            }
            asked
        });
        (base, thread)
    }

    fn answer(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn asked(answers: Vec<Vec<u8>>, names: &[&str]) -> (Result<Found, String>, Vec<String>) {
        let (base, thread) = served(answers);
        let urls: Vec<String> = names.iter().map(|name| format!("{base}/{name}")).collect();
        let found = node_config(&urls, HASTE).map_err(|error| format!("{error:#}"));
        (found, thread.join().unwrap())
    }

    #[test]
    fn the_config_by_serial_number_comes_first_and_the_one_by_address_when_that_is_not_there() {
        let found = asked(vec![answer("200 OK", b"name = \"n1\"\n")], &["s.toml", "m.toml"]).0.unwrap();
        assert_eq!((found.config.name.as_str(), found.bytes.as_slice()), ("n1", &b"name = \"n1\"\n"[..]));
        assert!(found.url.ends_with("/s.toml"));
        let (found, lines) =
            asked(vec![answer("404 Not Found", b""), answer("200 OK", b"name = \"n2\"\n")], &["s.toml", "m.toml"]);
        assert_eq!(found.unwrap().config.name.as_str(), "n2");
        assert_eq!(lines, ["GET /s.toml HTTP/1.1", "GET /m.toml HTTP/1.1"]);
    }

    #[test]
    fn a_server_that_is_gone_for_a_while_is_asked_again() {
        let answers = vec![
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nname".to_vec(),
            Vec::new(),
            answer("200 OK", b"name = \"n1\"\n"),
        ];
        assert_eq!(asked(answers, &["s.toml"]).0.unwrap().config.name.as_str(), "n1");
        let error = asked(vec![answer("503 Busy", b""); 3], &["s.toml"]).0.unwrap_err();
        assert!(error.contains("/s.toml: it answers 503"), "{error}");
    }

    #[test]
    fn no_config_a_wrong_one_and_an_endless_one_are_refused_by_name() {
        let error = asked(vec![answer("404 Not Found", b""); 2], &["s.toml", "m.toml"]).0.unwrap_err();
        assert!(error.contains("no node.toml for this board") && error.contains("/m.toml is not there"), "{error}");
        let error = asked(vec![answer("200 OK", b"name = \"n1\"\nnmae = 1\n")], &["s.toml"]).0.unwrap_err();
        assert!(error.contains("/s.toml is not usable") && error.contains("nmae"), "{error}");
        let error = asked(vec![answer("200 OK", &vec![b'#'; MAX_LENGTH + 1])], &["s.toml"]).0.unwrap_err();
        assert!(error.contains("longer than"), "{error}");
        let error = asked(vec![answer("302 Found", b"")], &["s.toml"]).0.unwrap_err();
        assert!(error.contains("it answers 302"), "{error}");
        assert!(node_config(&[], HASTE).unwrap_err().to_string().contains("no serial number"));
    }

    #[test]
    fn a_reason_fits_into_a_header_whatever_is_in_it() {
        assert_eq!(header("a\r\nSet-Cookie: x\u{1b}[2J \u{e4}"), "a Set-Cookie: x [2J");
        assert!(header(&"x".repeat(9999)).len() <= REASON);
    }
}
