//! Root certificates: what `update-ca-certificates(8)` makes in a maintainer script of Debian's package `ca-certificates`,
//! out of the certificates that packages and overlays brought ([`contract::certificates::SOURCES`]).

use super::{Content, Kind, Node, Tree, TreeError, origin};
use contract::certificates::{BUNDLE, Certificate, CertificateError, FOLDER, SOURCES};

/// Certificates that cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("/{path} should be certificates: {source}")]
    Certificate { path: String, source: CertificateError },
    #[error("/{path} should be certificates: it is not text")]
    NotText { path: String },
    #[error("cannot read /{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Puts the bundle and the links by hash into the tree, when it has certificates and no bundle of the operator's own.
///
/// # Errors
/// When one of the files is not certificates.
pub fn insert(tree: &mut Tree) -> Result<(), Error> {
    let folder = FOLDER.trim_start_matches('/');
    let bundle = format!("{folder}/{BUNDLE}");
    let sources: Vec<(String, Content)> = tree
        .nodes
        .iter()
        .filter(|(path, _)| {
            let below = |source: &str| path.starts_with(&format!("{}/", source.trim_start_matches('/')));
            path.ends_with(".crt") && SOURCES.iter().any(|source| below(source))
        })
        .filter_map(|(path, node)| match &node.kind {
            Kind::File(content) => Some((path.clone(), content.clone())),
            _ => None,
        })
        .collect();
    if sources.is_empty() || tree.nodes.contains_key(&bundle) {
        return Ok(());
    }
    let origin = origin::made("root certificates, for programs that speak TLS");
    let mut text = String::new();
    let link = |tree: &mut Tree, name: &str, target: String| {
        let path = format!("{folder}/{name}");
        tree.insert_parents(&path);
        tree.insert(&path, Node::of(Kind::Symlink(target), 0o777, &origin))
    };
    for (path, content) in sources {
        let bytes = content.to_bytes().map_err(|source| Error::Read { path: path.clone(), source })?;
        let pem = std::str::from_utf8(&bytes).map_err(|_| Error::NotText { path: path.clone() })?;
        let certificates =
            Certificate::all(pem).map_err(|source| Error::Certificate { path: path.clone(), source })?;
        let name = path.rsplit('/').next().unwrap_or(&path);
        let name = format!("{}.pem", name.trim_end_matches(".crt").replace([' ', ','], "_"));
        link(tree, &name, format!("/{path}"))?;
        // OpenSSL reads the first certificate of a file alone, as `openssl rehash` does.
        if let Some(first) = certificates.first() {
            let hash = first.link(|name| tree.nodes.contains_key(&format!("{folder}/{name}")));
            link(tree, &hash, name)?;
        }
        text.extend(certificates.iter().map(Certificate::pem));
    }
    tree.insert(&bundle, Node::of(Kind::File(Content::from(text.into_bytes())), 0o644, &origin))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::skeleton;

    fn with(path: &str, text: &str) -> Tree {
        let mut tree = skeleton();
        tree.insert_parents(path);
        let file = Kind::File(Content::from(text.as_bytes().to_vec()));
        tree.insert(path, Node::of(file, 0o644, "overlay site, ")).unwrap();
        tree
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let mut tree = with("usr/local/share/ca-certificates/site.crt", "oops");
        let error = insert(&mut tree).unwrap_err().to_string();
        assert!(
            error.starts_with("/usr/local/share/ca-certificates/site.crt should be certificates: it has no"),
            "{error}"
        );
    }

    #[test]
    fn without_certificates_nothing_is_made() {
        let mut tree = with("usr/share/ca-certificates/README", "oops");
        insert(&mut tree).unwrap();
        assert!(!tree.nodes.keys().any(|path| path.starts_with("etc/ssl")));
    }
}
