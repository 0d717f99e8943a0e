//! Records finished builds, so that a build with the same inputs has nothing to do.

use super::artifacts::Locals;
use crate::cache::{Cache, Key};
use crate::flash::bmap::beside;
use crate::lock::Lock;
use crate::profile::Profile;
use crate::release_key::ReleaseKeys;
use crate::report::Summary;
use anyhow::{Context as _, Result};
use contract::hash::Digest;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

const STAGE: &str = "image";

#[derive(Serialize, Deserialize)]
struct Record {
    file: Stamp,
    summary: Summary,
}

/// What changes when someone else writes a file.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified_ns: i128,
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Stamp> {
        let file = std::fs::metadata(path)?;
        let modified_ns = i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec());
        Ok(Stamp { device: file.dev(), inode: file.ino(), length: file.len(), modified_ns })
    }
}

/// This program's file. Taken once, at the start: the file may be replaced while a build runs.
pub(super) fn builder() -> Result<Stamp> {
    std::env::current_exe().and_then(|path| Stamp::of(&path)).context("reading this program's metadata")
}

/// The key of a build: everything that its image depends on, and where it goes.
pub(super) fn key(
    builder: &Stamp,
    profile: &Profile,
    locals: &Locals,
    lock: Option<&Lock>,
    keys: &ReleaseKeys,
    firstboot: Digest,
    output: &Path,
) -> Result<Key> {
    let mut key = super::stage_key(STAGE).with("firstboot", firstboot.0);
    // The builder itself: a newer one may build otherwise.
    key.add("builder", serde_json::to_vec(builder)?);
    key.add("profile", &profile.name);
    for (_, text) in profile.sources.iter() {
        key.add("part", text);
    }
    key.add("example", std::fs::read(&profile.example.value).unwrap_or_default());
    for overlay in &profile.overlays {
        key.add("overlay", "");
        folder(&mut |label, value| key.add(label, value), &overlay.value)?;
    }
    locals.add_to(&mut key);
    key.add("lock", lock.map(Lock::to_text).unwrap_or_default());
    key.add("signer", keys.signer.public().to_text());
    key.add("signed", [u8::from(!keys.signer.is_elsewhere())]);
    for trusted in &keys.trusted {
        key.add("trusted", trusted.to_text());
    }
    key.add("output", output.as_os_str().as_encoded_bytes());
    Ok(key.finish())
}

fn folder(add: &mut dyn FnMut(&str, &[u8]), path: &Path) -> Result<()> {
    let read = || format!("reading {}", path.display());
    let mut entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).with_context(read)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let metadata = std::fs::symlink_metadata(&path).with_context(read)?;
        add("name", entry.file_name().as_encoded_bytes());
        if metadata.is_dir() {
            add("folder", b"");
            folder(add, &path)?;
            add("end", b"");
        } else if metadata.is_symlink() {
            add("link", std::fs::read_link(&path).with_context(read)?.as_os_str().as_encoded_bytes());
        } else {
            add("executable", &[u8::from(metadata.permissions().mode() & 0o100 != 0)]);
            add("content", &std::fs::read(&path).with_context(read)?);
        }
    }
    Ok(())
}

/// The summary of an earlier build with this key, when its image still is there untouched.
pub(super) fn unchanged(cache: &Cache, key: Key, output: &Path) -> Option<Summary> {
    let bytes = std::fs::read(cache.get(STAGE, key)?).ok()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    // What is to be signed is a result of the build as well, and so is the map of the image's blocks.
    let whole = record.summary.to_sign.as_ref().is_none_or(|path| path.is_file()) && beside(output).is_file();
    (whole && record.file == Stamp::of(output).ok()?).then_some(record.summary)
}

pub(super) fn put(cache: &Cache, key: Key, summary: &Summary, output: &Path) -> Result<()> {
    let file = Stamp::of(output).with_context(|| format!("reading the metadata of {}", output.display()))?;
    let bytes = serde_json::to_vec(&Record { file, summary: summary.clone() })?;
    cache.put(STAGE, key, |out| out.write_all(&bytes))?;
    Ok(())
}
