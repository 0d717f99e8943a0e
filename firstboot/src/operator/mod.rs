//! `nodectl`: the operator's command. The same program as PID 1, by another name, with no rights of its
//! own: it asks PID 1 over the control socket.
//!
//! - [`command`] a line to a command · [`verbs`] the commands · [`client`] the socket · [`show`] answers as text for
//!   people · [`update`] how updates go
//!
//! It is the login shell of the user `operator`. sshd calls it as `nodectl -c "status --json"` for
//! `ssh operator@NODE status --json`, and without arguments on a terminal. There is no way from here to a shell.

pub mod client;
pub mod command;
mod disks;
mod show;
pub mod update;
mod usage;
mod verbs;

use crate::sys::signal::Signals;
use command::Command;
use contract::control::{Reply, Request, SOCKET};
use contract::health::Verdict;
use contract::update::UpdateEvent;
pub use update::line as update_line;
use usage::Usage;

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

/// Exit status when the node refuses or cannot be asked, and when the command is not understood.
const FAILED: i32 = 1;
const MISUSED: i32 = 2;
/// Exit status of `health` when the verdict is not that it passed.
const UNHEALTHY: i32 = 3;
/// Longest line at the prompt, in bytes.
const LINE: u64 = 4096;

/// Whether the program was called by its operator's name: `nodectl`, or `-nodectl` as a login shell.
#[must_use]
pub fn is_name(program: &str) -> bool {
    program.rsplit('/').next().unwrap_or("").trim_start_matches('-') == "nodectl"
}

/// Runs it. `arguments` are those behind the program's name.
pub fn run(arguments: &[String]) -> ! {
    std::process::exit(match arguments {
        [] if io::stdin().is_terminal() => prompt(),
        [] => misused(&Usage::Empty),
        [flag, line] if flag == "-c" => one(command::parse_line(line)),
        words => one(command::parse(&words.iter().map(String::as_str).collect::<Vec<_>>())),
    });
}

fn one(command: Result<Command, Usage>) -> i32 {
    match command {
        Ok(command) => execute(&command, None),
        Err(usage) => misused(&usage),
    }
}

fn misused(usage: &Usage) -> i32 {
    let _ = writeln!(io::stderr(), "nodectl: {}\n\n{}", show::clean(&usage.to_string()), verbs::help());
    MISUSED
}

/// Reads commands from the terminal until its end.
fn prompt() -> i32 {
    // Ctrl-C ends the following of logs, not the session.
    let signals = Signals::open().ok();
    let mut input = io::stdin().lock();
    loop {
        print("nodectl> ");
        let mut line = Vec::new();
        match input.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => {
                print("\n");
                return 0;
            }
        }
        let line = String::from_utf8_lossy(&line);
        if line.trim().is_empty() {
            continue;
        }
        match command::parse_line(line.trim_end()) {
            Ok(Command::Exit) => return 0,
            Ok(command) => {
                execute(&command, signals.as_ref());
            }
            Err(usage) => {
                let _ = writeln!(io::stderr(), "{}; `help` shows what there is", show::clean(&usage.to_string()));
            }
        }
    }
}

fn execute(command: &Command, signals: Option<&Signals>) -> i32 {
    match command {
        Command::Help(None) => print(&verbs::help()),
        Command::Help(Some(verb)) => print(&verb.help()),
        Command::Exit => true,
        Command::Ask { request, json } => return ask(request, *json, signals),
    };
    0
}

fn ask(request: &Request, json: bool, signals: Option<&Signals>) -> i32 {
    let mut status = 0;
    let follows = matches!(request, Request::Logs { follow: true, .. } | Request::Update { .. });
    let streams = matches!(request, Request::Update { urls, .. } if urls.is_empty());
    if streams && io::stdin().is_terminal() {
        let _ = writeln!(io::stderr(), "nodectl: standard input is a terminal: redirect it from the bundle");
        return MISUSED;
    }
    let mut progress = update::Progress::new(io::stdout().is_terminal());
    let result = client::ask(SOCKET, request, signals, |mut reply| {
        if let Reply::Network(network) = &mut reply {
            network.routes = crate::net::page::text().lines().map(str::to_owned).collect();
        }
        if let Reply::Refused(why) = &reply
            && !json
        {
            status = FAILED;
            let _ = writeln!(io::stderr(), "nodectl: {}", show::clean(why));
            return false;
        }
        match &reply {
            Reply::Refused(_) | Reply::Update(UpdateEvent::Failed { .. }) => status = FAILED,
            Reply::Health(report) if report.verdict != Verdict::Passed => status = UNHEALTHY,
            _ => {}
        }
        // The end of the connection is not awaited: it is an error when part of a bundle on it was not read.
        let last = match &reply {
            Reply::Refused(_) => true,
            Reply::Update(event) => event.is_last(),
            _ => false,
        };
        let read = match &reply {
            Reply::Update(event) if !json => print(&show::clean_line(&progress.text(event))),
            reply if json => print(&show::json(reply, follows)),
            reply => print(&show::text(reply)),
        };
        read && !last
    });
    if let Err(error) = result {
        let _ = writeln!(io::stderr(), "nodectl: {}", show::clean(&error.to_string()));
        return FAILED;
    }
    status
}

/// Writes to standard output. Returns whether someone still reads it.
fn print(text: &str) -> bool {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_its_names() {
        assert!(is_name("nodectl") && is_name("-nodectl") && is_name("/usr/bin/nodectl"));
        assert!(!is_name("/init") && !is_name("/usr/lib/microdc/firstboot") && !is_name("xnodectl") && !is_name(""));
    }
}
