//! The installer of an image: its own firmware, kernel and initramfs, with a command line that asks for an installation, as a
//! server of network boots or a tool that boots a board by USB hands them out. Two forms of the same files: a folder for
//! TFTP, and `boot.img`, a FAT volume that the EEPROM takes as a RAM disk.

use crate::boot::eeprom::{self, EepromError};
use crate::format::fat::{self, FatError, FatFile, FatType, Volume};
use crate::open::{Medium, OpenError};
use crate::unfinished::{Unfinished, UnfinishedError};
use crate::verify::{self, Bootsel, Expect, VerifyError};
use contract::initramfs::InitramfsSpec;
use contract::installer::{InstallOptions, OptionsError};
use contract::keys::PublicKey;
use contract::layout::{MIB, Slot};
use contract::manifest::Manifest;
use contract::names::CMDLINE_TXT;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The RAM disk's file.
pub const BOOT_IMG: &str = "boot.img";
/// The longest RAM disk that every EEPROM since 2021 takes, in bytes.
const LARGEST: u64 = 96 * MIB;
/// FAT32 needs 65,525 clusters, which are of 512 bytes here.
const SMALLEST: u64 = 36 * MIB;

/// The files of an installer, by their names in the root of a folder or volume.
#[derive(Clone, Debug)]
pub struct Installer {
    pub files: Vec<FatFile>,
    pub manifest: Manifest,
    /// What the kernel is started with.
    pub command_line: String,
}

/// An installer that was not made.
#[derive(Debug, thiserror::Error)]
pub enum InstallerError {
    #[error("{}: {source}", path.display())]
    Open { path: PathBuf, source: Box<OpenError> },
    #[error("{}: {source}", path.display())]
    Image { path: PathBuf, source: Box<VerifyError> },
    #[error("{}: its initramfs has no installer: build the image again", path.display())]
    Older { path: PathBuf },
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("{0:?} cannot be said on a kernel command line")]
    Unspeakable(String),
    #[error("the EEPROM would not boot it: {0}")]
    Eeprom(#[from] EepromError),
    #[error("{BOOT_IMG}: {0}")]
    Fat(#[from] FatError),
    #[error("{BOOT_IMG} would have {0} bytes, and the EEPROM takes {LARGEST}")]
    TooLarge(u64),
    #[error(
        "{name} is in a folder, and {BOOT_IMG} has none: only images without device tree overlays have an installer"
    )]
    InFolder { name: String },
    #[error(transparent)]
    File(#[from] UnfinishedError),
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Installer {
    /// The installer of a slot of an image, every bit of which is checked; without a name of the slot that it boots from.
    ///
    /// # Errors
    /// When the image cannot be read or trusted, or the firmware would not start it.
    pub fn of(
        image: &Path,
        slot: Option<Slot>,
        trusted: &[PublicKey],
        options: &InstallOptions,
    ) -> Result<Installer, InstallerError> {
        let path = || image.to_owned();
        let open = |source| InstallerError::Open { path: path(), source: Box::new(source) };
        let words = options.words().join(" ");
        if InstallOptions::parse(&words)?.as_ref() != Some(options) {
            return Err(InstallerError::Unspeakable(words));
        }
        let expect = Expect { trusted, role: None, bootsel: Bootsel::Bootable };
        let verified = verify::verify(image, &expect)
            .map_err(|source| InstallerError::Image { path: path(), source: Box::new(source) })?;
        let medium = Medium::open(image).map_err(open)?;
        let slot = medium.pick(Some(slot.unwrap_or(verified.default))).map_err(open)?;
        let mut files = Vec::new();
        for name in slot.boot_files().map_err(open)?.into_keys() {
            let bytes = slot.read_boot(&name).map_err(open)?.into();
            files.push(FatFile { path: name, bytes });
        }
        let mut command_line = String::new();
        for file in files.iter_mut().filter(|file| file.path == CMDLINE_TXT) {
            let line = String::from_utf8_lossy(&file.bytes).trim().to_owned();
            command_line = format!("{line} {words}");
            file.bytes = format!("{command_line}\n").into_bytes().into();
        }
        let read = |name: &str| files.iter().find(|file| file.path == name).map(|file| file.bytes.to_vec());
        let config = eeprom::check_boot(&read)?;
        let spec = verify::spec_in(&read(&config.initramfs).unwrap_or_default());
        if !spec.is_ok_and(|spec| serde_json::from_slice::<InitramfsSpec>(&spec).is_ok()) {
            return Err(InstallerError::Older { path: path() });
        }
        Ok(Installer { files, manifest: slot.manifest.clone(), command_line })
    }

    /// The RAM disk, whole.
    ///
    /// # Errors
    /// When it becomes too large, or a file is in a folder.
    pub fn boot_img(&self) -> Result<Vec<u8>, InstallerError> {
        if let Some(file) = self.files.iter().find(|file| file.path.contains('/')) {
            return Err(InstallerError::InFolder { name: file.path.clone() });
        }
        let content: u64 = self.files.iter().map(|file| (file.bytes.len() as u64).next_multiple_of(4096)).sum();
        // The two tables have 4 bytes for each cluster of 512.
        let size = (content + content / 32 + 2 * MIB).next_multiple_of(MIB).max(SMALLEST);
        if size > LARGEST {
            return Err(InstallerError::TooLarge(size));
        }
        let volume = Volume { size, fat_type: FatType::Fat32, cluster: 512, ..fat::BOOT };
        let mut bytes = fat::make(volume, &self.files)?.bytes;
        bytes.resize(size as usize, 0);
        Ok(bytes)
    }

    /// Writes the files and the RAM disk into a folder, each complete or not at all. Gives their paths.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, InstallerError> {
        let boot_img = self.boot_img()?;
        let all = self.files.iter().map(|file| (file.path.as_str(), &file.bytes[..]));
        let mut written = Vec::new();
        for (name, bytes) in all.chain([(BOOT_IMG, boot_img.as_slice())]) {
            let path = folder.join(name);
            let failed = |source| InstallerError::Write { path: path.clone(), source };
            std::fs::create_dir_all(folder).map_err(failed)?;
            let unfinished = Unfinished::create(&path)?;
            unfinished.file().write_all_at(bytes, 0).and_then(|()| unfinished.file().sync_all()).map_err(failed)?;
            unfinished.finish()?;
            written.push(path);
        }
        Ok(written)
    }
}
