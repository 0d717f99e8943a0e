//! The closure of shared libraries: what the programs in a tree need to start.
//!
//! The rules are the loader's (ld.so(8)). A program is loaded in breadth: it, then what it names, then what that names. A
//! library that was loaded under a name is not looked for again. Otherwise the loader looks in DT_RUNPATH of the object
//! that names it, or, when that has none, in DT_RPATH of the object and of those that led to it, then in the default
//! directories. Debian's loader knows the multiarch directory by itself, so no `ld.so.cache` is needed; in exchange a
//! library that the loader would not find is an error here.
//!
//! What is opened at run time (dlopen) is not seen: the profile names it. A library that no program in the tree names is
//! such a plug-in: what it needs may also be anywhere in the tree, where its program has loaded it from.

use super::origin::{self, Source};
use super::take::{self, PackageEntries, TakeError, lexical, merged};
use super::{Content, Kind, Node, Package, Tree};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::read::{ReadCache, StringTable};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    #[error(
        "/{path} ({origin}) needs {soname}, which is neither in the image nor in what {package} depends on; take the library \
         from a package that has it, or take less, so that /{path} stays out, or, if it runs without, name it in \
         `missing_libraries`"
    )]
    Missing { path: String, origin: Arc<str>, soname: String, package: String },
    #[error(
        "/{path} ({origin}) needs {soname}; {package} has it at /{found}, where the loader does not look: it looks in {looked}; \
         link it there with [link], or, if /{path} runs without, name it in `missing_libraries`"
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
    /// DT_SONAME: the name that others may know it by.
    pub soname: Option<String>,
    /// DT_RUNPATH, as written: directories in which the loader looks for what this object names.
    pub run_path: Option<Vec<String>>,
    /// DT_RPATH, as written: also for what the objects name that this one leads to. Of no effect beside DT_RUNPATH.
    pub r_path: Vec<String>,
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
        } else if tag == elf::DT_SONAME {
            needs.soname = Some(text(entry)?);
        }
    }
    let folders = |path: String| path.split(':').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    needs.r_path = if run_path.is_none() { r_path.map(folders).unwrap_or_default() } else { Vec::new() };
    needs.run_path = run_path.map(folders);
    Ok(Some(needs))
}

/// Brings every library and loader that the programs in the tree need, with the symbolic links that lead to them, but for
/// those of these names that are `accepted` to be missing. Each says in its origin who needed it. Returns how many files
/// came.
///
/// # Errors
/// When a file is for another machine, or something it needs is nowhere.
pub fn close(tree: &mut Tree, libraries: &mut dyn Libraries, accepted: &BTreeSet<String>) -> Result<usize, ElfError> {
    let mut closure =
        Closure { tree, libraries, accepted, read: BTreeMap::new(), loaded: BTreeSet::new(), brought: 0 };
    let paths: Vec<String> = closure.tree.nodes.keys().cloned().collect();
    let mut plug_ins = Vec::new();
    for path in paths {
        match closure.needs(&path)? {
            Some((needs, _)) if needs.interpreter.is_some() => closure.load(&path, false)?,
            Some(_) => plug_ins.push(path),
            None => {}
        }
    }
    for path in plug_ins {
        if !closure.loaded.contains(&path) {
            closure.load(&path, true)?;
        }
    }
    Ok(closure.brought)
}

/// An ELF file's needs, and the file's origin.
type KnownNeeds = Option<(Arc<Needs>, Arc<str>)>;

struct Closure<'c> {
    tree: &'c mut Tree,
    libraries: &'c mut dyn Libraries,
    accepted: &'c BTreeSet<String>,
    /// What was read, by path.
    read: BTreeMap<String, KnownNeeds>,
    /// Paths of objects that something loads.
    loaded: BTreeSet<String>,
    brought: usize,
}

impl Closure<'_> {
    /// What the file at a path needs; nothing when it is not an ELF file.
    fn needs(&mut self, path: &str) -> Result<KnownNeeds, ElfError> {
        if let Some(read) = self.read.get(path) {
            return Ok(read.clone());
        }
        let read = match self.tree.nodes.get(path) {
            Some(Node { kind: Kind::File(content), origin, .. }) => {
                let foreign = |why| ElfError::Foreign { path: path.to_owned(), origin: origin.clone(), why };
                needs(content).map_err(foreign)?.map(|needs| (Arc::new(needs), origin.clone()))
            }
            _ => None,
        };
        self.read.insert(path.to_owned(), read.clone());
        Ok(read)
    }

    /// Loads a program as the loader does, or a plug-in with what its program may have loaded before.
    fn load(&mut self, path: &str, plug_in: bool) -> Result<(), ElfError> {
        // Objects in the order of loading, each with the DT_RPATH of those that led to it.
        let mut objects = VecDeque::from([(path.to_owned(), Vec::new())]);
        let mut names = BTreeSet::new();
        while let Some((path, led)) = objects.pop_front() {
            self.loaded.insert(path.clone());
            let Some((needs, origin)) = self.needs(&path)? else { continue };
            names.extend(needs.soname.clone());
            let own = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let r_path: Vec<String> = folders(own, &needs.r_path).chain(led).collect();
            let first: Vec<String> = match &needs.run_path {
                Some(run_path) => folders(own, run_path).collect(),
                None => r_path.clone(),
            };
            let directories: Vec<String> = first.into_iter().chain(DEFAULT_DIRECTORIES.map(str::to_owned)).collect();
            if let Some(interpreter) = &needs.interpreter {
                let interpreter = merged(interpreter).into_owned();
                let (folder, name) = interpreter.rsplit_once('/').unwrap_or(("", &interpreter));
                self.find((&path, &origin), name, &[folder.to_owned()], plug_in)?;
                names.insert(name.to_owned());
            }
            for soname in &needs.libraries {
                if !names.insert(soname.clone()) {
                    continue;
                }
                if let Some(found) = self.find((&path, &origin), soname, &directories, plug_in)? {
                    objects.push_back((found, r_path.clone()));
                }
            }
        }
        Ok(())
    }

    /// The path at which the loader finds a library, which is brought when it is not there. [`None`] when it is missing,
    /// and that is accepted.
    fn find(
        &mut self,
        by: (&str, &Arc<str>),
        soname: &str,
        directories: &[String],
        plug_in: bool,
    ) -> Result<Option<String>, ElfError> {
        let places: Vec<String> = match soname.starts_with('/') {
            true => vec![merged(soname).into_owned()],
            false => directories.iter().map(|folder| format!("{folder}/{soname}")).collect(),
        };
        let there = |tree: &Tree| places.iter().find_map(|place| tree.resolve(place));
        if let Some(found) = there(self.tree) {
            return Ok(Some(found));
        }
        let error = match bring(self.tree, self.libraries, by, soname, (&places, directories)) {
            Ok(came) => {
                self.brought += came;
                return Ok(there(self.tree));
            }
            Err(error @ (ElfError::Missing { .. } | ElfError::Unreachable { .. })) => error,
            Err(error) => return Err(error),
        };
        let end = format!("/{soname}");
        match self.tree.nodes.keys().find(|path| path.ends_with(&end)) {
            Some(anywhere) if plug_in => Ok(self.tree.resolve(anywhere)),
            _ if self.accepted.contains(soname) => Ok(None),
            _ => Err(error),
        }
    }
}

/// Directories of a path, as they are in the tree, for an object in the folder `own`.
fn folders<'p>(own: &'p str, path: &'p [String]) -> impl Iterator<Item = String> + use<'p> {
    path.iter().map(move |folder| {
        let folder = folder.replace("${ORIGIN}", &format!("/{own}")).replace("$ORIGIN", &format!("/{own}"));
        merged(&lexical(&folder)).into_owned()
    })
}

/// Brings a library that is at none of these places. Returns how many files came.
fn bring(
    tree: &mut Tree,
    libraries: &mut dyn Libraries,
    (path, origin): (&str, &Arc<str>),
    soname: &str,
    (places, directories): (&[String], &[String]),
) -> Result<usize, ElfError> {
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
    Ok(take::take_paths(tree, &shelf, BTreeSet::from([place.clone()]), &origin)?.len())
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
