//! The files of a profile: finds one, and reads it with everything that it includes.

use super::diagnostic::{Diagnostic, FileId, Place, Sources};
use super::field::{Key, Keys as _, Kind};
use super::renamed::{self, RENAMED};
use super::schema::ProfileFile;
use serde::Deserialize as _;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Files that one profile may be read from, each as often as it is included: circles and doublings end here.
const MOST_FILES: usize = 256;
/// The longest file of a profile, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("there is no profile {name:?}: {path} does not exist{help}")]
    Unknown { name: String, path: PathBuf, help: String },
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a profile: it has {size} bytes; the limit is {LARGEST_FILE}")]
    TooLarge { path: PathBuf, size: u64 },
    #[error(
        "{path}: more than {MOST_FILES} files are included, counting each as often as it is named; include fewer"
    )]
    TooMany { path: PathBuf },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
    Mistakes(Vec<Diagnostic>),
}

impl From<Diagnostic> for ProfileError {
    fn from(diagnostic: Diagnostic) -> ProfileError {
        ProfileError::Mistakes(vec![diagnostic])
    }
}

/// A file with what it includes, in order.
#[derive(Debug)]
pub(super) struct Loaded {
    pub file: FileId,
    pub path: PathBuf,
    pub content: ProfileFile,
    pub includes: Vec<Loaded>,
    /// What works in this file, and should be written otherwise.
    pub warnings: Vec<Diagnostic>,
}

/// Finds the file of a profile: `router` is `profiles/router.toml` below `base`; anything with a slash or ending in
/// `.toml` is a path.
///
/// # Errors
/// When there is no such file; names that are near are proposed.
pub fn find(name: &str, base: &Path) -> Result<PathBuf, ProfileError> {
    let folder = base.join("profiles");
    let is_path = name.contains('/') || name.ends_with(".toml");
    let path = if is_path { PathBuf::from(name) } else { folder.join(format!("{name}.toml")) };
    if path.is_file() {
        return Ok(path);
    }
    let mut known: Vec<String> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned))
        .filter(|name| !name.contains('.'))
        .collect();
    known.sort();
    let help = match super::diagnostic::did_you_mean(name, known.iter().map(String::as_str)) {
        Some(help) => format!("; {help}"),
        None if known.is_empty() => "; run microdc where the folder profiles/ is, or name the file".to_owned(),
        None => format!("; known profiles: {}", known.join(", ")),
    };
    Err(ProfileError::Unknown { name: name.to_owned(), path, help })
}

pub(super) fn load_file(
    path: &Path,
    sources: &mut Sources,
    above: &mut Vec<PathBuf>,
) -> Result<Loaded, ProfileError> {
    let read = |source| ProfileError::Read { path: path.to_owned(), source };
    if sources.count() >= MOST_FILES {
        return Err(ProfileError::TooMany { path: path.to_owned() });
    }
    let size = std::fs::metadata(path).map_err(read)?.len();
    if size > LARGEST_FILE {
        return Err(ProfileError::TooLarge { path: path.to_owned(), size });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let file = sources.add(path, &text);
    let malformed = |error: toml::de::Error| {
        let unquoted = error.span().and_then(|span| unquoted_name(&text, span.start));
        Diagnostic::from_toml_or(sources, file, &error, unquoted)
    };
    let mut table = DeTable::parse(&text).map_err(malformed)?;
    renamed::check_format(table.get_ref(), sources, file).map_err(|mistake| *mistake)?;
    let warnings = renamed::apply(table.get_mut(), RENAMED, sources, file).map_err(|mistake| *mistake)?;
    let content = ProfileFile::deserialize(toml::Deserializer::from(table)).map_err(malformed)?;
    above.push(path.canonicalize().map_err(read)?);
    let mut includes = Vec::new();
    for include in &content.include {
        let part = part_path(path, include.get_ref());
        let fail = |message: String, help: Option<String>| {
            let place = Place { file, span: include.span() };
            Diagnostic::new(sources, message, &place, "included here", None, help)
        };
        if !part.is_file() {
            let known = parts_beside(path);
            let help = super::diagnostic::did_you_mean(include.get_ref(), known.iter().map(String::as_str));
            return Err(fail(format!("there is no part {}", part.display()), help).into());
        }
        let canonical = part.canonicalize().map_err(read)?;
        if above.contains(&canonical) {
            return Err(fail(format!("{} includes itself", part.display()), None).into());
        }
        includes.push(load_file(&part, sources, above)?);
    }
    above.pop();
    Ok(Loaded { file, path: path.to_owned(), content, includes, warnings })
}

/// Help for a name that has dots and no quotes: TOML takes it for a table in a table.
fn unquoted_name(text: &str, at: usize) -> Option<String> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let header = |line: &'_ str| {
        let inside = line.trim().strip_prefix('[')?.split(']').next()?.trim();
        inside.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)).then(|| inside.to_owned())
    };
    let named = |table: &str| {
        let names = |key: &&Key| matches!(key.kind, Kind::Entries | Kind::Tables);
        ProfileFile::KEYS.iter().filter(names).any(|key| key.name == table)
    };
    let line = text.get(start..)?.lines().next()?;
    if let Some(whole) = header(line) {
        let (table, name) = whole.split_once('.')?;
        return (named(table) && name.contains('.'))
            .then(|| format!("a name with dots is written in quotes: [{table}.\"{name}\"]"));
    }
    let key = line.split('=').next()?.trim();
    let bare = key.contains('.') && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let table = text.get(..start)?.lines().rev().find_map(header)?;
    (bare && named(&table)).then(|| format!("a name with dots is written in quotes: \"{key}\" = ..."))
}

fn part_path(from: &Path, include: &str) -> PathBuf {
    let folder = from.parent().unwrap_or(Path::new("."));
    if include.ends_with(".toml") {
        return folder.join(include);
    }
    let name = format!("{include}.toml");
    // A part may include another part that is beside it.
    let beside = folder.join(&name);
    if folder.ends_with("parts") { beside } else { folder.join("parts").join(name) }
}

fn parts_beside(from: &Path) -> Vec<String> {
    let folder = part_path(from, "x");
    let entries = folder.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let names = entries.into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned)).collect()
}
