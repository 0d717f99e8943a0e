//! `[ssh]`: who may log in, and where sshd listens. Public keys in OpenSSH's one-line form (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; the blob is
//! RFC 4253, section 6.6, and RFC 5656 and 8709), without options: what a login may do is not for a key to say.

use super::listen;
use super::network::Network;
use super::problem::Problem;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Who may log in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    #[serde(default)]
    pub keys: Vec<PublicKey>,
    /// Own addresses at which sshd listens, on port 22; without them, at every address. A router's firewall opens the port
    /// for these addresses; without them, on the ports that have an address and no default route. A router whose ports
    /// all lead outside (`gateway`, `dhcp`) is reached on each of them.
    #[serde(default)]
    pub listen: Vec<IpAddr>,
}

impl Ssh {
    /// Addresses that the node can never have are refused: sshd would not start.
    pub(super) fn check(&self, network: &Network, found: &mut Vec<Problem>) {
        for (at, address) in self.listen.iter().enumerate() {
            found.extend(listen::check_address(&["ssh", "listen", &at.to_string()], *address, network).err());
        }
    }
}

/// Longest comment of a key, in bytes.
const COMMENT: usize = 200;
/// Shortest RSA modulus, in bits: OpenSSH's own limit is lower.
const RSA_BITS: usize = 2048;

/// A public key as `TYPE BASE64 [COMMENT]` on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(String);

impl PublicKey {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.0
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<PublicKey, String> {
        if text.contains("PRIVATE KEY") {
            return Err(
                "this is a private key; it belongs on the operator's machine. Give the line of the .pub file"
                    .to_owned(),
            );
        }
        if !text.chars().all(crate::text::is_plain) {
            return Err("a public key is one line without control characters".to_owned());
        }
        let mut parts = text.trim_matches(' ').splitn(3, ' ');
        let (kind, blob, comment) =
            (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or("").trim_matches(' '));
        let Some(kind) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
            let known = Kind::ALL.map(Kind::name).join(", ");
            return Err(format!(
                "a public key begins with its type, one of {known}; it begins with {:?}. Options before the key are \
                    not supported",
                kind.chars().take(40).collect::<String>()
            ));
        };
        let name = kind.name();
        let bytes = STANDARD.decode(blob).map_err(|error| format!("the {name} key is damaged: {error}"))?;
        kind.check(&bytes).ok_or_else(|| format!("the bytes of the key are not a valid {name} key"))?;
        if comment.len() > COMMENT {
            return Err(format!("the comment of a key must be at most {COMMENT} bytes"));
        }
        let space = if comment.is_empty() { "" } else { " " };
        Ok(PublicKey(format!("{name} {blob}{space}{comment}")))
    }
}

/// The types that sshd takes.
#[derive(Clone, Copy)]
enum Kind {
    Ed25519,
    Rsa,
    Nistp256,
    Nistp384,
    Nistp521,
    SkEd25519,
    SkNistp256,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Ed25519, Kind::Rsa, Kind::Nistp256, Kind::Nistp384, Kind::Nistp521, Kind::SkEd25519, Kind::SkNistp256];

    const fn name(self) -> &'static str {
        match self {
            Kind::Ed25519 => "ssh-ed25519",
            Kind::Rsa => "ssh-rsa",
            Kind::Nistp256 => "ecdsa-sha2-nistp256",
            Kind::Nistp384 => "ecdsa-sha2-nistp384",
            Kind::Nistp521 => "ecdsa-sha2-nistp521",
            Kind::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Kind::SkNistp256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// Whether these bytes are a key of this type, and nothing more.
    fn check(self, mut bytes: &[u8]) -> Option<()> {
        let named = field(&mut bytes)? == self.name().as_bytes();
        let fine = match self {
            Kind::Ed25519 => field(&mut bytes)?.len() == 32,
            Kind::Rsa => {
                let (exponent, modulus) = (field(&mut bytes)?, field(&mut bytes)?);
                // A leading zero byte keeps the number positive.
                let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
                !exponent.is_empty() && (RSA_BITS / 8..=2048).contains(&modulus.len())
            }
            Kind::Nistp256 => point(&mut bytes, "nistp256", 32)?,
            Kind::Nistp384 => point(&mut bytes, "nistp384", 48)?,
            Kind::Nistp521 => point(&mut bytes, "nistp521", 66)?,
            Kind::SkEd25519 => field(&mut bytes)?.len() == 32 && !field(&mut bytes)?.is_empty(),
            Kind::SkNistp256 => point(&mut bytes, "nistp256", 32)? && !field(&mut bytes)?.is_empty(),
        };
        (named && fine && bytes.is_empty()).then_some(())
    }
}

/// A curve's name and an uncompressed point on it (SEC 1: 4, x, y).
fn point(bytes: &mut &[u8], curve: &str, length: usize) -> Option<bool> {
    let named = field(bytes)? == curve.as_bytes();
    let point = field(bytes)?;
    Some(named && point.first() == Some(&4) && point.len() == 1 + 2 * length)
}

/// The next string of the blob: its length as a big-endian u32, and its bytes (RFC 4251, section 5).
fn field<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1WqPZ3m0c1mFvYBkTt9k5N0c4d8gq3cJY1x2vV4n7b";

    fn parse(text: &str) -> Result<String, String> {
        PublicKey::try_from(text.to_owned()).map(String::from)
    }

    #[test]
    fn a_key_is_taken_with_and_without_comment() {
        assert_eq!(parse(KEY).as_deref(), Ok(KEY));
        assert_eq!(parse(&format!(" {KEY}  ops at home ")), Ok(format!("{KEY} ops at home")));
    }

    #[test]
    fn every_type_that_ssh_keygen_makes_is_taken_and_short_rsa_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, bits, fine) in [
            ("ed25519", "256", true),
            ("ecdsa", "256", true),
            ("ecdsa", "384", true),
            ("ecdsa", "521", true),
            ("rsa", "2048", true),
            ("rsa", "1024", false),
        ] {
            let path = folder.path().join(format!("{kind}{bits}"));
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", kind, "-b", bits, "-N", "", "-C", "ops", "-f"])
                .arg(&path)
                .status()
                .expect("ssh-keygen of openssh-client");
            assert!(made.success());
            let line = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            assert_eq!(parse(line.trim_end()).is_ok(), fine, "{line}");
            assert!(parse(&std::fs::read_to_string(&path).unwrap()).unwrap_err().contains("private key"));
        }
    }

    #[test]
    fn options_several_lines_and_broken_keys_are_refused() {
        for (text, word) in [
            (format!("command=\"/bin/sh\" {KEY}"), "Options"),
            (format!("no-pty {KEY}"), "Options"),
            (format!("{KEY} a\n{KEY} b"), "one line"),
            (format!("{KEY} \u{1b}[2J"), "control"),
            (KEY[..61].to_owned(), "damaged"),
            (KEY[..60].to_owned(), "not a valid ssh-ed25519"),
            (KEY.replace("AAAAC3", "AAAAC4"), "not a valid ssh-ed25519"),
            (KEY.replace("ssh-ed25519", "ssh-rsa"), "not a valid ssh-rsa"),
            ("ssh-dss AAAA".to_owned(), "type"),
            (String::new(), "type"),
            (format!("{KEY} {}", "x".repeat(300)), "comment"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }

    #[test]
    fn sshd_listens_at_own_addresses_only() {
        let parse = |listen: &str, port: &str| {
            let text = format!("name = \"r1\"\n[ssh]\nlisten = [{listen}]\n[network.eth0]\n{port}\n");
            crate::node::NodeConfig::parse(text.as_bytes()).map_err(|error| error.to_string())
        };
        let fixed = "addresses = [\"10.0.0.1/24\", \"fd00::1/64\"]";
        assert!(parse("\"10.0.0.1\", \"fd00::1\"", fixed).is_ok());
        assert!(parse("\"10.0.0.2\"", fixed).unwrap_err().contains("not one of this node's addresses"));
        assert!(parse("\"10.0.0.2\"", "dhcp = true").is_ok(), "it may come");
        assert!(parse("\"10.0.0.1:22\"", fixed).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_one_line_that_is_taken_again(text in "(ssh-ed25519|ssh-rsa|x)? ?[A-Za-z0-9+/=]{0,80} ?\\PC{0,20}") {
            if let Ok(key) = parse(&text) {
                prop_assert!(!key.contains('\n'));
                prop_assert_eq!(parse(&key), Ok(key.clone()));
            }
        }

        #[test]
        fn no_bytes_of_a_key_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for kind in Kind::ALL {
                let _ = parse(&format!("{} {}", kind.name(), STANDARD.encode(&bytes)));
            }
        }
    }
}
