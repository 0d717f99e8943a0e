//! Unpacks a package file (`deb(5)`) into the cache.
//!
//! The file's size and SHA-256 are checked before a byte of it is trusted. It is unpacked into a folder under
//! `temp/`, which gets its final name when it is complete.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use deb822_fast::Deb822;
use liblzma::stream::MtStreamBuilder;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::ar::{self, ArError, Member};
use super::tarball::{self, TarError};
use super::unpacked::{self, FORMAT, INDEX, Index, TAR, Unpacked};
use crate::cache::{Cache, CacheError};
use crate::lock::LockedPackage;

/// How a package is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    #[error("package {package}: {source}")]
    Ar { package: String, source: ArError },
    #[error("package {package}: its {member}: {source}")]
    Tar { package: String, member: String, source: TarError },
    #[error("package {package}: {what}")]
    Form { package: String, what: String },
    #[error("package {package} calls itself {found}; the archive's index and the package disagree")]
    Identity { package: String, found: String },
    #[error("package {package} is not in the cache")]
    Missing { package: String },
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// How much a package may take to unpack.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Threads for one package whose compressed data has several blocks.
    pub threads: u32,
    /// Memory for decompressing one package, in bytes. A package that needs more on a single thread is refused.
    pub memory: u64,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { threads: 2, memory: 160 << 20 }
    }
}

/// Memory below which no package of Debian could be read: the largest dictionary of `xz -9`, and its buffers.
const LEAST_MEMORY: u64 = 80 << 20;
/// The control archive holds scripts and checksums.
const LARGEST_CONTROL: u64 = 32 << 20;
const LARGEST_FIELD_FILE: u64 = 1 << 20;
/// No package of Debian unpacks to more than this many bytes, ...
const LARGEST_DATA: u64 = 8 << 30;
/// ... nor, small ones apart, to so many times its own size.
const MOST_RATIO: u64 = 100;
const SMALL: u64 = 64 << 20;

/// The unpacked package, when the cache has it whole.
#[must_use]
pub fn cached(cache: &Cache, locked: &LockedPackage) -> Option<Unpacked> {
    let folder = cache.unpacked_path(locked.sha256, FORMAT);
    let unpacked = unpacked::open(&folder, locked.sha256)?;
    crate::cache::touch(&folder);
    let package = &unpacked.package;
    (package.name == locked.name && package.version == locked.version).then_some(unpacked)
}

/// Whether the package whose file has this SHA-256 lies unpacked in the cache.
#[must_use]
pub fn is_unpacked(cache: &Cache, sha256: contract::hash::Digest) -> bool {
    cache.unpacked_path(sha256, FORMAT).join(INDEX).is_file()
}

/// The unpacked package: from the cache, else from its file, which must be in the cache.
///
/// # Errors
/// When the package file is missing, is not well formed, or the cache cannot be written.
pub fn open(cache: &Cache, locked: &LockedPackage, effort: Effort) -> Result<Unpacked, DebError> {
    if let Some(package) = cached(cache, locked) {
        return Ok(package);
    }
    let missing = || DebError::Missing { package: locked.name.clone() };
    let file = cache.verified_blob(locked.sha256, locked.size)?.ok_or_else(missing)?;
    let temp = cache.temp_dir()?;
    unpack(&file, locked, temp.path(), effort)?;
    // The folder's mode is that of a private one.
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(temp.path(), everyone).map_err(CacheError::io("write", temp.path()))?;
    let target = cache.unpacked_path(locked.sha256, FORMAT);
    adopt(temp, &target, || cached(cache, locked).is_some())?;
    cached(cache, locked).ok_or_else(|| DebError::Form {
        package: locked.name.clone(),
        what: format!("what was unpacked into {} cannot be read back", target.display()),
    })
}

/// Gives the folder its name. Another build may have been faster: when the one in place is `good`, it stays, for its path
/// must lead somewhere at every moment. A damaged one changes places with this one.
fn adopt(temp: tempfile::TempDir, target: &Path, good: impl Fn() -> bool) -> Result<(), CacheError> {
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent).map_err(CacheError::io("make the folder", parent))?;
    if fs::rename(temp.path(), target).is_ok() || good() {
        return Ok(());
    }
    // Whatever has the temporary name then is removed with it.
    exchange(temp.path(), target)
}

fn exchange(temp: &Path, target: &Path) -> Result<(), CacheError> {
    match renameat_with(CWD, temp, CWD, target, RenameFlags::EXCHANGE) {
        // It has gone since, or this file system cannot exchange: make room, and take it.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            let aside = temp.with_extension("old");
            if let Err(error) = fs::rename(target, &aside)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(CacheError::io("move away the damaged", target)(error));
            }
            let _ = fs::remove_dir_all(&aside);
            match fs::rename(temp, target) {
                Err(error) if !target.join(INDEX).exists() => Err(CacheError::io("rename to", target)(error)),
                _ => Ok(()),
            }
        }
        exchanged => exchanged.map_err(|error| CacheError::io("rename to", target)(error.into())),
    }
}

/// Unpacks a package file into `folder`: the decompressed tar and its index.
///
/// # Errors
/// When the package is not well formed, is not the one that `locked` names, or `folder` cannot be written.
pub fn unpack(file: &File, locked: &LockedPackage, folder: &Path, effort: Effort) -> Result<(), DebError> {
    let package = || locked.name.clone();
    let form = |what: &str| DebError::Form { package: package(), what: what.to_owned() };
    let members = ar::members(file, locked.size).map_err(|source| DebError::Ar { package: package(), source })?;
    // deb(5): programs ignore members whose names begin with an underscore.
    let mut members = members.iter().filter(|member| !member.name.starts_with('_'));
    let (Some(version), Some(control), Some(data), None) =
        (members.next(), members.next(), members.next(), members.next())
    else {
        return Err(form("it does not have the three members debian-binary, control.tar and data.tar"));
    };
    let mut number = [0; 2];
    let readable = version.name == "debian-binary"
        && version.size >= 4
        && file.read_exact_at(&mut number, version.offset).is_ok();
    if !readable || &number != b"2." {
        return Err(form("it is not a package of format 2"));
    }
    if !control.name.starts_with("control.tar") || !data.name.starts_with("data.tar") {
        return Err(form("its members are not in the order debian-binary, control.tar, data.tar"));
    }

    let mut index =
        read_control(file, control, folder, effort).map_err(|source| fault(source, &package(), control, folder))?;
    let (name, version) = (&index.name, &index.version);
    if (name, version) != (&locked.name, &locked.version) || index.architecture != locked.architecture {
        let found = format!("{name} {version} for {}", index.architecture);
        return Err(DebError::Identity { package: format!("{} {}", locked.name, locked.version), found });
    }
    let path = folder.join(TAR);
    let copy = File::create_new(&path).map_err(CacheError::io("make", &path))?;
    let limit = data.size.saturating_mul(MOST_RATIO).clamp(SMALL, LARGEST_DATA);
    let read =
        unpack_member(file, data, copy, limit, effort).map_err(|source| fault(source, &package(), data, folder))?;
    (index.items, index.tar_length) = read;
    let path = folder.join(INDEX);
    fs::write(&path, index.to_bytes()).map_err(CacheError::io("write", &path))?;
    Ok(())
}

/// A full disk is the cache's fault, everything else the package's.
fn fault(source: TarError, package: &str, member: &Member, folder: &Path) -> DebError {
    match source {
        TarError::Write(source) => CacheError::io("write to", folder)(source).into(),
        source => DebError::Tar { package: package.to_owned(), member: member.name.clone(), source },
    }
}

/// What a tar holds, and its length.
type Tarball = (std::collections::BTreeMap<String, unpacked::Item>, u64);

fn unpack_member(file: &File, member: &Member, copy: File, limit: u64, effort: Effort) -> Result<Tarball, TarError> {
    let mut decoder = Decoder::new(file, member, effort).map_err(TarError::Read)?;
    let read = tarball::unpack(&mut decoder, copy, limit)?;
    if tarball::has_rest(decoder.source()).map_err(TarError::Read)? {
        return Err(TarError::Trailing);
    }
    Ok(read)
}

/// The control archive of a package: its texts by name.
struct Control {
    items: std::collections::BTreeMap<String, unpacked::Item>,
    copy: File,
}

impl Control {
    fn read(file: &File, member: &Member, copy: File, effort: Effort) -> Result<Control, TarError> {
        let kept = copy.try_clone().map_err(TarError::Write)?;
        let (items, _) = unpack_member(file, member, copy, LARGEST_CONTROL, effort)?;
        Ok(Control { items, copy: kept })
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, TarError> {
        let Some(unpacked::Item { kind: unpacked::ItemKind::File { offset, length, .. }, .. }) = self.items.get(name)
        else {
            return Ok(None);
        };
        if *length > LARGEST_FIELD_FILE {
            return Err(TarError::BadEntry { path: name.to_owned(), what: "it is too large".to_owned() });
        }
        let mut bytes = vec![0; *length as usize];
        self.copy.read_exact_at(&mut bytes, *offset).map_err(TarError::Read)?;
        Ok(Some(bytes))
    }

    fn text(&self, name: &str) -> Result<Option<String>, TarError> {
        let bad = |_| TarError::BadEntry { path: name.to_owned(), what: "it is not UTF-8".to_owned() };
        self.bytes(name)?.map(|bytes| String::from_utf8(bytes).map_err(bad)).transpose()
    }
}

/// The texts of a package's maintainer scripts of these names, where it has them. The package's file must be in the cache.
///
/// # Errors
/// When it is not in the cache, or is not well formed.
pub fn scripts(cache: &Cache, locked: &LockedPackage, names: &[&str]) -> Result<Vec<String>, DebError> {
    let package = || locked.name.clone();
    let missing = || DebError::Missing { package: package() };
    let file = cache.verified_blob(locked.sha256, locked.size)?.ok_or_else(missing)?;
    let members = ar::members(&file, locked.size).map_err(|source| DebError::Ar { package: package(), source })?;
    let control = members
        .iter()
        .find(|member| member.name.starts_with("control.tar"))
        .ok_or_else(|| DebError::Form { package: package(), what: "it has no control.tar".to_owned() })?;
    let of = |source| DebError::Tar { package: package(), member: control.name.clone(), source };
    let copy = tempfile::tempfile().map_err(|error| of(TarError::Write(error)))?;
    let archive = Control::read(&file, control, copy, Effort::default()).map_err(of)?;
    let texts = names.iter().map(|name| archive.bytes(name)).collect::<Result<Vec<_>, _>>().map_err(of)?;
    Ok(texts.into_iter().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect())
}

/// The fields and the list of configuration files.
fn read_control(file: &File, member: &Member, folder: &Path, effort: Effort) -> Result<Index, TarError> {
    let copy = tempfile::tempfile_in(folder).map_err(TarError::Write)?;
    let archive = Control::read(file, member, copy, effort)?;
    let bad = |what: &str| TarError::BadEntry { path: "control".to_owned(), what: what.to_owned() };
    let control = archive.text("control")?.ok_or_else(|| bad("it is missing"))?;
    let document: Deb822 = control.parse().map_err(|_| bad("it cannot be parsed"))?;
    let fields = document.iter().next().ok_or_else(|| bad("it is empty"))?;
    let field = |name| fields.get(name).map(str::trim).unwrap_or_default().to_owned();
    // A line may carry the flag `remove-on-upgrade` before the path.
    let conffile = |line: &str| line.rsplit(' ').next().map(|path| path.trim_start_matches('/').to_owned());
    let conffiles = archive.text("conffiles")?.unwrap_or_default();
    Ok(Index {
        name: field("Package"),
        version: field("Version"),
        architecture: field("Architecture"),
        source: field("Source"),
        pre_depends: field("Pre-Depends"),
        depends: field("Depends"),
        provides: field("Provides"),
        conffiles: conffiles.lines().map(str::trim).filter(|line| !line.is_empty()).filter_map(conffile).collect(),
        ..Index::default()
    })
}

/// Part of a file as a stream of its own.
struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

type Source<'a> = BufReader<Part<'a>>;

/// A member's content, decompressed as its name says.
enum Decoder<'a> {
    Plain(Source<'a>),
    Xz(Box<liblzma::bufread::XzDecoder<Source<'a>>>),
    Gzip(Box<flate2::bufread::GzDecoder<Source<'a>>>),
    Zstd(Box<zstd::Decoder<'static, Source<'a>>>),
}

impl<'a> Decoder<'a> {
    fn new(file: &'a File, member: &Member, effort: Effort) -> io::Result<Decoder<'a>> {
        let part = Part { file, at: member.offset, end: member.offset + member.size };
        let source = BufReader::with_capacity(256 * 1024, part);
        let suffix = member.name.split_once(".tar").map_or("", |(_, suffix)| suffix);
        Ok(match suffix {
            "" => Decoder::Plain(source),
            ".xz" => {
                let memory = effort.memory.max(LEAST_MEMORY);
                let stream = MtStreamBuilder::new()
                    .threads(effort.threads.clamp(1, 64))
                    .memlimit_threading(memory)
                    .memlimit_stop(memory)
                    .decoder()?;
                Decoder::Xz(Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream)))
            }
            ".gz" => Decoder::Gzip(Box::new(flate2::bufread::GzDecoder::new(source))),
            ".zst" => {
                let mut decoder = zstd::Decoder::with_buffer(source)?.single_frame();
                // 128 MiB, what `zstd -19 --long` needs.
                decoder.window_log_max(27)?;
                Decoder::Zstd(Box::new(decoder))
            }
            other => return Err(io::Error::other(format!("it is compressed as {other:?}, which is not supported"))),
        })
    }

    fn source(&mut self) -> &mut impl BufRead {
        match self {
            Decoder::Plain(source) => source,
            Decoder::Xz(decoder) => decoder.get_mut(),
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(source) => source.read(buffer),
            Decoder::Xz(decoder) => decoder.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
