//! Which certificate authorities downloads believe: those that come with this program, or the site's own.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` mean what they mean to OpenSSL and Go: they take the place of what is built in.
//! `ca` under `[sources]` in `microdc.toml` names an authority beside them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Authorities that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{said_by} names {}: {source}", path.display())]
    Read { said_by: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{said_by} names {}, which holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", path.display()
    )]
    Empty { said_by: &'static str, path: PathBuf },
}

/// Who is believed. Each set is tried in turn: a server's certificate must be of one of them.
#[derive(Clone, Debug)]
pub struct Trust(Vec<RootCerts>);

impl Default for Trust {
    /// What is built in.
    fn default() -> Trust {
        Trust(vec![RootCerts::WebPki])
    }
}

impl Trust {
    /// What the environment says, and an authority beside it.
    ///
    /// # Errors
    /// When a file that is named cannot be read, or holds no certificate.
    pub fn find(ca: Option<&Path>) -> Result<Trust, TrustError> {
        let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        Trust::of(set("SSL_CERT_FILE").map(PathBuf::from).as_deref(), set("SSL_CERT_DIR").as_deref(), ca)
    }

    fn of(file: Option<&Path>, folders: Option<&std::ffi::OsStr>, ca: Option<&Path>) -> Result<Trust, TrustError> {
        let mut trust = Trust::default();
        if file.is_some() || folders.is_some() {
            let mut found = Vec::new();
            if let Some(file) = file {
                found.extend(certificates("SSL_CERT_FILE", file)?);
            }
            for folder in folders.iter().flat_map(std::env::split_paths) {
                found.extend(in_folder(&folder)?);
            }
            trust.0 = vec![RootCerts::from(found)];
        }
        if let Some(ca) = ca {
            trust.0.push(RootCerts::from(certificates("ca in microdc.toml", ca)?));
        }
        Ok(trust)
    }

    pub(super) fn sets(&self) -> &[RootCerts] {
        &self.0
    }
}

fn certificates(said_by: &'static str, path: &Path) -> Result<Vec<Certificate<'static>>, TrustError> {
    let read = |source| TrustError::Read { said_by, path: path.to_owned(), source };
    let found = of_pem(&std::fs::read(path).map_err(read)?);
    if found.is_empty() { Err(TrustError::Empty { said_by, path: path.to_owned() }) } else { Ok(found) }
}

/// All certificates of a folder: its other files are somebody else's.
fn in_folder(path: &Path) -> Result<Vec<Certificate<'static>>, TrustError> {
    let read = |source| TrustError::Read { said_by: "SSL_CERT_DIR", path: path.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        found.extend(std::fs::read(&file).map(|bytes| of_pem(&bytes)).unwrap_or_default());
    }
    Ok(found)
}

fn of_pem(bytes: &[u8]) -> Vec<Certificate<'static>> {
    let items = parse_pem(bytes).filter_map(Result::ok);
    items.filter_map(|item| if let PemItem::Certificate(found) = item { Some(found) } else { None }).collect()
}

/// What a failed request says of the server's certificate; nothing when that is not why it failed.
pub(super) fn certificate_fault(error: &ureq::Error) -> Option<String> {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>(),
        _ => None,
    };
    match tls? {
        rustls::Error::InvalidCertificate(why) => Some(match why {
            rustls::CertificateError::UnknownIssuer => {
                "no certificate authority that is known here issued it".to_owned()
            }
            rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. } => {
                "it has expired, or this machine's clock is wrong".to_owned()
            }
            why => why.to_string(),
        }),
        rustls::Error::NoCertificatesPresented => Some("the server has none".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    #[test]
    fn what_the_environment_names_takes_the_place_of_what_is_built_in_and_ca_stands_beside_either() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, format!("text\n{PEM}{PEM}")).unwrap();
        let shown = |trust: Trust| {
            let sets = trust.0.iter().map(|set| match set {
                RootCerts::Specific(certificates) => certificates.len().to_string(),
                _ => "built in".to_owned(),
            });
            sets.collect::<Vec<_>>().join(", ")
        };
        let folders = Some(folder.path().as_os_str());
        assert_eq!(shown(Trust::of(None, None, None).unwrap()), "built in");
        assert_eq!(shown(Trust::of(None, None, Some(&file)).unwrap()), "built in, 2");
        assert_eq!(shown(Trust::of(Some(&file), folders, None).unwrap()), "4");
        assert_eq!(shown(Trust::of(None, folders, Some(&file)).unwrap()), "2, 2");
    }

    #[test]
    fn a_file_without_a_certificate_is_an_error_that_says_who_named_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.der");
        assert!(Trust::of(Some(&file), None, None).unwrap_err().to_string().starts_with("SSL_CERT_FILE names "));
        std::fs::write(&file, b"\x30\x82").unwrap();
        assert!(matches!(Trust::of(None, None, Some(&file)), Err(TrustError::Empty { .. })));
        assert!(matches!(Trust::of(None, Some(file.as_os_str()), None), Err(TrustError::Read { .. })));
    }
}
