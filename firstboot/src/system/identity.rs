//! Stage: the node's identity: host name, machine id, and the files in `/run` to which `/etc/hostname`, `/etc/hosts`,
//! `/etc/machine-id` and `/etc/resolv.conf` are links.

use super::events::Warnings;
use crate::config::store::{Access, write_atomic};
use crate::disk::list;
use contract::names::{
    NETWORK_FOLDER, RUN_HOSTNAME, RUN_HOSTS, RUN_MACHINE_ID, RUN_RESOLV_CONF, STATE_MACHINE_ID, STATE_MOUNT,
};
use contract::node::NodeConfig;
use std::fmt::Write as _;
use std::path::Path;

pub fn run(config: &NodeConfig, warnings: &mut Warnings) {
    let name = config.name.as_str();
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        warnings.add(format_args!("cannot set the host name {name}: {error}"));
    }
    let machine_id = machine_id(&Path::new(STATE_MOUNT).join(STATE_MACHINE_ID), warnings);
    let files = [
        (RUN_HOSTNAME, format!("{name}\n")),
        (RUN_HOSTS, hosts(config)),
        (RUN_MACHINE_ID, machine_id),
        (RUN_RESOLV_CONF, String::new()),
    ];
    if let Err(error) = std::fs::create_dir_all(NETWORK_FOLDER) {
        warnings.add(format_args!("cannot make {NETWORK_FOLDER}: {error}"));
    }
    for (path, text) in files {
        if let Err(error) = write_atomic(Path::new(path), text.as_bytes(), Access::root(0o644)) {
            warnings.add(format_args!("cannot write {path}: {error}"));
        }
    }
}

/// hosts(5): the node itself, and those that its config names.
fn hosts(config: &NodeConfig) -> String {
    let mut text = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {}\n", config.name.as_str());
    for (name, address) in config.hosts.iter() {
        let _ = writeln!(text, "{address} {name}");
    }
    text
}

/// The machine id (machine-id(5)): drawn once, kept on `state`.
fn machine_id(kept: &Path, warnings: &mut Warnings) -> String {
    if let Ok(text) = std::fs::read_to_string(kept)
        && text.trim_end().len() == 32
        && text.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return text;
    }
    let mut random = [0_u8; 16];
    if let Err(error) = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()) {
        warnings.add(format_args!("cannot get random bytes for the machine ID: {error}"));
    }
    let mut text = random.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    text.push('\n');
    if let Err(error) = write_atomic(kept, text.as_bytes(), Access::root(0o444)) {
        warnings.add(format_args!("cannot save the machine ID in {}: {error}", kept.display()));
    }
    text
}

/// The host name of a node without config: `microdc-` and the last 6 letters or digits of its disk's serial number, or
/// of its first hardware address.
#[must_use]
pub fn default_name(disk: &str) -> String {
    let serial = list::disk(disk, disk).serial.map(String::from).unwrap_or_default();
    let address = || crate::net::first_ethernet().map(|(_, address)| address).unwrap_or_default();
    name_from(&serial).or_else(|| name_from(&address())).unwrap_or_else(|| "microdc".to_owned())
}

fn name_from(id: &str) -> Option<String> {
    let letters: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let tail: String = letters.get(letters.len().checked_sub(6)?..)?.iter().collect();
    Some(format!("microdc-{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_by_the_end_of_its_serial_number() {
        assert_eq!(name_from("S4EW NX0M12-34\n").as_deref(), Some("microdc-0m1234"));
        assert_eq!(name_from("dc:a6:32:01:02:03\n").as_deref(), Some("microdc-010203"));
        assert_eq!(name_from("12-34\n"), None);
    }

    #[test]
    fn hosts_of_the_node_config_are_known_by_name() {
        let config = NodeConfig::parse(b"name = \"r1\"\n[hosts]\nr2 = [\"10.0.0.2\", \"fd00::2\"]\n").unwrap();
        assert!(hosts(&config).ends_with("127.0.1.1 r1\n10.0.0.2 r2\nfd00::2 r2\n"), "{}", hosts(&config));
    }

    #[test]
    fn a_machine_id_is_drawn_once_and_a_broken_one_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine-id");
        let mut warnings = Warnings::default();
        let first = machine_id(&path, &mut warnings);
        assert_eq!(machine_id(&path, &mut warnings), first);
        assert!(first.len() == 33 && first.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
        std::fs::write(&path, "half").unwrap();
        assert_ne!(machine_id(&path, &mut warnings), first);
        assert!(warnings.list().is_empty());
    }
}
