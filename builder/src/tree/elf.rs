//! The closure of shared libraries: what the programs in a tree need to start.
//!
//! The rules are the loader's (ld.so(8)): DT_RUNPATH or else DT_RPATH of the object itself, then the default
//! directories. Debian's loader knows the multiarch directory by itself, so no `ld.so.cache` is needed; in exchange a
//! library that the loader would not find is an error here. What is opened at run time (dlopen) is not seen: the profile
//! names it.

use super::origin::{self, Source};
use super::take::{self, PackageEntries, TakeError, lexical, merged};
use super::{Content, Kind, Package, Tree};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::read::{ReadCache, StringTable};
use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// Where the loader of Debian's arm64 looks by itself, without leading slash and with `/lib` merged.
pub const DEFAULT_DIRECTORIES: [&str; 2] = ["usr/lib/aarch64-linux-gnu", "usr/lib"];

/// Finds packages that hold libraries.
pub trait Libraries {
    /// The package that has `soname` as a file name, among those that `needed_by_package` depends on, and the path of
    /// that file in it.
    ///
    /// # Errors
    /// When looking failed; not when nothing was found.
    fn provider(&mut self, needed_by_package: &str, soname: &str) -> anyhow::Result<Option<(Arc<Package>, String)>>;
}

/// A program that would not start.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    #[error("/{path} ({origin}): {why}")]
    Foreign { path: String, origin: Arc<str>, why: String },
    #[error("/{path} ({origin}) needs {soname}, which is neither in the image nor in what {package} depends on")]
    Missing { path: String, origin: Arc<str>, soname: String, package: String },
    #[error(
        "/{path} ({origin}) needs {soname}; {package} has it at /{found}, where the loader does not look: it looks in {looked}"
    )]
    Unreachable { path: String, origin: Arc<str>, soname: String, package: String, found: Box<str>, looked: Box<str> },
    #[error("looking for {soname}, needed by /{path}: {source:#}")]
    Search { path: String, soname: String, source: anyhow::Error },
    #[error("reading /{path}: {source}")]
    Read { path: String, source: io::Error },
    #[error(transparent)]
    Take(#[from] TakeError),
}

/// What an ELF file says it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The loader, an absolute path.
    pub interpreter: Option<String>,
    pub libraries: Vec<String>,
    /// Directories in which the loader looks first, as written.
    pub run_path: Vec<String>,
}

/// Reads what an ELF file needs; nothing for a file that is not a program and no library.
///
/// # Errors
/// In words, when it is damaged or for another machine.
pub fn needs(content: &Content) -> Result<Option<Needs>, String> {
    let mut magic = [0; 4];
    if content.len() < 64 || content.read_exact_at(&mut magic, 0).is_err() || magic != elf::ELFMAG {
        return Ok(None);
    }
    let damaged = |error: object::read::Error| format!("it is not a usable ELF file: {error}");
    let cache = ReadCache::new(Reader { content, at: 0 });
    let header = FileHeader64::<LittleEndian>::parse(&cache)
        .map_err(|_| "it is an ELF file, but not a 64-bit one".to_owned())?;
    if !header.is_little_endian() {
        return Err("it is an ELF file, but not little-endian".to_owned());
    }
    let endian = LittleEndian;
    let kind = header.e_type(endian);
    if kind != elf::ET_EXEC && kind != elf::ET_DYN {
        return Ok(None);
    }
    let machine = header.e_machine(endian);
    if machine != elf::EM_AARCH64 {
        return Err(format!("it is for another machine (ELF machine {}), not for AArch64", machine.0));
    }
    let segments = header.program_headers(endian, &cache).map_err(damaged)?;
    let mut needs = Needs::default();
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, &cache).map_err(damaged)? {
            needs.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let mut dynamic = None;
    for segment in segments {
        dynamic = dynamic.or(segment.dynamic(endian, &cache).map_err(damaged)?);
    }
    let Some(dynamic) = dynamic else { return Ok(Some(needs)) };
    let value = |tag| dynamic.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian));
    let strings = match (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) {
        (Some(address), Some(size)) => {
            let place =
                segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
                    let into = address.checked_sub(segment.p_vaddr(endian))?;
                    (into < segment.p_filesz(endian)).then(|| segment.p_offset(endian).checked_add(into))?
                });
            let start = place.ok_or("it is not a usable ELF file: its strings are not in a segment")?;
            let end = start.checked_add(size).filter(|&end| end <= content.len());
            let end = end.ok_or("it is not a usable ELF file: its strings end beyond the file")?;
            StringTable::new(&cache, start, end)
        }
        _ => StringTable::default(),
    };
    let (mut run_path, mut r_path) = (None, None);
    for entry in dynamic {
        let tag = entry.tag(endian);
        let text = |entry: &elf::Dyn64<LittleEndian>| {
            let offset =
                u32::try_from(entry.val(endian)).map_err(|_| "it is not a usable ELF file: a name is outside")?;
            let bytes = strings.get(offset).map_err(|()| "it is not a usable ELF file: a name is outside")?;
            Ok::<_, String>(String::from_utf8_lossy(bytes).into_owned())
        };
        if tag == elf::DT_NULL {
            break;
        } else if tag == elf::DT_NEEDED {
            needs.libraries.push(text(entry)?);
        } else if tag == elf::DT_RUNPATH {
            run_path = Some(text(entry)?);
        } else if tag == elf::DT_RPATH {
            r_path = Some(text(entry)?);
        }
    }
    let path = run_path.or(r_path).unwrap_or_default();
    needs.run_path = path.split(':').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    Ok(Some(needs))
}

/// Brings every library and loader that the programs in the tree need, with the symbolic links that lead to them.
/// Each says in its origin who needed it. Returns how many files came.
///
/// # Errors
/// When a file is for another machine, or something it needs is nowhere.
pub fn close(tree: &mut Tree, libraries: &mut dyn Libraries) -> Result<usize, ElfError> {
    let mut waiting: Vec<String> = tree.nodes.keys().rev().cloned().collect();
    let mut seen = BTreeSet::new();
    let mut brought = 0;
    while let Some(path) = waiting.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let Some(node) = tree.nodes.get(&path) else { continue };
        let Kind::File(content) = &node.kind else { continue };
        let origin = node.origin.clone();
        let needs =
            needs(content).map_err(|why| ElfError::Foreign { path: path.clone(), origin: origin.clone(), why })?;
        let Some(needs) = needs else { continue };
        let directories = directories(&path, &needs);
        let interpreter = needs.interpreter.iter().map(|path| {
            let path = merged(path).into_owned();
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            (name.to_owned(), vec![folder.to_owned()])
        });
        let wanted: Vec<(String, Vec<String>)> =
            interpreter.chain(needs.libraries.iter().map(|soname| (soname.clone(), directories.clone()))).collect();
        for (soname, directories) in wanted {
            let came = bring(tree, libraries, (&path, &origin), &soname, &directories)?;
            brought += came.len();
            waiting.extend(came);
        }
    }
    Ok(brought)
}

/// Directories in which the loader looks for what an object needs.
fn directories(path: &str, needs: &Needs) -> Vec<String> {
    let own = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let run_path = needs.run_path.iter().map(|folder| {
        let folder = folder.replace("${ORIGIN}", &format!("/{own}")).replace("$ORIGIN", &format!("/{own}"));
        merged(&lexical(&folder)).into_owned()
    });
    run_path.chain(DEFAULT_DIRECTORIES.map(str::to_owned)).collect()
}

/// Brings one library, unless it is there. Returns the paths that came.
fn bring(
    tree: &mut Tree,
    libraries: &mut dyn Libraries,
    (path, origin): (&str, &Arc<str>),
    soname: &str,
    directories: &[String],
) -> Result<Vec<String>, ElfError> {
    let places: Vec<String> = match soname.starts_with('/') {
        true => vec![merged(soname).into_owned()],
        false => directories.iter().map(|folder| format!("{folder}/{soname}")).collect(),
    };
    if places.iter().any(|place| tree.resolve(place).is_some()) {
        return Ok(Vec::new());
    }
    let name = soname.rsplit('/').next().unwrap_or(soname);
    // What an overlay brings may need anything; its provider decides.
    let package = match origin::source(origin) {
        Source::Package(name) => name.to_owned(),
        _ => String::new(),
    };
    let found = libraries.provider(&package, name).map_err(|source| ElfError::Search {
        path: path.to_owned(),
        soname: soname.to_owned(),
        source,
    })?;
    let Some((provider, found)) = found else {
        let package = if package.is_empty() { origin.to_string() } else { package };
        return Err(ElfError::Missing {
            path: path.to_owned(),
            origin: origin.clone(),
            soname: soname.to_owned(),
            package,
        });
    };
    let shelf = PackageEntries::new(&provider);
    let Some(place) = places.iter().find(|place| shelf.resolve(place).is_some()) else {
        return Err(ElfError::Unreachable {
            path: path.to_owned(),
            origin: origin.clone(),
            soname: soname.to_owned(),
            package: provider.to_string(),
            found: merged(&found).into(),
            looked: directories.iter().map(|folder| format!("/{folder}")).collect::<Vec<_>>().join(", ").into(),
        });
    };
    let origin = origin::of_package(&provider, &format!("needed by /{path} as {soname}"));
    Ok(take::take_paths(tree, &shelf, BTreeSet::from([place.clone()]), &origin)?)
}

/// Content as `object` reads it.
struct Reader<'c> {
    content: &'c Content,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (buffer.len() as u64).min(self.content.len().saturating_sub(self.at)) as usize;
        self.content.read_exact_at(&mut buffer[..length], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.content.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
