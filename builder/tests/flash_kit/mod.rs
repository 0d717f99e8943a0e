//! What the tests of `microdc flash` share: an image, targets, the command, and the eyes that look at what was written.

use crate::end_to_end::MICRODC;
use crate::format_support::{noise, public, write_image};
use contract::layout::{Extent, ImageLayout};
use emulator::eeprom::{self, Board, Eeprom, NoBoot};
use microdc::flash::engine::Step;
use microdc::flash::machine::Machine;
use microdc::flash::map::Map;
use microdc::flash::{FlashError, Outcome, Request, flash, write_bmap};
use microdc::verify::{self, Bootsel, Expect};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

pub const GIB: u64 = 1 << 30;

/// An image signed by key 1, with its map beside it and the key.
pub struct Shared {
    pub folder: tempfile::TempDir,
    pub image: PathBuf,
    pub key: PathBuf,
    pub map: Map,
    /// Of the image, in bytes.
    pub size: u64,
}

pub static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (image, key) = (folder.path().join("router.img"), folder.path().join("release.pub"));
    let summary = write_image(&image, None);
    std::fs::write(&key, public(1).to_text()).unwrap();
    write_bmap(&image).unwrap();
    let layout = crate::format_support::layout();
    let map = Map::of(&File::open(&image).unwrap(), layout).unwrap();
    Shared { folder, image, key, map, size: summary.length }
});

/// A folder on a real file system: memory would know no way past the cache.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn blank(path: &Path, size: u64) -> File {
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap();
    file.set_len(size).unwrap();
    file
}

/// The request that flashes the shared image, with keys that trust it.
pub fn request(to: &Path) -> Request<'_> {
    static TRUSTED: LazyLock<Vec<contract::keys::PublicKey>> = LazyLock::new(|| vec![public(1)]);
    Request {
        image: &SHARED.image,
        image_name: "router.img",
        to,
        node_config: None,
        trusted: Some(&TRUSTED),
        bmap: None,
        erase: None,
    }
}

pub fn quiet(_: Step, _: u64, _: u64) -> std::io::Result<()> {
    Ok(())
}

/// Flashes in this process, on this machine.
pub fn flashed(request: &Request<'_>) -> Result<Outcome, FlashError> {
    flash(&Machine::this(), request, &quiet)
}

/// `microdc flash` with the shared key, in a folder and with a cache of its own.
pub fn microdc_flash(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(MICRODC);
    command.arg("flash").args(arguments).args(["--key", SHARED.key.to_str().unwrap()]);
    command.current_dir(folder).env("MICRODC_CACHE", folder.join("cache"));
    command
}

pub fn run(mut command: Command) -> Output {
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

/// Whether the EEPROM finds something to start on the disk. What the firmware then says of the files of the test's image,
/// which are noise, does not count.
pub fn boots(disk: &File) -> bool {
    let request = eeprom::Request { board: Board::Cm4, eeprom: Eeprom::default(), tryboot: false, partition: 0 };
    let decision = eeprom::decide(disk, request);
    !matches!(decision, Err(NoBoot::Table(_) | NoBoot::NoBootable(_) | NoBoot::NoWalk { .. }))
}

/// Whether the disk verifies as a whole.
pub fn is_whole(path: &Path) -> bool {
    let trusted = [public(1), public(2)];
    verify::disk(path, &Expect { trusted: &trusted, role: None, bootsel: Bootsel::Bootable }).is_ok()
}

pub fn bytes_at(file: &File, extent: Extent) -> Vec<u8> {
    let mut bytes = vec![0; extent.length as usize];
    file.read_exact_at(&mut bytes, extent.offset).unwrap();
    bytes
}

/// Demands that what the image means is on the disk, byte for byte, by reading both in another way than the flasher does.
pub fn assert_holds_image(disk: &Path) {
    let (image, disk) = (File::open(&SHARED.image).unwrap(), File::open(disk).unwrap());
    for extent in SHARED.map.extents() {
        let (wanted, found) = (bytes_at(&image, extent), bytes_at(&disk, extent));
        // Comparing whole slices is quick even where nothing is optimized.
        if wanted == found {
            continue;
        }
        let differs = wanted.iter().zip(&found).position(|(wanted, found)| wanted != found);
        assert_eq!(differs.map(|at| extent.offset + at as u64), None, "byte of the image in {extent:?}");
    }
}

/// Digest of a whole file: of its length and its data. Holes cost nothing.
pub fn digest(path: &Path) -> contract::hash::Digest {
    use rustix::fs::{SeekFrom, seek};
    let file = File::open(path).unwrap();
    // What waits to be written has no place yet.
    file.sync_all().unwrap();
    let mut summary = file.metadata().unwrap().len().to_le_bytes().to_vec();
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        summary.extend(start.to_le_bytes());
        summary.extend(contract::hash::Digest::of(&bytes_at(&file, Extent { offset: start, length: at - start })).0);
    }
    contract::hash::Digest::of(&summary)
}

/// Fills places of a disk with noise, as an older system did.
pub fn scribble(disk: &File, places: &[Extent]) {
    for (seed, place) in places.iter().enumerate() {
        disk.write_all_at(&noise(place.length as usize, seed as u64 + 1), place.offset).unwrap();
    }
}

/// Another layout than the shared image's.
pub fn other_layout() -> ImageLayout {
    ImageLayout::new(32 << 20).unwrap()
}
