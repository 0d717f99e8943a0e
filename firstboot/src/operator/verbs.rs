//! The verbs of `nodectl`: one table. A row is all that a verb has here: its name and arguments, what the help says of it,
//! which characters its line may hold, and the function that reads its words. Help, the reading of lines and the
//! dispatch are made from the rows.

use super::usage::Usage;
use contract::control::{MAX_LINES, Request};
use std::fmt;
use std::fmt::Write as _;

/// Lines of one service, and of each when all are shown.
const LINES_OF_ONE: u32 = 20;
const LINES_OF_EACH: u32 = 10;

/// A verb.
pub struct Verb {
    pub name: &'static str,
    /// What may follow the name, for the help page.
    arguments: &'static str,
    /// What it does, for the help page; more than one line where it must.
    summary: &'static [&'static str],
    /// Its options, each with its lines for the help page.
    options: &'static [(&'static str, &'static [&'static str])],
    /// What `help VERB` says behind the name.
    about: &'static str,
    pub line: Line,
    pub act: Act,
}

/// How long its line may be, and what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Letters, digits and `._@-`.
    Words,
    /// Addresses too.
    Urls,
}

/// What is done about it.
#[derive(Clone, Copy)]
pub enum Act {
    /// PID 1 is asked. What the request may be asked for, and by whom, is the request's own matter.
    Ask(fn(Words<'_>) -> Result<Request, Usage>),
    Help,
    Exit,
}

/// Every verb, in the order of the help page.
pub static VERBS: [Verb; 18] = [
    Verb {
        summary: &["what the node is and how it is doing"],
        about: "name, role, version, slot, disk, addresses, services that are not ready, and problems since power-on",
        ..ask("status", |words| words.only(Request::Status))
    },
    Verb {
        summary: &["every service: state, process, restarts"],
        about: "one line each. \"waiting\": a service that it depends on is not ready; \"back-off\": it failed and \
            will be restarted; \"not wanted\": the node config does not enable it",
        ..ask("services", |words| words.only(Request::Services))
    },
    Verb {
        arguments: "[SERVICE]",
        summary: &["the last log lines of one service, or of all"],
        options: &[
            ("-f", &["follow new lines until Ctrl-C"]),
            ("-n LINES", &["number of lines (1 to 1000; default: 20, or 10 per service)"]),
        ],
        about: "what services wrote, from memory. Older lines are kept on the node, in two files of 1 MiB for each \
            service",
        ..ask("logs", logs)
    },
    Verb {
        summary: &["the role's health checks, and their verdict"],
        about: "\"passed\" when every check passes; until then \"waiting\" before the deadlines and \"failed\" after \
            them. Exit status 3 unless passed",
        ..ask("health", |words| words.only(Request::Health))
    },
    Verb {
        arguments: "SERVICE",
        summary: &["stop a service and start it again"],
        about: "sends SIGTERM, kills all of its processes when its stop timeout expires, and starts it again. \
            Services that depend on it are left alone",
        ..ask("restart", restart)
    },
    Verb {
        summary: &["the disks, and where state and data are"],
        about: "every disk with its serial number, what a refused disk contains, and what to put into node.toml to \
            let microdc claim it",
        ..ask("disks", |words| words.only(Request::Disks))
    },
    Verb {
        summary: &["addresses and the kernel's routing table"],
        about: "what the network service reports, and the kernel's main routing table",
        ..ask("network", |words| words.only(Request::Network))
    },
    Verb {
        summary: &["the node's metrics, in Prometheus's format"],
        about: "what Prometheus would scrape. To serve it, set [metrics] listen = \"ADDRESS:9100\" in node.toml",
        ..ask("metrics", |words| words.only(Request::Metrics))
    },
    Verb {
        summary: &["the node config in force and its origin, without secrets"],
        about: "node.toml as the node parsed it. To change it, put a new one on bootsel and reboot",
        ..ask("config", |words| words.only(Request::Config))
    },
    Verb {
        arguments: "[HOST]",
        summary: &["a k3s server's kubeconfig, with the address you came by"],
        about: "the administrator's kubeconfig of a k3s server: ssh operator@NODE kubeconfig >~/.kube/config. The API's \
            address is the one that you connected to, or HOST. Whoever has it may do everything in the cluster; that \
            it was given is written to the console",
        line: Line::Urls,
        ..ask("kubeconfig", kubeconfig)
    },
    Verb {
        arguments: "COMMAND",
        summary: &["a k3s server's token and database"],
        options: &[
            ("token", &["print the token by which nodes join"]),
            ("snapshot", &["save the cluster's database now"]),
            ("snapshots", &["list what was saved: name, size, time and place"]),
            ("restore NAME NODE", &["replace the database by a snapshot; NODE is this node's name"]),
            ("reset NODE", &["make this server the only member of the database"]),
        ],
        about: "`token` prints what goes into k3s.token of each node that joins; whoever has it can become a server of the \
            cluster. `snapshot` saves the database on `data`, and in the bucket of [k3s.snapshots.s3]. \
            `snapshots` lists those of all servers and of the bucket, as k3s knows them. `restore` stops k3s, \
            puts a snapshot of this node or of the bucket in place of the database, and starts k3s again: all that \
            happened in the cluster since then is lost, and every other server must be joined anew. `reset` does the same with \
            the database that is there, for a cluster that has lost most of its servers. Pods go on meanwhile. The old \
            database is kept on `data`",
        ..ask("k3s", k3s)
    },
    Verb {
        arguments: "URL...",
        summary: &[
            "install a signed update from the first URL that works, and try it;",
            "`update -` reads it from standard input",
        ],
        options: &[
            ("--dry-run", &["show what would be fetched, and change nothing"]),
            ("--force", &["accept an older update, one that failed here, or another", "profile's"]),
        ],
        about: "fetches what this node does not have into the standby slot, restarts into it once, and keeps it when \
                its health gate has passed. Disconnecting does not stop it, except with `-`; `cancel` does. What has \
                arrived is not fetched again. An update is for the nodes of one profile: another profile's, of the same \
                role, needs --force. An update to the running release changes nothing, even with --force: the other slot \
                keeps the previous release",
        line: Line::Urls,
        ..ask("update", update)
    },
    Verb {
        summary: &["cancel the update being installed"],
        about: "cancels the update being installed; the running slot does not change",
        ..ask("cancel", |words| words.only(Request::Cancel))
    },
    Verb {
        arguments: "[--force]",
        summary: &["end a trial, or try the previous slot again"],
        about: "during a trial, ends it: the node restarts into the previous slot. Otherwise restarts once into the \
            other slot, and keeps it when its health gate has passed",
        ..ask("rollback", rollback)
    },
    Verb {
        summary: &["stop all services in order and restart the node"],
        about: "an orderly restart; this session ends",
        ..ask("reboot", |words| words.only(Request::Reboot))
    },
    Verb {
        summary: &["stop all services in order and power the node off"],
        about: "an orderly power-off; only cycling its power starts the node again",
        ..ask("poweroff", |words| words.only(Request::Poweroff))
    },
    Verb {
        arguments: "[COMMAND]",
        summary: &["this page, or more about one command"],
        about: "lists the commands, or explains one",
        ..verb("help", Act::Help)
    },
    Verb {
        summary: &["leave the prompt"],
        about: "leave the prompt; Ctrl-D does the same",
        ..verb("exit", Act::Exit)
    },
];

const fn verb(name: &'static str, act: Act) -> Verb {
    Verb { name, arguments: "", summary: &[], options: &[], about: "", line: Line::Words, act }
}

const fn ask(name: &'static str, read: fn(Words<'_>) -> Result<Request, Usage>) -> Verb {
    verb(name, Act::Ask(read))
}

impl Verb {
    #[must_use]
    pub fn find(word: &str) -> Option<&'static Verb> {
        VERBS.iter().find(|verb| verb.name == word)
    }

    /// What `nodectl help VERB` says.
    #[must_use]
    pub fn help(&self) -> String {
        let options = self.options.iter().map(|(option, _)| format!("[{option}]"));
        let words: Vec<String> = [self.name.to_owned()].into_iter().chain(options).collect();
        let space = if self.arguments.is_empty() { "" } else { " " };
        format!("{}{space}{}: {}\n", words.join(" "), self.arguments, self.about)
    }
}

/// Two verbs are the same when their names are.
impl PartialEq for Verb {
    fn eq(&self, other: &Verb) -> bool {
        self.name == other.name
    }
}

impl Eq for Verb {}

impl fmt::Debug for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verb({})", self.name)
    }
}

/// What `nodectl help` says.
#[must_use]
pub fn help() -> String {
    let mut page = "nodectl: inspect this node and control its services\n\n".to_owned();
    for verb in &VERBS {
        let name = format!("{} {}", verb.name, verb.arguments);
        entry(&mut page, 2, 22, &name, verb.summary);
        for (option, lines) in verb.options {
            entry(&mut page, 6, 24, option, lines);
        }
    }
    page.push_str(
        "\nEvery command takes --json. Over ssh: ssh operator@NODE status --json\n\
         Exit status: 0 done, 1 refused or unreachable, 2 wrong usage, 3 not healthy.\n",
    );
    page
}

/// A word at column `from`, and its lines at column `to`.
fn entry(page: &mut String, from: usize, to: usize, word: &str, lines: &[&str]) {
    for (at, line) in lines.iter().enumerate() {
        let word = if at == 0 { word } else { "" };
        let _ = writeln!(page, "{:from$}{word:<width$}{line}", "", width = to.saturating_sub(from));
    }
}

/// The words behind a verb.
#[derive(Clone, Copy, Debug)]
pub struct Words<'w> {
    pub verb: &'static str,
    pub rest: &'w [&'w str],
}

impl<'w> Words<'w> {
    /// # Errors
    /// When a word is left.
    fn only(self, request: Request) -> Result<Request, Usage> {
        self.end().map(|()| request)
    }

    /// # Errors
    /// When a word is left.
    pub fn end(self) -> Result<(), Usage> {
        match self.rest.first() {
            Some(word) => Err(self.excess(word)),
            None => Ok(()),
        }
    }

    fn next(&mut self) -> Option<&'w str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn excess(self, word: &str) -> Usage {
        Usage::Excess { verb: self.verb, word: word.to_owned() }
    }
}

fn logs(mut words: Words<'_>) -> Result<Request, Usage> {
    let (mut service, mut lines, mut follow) = (None, None, false);
    while let Some(word) = words.next() {
        match word {
            "-f" | "--follow" => follow = true,
            "-n" | "--lines" => {
                let number = words.next().and_then(|number| number.parse().ok());
                lines = Some(number.filter(|number| (1..=MAX_LINES).contains(number)).ok_or(Usage::Lines)?);
            }
            name if service.is_none() && !name.starts_with('-') => service = Some(name.to_owned()),
            word => return Err(words.excess(word)),
        }
    }
    let lines = lines.unwrap_or(if service.is_some() { LINES_OF_ONE } else { LINES_OF_EACH });
    Ok(Request::Logs { service, lines, follow })
}

fn restart(mut words: Words<'_>) -> Result<Request, Usage> {
    let service = words.next().filter(|word| !word.starts_with('-')).ok_or(Usage::NoService(words.verb))?;
    words.only(Request::Restart { service: service.to_owned() })
}

/// Without an address it is the one that the operator came by, as sshd names it (`SSH_CONNECTION` of ssh(1)).
fn kubeconfig(mut words: Words<'_>) -> Result<Request, Usage> {
    let came_by = || {
        let connection = std::env::var("SSH_CONNECTION").ok()?;
        connection.split(' ').nth(2).map(|address| address.split('%').next().unwrap_or_default().to_owned())
    };
    let address = match words.next() {
        Some(word) if word.starts_with('-') => return Err(words.excess(word)),
        Some(word) => word.to_owned(),
        None => came_by().ok_or(Usage::NoAddress)?,
    };
    words.only(Request::Kubeconfig { address })
}

fn k3s(mut words: Words<'_>) -> Result<Request, Usage> {
    match words.next() {
        Some("token") => words.only(Request::K3sToken),
        Some("snapshot") => words.only(Request::K3sSnapshot),
        Some("snapshots") => words.only(Request::K3sSnapshots),
        Some("restore") => {
            let snapshot = words.next().filter(|word| !word.starts_with('-')).ok_or(Usage::NoSnapshot)?;
            let node = words.next().ok_or(Usage::NoConfirmation("k3s restore"))?;
            words.only(Request::K3sRestore { snapshot: snapshot.to_owned(), node: node.to_owned() })
        }
        Some("reset") => {
            let node = words.next().ok_or(Usage::NoConfirmation("k3s reset"))?;
            words.only(Request::K3sReset { node: node.to_owned() })
        }
        Some(word) => Err(words.excess(word)),
        None => Err(Usage::NoK3s),
    }
}

fn rollback(mut words: Words<'_>) -> Result<Request, Usage> {
    let force = words.rest.first() == Some(&"--force");
    if force {
        words.next();
    }
    words.only(Request::Rollback { force })
}

fn update(mut words: Words<'_>) -> Result<Request, Usage> {
    let (mut urls, mut stream, mut dry_run, mut force) = (Vec::new(), false, false, false);
    while let Some(word) = words.next() {
        match word {
            "--dry-run" => dry_run = true,
            "--force" => force = true,
            "-" if urls.is_empty() && !stream => stream = true,
            word if stream || word.starts_with('-') => return Err(words.excess(word)),
            url => {
                let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
                if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', ':', '?', '#', '@'])) {
                    return Err(Usage::Url(url.to_owned()));
                }
                urls.push(url.to_owned());
            }
        }
    }
    if urls.is_empty() && !stream {
        return Err(Usage::NoSource);
    }
    Ok(Request::Update { urls, dry_run, force })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_on_the_help_page_once_and_fits_the_terminal() {
        let page = help();
        for verb in &VERBS {
            assert_eq!(page.matches(&format!("\n  {} ", verb.name)).count(), 1, "{}", verb.name);
            assert!(!verb.summary.is_empty() && !verb.about.is_empty(), "{}", verb.name);
            assert!(verb.help().starts_with(verb.name), "{}", verb.name);
            assert_eq!(Verb::find(verb.name), Some(verb));
        }
        assert!(page.lines().all(|line| line.len() <= 96 && !line.ends_with(' ')), "{page}");
        assert!(page.contains(
            "\n  logs [SERVICE]      the last log lines of one service, or of all\n      -f                follow"
        ));
        assert!(page.contains("\n                      `update -` reads it from standard input\n"));
    }

    #[test]
    fn a_kubeconfig_is_for_a_host_that_is_named() {
        let words = |rest| Words { verb: "kubeconfig", rest };
        let request = Request::Kubeconfig { address: "fd00::1".to_owned() };
        assert_eq!(kubeconfig(words(&["fd00::1"])), Ok(request));
        assert!(matches!(kubeconfig(words(&["--all"])), Err(Usage::Excess { .. })));
        assert!(matches!(kubeconfig(words(&["a", "b"])), Err(Usage::Excess { .. })));
    }

    #[test]
    fn k3s_is_asked_for_something_that_is_named() {
        let words = |rest| Words { verb: "k3s", rest };
        assert_eq!(k3s(words(&["token"])), Ok(Request::K3sToken));
        assert_eq!(k3s(words(&["snapshot"])), Ok(Request::K3sSnapshot));
        assert_eq!(k3s(words(&["snapshots"])), Ok(Request::K3sSnapshots));
        let request = Request::K3sRestore { snapshot: "on-demand-s1-1".to_owned(), node: "s1".to_owned() };
        assert_eq!(k3s(words(&["restore", "on-demand-s1-1", "s1"])), Ok(request));
        assert_eq!(k3s(words(&["reset", "s1"])), Ok(Request::K3sReset { node: "s1".to_owned() }));
        assert_eq!(k3s(words(&["restore"])), Err(Usage::NoSnapshot));
        assert_eq!(k3s(words(&["restore", "--cluster-reset"])), Err(Usage::NoSnapshot));
        assert_eq!(k3s(words(&["restore", "on-demand-s1-1"])), Err(Usage::NoConfirmation("k3s restore")));
        assert_eq!(k3s(words(&["reset"])), Err(Usage::NoConfirmation("k3s reset")));
        assert_eq!(k3s(words(&[])), Err(Usage::NoK3s));
        for wrong in [&["tokens"][..], &["token", "x"], &["reset", "s1", "s2"], &["--all"]] {
            assert!(matches!(k3s(words(wrong)), Err(Usage::Excess { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn the_help_of_a_verb_names_its_options() {
        let help = Verb::find("update").unwrap().help();
        assert!(
            help.starts_with("update [--dry-run] [--force] URL...: fetches what this node does not have"),
            "{help}"
        );
        assert_eq!(Verb::find("exit").unwrap().help(), "exit: leave the prompt; Ctrl-D does the same\n");
    }
}
