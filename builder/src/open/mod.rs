//! Opens whatever holds a slot: an image, a node's disk, one root partition, a bundle. Nothing is written, and nothing that
//! is found is trusted: whether it is complete and who signed it is for [`crate::verify`] to say.
//!
//! - [`bytes`] where an image's bytes are read from · [`files`] what a slot holds

pub mod bytes;
pub mod files;

use crate::boot::eeprom;
use crate::bundle::{self, Reader as BundleReader, SlotImage, is_bundle};
use crate::format::disk_table::{self, Table, TableError, length};
use crate::format::fat_read::Reader as FatReader;
use crate::inventory::{Inventory, InventoryError};
use bytes::Bytes;
use contract::hash::Digest;
use contract::keys::PublicKey;
use contract::layout::{Extent, Partition, Slot, TRAILER_SIZE, trailer_offset};
use contract::manifest::{Manifest, Which};
use contract::names::{AUTOBOOT, INVENTORY};
use contract::trailer::{Trailer, TrailerError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// What can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An image as a build makes it.
    Image,
    /// A disk that a node has used, or a copy of one.
    Disk,
    /// A root partition alone.
    Partition,
    Bundle,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Image => "image",
            Kind::Disk => "disk",
            Kind::Partition => "root partition",
            Kind::Bundle => "bundle",
        })
    }
}

/// Something that holds slots.
pub struct Medium {
    pub kind: Kind,
    /// In bytes.
    pub length: u64,
    /// Of an image or a disk.
    pub table: Option<Table>,
    /// The slot that the EEPROM boots from, where that can be read.
    pub default: Option<Slot>,
    /// The slots that have a trailer.
    pub slots: Vec<OpenSlot>,
    /// Slots whose trailer cannot be read, and why. Those that are neither here nor above are empty.
    pub unreadable: Vec<(Slot, String)>,
}

/// A slot that is open for reading.
pub struct OpenSlot {
    /// Nothing for one that is on no disk.
    pub slot: Option<Slot>,
    pub trailer: Trailer,
    pub manifest: Manifest,
    root: Bytes,
    boot: Option<Bytes>,
}

/// What cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("opening it: {0}")]
    Open(#[from] io::Error),
    #[error("it is not an image, disk, root partition or bundle of microdc: {0}")]
    Foreign(#[source] TableError),
    #[error(transparent)]
    Bundle(#[from] bundle::ReadError),
    #[error("its trailer: {0}")]
    Trailer(#[from] TrailerError),
    #[error("slot {slot}: {why}")]
    Unreadable { slot: Slot, why: String },
    #[error("slot {0} is empty")]
    Empty(Slot),
    #[error("all of its slots are empty")]
    NoSlot,
    #[error("it has two slots, and which one boots cannot be read: choose one with --slot")]
    WhichSlot,
    #[error("a {0} has no slots to choose from: leave out --slot")]
    NoChoice(Kind),
    #[error("the boot partition: {0}")]
    Fat(#[from] crate::format::fat_read::FatReadError),
    #[error("the root file system: {0}")]
    Root(String),
    #[error("a root partition alone has no boot files")]
    NoBoot,
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    #[error(
        "it was built before images said what they are made of (no {INVENTORY} in it): build it again to know more"
    )]
    NoInventory,
    #[error("/{0} is not in it")]
    NoFile(String),
}

impl Medium {
    /// Opens what is at `path`, for reading alone.
    ///
    /// # Errors
    /// When it cannot be read, or is nothing that holds a slot.
    pub fn open(path: &Path) -> Result<Medium, OpenError> {
        if is_bundle(path)? {
            return Medium::bundle(path);
        }
        let file = Arc::new(File::open(path)?);
        let length = length(&file)?;
        match disk_table::read(&file, length) {
            Ok(table) => Ok(Medium::disk(&file, length, table)),
            Err(error) => match root_partition(&file, length)? {
                Some(look) => Ok(Medium {
                    kind: Kind::Partition,
                    length,
                    table: None,
                    default: None,
                    slots: vec![look],
                    unreadable: Vec::new(),
                }),
                None => Err(OpenError::Foreign(error)),
            },
        }
    }

    fn bundle(path: &Path) -> Result<Medium, OpenError> {
        let reader = Arc::new(BundleReader::open(path)?);
        let trailer = reader.head().trailer.clone();
        let manifest = Manifest::parse(&trailer.manifest).map_err(bundle::ReadError::from)?;
        let image = |which| Ok::<_, OpenError>(Bytes::InBundle(Arc::new(SlotImage::of(reader.clone(), which)?)));
        let (root, boot) = (image(Which::Root)?, Some(image(Which::Boot)?));
        let slots = vec![OpenSlot { slot: None, trailer, manifest, root, boot }];
        let length = reader.length();
        Ok(Medium { kind: Kind::Bundle, length, table: None, default: None, slots, unreadable: Vec::new() })
    }

    fn disk(file: &Arc<File>, length: u64, table: Table) -> Medium {
        let kind = if table.is_image(length) { Kind::Image } else { Kind::Disk };
        let mut medium =
            Medium { kind, length, table: None, default: None, slots: Vec::new(), unreadable: Vec::new() };
        let extent = |partition| table.layout.extent(partition).unwrap_or(Extent { offset: 0, length: 0 });
        for slot in Slot::BOTH {
            match slot_at(file, slot, extent(slot.boot()), extent(slot.root())) {
                Ok(look) => medium.slots.push(look),
                Err(OpenError::Trailer(TrailerError::Empty)) => (),
                Err(error) => medium.unreadable.push((slot, error.to_string())),
            }
        }
        let bootsel = Bytes::of(file, extent(Partition::Bootsel));
        let autoboot = FatReader::open(bootsel).ok().and_then(|reader| reader.read(AUTOBOOT).ok().flatten());
        medium.default = autoboot.and_then(|bytes| eeprom::check_autoboot(&bytes).ok());
        medium.table = Some(table);
        medium
    }

    /// The slot of that name, or else the one that boots, or else the only one.
    ///
    /// # Errors
    /// When there is none, or which one is meant is not clear.
    pub fn pick(&self, named: Option<Slot>) -> Result<&OpenSlot, OpenError> {
        if named.is_some() && self.table.is_none() {
            return Err(OpenError::NoChoice(self.kind));
        }
        let of = |slot| self.slots.iter().find(|look| look.slot == Some(slot));
        if let Some(slot) = named {
            let unreadable = self.unreadable.iter().find(|(other, _)| *other == slot);
            let why = unreadable.map(|(slot, why)| OpenError::Unreadable { slot: *slot, why: why.clone() });
            return of(slot).ok_or(why.unwrap_or(OpenError::Empty(slot)));
        }
        if let Some(look) = self.default.and_then(of) {
            return Ok(look);
        }
        match (&self.slots[..], &self.unreadable[..]) {
            ([look], _) => Ok(look),
            ([], [(slot, why), ..]) => Err(OpenError::Unreadable { slot: *slot, why: why.clone() }),
            ([], []) => Err(OpenError::NoSlot),
            _ => Err(OpenError::WhichSlot),
        }
    }
}

fn slot_at(file: &Arc<File>, slot: Slot, boot: Extent, root: Extent) -> Result<OpenSlot, OpenError> {
    let trailer = trailer(file, root)?;
    let manifest = Manifest::parse(&trailer.manifest).map_err(TrailerError::from)?;
    Ok(OpenSlot {
        slot: Some(slot),
        trailer,
        manifest,
        root: Bytes::of(file, root),
        boot: Some(Bytes::of(file, boot)),
    })
}

/// A root partition that is in a file of its own; nothing when it has no trailer.
fn root_partition(file: &Arc<File>, length: u64) -> Result<Option<OpenSlot>, OpenError> {
    let whole = Extent { offset: 0, length };
    let trailer = match trailer(file, whole) {
        Err(OpenError::Trailer(_)) => return Ok(None),
        trailer => trailer?,
    };
    let manifest = Manifest::parse(&trailer.manifest).map_err(TrailerError::from)?;
    Ok(Some(OpenSlot { slot: None, trailer, manifest, root: Bytes::of(file, whole), boot: None }))
}

fn trailer(file: &File, root: Extent) -> Result<Trailer, OpenError> {
    let at = trailer_offset(root.length).ok_or(TrailerError::Damaged("the partition has no room for one"))?;
    let mut bytes = vec![0; TRAILER_SIZE as usize];
    file.read_exact_at(&mut bytes, root.offset + at)?;
    Ok(Trailer::parse(&bytes)?)
}

impl OpenSlot {
    /// Whether one of these keys signed the manifest; otherwise why it is not to be trusted.
    ///
    /// # Errors
    /// In words.
    pub fn signed(&self, trusted: &[PublicKey]) -> Result<(), String> {
        self.trailer.verify(trusted).map(drop).map_err(|error| error.to_string())
    }

    /// SHA-256 of the manifest's bytes.
    #[must_use]
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.trailer.manifest)
    }

    /// What the slot says that it is made of.
    ///
    /// # Errors
    /// When it does not say, or that cannot be read.
    pub fn inventory(&self) -> Result<Inventory, OpenError> {
        let root = self.root()?;
        match root.read(INVENTORY.trim_start_matches('/')) {
            Err(OpenError::NoFile(_)) => Err(OpenError::NoInventory),
            bytes => Ok(Inventory::parse(&bytes?)?),
        }
    }
}
