//! What the programs of a root declare that they contain.

use super::{crates, go};
use crate::open::OpenError;
use crate::open::files::{EntryKind, Root};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use std::io::Read as _;

/// No section of the kinds read here is longer.
const LARGEST: u64 = 32 << 20;
/// Shorter files are no programs.
const SMALLEST: u64 = 64;

/// A program that says what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// In the root, without leading slash.
    pub path: String,
    pub go: Option<go::Program>,
    pub crates: Vec<crates::Crate>,
}

/// The programs of a root that say something.
///
/// # Errors
/// When the root cannot be read; a file that is not a whole ELF file says nothing.
pub fn programs(root: &Root) -> Result<Vec<Program>, OpenError> {
    let mut found = Vec::new();
    for (path, entry) in root.entries()? {
        if !matches!(entry.kind, EntryKind::File { size } if size >= SMALLEST) {
            continue;
        }
        let mut file = root.open(&path)?;
        let mut magic = [0; 4];
        if file.read_exact(&mut magic).is_err() || magic != elf::ELFMAG {
            continue;
        }
        let [go, crates] = sections(file, [go::SECTION, crates::SECTION]);
        let go = go.and_then(|section| go::parse(&section));
        let crates = crates.and_then(|section| crates::parse(&section)).unwrap_or_default();
        if go.is_some() || !crates.is_empty() {
            found.push(Program { path, go, crates });
        }
    }
    Ok(found)
}

/// The content of these sections of an ELF file, where it has them.
fn sections<const N: usize>(file: ext4_view::File, names: [&str; N]) -> [Option<Vec<u8>>; N] {
    let cache = ReadCache::new(file);
    let found = || {
        let header = FileHeader64::<LittleEndian>::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        let table = header.sections(endian, &cache).ok()?;
        Some(names.map(|name| {
            let (_, section) = table.section_by_name(endian, name.as_bytes())?;
            (section.sh_size(endian) <= LARGEST).then_some(())?;
            Some(section.data(endian, &cache).ok()?.to_vec())
        }))
    };
    found().unwrap_or([const { None }; N])
}
