//! `firstboot host-key FOLDER`: the ssh host key, made once and kept in a folder on `state`. It gets its name when it is
//! whole and on the disk, so that a power cut leaves a key or none.
//!
//! The format is OpenSSH's (PROTOCOL.key): an ed25519 key without a passphrase.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Name of the key in its folder; sshd_config names it too.
const NAME: &str = "ssh_host_ed25519_key";
const KIND: &str = "ssh-ed25519";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Letters in a line of the private file, as `ssh-keygen` writes them.
const LINE: usize = 70;
/// The private part is padded to the block of its cipher, which is 8 bytes for none.
const BLOCK: usize = 8;

/// Runs it; `arguments` are those behind `host-key`.
pub fn run(arguments: &[String]) {
    let result = match arguments {
        [folder] => make(Path::new(folder)),
        _ => Err(anyhow::anyhow!("`host-key` needs a folder")),
    };
    if let Err(error) = result {
        eprintln!("cannot make the host key: {error:#}");
        std::process::exit(1);
    }
}

fn make(folder: &Path) -> anyhow::Result<()> {
    let key = folder.join(NAME);
    if std::fs::metadata(&key).is_ok_and(|key| key.len() > 0) {
        return Ok(());
    }
    let mut drawn = [0; 36];
    getrandom::fill(&mut drawn).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let (seed, check) = drawn.split_first_chunk::<32>().context("no random numbers")?;
    let pair = SigningKey::from_bytes(seed);
    let new = folder.join("new");
    for (suffix, mode, text) in [("pub", 0o644, public_text(&pair)), ("", 0o600, private_text(&pair, check))] {
        let failed = || format!("cannot write {}", new.display());
        let _ = std::fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).with_context(failed)?;
        file.write_all(text.as_bytes()).with_context(failed)?;
        file.sync_all().with_context(failed)?;
        std::fs::rename(&new, key.with_extension(suffix)).with_context(failed)?;
    }
    File::open(folder)?.sync_all().with_context(|| format!("cannot sync {}", folder.display()))
}

/// A string as SSH writes it (RFC 4251, section 5): its length, then its bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    // No string here is longer than some hundred bytes.
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn public_blob(pair: &SigningKey) -> Vec<u8> {
    [string(KIND.as_bytes()), string(pair.verifying_key().as_bytes())].concat()
}

fn public_text(pair: &SigningKey) -> String {
    format!("{KIND} {}\n", STANDARD.encode(public_blob(pair)))
}

/// `check` shows a reader with a passphrase that it was the right one; without one it may be anything.
fn private_text(pair: &SigningKey, check: &[u8]) -> String {
    let public = pair.verifying_key();
    let whole = [pair.to_bytes(), public.to_bytes()].concat();
    let mut secret = [check, check, &string(KIND.as_bytes()), &string(public.as_bytes()), &string(&whole)].concat();
    secret.extend(string(b"")); // the comment
    for padding in 1.. {
        if secret.len().is_multiple_of(BLOCK) {
            break;
        }
        secret.push(padding);
    }
    let mut bytes = MAGIC.to_vec();
    for part in [&b"none"[..], b"none", b""] {
        bytes.extend(string(part)); // cipher, key derivation, its options
    }
    bytes.extend(1u32.to_be_bytes()); // keys
    bytes.extend(string(&public_blob(pair)));
    bytes.extend(string(&secret));

    let mut text = "-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned();
    for line in STANDARD.encode(bytes).as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|&letter| char::from(letter)));
        text.push('\n');
    }
    text + "-----END OPENSSH PRIVATE KEY-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    #[test]
    fn the_key_is_made_once_for_root_alone_also_after_a_power_cut() {
        let folder = tempfile::tempdir().unwrap();
        for rest in ["new", NAME] {
            std::fs::write(folder.path().join(rest), "").unwrap();
        }
        make(folder.path()).unwrap();
        let path = folder.path().join(NAME);
        let first = std::fs::read(&path).unwrap();
        assert!(first.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        make(folder.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn openssh_reads_the_key_and_finds_the_public_one_in_it() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).unwrap();
        let key = folder.path().join(NAME);
        let output = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&key).output();
        let output = output.expect("ssh-keygen of openssh-client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), public.trim());
        // It signs, and what it signs is verified.
        let text = folder.path().join("text");
        std::fs::write(&text, "a text").unwrap();
        let sign = ["-q", "-Y", "sign", "-n", "test", "-f"];
        let signed = Command::new("ssh-keygen").args(sign).arg(&key).arg(&text).output().unwrap();
        assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
        let verify = Command::new("ssh-keygen")
            .args(["-Y", "check-novalidate", "-n", "test", "-s"])
            .arg(text.with_extension("sig"))
            .stdin(File::open(&text).unwrap())
            .output()
            .unwrap();
        assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    }

    #[test]
    fn where_nothing_can_be_written_there_is_an_error() {
        assert!(make(Path::new("/proc/nowhere")).is_err());
    }
}
