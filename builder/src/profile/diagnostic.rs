//! Errors in profiles, shown with their line.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Texts of the files that a profile was made of.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<(PathBuf, Arc<str>)>);

/// A file by its place in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(usize);

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: FileId,
    /// In bytes from the start of the file.
    pub span: Range<usize>,
}

impl Sources {
    /// How many files were read.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn add(&mut self, path: &Path, text: &str) -> FileId {
        self.0.push((path.to_owned(), text.into()));
        FileId(self.0.len() - 1)
    }

    #[must_use]
    pub fn path(&self, file: FileId) -> &Path {
        self.0.get(file.0).map_or(Path::new(""), |(path, _)| path)
    }

    #[must_use]
    pub fn text(&self, file: FileId) -> &str {
        self.0.get(file.0).map_or("", |(_, text)| text)
    }

    /// Every file, for keys of caches.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|(path, text)| (path.as_path(), &**text))
    }
}

/// One mistake: where, what, and what to do next. Shown whole by `Display`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{rendered}")]
pub struct Diagnostic {
    pub message: String,
    /// Path of the file.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub help: Option<String>,
    rendered: String,
}

impl Diagnostic {
    /// A mistake at one place, perhaps with a second place that it has to do with.
    #[must_use]
    pub fn new(
        sources: &Sources,
        message: impl Into<String>,
        place: &Place,
        label: &str,
        other: Option<(&Place, &str)>,
        help: Option<String>,
    ) -> Diagnostic {
        Diagnostic::of_level(&Level::ERROR, sources, message.into(), place, label, other, help)
    }

    fn of_level(
        level: &Level<'static>,
        sources: &Sources,
        message: String,
        place: &Place,
        label: &str,
        other: Option<(&Place, &str)>,
        help: Option<String>,
    ) -> Diagnostic {
        let path = sources.path(place.file).to_owned();
        let text = sources.text(place.file);
        let before = text.get(..place.span.start).unwrap_or(text);
        let snippet = |place: &Place, kind: AnnotationKind, label: &str| {
            let text = sources.text(place.file).to_owned();
            let end = place.span.end.min(text.len());
            // A whole table is shown by its first line.
            let start = place.span.start.min(end);
            let end = text[start..end].find('\n').map_or(end, |newline| start + newline);
            Snippet::source(text)
                .path(sources.path(place.file).display().to_string())
                .annotation(kind.span(start..end).label(label.to_owned()))
        };
        let title = level.clone().primary_title(message.clone());
        let mut group = title.element(snippet(place, AnnotationKind::Primary, label));
        if let Some((other, label)) = other {
            group = group.element(snippet(other, AnnotationKind::Context, label));
        }
        let mut groups = vec![group];
        if let Some(help) = &help {
            groups.push(Group::with_title(Level::HELP.secondary_title(help.clone())));
        }
        let rendered = Renderer::plain().render(&groups).to_string();
        Diagnostic {
            message,
            path,
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
            help,
            rendered,
        }
    }

    /// Something at one place that works, and should be otherwise.
    #[must_use]
    pub fn warning(
        sources: &Sources,
        message: impl Into<String>,
        place: &Place,
        label: &str,
        help: Option<String>,
    ) -> Diagnostic {
        Diagnostic::of_level(&Level::WARNING, sources, message.into(), place, label, None, help)
    }

    /// What `toml` found wrong, with a proposal where a key is misspelt.
    #[must_use]
    pub fn from_toml(sources: &Sources, file: FileId, error: &toml::de::Error) -> Diagnostic {
        Diagnostic::from_toml_or(sources, file, error, None)
    }

    /// What `toml` found wrong, with a proposal where a key is misspelt, or else this help.
    #[must_use]
    pub fn from_toml_or(
        sources: &Sources,
        file: FileId,
        error: &toml::de::Error,
        otherwise: Option<String>,
    ) -> Diagnostic {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().lines().next().unwrap_or("malformed TOML").to_owned();
        let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
        let help = quoted.next().and_then(|found| {
            let known: Vec<String> = quoted.collect();
            did_you_mean(&found, known.iter().map(String::as_str))
        });
        Diagnostic::new(sources, message, &Place { file, span }, "here", None, help.or(otherwise))
    }
}

/// `did you mean ...?` with the nearest of the known names, when one is near.
#[must_use]
pub fn did_you_mean<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(found, known).map(|name| format!("did you mean `{name}`?"))
}

/// The nearest of the known names, when one is near.
#[must_use]
pub fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(found, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
