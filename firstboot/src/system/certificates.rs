//! Certificates of the node config beside those of the image: a folder in `/run` with both, shown in place of the image's.

use super::events::Warnings;
use crate::config::store::{Access, write_atomic};
use crate::sys::mount::show_read_only;
use contract::certificates::{BUNDLE, Certificate, FOLDER};
use contract::names::RUN_CERTIFICATES;
use contract::node::NodeConfig;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Does nothing for a node config without certificates.
pub fn run(config: &NodeConfig, warnings: &mut Warnings) {
    let Some(wanted) = &config.certificates else { return };
    if !Path::new(FOLDER).is_dir() {
        warnings.add(format_args!(
            "the certificates of the node config have no effect: the image has no {FOLDER}; its profile must include the part `certificates`"
        ));
        return;
    }
    let shown = make(Path::new(FOLDER), Path::new(RUN_CERTIFICATES), &wanted.trust)
        .and_then(|()| show_read_only(Path::new(RUN_CERTIFICATES), Path::new(FOLDER)));
    if let Err(error) = shown {
        warnings.add(format_args!("the certificates of the node config have no effect: {error}"));
    }
}

/// Fills the folder `to` with what `from` has, and with these certificates.
fn make(from: &Path, to: &Path, trust: &[String]) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut bundle = std::fs::read_to_string(from.join(BUNDLE)).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(String::new()),
        _ => Err(error),
    })?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_symlink() {
            symlink(std::fs::read_link(entry.path())?, to)?;
        } else if entry.file_type()?.is_file() && entry.file_name() != BUNDLE {
            std::fs::copy(entry.path(), to)?;
        }
    }
    // They were read when the node config was checked.
    let certificates = trust.iter().flat_map(|pem| Certificate::all(pem).unwrap_or_default());
    for (at, certificate) in certificates.enumerate() {
        let name = format!("node-{}.pem", at + 1);
        write_atomic(&to.join(&name), certificate.pem().as_bytes(), Access::root(0o644))?;
        let link = certificate.link(|name| std::fs::symlink_metadata(to.join(name)).is_ok());
        symlink(&name, to.join(link))?;
        bundle.push_str(&certificate.pem());
    }
    write_atomic(&to.join(BUNDLE), bundle.as_bytes(), Access::root(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = include_str!("../../contract/tests/ca.pem");

    #[test]
    fn the_folder_has_the_image_s_certificates_and_the_node_s() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(from.path().join(BUNDLE), "the image's\n").unwrap();
        symlink("/usr/share/ca-certificates/mozilla/A.crt", from.path().join("A.pem")).unwrap();
        let hash = Certificate::all(CA).unwrap()[0].link(|_| false);
        symlink("A.pem", from.path().join(&hash)).unwrap();
        make(from.path(), &to.path().join("made"), &[CA.to_owned()]).unwrap();
        let made = to.path().join("made");
        let text = std::fs::read_to_string(made.join(BUNDLE)).unwrap();
        assert!(text.starts_with("the image's\n-----BEGIN CERTIFICATE-----\n"), "{text}");
        assert_eq!(
            std::fs::read_link(made.join("A.pem")).unwrap(),
            Path::new("/usr/share/ca-certificates/mozilla/A.crt")
        );
        // The subject is taken already: the next number.
        assert_eq!(std::fs::read_link(made.join(hash.replace(".0", ".1"))).unwrap(), Path::new("node-1.pem"));
    }
}
