//! What k3s writes for administrators on a server: the kubeconfig, given with another address in place of its own loopback,
//! and the token by which nodes join.

use crate::kept;
use std::io;
use std::path::Path;

/// Where k3s writes the kubeconfig (k3s 1.36, "Cluster Access"), and the servers' token ("k3s token").
pub const KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";
pub const TOKEN: &str = "/var/lib/rancher/k3s/server/token";
/// What k3s writes as the address of the API.
const OWN: &str = "https://127.0.0.1:6443";
/// Longest kubeconfig that is read, in bytes: it holds a certificate, a key and an authority, each below 2 KiB.
const LONGEST: u64 = 64 * 1024;
/// Longest token that is read, in bytes: a prefix, a hash of 64 digits, and at most 512 bytes of the operator's.
const LONGEST_TOKEN: u64 = 1024;

/// The kubeconfig for somebody who reaches this node under `address`, a name or an IP address.
///
/// # Errors
/// Why there is none, in words.
pub fn kubeconfig(file: &Path, address: &str) -> Result<String, String> {
    let server = format!("https://{}:6443", host(address)?);
    let text = read(file, LONGEST, "kubeconfig")?;
    if !text.contains(OWN) {
        return Err(format!("{} does not name {OWN}, as k3s writes it", file.display()));
    }
    Ok(text.replace(OWN, &server))
}

/// The token by which servers and agents join this server's cluster.
///
/// # Errors
/// Why there is none, in words.
pub fn token(file: &Path) -> Result<String, String> {
    let text = read(file, LONGEST_TOKEN, "token")?;
    let token = text.trim_ascii_end();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} does not hold a token: one word of printable characters", file.display()));
    }
    Ok(token.to_owned())
}

fn read(file: &Path, longest: u64, what: &str) -> Result<String, String> {
    kept::read(file, longest).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no {what} here: this node is not a k3s server, or k3s has not come up yet")
        }
        _ => format!("{} cannot be read: {error}", file.display()),
    })
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
            assert_eq!(kubeconfig(&file, address).unwrap(), TEXT.replace(OWN, server));
        }
        for address in ["", "a b", "a/b", "a\"b", "10.0.0.1:6443", "-", "a..b", "https://a"] {
            let answer = kubeconfig(&file, address);
            assert!(address == "-" || answer.as_ref().is_err_and(|why| why.contains("not a valid")), "{answer:?}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_not_given_as_a_kubeconfig_or_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("secret"), TEXT).unwrap();
        std::os::unix::fs::symlink(path("secret"), path("link")).unwrap();
        std::fs::write(path("long"), TEXT.repeat(2000)).unwrap();
        std::fs::write(path("other"), "server: https://10.0.0.1:6443\n").unwrap();
        std::fs::write(path("empty"), "\n").unwrap();
        for name in ["link", "long", "other", "empty"] {
            assert!(kubeconfig(&path(name), "10.0.0.1").is_err(), "{name}");
            assert!(token(&path(name)).is_err(), "{name}");
        }
        assert!(kubeconfig(&path("none"), "10.0.0.1").unwrap_err().contains("not a k3s server"));
        assert!(token(&path("none")).unwrap_err().contains("there is no token here"));
    }

    #[test]
    fn the_token_is_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "K10ab::server:s3cret\n").unwrap();
        assert_eq!(token(&file).unwrap(), "K10ab::server:s3cret");
        for text in ["two words", "a\nb", "\u{1b}[2J"] {
            std::fs::write(&file, text).unwrap();
            let why = token(&file).unwrap_err();
            assert!(why.contains("does not hold a token") && !why.contains(text), "{why}");
        }
    }
}
