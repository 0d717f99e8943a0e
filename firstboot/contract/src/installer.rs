//! The installer: what the kernel command line asks of it, and where a server keeps each board's node config.
//!
//! | option | value |
//! |---|---|
//! | `microdc.install=` | URL of a bundle, `http` or `https`; given several times, each is tried in turn |
//! | `microdc.nodes=` | URL of a folder with a `node.toml` for each board: `SERIAL.toml`, else `MAC.toml` |
//! | `microdc.disk=` | serial number of the disk to install onto, where more than one could be meant |

use crate::names::{OPT_DISK, OPT_INSTALL, OPT_NODES};
use crate::node::Serial;

/// Longest URL, in bytes: the kernel's command line has 2047 in all.
const LONGEST_URL: usize = 1024;
/// Most addresses of a bundle.
const MOST_BUNDLES: usize = 8;

/// What is to be installed, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallOptions {
    /// Where the bundle is; at least one.
    pub bundles: Vec<String>,
    /// The folder of node configs, without a slash at its end. Without one the node is installed with none.
    pub nodes: Option<String>,
    /// The disk, where it is named.
    pub disk: Option<Serial>,
}

/// Options of the installer that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("{option}={value}: {reason}")]
    Value { option: &'static str, value: String, reason: &'static str },
    #[error("the option {0}= is given twice, with different values")]
    Twice(&'static str),
    #[error("the option {OPT_INSTALL}= is given more than {MOST_BUNDLES} times")]
    TooMany,
}

impl InstallOptions {
    /// Reads a kernel command line: nothing where it asks for no installation.
    ///
    /// # Errors
    /// Which option cannot be followed, and why.
    pub fn parse(command_line: &str) -> Result<Option<InstallOptions>, OptionsError> {
        let bundles: Vec<&str> = values(command_line, OPT_INSTALL).collect();
        if bundles.is_empty() {
            return Ok(None);
        }
        let nodes = one(command_line, OPT_NODES)?;
        let disk = match one(command_line, OPT_DISK)? {
            Some(value) => Some(Serial::try_from(value.to_owned()).map_err(|_| wrong(OPT_DISK, value, NOT_SERIAL))?),
            None => None,
        };
        Ok(Some(InstallOptions::checked(&bundles, nodes, disk)?))
    }

    /// Options by their values. An address of a bundle that is given twice counts once.
    ///
    /// # Errors
    /// Which option cannot be followed, and why.
    pub fn checked(
        bundles: &[impl AsRef<str>],
        nodes: Option<&str>,
        disk: Option<Serial>,
    ) -> Result<InstallOptions, OptionsError> {
        let mut urls: Vec<String> = Vec::new();
        for bundle in bundles {
            let url = url(OPT_INSTALL, bundle.as_ref())?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        if urls.len() > MOST_BUNDLES {
            return Err(OptionsError::TooMany);
        }
        let nodes = match nodes {
            Some(value) => Some(url(OPT_NODES, value)?.trim_end_matches('/').to_owned()),
            None => None,
        };
        Ok(InstallOptions { bundles: urls, nodes, disk })
    }

    /// The words for a kernel command line.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.bundles.iter().map(|url| format!("{OPT_INSTALL}={url}")).collect();
        words.extend(self.nodes.iter().map(|url| format!("{OPT_NODES}={url}")));
        words.extend(self.disk.iter().map(|serial| format!("{OPT_DISK}={serial}")));
        words
    }

    /// Where the node config of a board may be, in the order in which it is looked for. Nothing without a folder.
    #[must_use]
    pub fn node_configs(&self, board: &Board) -> Vec<String> {
        let names = [board.serial.clone(), board.mac.as_ref().map(|mac| mac.replace(':', "-"))];
        let nodes = self.nodes.iter();
        nodes.flat_map(|folder| names.iter().flatten().map(move |name| format!("{folder}/{name}.toml"))).collect()
    }
}

/// What tells one board from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// Its serial number, in lower case; `None` where the firmware says none.
    pub serial: Option<String>,
    /// Hardware address of its first Ethernet port, such as `dc:a6:32:00:00:01`.
    pub mac: Option<String>,
}

impl Board {
    /// By the property `serial-number` of the device tree, and the address of a port as the kernel shows it. What is not
    /// of the usual form counts as not there: a file's name is made of it.
    #[must_use]
    pub fn new(serial: Option<&[u8]>, mac: Option<&str>) -> Board {
        let serial = serial.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(|text| text.trim_end_matches('\0'));
        let is_serial =
            |text: &&str| (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        let mac = mac.map(str::to_ascii_lowercase).filter(|text| is_mac(text));
        Board { serial: serial.filter(is_serial).map(str::to_ascii_lowercase), mac }
    }

    /// What it is called where it has no name yet.
    #[must_use]
    pub fn name(&self) -> String {
        let mac = self.mac.as_ref().map(|mac| mac.replace(':', "-"));
        self.serial.clone().or(mac).unwrap_or_else(|| "board".to_owned())
    }
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

const NOT_URL: &str = "it is not a URL that begins with http:// or https:// and names a host";
const NOT_SERIAL: &str = "it is not the serial number of a disk: 1 to 64 printable ASCII characters";

fn wrong(option: &'static str, value: &str, reason: &'static str) -> OptionsError {
    OptionsError::Value { option, value: value.chars().take(100).collect(), reason }
}

fn url(option: &'static str, value: &str) -> Result<String, OptionsError> {
    let lower = value.to_ascii_lowercase();
    let rest = ["http://", "https://"].iter().find_map(|scheme| lower.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let fine = value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\<>".contains(&byte));
    if host.is_empty() || !fine || value.len() > LONGEST_URL {
        return Err(wrong(option, value, NOT_URL));
    }
    Ok(value.to_owned())
}

fn values<'l>(command_line: &'l str, option: &'static str) -> impl Iterator<Item = &'l str> {
    command_line.split_ascii_whitespace().filter_map(move |word| word.strip_prefix(option)?.strip_prefix('='))
}

fn one<'l>(command_line: &'l str, option: &'static str) -> Result<Option<&'l str>, OptionsError> {
    let mut values = values(command_line, option);
    let first = values.next();
    match values.find(|value| Some(*value) != first) {
        Some(_) => Err(OptionsError::Twice(option)),
        None => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<Option<InstallOptions>, OptionsError> {
        InstallOptions::parse(line)
    }

    #[test]
    fn a_value_that_would_become_two_words_of_the_command_line_is_refused() {
        let two = "http://a/b microdc.disk=S1";
        let refused = |bundle, nodes| InstallOptions::checked(&[bundle], nodes, None).unwrap_err().to_string();
        assert!(refused(two, None).starts_with("microdc.install="), "{}", refused(two, None));
        assert!(refused("http://a/b", Some(two)).starts_with("microdc.nodes="));
        let options = InstallOptions::checked(&["http://a/b", "http://a/b"], Some("http://a/n/"), None).unwrap();
        assert_eq!(options.words(), ["microdc.install=http://a/b", "microdc.nodes=http://a/n"]);
    }

    #[test]
    fn a_command_line_without_the_option_installs_nothing_whatever_else_is_in_it() {
        for line in ["", "microdc.root=12", "microdc.nodes=http://a/b microdc.disk=S1", "xmicrodc.install=http://a/b"]
        {
            assert_eq!(parse(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_is_written_for_a_command_line_is_read_from_it() {
        let line = "console=ttyAMA0 microdc.install=http://10.0.0.1/a.bundle microdc.install=https://b/a.bundle \
                    microdc.nodes=http://10.0.0.1/nodes/ microdc.disk=S4EWNX0M\n";
        let options = parse(line).unwrap().unwrap();
        assert_eq!(options.bundles, ["http://10.0.0.1/a.bundle", "https://b/a.bundle"]);
        assert_eq!(options.nodes.as_deref(), Some("http://10.0.0.1/nodes"));
        assert_eq!(parse(&options.words().join(" ")), Ok(Some(options)));
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_name() {
        for (line, why) in [
            ("microdc.install=", "microdc.install=: it is not a URL"),
            ("microdc.install=ftp://a/b", "begins with http://"),
            ("microdc.install=http:///b", "names a host"),
            ("microdc.install=http://a/b\u{e4}", "not a URL"),
            ("microdc.install=http://a/b microdc.nodes=/nodes", "microdc.nodes=/nodes"),
            ("microdc.install=http://a/b microdc.disk=", "not the serial number"),
            ("microdc.install=http://a/b microdc.disk=A microdc.disk=B", "microdc.disk= is given twice"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
        let many: String = (0..9).map(|n| format!("microdc.install=http://a/{n} ")).collect();
        assert_eq!(parse(&many), Err(OptionsError::TooMany));
    }

    #[test]
    fn a_board_is_looked_for_by_its_serial_number_first_and_then_by_its_address() {
        let options = parse("microdc.install=http://a/b microdc.nodes=http://a/n").unwrap().unwrap();
        let board = Board::new(Some(b"10000000ABCDEF01\0"), Some("DC:A6:32:00:00:01"));
        let found = options.node_configs(&board);
        assert_eq!(found, ["http://a/n/10000000abcdef01.toml", "http://a/n/dc-a6-32-00-00-01.toml"]);
        assert_eq!(board.name(), "10000000abcdef01");
        assert_eq!(Board::new(None, Some("dc:a6:32:00:00:01")).name(), "dc-a6-32-00-00-01");
        let none = parse("microdc.install=http://a/b").unwrap().unwrap();
        assert!(none.node_configs(&board).is_empty());
    }

    #[test]
    fn no_path_is_made_of_what_is_no_serial_number_or_address() {
        for (serial, mac) in [
            (&b"../../etc/passwd"[..], "dc:a6:32:00:00"),
            (b"", "dc:a6:32:00:00:0/"),
            (b"a\0b", "..:..:..:..:..:.."),
            (b"\xff\xfe", ""),
            (b"123456789012345678901234567890123", "dca632000001"),
        ] {
            assert_eq!(Board::new(Some(serial), Some(mac)), Board::default(), "{serial:?} {mac}");
        }
    }

    proptest! {
        #[test]
        fn no_command_line_makes_the_parser_panic_and_what_it_takes_can_be_written(line in ".*", value in "[ -~]{0,40}") {
            let _ = parse(&line);
            let line = format!("microdc.install=http://a/b microdc.nodes=http://{value} microdc.disk={value}");
            if let Ok(Some(options)) = parse(&line) {
                prop_assert_eq!(parse(&options.words().join(" ")), Ok(Some(options)));
            }
        }

        #[test]
        fn no_board_makes_a_name_with_a_slash_or_a_dot(serial: Vec<u8>, mac in ".{0,20}") {
            let name = Board::new(Some(&serial), Some(&mac)).name();
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
        }
    }
}
