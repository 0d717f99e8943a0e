//! The served folder, and the files in it.
//!
//! A path is first parsed here and rejected if it is not plain; then the kernel opens it with `RESOLVE_BENEATH`
//! (openat2(2)), which no symbolic link and no race can escape.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Longest path, in bytes after decoding.
const PATH_MAX: usize = 1024;

/// The folder that is served.
pub(super) struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

/// A file that is being sent.
pub(super) struct Served {
    pub(super) file: File,
    pub(super) length: u64,
    /// Strong: of the file's place on the disk, its length and the time of its last change.
    pub(super) tag: String,
    /// Time of its last change, in seconds since 1970.
    pub(super) changed: u64,
}

/// A file that is offered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    pub name: String,
    pub bytes: u64,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        let handle = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Folder { path: path.to_owned(), handle })
    }

    /// The file that a request's path names; nothing when there is none that may be given out.
    pub(super) fn file(&self, path: &str) -> Option<Served> {
        let path = decode(path)?;
        // Not waiting for whoever opens the other end of a pipe; what is not a regular file is let go again.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = rustix::fs::openat2(&self.handle, OsStr::from_bytes(&path), flags, Mode::empty(), beneath).ok()?;
        let file = File::from(file);
        let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let tag = format!("\"{:x}-{:x}-{:x}.{:x}\"", about.ino(), about.len(), about.mtime(), about.mtime_nsec());
        Some(Served { file, length: about.len(), tag, changed: u64::try_from(about.mtime()).unwrap_or(0) })
    }

    /// The bundles in it.
    pub(super) fn list(&self) -> Vec<Listed> {
        list(&self.path).unwrap_or_default()
    }
}

/// The bundles in a folder, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_bundle = Path::new(&name).extension() == Some(OsStr::new(contract::bundle::EXTENSION));
        // As the server gives it out: links are followed, what is gone again is left out.
        if let Ok(about) = std::fs::metadata(entry.path())
            && is_bundle
            && about.is_file()
            && !name.starts_with('.')
        {
            found.push(Listed { name, bytes: about.len() });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A request's path as a path in the folder: percent signs decoded (RFC 3986, section 2.1); nothing for what is not a
/// plain path of visible names.
fn decode(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.strip_prefix('/')?.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let byte = if first == b'%' {
            let (two, after) = rest.split_at_checked(2)?;
            rest = after;
            let byte = hex::decode(two).ok()?.first().copied()?;
            // An encoded separator is part of a name for some and ends it for others.
            if byte == b'/' {
                return None;
            }
            byte
        } else {
            first
        };
        bytes.push(byte);
    }
    let plain =
        |name: &[u8]| !name.is_empty() && name[0] != b'.' && !name.iter().any(|&byte| byte < 0x20 || byte == 0x7f);
    (bytes.len() <= PATH_MAX && bytes.split(|&byte| byte == b'/').all(plain)).then_some(bytes)
}

/// A file's name as it is in a URL.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut text = String::new();
    for &byte in name.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' => text.push(byte.into()),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_paths_of_visible_names_are_paths() {
        for path in ["/a", "/a.bundle", "/folder/a b.img", "/a..b", "/%61", "/a%20b", "/\u{e4}"] {
            assert!(decode(path).is_some(), "{path}");
        }
        for path in [
            "",
            "a",
            "/",
            "//",
            "//a",
            "/a/",
            "/a//b",
            "/.",
            "/..",
            "/../a",
            "/a/../b",
            "/a/..",
            "/%2e%2e/a",
            "/.%2e/a",
            "/..%2fa",
            "/a%2Fb",
            "/%2e",
            "/.git/config",
            "/a%00",
            "/a\0b",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/a%0a",
            "/\u{7f}",
            "*",
        ] {
            assert_eq!(decode(path), None, "{path:?}");
        }
        assert_eq!(decode(&format!("/{}", "a".repeat(PATH_MAX + 1))), None);
        assert_eq!(decode("/%2541"), Some(b"%41".to_vec()), "decoded once");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_to_the_same(name in "[^/.\0-\x1f\x7f][^/\0-\x1f\x7f]{0,20}") {
            prop_assert_eq!(decode(&format!("/{}", encode(&name))), Some(name.into_bytes()));
        }

        #[test]
        fn no_path_climbs(path in "/[./%2eEfF0a\\\\]{0,12}") {
            if let Some(path) = decode(&path) {
                prop_assert!(path.split(|&byte| byte == b'/').all(|name| !name.starts_with(b".") && !name.is_empty()));
            }
        }
    }
}
