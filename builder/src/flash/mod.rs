//! Writes an image onto a disk, or onto a file that stands for one, from outside the node.
//!
//! - [`given`] where the image comes from · [`map`] what of it is written · [`bmap`] the same as a file for other tools
//! - [`machine`] the disks of this machine · [`in_use`] who uses them · [`refuse`] what is never written to
//! - [`found`] what is on a disk, with [`old_table`] · [`clear`] where an older system left its signatures
//! - [`medium`] reading and writing past the cache · [`mark`] the mark of a half-written disk · [`engine`] the order of
//!   the writes

pub mod bmap;
pub mod clear;
pub mod engine;
pub mod found;
pub mod given;
pub mod in_use;
pub mod machine;
pub mod map;
pub mod mark;
pub mod medium;
pub mod old_table;
pub mod refuse;

use crate::bundle;
use crate::format::{disk_table, gpt};
use crate::image;
use crate::verify::{self, Bootsel, Expect, VerifyError};
use bmap::{Bmap, BmapError};
use contract::keys::PublicKey;
use contract::layout::{Extent, Partition, STATE_SIZE};
use contract::manifest::Manifest;
use contract::trailer::TrailerError;
use engine::{Done, EngineError, Job, Must, Report};
use found::Found;
use machine::Machine;
use map::{Map, MapError, place};
use mark::{Erase, Mark};
use medium::Target as Medium;
use refuse::{Refusal, Target};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What is to be flashed, and where.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// A plain file.
    pub image: &'r Path,
    /// What it was called.
    pub image_name: &'r str,
    pub to: &'r Path,
    /// Bytes of a node config to be put on `bootsel`.
    pub node_config: Option<&'r [u8]>,
    /// Keys of which one must have signed the image; nothing: it need not be signed, and its content is not checked.
    pub trusted: Option<&'r [PublicKey]>,
    /// The map of the image's blocks to compare it with.
    pub bmap: Option<&'r Path>,
    /// What the operator says may be erased.
    pub erase: Option<&'r str>,
}

/// A disk that was flashed.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub target: Target,
    pub found: Found,
    pub erase: Erase,
    pub manifests: Vec<Manifest>,
    pub image_size: u64,
    pub done: Done,
    /// Whether an earlier run was continued.
    pub resumed: bool,
}

/// A disk that was not flashed.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{image} is not signed yet, and no node boots it: sign it (microdc sign), or name --allow-unsigned")]
    Unsigned { image: String },
    #[error("{image} cannot be flashed: {source}")]
    Image { image: String, source: Box<VerifyError> },
    #[error("{image} cannot be flashed: {source}")]
    Map { image: String, source: Box<MapError> },
    #[error("{image} cannot be flashed: {what}")]
    NotAnImage { image: String, what: String },
    #[error("{}: {source}", path.display())]
    Bmap { path: PathBuf, source: BmapError },
    #[error("the node config: {0}")]
    NodeConfig(#[from] crate::format::fat::FatError),
    #[error(
        "{target} holds {found}. To let microdc erase it, name its {}: --yes-erase {:?}", identity_is(*is_disk), identity
    )]
    Holds { target: String, found: String, identity: String, is_disk: bool },
    #[error("--yes-erase names {named:?}, and {target} is {identity:?}: nothing was written")]
    OtherDisk { target: String, named: String, identity: String },
    #[error("{target}: {source}")]
    Io { target: String, source: io::Error },
    #[error("{target}: {source}")]
    Engine { target: String, source: EngineError },
}

fn identity_is(is_disk: bool) -> &'static str {
    if is_disk { "serial number (or kernel name)" } else { "file name" }
}

/// Flashes an image. Nothing is written before the image, the target and what is on it were judged.
///
/// # Errors
/// Why it was not done; by then the target is as it was, unless a write failed.
pub fn flash(machine: &Machine, request: &Request<'_>, report: Report<'_>) -> Result<Outcome, FlashError> {
    let (image, map, manifests) = check_image(request)?;
    let image_size = map.layout.image_size();
    let bootsel = request.node_config.map(|config| image::bootsel(Some(config))).transpose()?;
    let about = image.metadata().map_err(|source| io_of(request.image_name, source))?;
    let target = refuse::judge(machine, request.to, image_size, &about)?;
    if let Some(named) = request.erase.filter(|named| *named != target.identity()) {
        let identity = target.identity();
        return Err(FlashError::OtherDisk { target: target.name(), named: named.to_owned(), identity });
    }
    let (medium, size) = open(&target, image_size)?;
    let found = found::look(medium.file(), size).map_err(|source| io_of(&target.name(), source))?;
    let erase = may_go(&target, &found, map.layout.root_size(), request.erase.is_some())?;

    let old = match erase {
        Erase::All | Erase::Ends => old_table::read(size, &mut |at, bytes| medium.file().read_exact_at(bytes, at)),
        Erase::Image => Ok(Vec::new()),
    };
    let old = old.map_err(|source| io_of(&target.name(), source))?;
    let kept = map.extents();
    let clear = match erase {
        Erase::All | Erase::Ends => clear::places(size, &old, &kept),
        // The backup of the table, which a node moves there.
        Erase::Image => clear::without(Extent { offset: size - gpt::TAIL, length: gpt::TAIL }, &kept),
    };
    let empty = if erase == Erase::All { empty(size, image_size) } else { Vec::new() };
    let source = Written { image: &image, bootsel: bootsel.as_deref(), place: place(map.layout, Partition::Bootsel) };
    let resume = matches!(found, Found::Unfinished(_));
    let mark = Mark { erase, root_size: map.layout.root_size() };
    let job = Job { source: &source, map: &map, mark, clear: &clear, empty: &empty, resume };
    let done = engine::run(&job, &medium, report);
    let done = done.map_err(|source| FlashError::Engine { target: target.name(), source })?;
    Ok(Outcome { target, found, erase, manifests, image_size, done, resumed: resume })
}

fn io_of(target: &str, source: io::Error) -> FlashError {
    FlashError::Io { target: target.to_owned(), source }
}

/// The image, what of it is to be written, and what its slots say of themselves.
fn check_image(request: &Request<'_>) -> Result<(File, Map, Vec<Manifest>), FlashError> {
    let name = || request.image_name.to_owned();
    let image = File::open(request.image).map_err(|source| io_of(request.image_name, source))?;
    let length = disk_table::length(&image).map_err(|source| io_of(request.image_name, source))?;
    if bundle::is_bundle(request.image).map_err(|source| io_of(request.image_name, source))? {
        let what = "it is a bundle, which holds one slot and no partition table; flash the image it was made of";
        return Err(FlashError::NotAnImage { image: name(), what: what.to_owned() });
    }
    let (layout, manifests) = match request.trusted {
        Some(trusted) => {
            let expect = Expect { trusted, role: None, bootsel: Bootsel::Bootable };
            let verified = verify::verify(request.image, &expect).map_err(|source| match source {
                VerifyError::Trailer { source: TrailerError::Unsigned(_), .. } => {
                    FlashError::Unsigned { image: name() }
                }
                source => FlashError::Image { image: name(), source: Box::new(source) },
            })?;
            (verified.layout, verified.slots.into_values().map(|slot| slot.manifest).collect())
        }
        None => {
            let table = disk_table::read(&image, length);
            let table = table.map_err(|error| FlashError::NotAnImage { image: name(), what: error.to_string() })?;
            if !table.is_image(length) {
                let what = format!("its length is {length} bytes, and that of its layout another: it is cut off");
                return Err(FlashError::NotAnImage { image: name(), what });
            }
            (table.layout, Vec::new())
        }
    };
    if let Some(path) = request.bmap {
        let bad = |source| FlashError::Bmap { path: path.to_owned(), source };
        read_bmap(path).and_then(|bmap| bmap.check(&image, length)).map_err(bad)?;
    }
    let map =
        Map::of(&image, layout).map_err(|source| FlashError::Map { image: name(), source: Box::new(source) })?;
    Ok((image, map, manifests))
}

fn read_bmap(path: &Path) -> Result<Bmap, BmapError> {
    let mut text = String::new();
    File::open(path)?.take(bmap::LONGEST).read_to_string(&mut text)?;
    Bmap::parse(&text)
}

/// Opens the target for writing; gives its size in bytes. A file that is not there is made, as long as the image.
fn open(target: &Target, image_size: u64) -> Result<(Medium, u64), FlashError> {
    let path = target.path();
    let is_made = matches!(target, Target::File { length: None, .. });
    if is_made {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        file.and_then(|file| file.set_len(image_size)).map_err(|source| io_of(&target.name(), source))?;
    }
    let medium = Medium::open(path, matches!(target, Target::Disk(_))).map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => Refusal::Busy { name: target.name() },
        io::ErrorKind::PermissionDenied => Refusal::Denied { path: path.to_owned(), source },
        _ => Refusal::Unreadable { path: path.to_owned(), source },
    })?;
    if matches!(medium.file().try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
        return Err(Refusal::Locked(target.name()).into());
    }
    let size = disk_table::length(medium.file()).map_err(|source| io_of(&target.name(), source))?;
    if size < image_size {
        let name = target.name();
        return Err(Refusal::TooSmall { name, size, needed: image_size, is_disk: false }.into());
    }
    Ok((medium, size))
}

/// What of the target may go.
fn may_go(target: &Target, found: &Found, root_size: u64, everything: bool) -> Result<Erase, FlashError> {
    let moved = |what: &str| format!("{what}, whose partitions lie elsewhere than those of this image");
    let holds = match found {
        _ if everything => return Ok(Erase::All),
        Found::Blank | Found::Ours { is_used: false, .. } => return Ok(Erase::Ends),
        Found::Ours { root_size: old, .. } if *old == root_size => return Ok(Erase::Image),
        Found::Unfinished(mark) if mark.erase != Erase::Image || mark.root_size == root_size => {
            return Ok(mark.erase);
        }
        Found::Ours { .. } => moved("a node's state and perhaps its data"),
        Found::Unfinished(_) => moved("a half-written image before a node's state and perhaps its data"),
        Found::Foreign(what) => what.clone(),
    };
    let is_disk = matches!(target, Target::Disk(_));
    Err(FlashError::Holds { target: target.name(), found: holds, identity: target.identity(), is_disk })
}

/// What is behind the image: the place of the node's state, which the node takes only when it is empty, and the rest.
fn empty(size: u64, image_size: u64) -> Vec<(Extent, Must)> {
    let extent = |from: u64, to: u64| Extent { offset: from, length: to.saturating_sub(from) };
    let state = image_size.saturating_add(STATE_SIZE).min(size);
    let places = [(extent(image_size, state), Must::BeEmpty), (extent(state, size), Must::BeEmptyIfQuick)];
    places.into_iter().filter(|(place, _)| place.length > 0).collect()
}

/// The image as it is written.
struct Written<'w> {
    image: &'w File,
    /// Another content of the partition `bootsel`; zeros follow.
    bootsel: Option<&'w [u8]>,
    place: Extent,
}

impl engine::Source for Written<'_> {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.image.read_exact_at(bytes, offset)?;
        let Some(bootsel) = self.bootsel else { return Ok(()) };
        let end = offset + bytes.len() as u64;
        let (from, to) = (self.place.offset.max(offset), self.place.end().min(end));
        if from >= to {
            return Ok(());
        }
        let part = &mut bytes[(from - offset) as usize..(to - offset) as usize];
        part.fill(0);
        let at = (from - self.place.offset) as usize;
        if let Some(content) = bootsel.get(at..) {
            let length = content.len().min(part.len());
            part[..length].copy_from_slice(&content[..length]);
        }
        Ok(())
    }
}

/// Writes the map of an image beside it.
///
/// # Errors
/// When the image cannot be read, or the map not be written.
pub fn write_bmap(image: &Path) -> Result<PathBuf, FlashError> {
    let name = image.display().to_string();
    let path = bmap::beside(image);
    let file = File::open(image).map_err(|source| io_of(&name, source))?;
    let length = disk_table::length(&file).map_err(|source| io_of(&name, source))?;
    let table = disk_table::read(&file, length);
    let table = table.map_err(|error| FlashError::NotAnImage { image: name.clone(), what: error.to_string() })?;
    let map = Map::of(&file, table.layout)
        .map_err(|source| FlashError::Map { image: name.clone(), source: Box::new(source) })?;
    let bmap = Bmap::of(&file, length, &map.extents()).map_err(|source| io_of(&name, source))?;
    bmap.write(&path).map_err(|source| FlashError::Bmap { path: path.clone(), source })?;
    Ok(path)
}
