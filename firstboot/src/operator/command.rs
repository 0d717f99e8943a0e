//! Words to a command. What comes over ssh is hostile until it has passed here: words of plain characters between
//! spaces, no quoting, no substitution, no file names, and nothing that is not listed.

use contract::control::{MAX_LINES, Request};

/// What `nodectl help` says.
pub const HELP: &str = "\
nodectl: look into this node and steer its services

  status              who the node is and how it fares
  services            every service: state, process, restarts
  logs [SERVICE]      last log lines, of one service or of all
      -f                go on with new lines, until Ctrl-C
      -n LINES          so many lines (1 to 1000; usually 20, of all services 10 each)
  health              the checks of its role, and the verdict over them
  restart SERVICE     stop a service and start it anew
  disks               the disks, and what became of state and data on them
  network             addresses and the kernel's routing table
  metrics             the node in figures, as Prometheus reads them
  config              the node config in force and where it came from, without secrets
  update URL...       take a signed update from the first of these that gives it, and try it;
                      `update -` reads it from standard input
      --dry-run         say what would be fetched, and change nothing
      --force           take also an older one, one that has failed here, or another
                        profile's
  cancel              stop taking an update
  rollback [--force]  end a trial, or try the previous slot again
  reboot              stop all services in order and restart the node
  poweroff            stop all services in order and switch the node off
  help [COMMAND]      this page, or more about one command
  exit                leave the prompt

Every command takes --json. Over ssh: ssh operator@NODE status --json
Exit status: 0 done, 1 refused or not reachable, 2 not understood, 3 not healthy.
";

/// Longest command line, in bytes, and longest one with addresses in it.
const LONGEST: usize = 512;
const LONGEST_UPDATE: usize = 2048;
/// What an address may hold besides letters and digits. Nothing here is special to anybody: there is no shell.
const OF_URLS: &[u8] = b" \t._@-~:/?#[]&=+,%";
/// Lines of one service, and of each when all are shown.
const LINES_OF_ONE: u32 = 20;
const LINES_OF_EACH: u32 = 10;

/// A command that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Ask { request: Request, json: bool },
    Help(Option<Verb>),
    Exit,
}

/// What is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Usage {
    #[error("a command is missing")]
    Empty,
    #[error("a command line has at most {LONGEST} bytes, one of update {LONGEST_UPDATE}")]
    TooLong,
    #[error("a command has only letters, digits, spaces and . _ @ -; there is no shell here")]
    Character,
    #[error("there is no command {0:?}")]
    Unknown(String),
    #[error("{verb} does not take {word:?}")]
    Excess { verb: &'static str, word: String },
    #[error("{0} needs a service: `services` lists them")]
    NoService(&'static str),
    #[error("-n needs a number from 1 to {MAX_LINES}")]
    Lines,
    #[error("update needs where the bundle is: an address with http:// or https://, or - for standard input")]
    NoSource,
    #[error(
        "{0:?} is no address that a bundle can be fetched from: it begins with http:// or https:// and names a host"
    )]
    Url(String),
}

/// The commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Status,
    Services,
    Logs,
    Health,
    Restart,
    Disks,
    Network,
    Config,
    Metrics,
    Update,
    Cancel,
    Rollback,
    Reboot,
    Poweroff,
    Help,
    Exit,
}

impl Verb {
    pub const ALL: [Verb; 16] = [
        Verb::Status,
        Verb::Services,
        Verb::Logs,
        Verb::Health,
        Verb::Restart,
        Verb::Disks,
        Verb::Network,
        Verb::Config,
        Verb::Metrics,
        Verb::Update,
        Verb::Cancel,
        Verb::Rollback,
        Verb::Reboot,
        Verb::Poweroff,
        Verb::Help,
        Verb::Exit,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Status => "status",
            Verb::Services => "services",
            Verb::Logs => "logs",
            Verb::Health => "health",
            Verb::Restart => "restart",
            Verb::Disks => "disks",
            Verb::Network => "network",
            Verb::Config => "config",
            Verb::Metrics => "metrics",
            Verb::Update => "update",
            Verb::Cancel => "cancel",
            Verb::Rollback => "rollback",
            Verb::Reboot => "reboot",
            Verb::Poweroff => "poweroff",
            Verb::Help => "help",
            Verb::Exit => "exit",
        }
    }

    fn find(word: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == word)
    }
}

/// What `nodectl help COMMAND` says.
#[must_use]
pub fn help_of(verb: Verb) -> &'static str {
    match verb {
        Verb::Status => {
            "status: name, role, version, slot, disk, addresses, services that are not ready, and what went less than \
             well since power-on\n"
        }
        Verb::Services => {
            "services: a line each. \"waiting\": what it comes after is not ready; \"back-off\": it failed and is \
             tried again; \"not wanted\": the node config does not ask for it\n"
        }
        Verb::Logs => {
            "logs [SERVICE] [-f] [-n LINES]: what services wrote, from memory. Older lines are on the node in two \
             files of 1 MiB for each service\n"
        }
        Verb::Health => {
            "health: \"passed\" when every check of the role passes, \"waiting\" until their deadlines, \"failed\" after \
             them. Exit status 3 when it is not passed\n"
        }
        Verb::Restart => {
            "restart SERVICE: SIGTERM, then the end of all its processes when its time is up, then a new start. \
             Services that come after it are left alone\n"
        }
        Verb::Disks => {
            "disks: every disk with its serial number, what a refused one holds, and what to put into node.toml to let \
             microdc take it\n"
        }
        Verb::Network => "network: what the network service says, and the kernel's main routing table\n",
        Verb::Config => {
            "config: node.toml as the node understood it; to change it, put a new one on bootsel and reboot\n"
        }
        Verb::Metrics => {
            "metrics: what Prometheus would read. To let it: [metrics] listen = \"ADDRESS:9100\" in node.toml\n"
        }
        Verb::Update => {
            "update [--dry-run] [--force] URL... | -: fetch what this node does not have into the slot that does not run, \
             restart into it once, and keep it when its health gate has held. Going away does not stop it, but for -: \
             `cancel` does. What has come is not fetched again\n"
        }
        Verb::Cancel => "cancel: stop taking an update; the running slot is as it was\n",
        Verb::Rollback => {
            "rollback [--force]: in a trial, end it: the node restarts into the slot before. Else restart once into the \
             other slot, and keep it when its health gate has held\n"
        }
        Verb::Reboot => "reboot: an orderly restart; this session ends\n",
        Verb::Poweroff => "poweroff: an orderly end; only its power brings the node back\n",
        Verb::Help => "help [COMMAND]: what there is\n",
        Verb::Exit => "exit: leave the prompt; Ctrl-D does the same\n",
    }
}

/// Reads a line as sshd hands it over.
///
/// # Errors
/// What is not understood.
pub fn parse_line(line: &str) -> Result<Command, Usage> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let update = matches!(words.as_slice(), ["update", ..] | ["nodectl", "update", ..]);
    if line.len() > if update { LONGEST_UPDATE } else { LONGEST } {
        return Err(Usage::TooLong);
    }
    let special: &[u8] = if update { OF_URLS } else { b" \t._@-" };
    if !line.bytes().all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte)) {
        return Err(Usage::Character);
    }
    match words.as_slice() {
        ["nodectl", words @ ..] => parse(words),
        words => parse(words),
    }
}

/// Reads the words of a command.
///
/// # Errors
/// What is not understood.
pub fn parse(words: &[&str]) -> Result<Command, Usage> {
    let json = words.contains(&"--json");
    if words.iter().any(|word| ["--help", "-h"].contains(word)) {
        return Ok(Command::Help(words.iter().find_map(|word| Verb::find(word))));
    }
    let mut words = words.iter().copied().filter(|word| *word != "--json");
    let first = words.next().ok_or(Usage::Empty)?;
    let verb = Verb::find(first).ok_or_else(|| Usage::Unknown(first.to_owned()))?;
    let request = match verb {
        Verb::Status => Request::Status,
        Verb::Services => Request::Services,
        Verb::Health => Request::Health,
        Verb::Disks => Request::Disks,
        Verb::Network => Request::Network,
        Verb::Config => Request::Config,
        Verb::Metrics => Request::Metrics,
        Verb::Update => update(&mut words)?,
        Verb::Cancel => Request::Cancel,
        Verb::Rollback => {
            let mut words = words.by_ref().peekable();
            let force = words.next_if_eq(&"--force").is_some();
            nothing_more(verb, &mut words)?;
            return Ok(Command::Ask { request: Request::Rollback { force }, json });
        }
        Verb::Reboot => Request::Reboot,
        Verb::Poweroff => Request::Poweroff,
        Verb::Logs => logs(&mut words)?,
        Verb::Restart => {
            let service = words.next().filter(|word| !word.starts_with('-')).ok_or(Usage::NoService(verb.name()))?;
            Request::Restart { service: service.to_owned() }
        }
        Verb::Help => {
            let about = words.next();
            nothing_more(verb, &mut words)?;
            return match about {
                None => Ok(Command::Help(None)),
                Some(word) => {
                    Verb::find(word).map(|verb| Command::Help(Some(verb))).ok_or(Usage::Unknown(word.to_owned()))
                }
            };
        }
        Verb::Exit => {
            nothing_more(verb, &mut words)?;
            return Ok(Command::Exit);
        }
    };
    nothing_more(verb, &mut words)?;
    Ok(Command::Ask { request, json })
}

fn nothing_more<'w>(verb: Verb, words: &mut impl Iterator<Item = &'w str>) -> Result<(), Usage> {
    match words.next() {
        Some(word) => Err(Usage::Excess { verb: verb.name(), word: word.to_owned() }),
        None => Ok(()),
    }
}

fn logs<'w>(words: &mut impl Iterator<Item = &'w str>) -> Result<Request, Usage> {
    let (mut service, mut lines, mut follow) = (None, None, false);
    while let Some(word) = words.next() {
        match word {
            "-f" | "--follow" => follow = true,
            "-n" | "--lines" => {
                let number = words.next().and_then(|number| number.parse().ok());
                lines = Some(number.filter(|number| (1..=MAX_LINES).contains(number)).ok_or(Usage::Lines)?);
            }
            name if service.is_none() && !name.starts_with('-') => service = Some(name.to_owned()),
            word => return Err(Usage::Excess { verb: "logs", word: word.to_owned() }),
        }
    }
    let lines = lines.unwrap_or(if service.is_some() { LINES_OF_ONE } else { LINES_OF_EACH });
    Ok(Request::Logs { service, lines, follow })
}

fn update<'w>(words: &mut impl Iterator<Item = &'w str>) -> Result<Request, Usage> {
    let (mut urls, mut stream, mut dry_run, mut force) = (Vec::new(), false, false, false);
    for word in words {
        match word {
            "--dry-run" => dry_run = true,
            "--force" => force = true,
            "-" if urls.is_empty() && !stream => stream = true,
            word if stream || word.starts_with('-') => {
                return Err(Usage::Excess { verb: "update", word: word.to_owned() });
            }
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
    use proptest::prelude::*;

    fn ask(request: Request, json: bool) -> Result<Command, Usage> {
        Ok(Command::Ask { request, json })
    }

    #[test]
    fn a_command_is_understood_with_and_without_the_programs_name() {
        for line in ["nodectl status --json", "status --json", "  --json\tstatus "] {
            assert_eq!(parse_line(line), ask(Request::Status, true), "{line:?}");
        }
        let logs = Request::Logs { service: Some("bgpd".to_owned()), lines: 5, follow: true };
        assert_eq!(parse_line("logs -n 5 bgpd -f"), ask(logs, false));
        assert_eq!(parse_line("logs"), ask(Request::Logs { service: None, lines: 10, follow: false }, false));
        assert_eq!(parse_line("restart bgpd"), ask(Request::Restart { service: "bgpd".to_owned() }, false));
        assert_eq!(parse_line("nodectl restart --help"), Ok(Command::Help(Some(Verb::Restart))));
        assert_eq!(parse_line("help"), Ok(Command::Help(None)));
    }

    #[test]
    fn what_a_shell_would_do_is_not_done() {
        for line in [
            "status; reboot",
            "status && reboot",
            "status | sh",
            "status\nreboot",
            "status `reboot`",
            "status $(reboot)",
            "logs $HOME",
            "logs ../../etc/shadow",
            "'status'",
            "\"status\"",
            "status > x",
            "status \\",
            "status\0",
            "st\u{e4}tus",
        ] {
            assert_eq!(parse_line(line), Err(Usage::Character), "{line:?}");
        }
        for line in ["/bin/sh", "bin/sh"] {
            assert_eq!(parse_line(line), Err(Usage::Character));
        }
        for line in ["sh", "bash -i", "scp -t x", "nodectl nodectl status", "STATUS", "-c status", "internal-sftp"] {
            assert!(matches!(parse_line(line), Err(Usage::Unknown(_))), "{line:?}");
        }
    }

    #[test]
    fn a_command_with_more_than_it_takes_is_refused() {
        for line in
            ["status reboot", "reboot now", "logs a b", "logs --all", "restart a b", "help status x", "exit 1"]
        {
            assert!(matches!(parse_line(line), Err(Usage::Excess { .. })), "{line:?}");
        }
        assert_eq!(parse_line("restart"), Err(Usage::NoService("restart")));
        assert_eq!(parse_line("restart --json"), Err(Usage::NoService("restart")));
        for line in ["logs -n", "logs -n 0", "logs -n 1001", "logs -n x"] {
            assert_eq!(parse_line(line), Err(Usage::Lines), "{line:?}");
        }
        assert_eq!(parse_line(" \t"), Err(Usage::Empty));
        assert_eq!(parse_line(&"a".repeat(513)), Err(Usage::TooLong));
    }

    #[test]
    fn an_update_names_addresses_or_standard_input() {
        let request = |urls: &[&str], dry_run, force| Request::Update {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            dry_run,
            force,
        };
        let url = "http://[fd00::1]:8080/a/router-1.2.bundle?x=1&y=%20";
        assert_eq!(parse_line(&format!("nodectl update {url}")), ask(request(&[url], false, false), false));
        let two = "update --force http://a/x https://b/y --dry-run --json";
        assert_eq!(parse_line(two), ask(request(&["http://a/x", "https://b/y"], true, true), true));
        assert_eq!(parse_line("update -"), ask(request(&[], false, false), false));
        assert_eq!(parse_line("cancel"), ask(Request::Cancel, false));
        assert_eq!(parse_line("rollback --force"), ask(Request::Rollback { force: true }, false));
        assert_eq!(parse_line("rollback"), ask(Request::Rollback { force: false }, false));
        assert_eq!(parse_line("update"), Err(Usage::NoSource));
        for line in [
            "update file:///etc/shadow",
            "update /etc/shadow",
            "update ftp://a/b",
            "update http://",
            "update http:///x",
        ] {
            assert!(matches!(parse_line(line), Err(Usage::Url(_))), "{line}");
        }
        for line in ["update - -", "update - http://a/", "update -x", "rollback now", "cancel x"] {
            assert!(matches!(parse_line(line), Err(Usage::Excess { .. })), "{line}");
        }
        for line in [
            "update http://a/;reboot",
            "update http://a/ | sh",
            "update http://a/$(x)",
            "update `x`",
            "update http://a/>x",
            "update 'http://a/'",
            "update http://a/\nreboot",
            "updates http://a/",
            "status http://a/",
            "logs update http://a/",
        ] {
            assert_eq!(parse_line(line), Err(Usage::Character), "{line}");
        }
        assert_eq!(parse_line(&format!("update http://a/{}", "x".repeat(2040))), Err(Usage::TooLong));
    }

    #[test]
    fn every_command_is_on_the_help_page_and_fits_the_terminal() {
        for verb in Verb::ALL {
            assert!(HELP.contains(&format!("\n  {}", verb.name())), "{}", verb.name());
            assert!(help_of(verb).starts_with(verb.name()));
        }
        assert!(HELP.lines().all(|line| line.len() <= 96));
    }

    proptest! {
        #[test]
        fn nothing_that_is_understood_holds_a_special_character(line in "\\PC{0,40}|(status|logs|restart|nodectl| |-f|;|&|[a-z.]{1,4}){0,8}") {
            if let Ok(Command::Ask { request, .. }) = parse_line(&line) {
                let service = match request {
                    Request::Logs { service, .. } => service.unwrap_or_default(),
                    Request::Restart { service } => service,
                    _ => String::new(),
                };
                prop_assert!(service.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte)));
                prop_assert!(!line.contains([';', '&', '|', '$', '`', '\n', '/', '\'', '"', '\\']));
            }
        }

        #[test]
        fn no_line_makes_the_parser_panic(line in any::<String>()) {
            let _ = parse_line(&line);
        }
    }
}
