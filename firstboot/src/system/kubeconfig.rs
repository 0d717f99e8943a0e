//! The kubeconfig that k3s makes on a server, with another address in place of its own loopback.
//!
//! k3s writes it as root, to a folder that it keeps on `state`: what is there is not trusted to be a file.

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Where k3s writes it (k3s 1.36, "Cluster Access").
pub const FILE: &str = "/etc/rancher/k3s/k3s.yaml";
/// What k3s writes as the address of the API.
const OWN: &str = "https://127.0.0.1:6443";
/// Longest file that is read, in bytes: it holds a certificate, a key and an authority, each below 2 KiB.
const LONGEST: u64 = 64 * 1024;

/// The kubeconfig for somebody who reaches this node under `address`, a name or an IP address.
///
/// # Errors
/// Why there is none, in words.
pub fn at(file: &Path, address: &str) -> Result<String, String> {
    let server = format!("https://{}:6443", host(address)?);
    let text = read(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no kubeconfig here: this node is not a k3s server, or k3s has not come up yet".to_owned()
        }
        _ => format!("{} cannot be read: {error}", file.display()),
    })?;
    if !text.contains(OWN) {
        return Err(format!("{} does not name {OWN}, as k3s writes it", file.display()));
    }
    Ok(text.replace(OWN, &server))
}

/// The address as it stands in a URL.
fn host(address: &str) -> Result<String, String> {
    if let Ok(address) = address.parse::<std::net::IpAddr>() {
        return Ok(match address {
            std::net::IpAddr::V6(address) => format!("[{address}]"),
            std::net::IpAddr::V4(address) => address.to_string(),
        });
    }
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner)
    };
    let is_name = address.len() <= 253 && address.split('.').all(label);
    is_name.then(|| address.to_owned()).ok_or_else(|| format!("{address:?} is not a valid name or address"))
}

/// No link is followed, and nothing is waited for.
fn read(file: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(rustix::fs::CWD, file, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let file = File::from(file);
    let found = file.metadata()?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file of at most 64 KiB"));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "clusters:\n- cluster:\n    certificate-authority-data: LS0t\n    server: https://127.0.0.1:6443\n";

    #[test]
    fn the_address_that_was_asked_for_stands_in_place_of_the_loopback() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k3s.yaml");
        std::fs::write(&file, TEXT).unwrap();
        for (address, server) in [
            ("10.0.0.11", "https://10.0.0.11:6443"),
            ("fd00::1", "https://[fd00::1]:6443"),
            ("api.rack1.lan", "https://api.rack1.lan:6443"),
        ] {
            assert_eq!(at(&file, address).unwrap(), TEXT.replace(OWN, server));
        }
        for address in ["", "a b", "a/b", "a\"b", "10.0.0.1:6443", "-", "a..b", "https://a"] {
            let answer = at(&file, address);
            assert!(address == "-" || answer.as_ref().is_err_and(|why| why.contains("not a valid")), "{answer:?}");
        }
    }

    #[test]
    fn a_link_a_pipe_and_what_is_too_long_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("secret"), TEXT).unwrap();
        std::os::unix::fs::symlink(path("secret"), path("link")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("folder"), path("way")).unwrap();
        std::fs::write(path("folder").join("k3s.yaml"), TEXT).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::write(path("long"), TEXT.repeat(2000)).unwrap();
        std::fs::write(path("other"), "server: https://10.0.0.1:6443\n").unwrap();
        std::fs::write(path("noise"), [0xff; 64]).unwrap();
        for name in ["link", "way/k3s.yaml", "pipe", "folder", "long", "other", "noise"] {
            assert!(at(&path(name), "10.0.0.1").is_err(), "{name}");
        }
        assert!(at(&path("none"), "10.0.0.1").unwrap_err().contains("not a k3s server"));
    }
}
