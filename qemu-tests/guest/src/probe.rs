//! The probe: an agent in the test image, so that tests can look into a node and break things there. The production
//! image has none.
//!
//! Over the virtio-serial port [`PORT`], one request a line:
//!
//! | request | answer |
//! |---|---|
//! | `ps` | a line `PID NAME` for each process |
//! | `kill NAME SIGNAL` | how many processes got the signal (by number); an error when there is none |
//! | `cat PATH` | the file |
//! | `sha256 PATH` | its digest |
//! | `write PATH TEXT` | empty; the file is on the disk |
//! | `call JSON` | what PID 1 answers to this line on its control socket, to the end |
//! | `stop PID` | empty; the process stands still from then on, as if it hung |
//! | `break PID` | empty; the process goes on at address 0 |
//! | `run WORD ...` | what the program writes; an error, with its end, when it does not end well |
//! | `begin NAME WORD ...` | empty; the program runs on, writes to `/run/NAME.log` and its end to `/run/NAME.end` |
//!
//! An answer is `ok LENGTH` or `error LENGTH`, a line end, and that many bytes.

use std::io::{self, BufRead, Read, Write};

/// Name of the virtio-serial port.
pub const PORT: &str = "microdc.probe";
/// Longest answer, in bytes.
const ANSWER_MAX: usize = 64 << 20;

/// What a test asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Ps,
    Kill {
        name: String,
        signal: i32,
    },
    Cat(String),
    Sha256(String),
    Write {
        path: String,
        text: String,
    },
    /// A [`contract::control::Call`] as JSON.
    Call(String),
    Stop(i32),
    Break(i32),
    /// Words without spaces.
    Run(Vec<String>),
    Begin {
        name: String,
        run: Vec<String>,
    },
}

impl Request {
    /// Reads one line, without its end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Request, String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let pair = || rest.split_once(' ').ok_or_else(|| format!("{verb} needs two words"));
        match verb {
            "ps" if rest.is_empty() => Ok(Request::Ps),
            "kill" => {
                let (name, signal) = pair()?;
                let signal = signal.parse().map_err(|_| format!("{signal:?} is not a valid signal number"))?;
                Ok(Request::Kill { name: name.to_owned(), signal })
            }
            "cat" if rest.starts_with('/') => Ok(Request::Cat(rest.to_owned())),
            "sha256" if rest.starts_with('/') => Ok(Request::Sha256(rest.to_owned())),
            "stop" => rest.parse().map(Request::Stop).map_err(|_| format!("{rest:?} is not a process")),
            "break" => rest.parse().map(Request::Break).map_err(|_| format!("{rest:?} is not a process")),
            "call" if rest.starts_with('{') => Ok(Request::Call(rest.to_owned())),
            "run" if rest.starts_with('/') => Ok(Request::Run(words(rest))),
            "begin" => {
                let (name, run) = pair()?;
                Ok(Request::Begin { name: name.to_owned(), run: words(run) })
            }
            "write" => {
                let (path, text) = pair()?;
                Ok(Request::Write { path: path.to_owned(), text: text.to_owned() })
            }
            _ => Err(format!("{line:?} is not a request")),
        }
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Request::Ps => f.write_str("ps"),
            Request::Kill { name, signal } => write!(f, "kill {name} {signal}"),
            Request::Stop(pid) => write!(f, "stop {pid}"),
            Request::Break(pid) => write!(f, "break {pid}"),
            Request::Cat(path) => write!(f, "cat {path}"),
            Request::Sha256(path) => write!(f, "sha256 {path}"),
            Request::Write { path, text } => write!(f, "write {path} {text}"),
            Request::Call(call) => write!(f, "call {call}"),
            Request::Run(run) => write!(f, "run {}", run.join(" ")),
            Request::Begin { name, run } => write!(f, "begin {name} {}", run.join(" ")),
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Writes an answer.
///
/// # Errors
/// When the port is gone.
pub fn answer(port: &mut impl Write, answer: &Result<Vec<u8>, String>) -> io::Result<()> {
    let (word, bytes) = match answer {
        Ok(bytes) => ("ok", bytes.as_slice()),
        Err(text) => ("error", text.as_bytes()),
    };
    port.write_all(format!("{word} {}\n", bytes.len()).as_bytes())?;
    port.write_all(bytes)
}

/// Asks and waits for the answer. The outer error is the port's, the inner one the probe's.
///
/// # Errors
/// When the port is gone or what comes is not an answer.
pub fn ask<P: Read>(port: &mut P, mut out: impl Write, request: &Request) -> io::Result<Result<Vec<u8>, String>> {
    out.write_all(format!("{request}\n").as_bytes())?;
    out.flush()?;
    let mut reader = io::BufReader::new(port);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("{line:?} is not an answer"));
    let (word, length) = line.trim_end().split_once(' ').ok_or_else(bad)?;
    let length: usize = length.parse().map_err(|_| bad())?;
    if length > ANSWER_MAX {
        return Err(bad());
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    match word {
        "ok" => Ok(Ok(bytes)),
        "error" => Ok(Err(String::from_utf8_lossy(&bytes).into_owned())),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_that_are_none_are_refused() {
        for line in [
            "",
            "ps 1",
            "kill",
            "kill bgpd",
            "kill bgpd hard",
            "stop",
            "break it",
            "cat",
            "cat relative",
            "reboot",
            "call status",
            "write /x",
            "run",
            "run ctr",
            "begin ctr",
        ] {
            assert!(Request::parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn an_answer_is_read_back() {
        for wanted in [Ok(b"two\nlines\0".to_vec()), Ok(Vec::new()), Err("no such file".to_owned())] {
            let mut wire = Vec::new();
            answer(&mut wire, &wanted).unwrap();
            let mut asked = Vec::new();
            assert_eq!(ask(&mut wire.as_slice(), &mut asked, &Request::Ps).unwrap(), wanted);
            assert_eq!(asked, b"ps\n");
        }
    }

    proptest! {
        #[test]
        fn requests_are_read_back(name in "[a-z]{1,15}", signal in 1i32..65, path in "/[ -~]{0,40}", which in 0..8) {
            let request = match which {
                0 => Request::Kill { name, signal },
                1 => Request::Cat(path),
                2 => Request::Stop(signal),
                3 => Request::Break(signal),
                4 => Request::Call(format!("{{{path}")),
                5 => Request::Run(words(&path)),
                6 => Request::Begin { name, run: words(&path) },
                _ => Request::Write { path: format!("/{name}"), text: path },
            };
            prop_assert_eq!(Request::parse(&request.to_string()), Ok(request));
        }

        #[test]
        fn no_bytes_make_the_client_panic(wire in prop::collection::vec(any::<u8>(), 0..60), kind: bool) {
            let wire = if kind { [b"ok 5\n", wire.as_slice()].concat() } else { wire };
            let _ = ask(&mut wire.as_slice(), io::sink(), &Request::Ps);
        }
    }
}
