//! Parses a command line. What comes over ssh is hostile until it has passed here: words of plain characters between
//! spaces, no quoting, no substitution, no file names, and nothing that is not listed.

use super::usage::{LONGEST, LONGEST_UPDATE, Usage};
use super::verbs::{Act, Line, Verb, Words};
use contract::control::Request;

/// What an address may hold besides letters and digits. Nothing here is special to anyone: there is no shell.
const OF_URLS: &[u8] = b" \t._@-~:/?#[]&=+,%";
/// What any other line may hold.
const OF_WORDS: &[u8] = b" \t._@-";

/// A command that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Ask { request: Request, json: bool },
    Help(Option<&'static Verb>),
    Exit,
}

/// Reads a line as sshd hands it over.
///
/// # Errors
/// What is not understood.
pub fn parse_line(line: &str) -> Result<Command, Usage> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let words = match words.as_slice() {
        ["nodectl", words @ ..] => words,
        words => words,
    };
    let kind = words.first().and_then(|word| Verb::find(word)).map_or(Line::Words, |verb| verb.line);
    let (longest, special) = match kind {
        Line::Words => (LONGEST, OF_WORDS),
        Line::Urls => (LONGEST_UPDATE, OF_URLS),
    };
    if line.len() > longest {
        return Err(Usage::TooLong);
    }
    if !line.bytes().all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte)) {
        return Err(Usage::Character);
    }
    parse(words)
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
    let words: Vec<&str> = words.iter().copied().filter(|word| *word != "--json").collect();
    let (first, rest) = words.split_first().ok_or(Usage::Empty)?;
    let verb = Verb::find(first).ok_or_else(|| Usage::Unknown((*first).to_owned()))?;
    let words = Words { verb: verb.name, rest };
    match (verb.act, rest) {
        (Act::Ask(read), _) => Ok(Command::Ask { request: read(words)?, json }),
        (Act::Help, [about]) => {
            let verb = Verb::find(about).ok_or_else(|| Usage::Unknown((*about).to_owned()))?;
            Ok(Command::Help(Some(verb)))
        }
        (Act::Help, [_, rest @ ..]) if !rest.is_empty() => {
            Words { rest, ..words }.end().map(|()| Command::Help(None))
        }
        (Act::Help, _) => Ok(Command::Help(None)),
        (Act::Exit, _) => words.end().map(|()| Command::Exit),
    }
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
        assert_eq!(parse_line("nodectl restart --help"), Ok(Command::Help(Verb::find("restart"))));
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
