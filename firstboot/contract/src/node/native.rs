//! What a program says of a native file that it refuses, traced back: from the program's words to the line of the rendered file,
//! and from there to the key of node.toml that the line came from.

use super::problem::{line_of_value, problem};
use super::{NodeConfig, NodeConfigError};
use crate::secret::{HIDDEN, revealed};
use crate::text;
use serde_json::Value;
use std::fmt::Write as _;

/// Characters of a program's words that are kept.
const LONGEST: usize = 300;
/// Values shorter than this are in too many lines to say where one came from.
const SHORTEST: usize = 3;

/// A file rendered from the node config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Absolute path on the node.
    pub to: String,
    pub text: String,
}

/// A file that a program refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Path of the program.
    pub program: String,
    /// The service whose check it is.
    pub service: String,
    /// The program's own words, without secrets.
    pub words: String,
    /// The rendered file, and its line from 1, where the words name one.
    pub line: Option<(String, usize)>,
    /// The key of node.toml that the line came from, and the line of its value from 0, where it has several.
    key: Option<(Vec<String>, Option<usize>)>,
}

impl Refusal {
    /// Reads what the check of `service` said. `named` are the arguments of the program; `files` what was rendered from `config`.
    #[must_use]
    pub fn read(service: &str, named: &[String], output: &str, files: &[Rendered], config: &NodeConfig) -> Refusal {
        let usual = files.iter().find(|file| named.iter().any(|argument| argument.contains(&file.to)));
        let placed = output.lines().find_map(|line| Some((line, place(line, files, usual)?)));
        let last = || output.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
        let (words, line) = placed.map_or_else(|| (last(), None), |(words, place)| (words, Some(place)));
        let values = values(config);
        let source = line.and_then(|(file, number)| {
            let written = file.text.lines().nth(number.checked_sub(1)?)?;
            key(written, number, &values)
        });
        Refusal {
            program: named.first().cloned().unwrap_or_default(),
            service: service.to_owned(),
            words: without_secrets(words, &values),
            line: line.map(|(file, number)| (file.to.clone(), number)),
            key: source,
        }
    }

    /// The mistake, at the line of node.toml that it came from; `text` is that file.
    #[must_use]
    pub fn locate(&self, text: &str) -> NodeConfigError {
        let Some((path, line)) = &self.key else {
            return NodeConfigError::at(text, 0..0, self.to_string(), None);
        };
        let error = problem(path.iter().map(String::as_str), self.to_string()).locate(text);
        let span = line.and_then(|line| line_of_value(text, path, line));
        match (error, span) {
            (NodeConfigError::At { message, help, .. }, Some(span)) => NodeConfigError::at(text, span, message, help),
            (error, _) => error,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Refusal { program, service, words, line, .. } = self;
        write!(f, "{program}, which checks the files of the service {service}, refuses it: {words}")?;
        match line {
            // Most programs name the file themselves.
            Some((file, number)) if !words.contains(file) => write!(f, " ({file}, line {number})"),
            _ => Ok(()),
        }
    }
}

/// The file and the line that a line of output names: `FILE:7`, `line 7 of FILE`, `FILE: line 7`; without a file, the one that
/// the program was given.
fn place<'f>(line: &str, files: &'f [Rendered], usual: Option<&'f Rendered>) -> Option<(&'f Rendered, usize)> {
    let named = files.iter().filter(|file| line.contains(&file.to)).max_by_key(|file| file.to.len());
    let behind = named.and_then(|file| line.split_once(&file.to)).map_or("", |(_, rest)| rest);
    let number = behind.strip_prefix(':').and_then(number).or_else(|| {
        let words = line.match_indices("line ").filter_map(|(at, word)| line.get(at + word.len()..));
        words.filter_map(number).next()
    });
    Some((named.or(usual)?, number?))
}

/// The number that a text begins with.
fn number(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.get(..digits)?.parse().ok()
}

/// A value of the node config.
struct Given {
    path: Vec<String>,
    text: String,
    secret: bool,
}

/// Every text and number of a config, with its secrets.
fn values(config: &NodeConfig) -> Vec<Given> {
    fn walk(value: &Value, shown: &Value, path: &mut Vec<String>, found: &mut Vec<Given>) {
        match value {
            Value::Object(table) => {
                for (key, inner) in table {
                    path.push(key.clone());
                    walk(inner, &shown[key], path, found);
                    path.pop();
                }
            }
            Value::Array(list) => {
                for (at, inner) in list.iter().enumerate() {
                    path.push(at.to_string());
                    walk(inner, &shown[at], path, found);
                    path.pop();
                }
            }
            Value::String(text) => {
                found.push(Given { path: path.clone(), text: text.clone(), secret: *shown == HIDDEN });
            }
            Value::Number(number) => {
                found.push(Given { path: path.clone(), text: number.to_string(), secret: false });
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
    let mut found = Vec::new();
    let whole = revealed(|| serde_json::to_value(config)).unwrap_or_default();
    let shown = serde_json::to_value(config).unwrap_or_default();
    walk(&whole, &shown, &mut Vec::new(), &mut found);
    found
}

/// Where a line of a rendered file came from: a line of a text that was given whole, or else the longest value in it.
fn key(written: &str, number: usize, values: &[Given]) -> Option<(Vec<String>, Option<usize>)> {
    let written = written.trim();
    if written.is_empty() {
        return None;
    }
    let whole = values.iter().filter(|given| given.text.contains('\n')).flat_map(|given| {
        let same = given.text.lines().enumerate().filter(|(_, line)| line.trim() == written);
        same.map(move |(at, _)| (at, given))
    });
    // The same line may be there more than once: the one that is as far down.
    if let Some((at, given)) = whole.min_by_key(|(at, _)| number.saturating_sub(1).abs_diff(*at)) {
        return Some((given.path.clone(), Some(at)));
    }
    let inside = |given: &&Given| given.text.len() >= SHORTEST && has_word(written, &given.text);
    let longest = values.iter().filter(inside).max_by_key(|given| given.text.len())?;
    Some((longest.path.clone(), None))
}

/// Whether a text is in a line and is no part of a longer word there.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, word)| {
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '.' || c == '-');
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|after| after.chars().next());
        !part(before) && !part(after)
    })
}

/// The words of a program, in one line, shortened, with every secret hidden.
fn without_secrets(words: &str, values: &[Given]) -> String {
    let mut shown = words.trim().to_owned();
    for secret in values.iter().filter(|given| given.secret) {
        for line in secret.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            shown = shown.replace(line, HIDDEN);
        }
    }
    let mut short: String = text::line(&shown).chars().take(LONGEST).collect();
    if short.len() < shown.len() && shown.chars().count() > LONGEST {
        let _ = write!(short, "...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[router]\nasn = 65001\n\
                        [[router.neighbor]]\naddress = \"10.0.0.2\"\nasn = 65002\n[router.firewall]\nrules = \"\"\"\n\
                        table inet filter {\n  tcp dport 22 acept\n}\n\"\"\"\n";

    fn config(text: &str) -> NodeConfig {
        NodeConfig::parse(text.as_bytes()).unwrap()
    }

    fn file(to: &str, text: &str) -> Rendered {
        Rendered { to: to.to_owned(), text: text.to_owned() }
    }

    fn run(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_line_of_a_file_given_whole_is_found_in_node_toml() {
        let rules = "# made\nflush ruleset\n\ntable inet filter {\n  tcp dport 22 acept\n}\n";
        let files = [file("/run/dnsmasq.conf", ""), file("/run/nftables.conf", rules)];
        let output =
            "/run/nftables.conf:5:21-21: Error: syntax error, unexpected newline\n  tcp dport 22 acept\n    ^\n";
        let nft = run(&["/usr/sbin/nft", "-c", "-f", "/run/nftables.conf"]);
        let refusal = Refusal::read("firewall", &nft, output, &files, &config(TEXT));
        assert_eq!(refusal.line, Some(("/run/nftables.conf".to_owned(), 5)));
        let shown = refusal.locate(TEXT).to_string();
        assert!(
            shown.starts_with("line 12, column 3: router.firewall.rules: /usr/sbin/nft, which checks"),
            "{shown}"
        );
        assert!(shown.contains("service firewall") && shown.ends_with("unexpected newline"), "{shown}");
        let NodeConfigError::At { span, .. } = refusal.locate(TEXT) else { panic!("no place") };
        assert_eq!(&TEXT[span], "tcp dport 22 acept");
    }

    #[test]
    fn a_line_made_from_a_value_is_found_by_the_value() {
        let files = [file("/run/frr/bgpd.conf", "router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n")];
        let bgpd = run(&["/usr/lib/frr/bgpd", "-C", "-f", "/run/frr/bgpd.conf"]);
        let output =
            "2026/11/30 15:05:36 BGP: [EC 1] No such command on config line 2:  neighbor 10.0.0.2 remote-as 65002\n";
        let shown = Refusal::read("bgpd", &bgpd, output, &files, &config(TEXT)).locate(TEXT).to_string();
        assert!(shown.starts_with("line 7, column 11: router.neighbor.0.address: "), "{shown}");
        assert!(shown.ends_with("(/run/frr/bgpd.conf, line 2)"), "{shown}");
    }

    #[test]
    fn every_way_of_naming_a_line_is_understood() {
        let files = [file("/run/a.conf", "x\ny\nz\n"), file("/run/a.conf.d", "x\n")];
        let usual = files.first();
        for (line, wanted) in [
            ("/run/a.conf:2:1-3: Error", Some(("/run/a.conf", 2))),
            ("[ALERT] (12) : config : parsing [/run/a.conf:3] : unknown keyword", Some(("/run/a.conf", 3))),
            ("dnsmasq: bad option at line 2 of /run/a.conf", Some(("/run/a.conf", 2))),
            ("/run/a.conf.d: line 1: Bad configuration option", Some(("/run/a.conf.d", 1))),
            ("/run/a.conf line 2: Bad", Some(("/run/a.conf", 2))),
            ("No such command on config line 3: z", Some(("/run/a.conf", 3))),
            ("on line x of nothing", None),
            ("nothing at all", None),
        ] {
            let found = place(line, &files, usual).map(|(file, number)| (file.to.as_str(), number));
            assert_eq!(found, wanted, "{line}");
        }
        assert!(place("line 3", &files, None).is_none(), "of no file");
    }

    #[test]
    fn words_without_a_line_are_told_as_they_are_and_never_with_a_secret() {
        let text = "name = \"n1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[network.wg0.wireguard]\n\
                    private_key = \"Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=\"\n";
        let output = "first\nbad value Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU= here\n\n";
        let refusal = Refusal::read("x", &run(&["/x"]), output, &[], &config(text));
        assert_eq!(refusal.words, "bad value (kept secret) here");
        let shown = refusal.locate(text).to_string();
        assert!(shown.contains("/x, which checks the files of the service x, refuses it: bad value"), "{shown}");
        assert_eq!(Refusal::read("x", &[], "", &[], &config(text)).words, "it says nothing");
    }

    proptest! {
        #[test]
        fn no_words_of_a_program_make_it_panic(
            output in "(/run/a.conf|line |:|[0-9]{1,25}|\\n|\\PC){0,12}", text in "(\\n|x| 10.0.0.2|\\PC){0,9}",
        ) {
            let files = [file("/run/a.conf", &text)];
            let refusal = Refusal::read("s", &run(&["/x", "/run/a.conf"]), &output, &files, &config(TEXT));
            let _ = refusal.locate(TEXT).to_string();
            prop_assert!(refusal.words.chars().count() <= LONGEST + 3);
        }
    }
}
