//! `firstboot host-key KEYGEN FOLDER`: the ssh host key, made once by OpenSSH's own `ssh-keygen` and kept in a folder on
//! `state`. It gets its name when it is whole and on the disk, so that a power cut leaves a key or none.

use anyhow::{Context as _, ensure};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// Name of the key in its folder; sshd_config names it too.
const NAME: &str = "ssh_host_ed25519_key";

/// Runs it; `arguments` are those behind `host-key`.
pub fn run(arguments: &[String]) {
    let result = match arguments {
        [keygen, folder] => make(Path::new(keygen), Path::new(folder)),
        _ => Err(anyhow::anyhow!("host-key needs the path of ssh-keygen and a folder")),
    };
    if let Err(error) = result {
        eprintln!("no host key: {error:#}");
        std::process::exit(1);
    }
}

fn make(keygen: &Path, folder: &Path) -> anyhow::Result<()> {
    let key = folder.join(NAME);
    if std::fs::metadata(&key).is_ok_and(|key| key.len() > 0) {
        return Ok(());
    }
    let new = folder.join("new");
    // ssh-keygen asks before it replaces a file.
    for rest in [new.clone(), new.with_extension("pub")] {
        let _ = std::fs::remove_file(rest);
    }
    let status = Command::new(keygen)
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&new)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", keygen.display()))?;
    ensure!(status.success(), "{} ended with {status}", keygen.display());
    File::open(&new)?.sync_all()?;
    std::fs::rename(new.with_extension("pub"), key.with_extension("pub"))?;
    std::fs::rename(&new, &key)?;
    File::open(folder)?.sync_all().with_context(|| format!("cannot sync {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_for_root_alone_also_after_a_power_cut() {
        let folder = tempfile::tempdir().unwrap();
        for rest in ["new", "new.pub", NAME] {
            std::fs::write(folder.path().join(rest), "").unwrap();
        }
        let keygen = Path::new("/usr/bin/ssh-keygen");
        make(keygen, folder.path()).unwrap();
        let path = folder.path().join(NAME);
        let first = std::fs::read(&path).unwrap();
        assert!(first.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        make(keygen, folder.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn without_ssh_keygen_there_is_an_error_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        assert!(make(Path::new("/nowhere/ssh-keygen"), folder.path()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
