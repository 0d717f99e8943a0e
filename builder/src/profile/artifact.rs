//! `[artifact.NAME]`: a file of the root that comes from no package.

use super::quantity::Mode;
use super::schema;
use super::value::{Mistake, Value};
use crate::tree::take::merged;
use std::path::{Path, PathBuf};

/// A file of the root that comes from no package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Path in the root, without leading slash, under merged `/usr`.
    pub to: String,
    /// Permission bits.
    pub mode: u32,
    pub from: ArtifactSource,
}

/// Where an artifact comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactSource {
    Url {
        url: String,
        /// A list of SHA-256 sums that names the file of the URL.
        checksums: Option<String>,
        /// Who signed that list or, without one, the file.
        signed: Option<SignedBy>,
    },
    Go(GoProgram),
    /// The operator's own file.
    File(PathBuf),
}

/// A signature beside a release file or its list of sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// The signature's URL.
    pub signature: String,
    /// The signer's public key.
    pub key: PathBuf,
}

/// A program whose source is a Go module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoProgram {
    /// Import path of the main package: the module's, or one below it.
    pub package: String,
    /// `v1.2.3`, or a pseudo-version: never a branch.
    pub version: String,
}

impl std::fmt::Display for GoProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.package, self.version)
    }
}

impl std::fmt::Display for ArtifactSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ArtifactSource::Url { url, .. } => f.write_str(url),
            ArtifactSource::Go(program) => write!(f, "Go module {program}"),
            ArtifactSource::File(path) => {
                write!(f, "file {}", path.file_name().unwrap_or_default().to_string_lossy())
            }
        }
    }
}

/// Folders that are filled at run time: nothing of an image is there.
const RUN_TIME: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

impl Value for schema::Artifact {
    type Written = schema::Artifact;
    type Is = Artifact;

    fn read(name: &str, written: &schema::Artifact, folder: &Path) -> Result<Artifact, Mistake> {
        Artifact::parse(name, written, folder)
    }
}

impl Artifact {
    /// Reads what was written; `folder` is the one of the file that says it.
    fn parse(name: &str, written: &schema::Artifact, folder: &Path) -> Result<Artifact, Mistake> {
        check_name(name)?;
        let to = place(&written.to)?;
        let from = match (&written.url, &written.go, &written.file) {
            (Some(url), None, None) => {
                let checksums = written.checksums.as_deref().map(check_url).transpose()?;
                ArtifactSource::Url { url: check_url(url)?, checksums, signed: signed_by(written, folder)? }
            }
            (None, Some(go), None) => ArtifactSource::Go(go_program(go, written.package.as_deref())?),
            (None, None, Some(file)) if !file.is_empty() => ArtifactSource::File(folder.join(file)),
            _ => {
                let help = "a release file by `url`, a program's source by `go`, or a file of your own by `file`";
                return Err((format!("the artifact {name} needs exactly one source"), Some(help.to_owned())));
            }
        };
        let only = |key: &str, kind: &str| Err((format!("`{key}` is only valid with `{kind}`"), None));
        let of_url = [("checksums", &written.checksums), ("signature", &written.signature), ("key", &written.key)];
        for (key, said) in of_url {
            if said.is_some() && !matches!(from, ArtifactSource::Url { .. }) {
                return only(key, "url");
            }
        }
        if written.package.is_some() && !matches!(from, ArtifactSource::Go(_)) {
            return only("package", "go");
        }
        let usual = if matches!(from, ArtifactSource::File(_)) { 0o644 } else { 0o755 };
        Ok(Artifact { to, mode: written.mode.map_or(usual, |Mode(mode)| mode), from })
    }
}

fn signed_by(written: &schema::Artifact, folder: &Path) -> Result<Option<SignedBy>, Mistake> {
    match (&written.signature, &written.key) {
        (None, None) => Ok(None),
        (Some(signature), Some(key)) if !key.is_empty() => {
            Ok(Some(SignedBy { signature: check_url(signature)?, key: folder.join(key) }))
        }
        (Some(_), _) => {
            let help = "`key` names the file of the signer's public key: an OpenPGP certificate or a minisign key";
            Err(("`signature` needs a `key` to be checked with".to_owned(), Some(help.to_owned())))
        }
        (None, Some(_)) => {
            let help =
                "`signature` is the URL of the signature of `checksums` or, without that, of the file of `url`";
            Err(("`key` is only valid with `signature`".to_owned(), Some(help.to_owned())))
        }
    }
}

fn check_name(name: &str) -> Result<(), Mistake> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let help = "lower-case letters, digits, `-`, `_` and `.`".to_owned();
        return Err((format!("{name:?} is not a valid artifact name"), Some(help)));
    }
    if name == crate::pipeline::FIRSTBOOT {
        return Err(("the name firstboot is reserved: every image has it".to_owned(), None));
    }
    Ok(())
}

/// An absolute path of a file, as the tree has it.
fn place(to: &str) -> Result<String, Mistake> {
    let parts = || to.split('/').skip(1);
    let fine = to.starts_with('/') && parts().all(|part| !matches!(part, "" | "." | "..")) && !to.contains('\0');
    if !fine {
        let help = "such as \"/usr/bin/program\"".to_owned();
        return Err((format!("{to:?} is not an absolute path of a file"), Some(help)));
    }
    let first = parts().next().unwrap_or_default();
    if RUN_TIME.contains(&first) {
        return Err((format!("/{first} is empty in an image: it is filled at run time"), None));
    }
    Ok(merged(to).into_owned())
}

fn check_url(url: &str) -> Result<String, Mistake> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let climbs = path.split('/').any(|part| matches!(part, "." | ".."));
    if host.is_empty() || host.contains('@') || path.is_empty() || path.ends_with('/') || !plain || climbs {
        let help = "write it like \"https://host/path/of/the-file\"".to_owned();
        return Err((format!("{url:?} is not the URL of a file"), Some(help)));
    }
    Ok(url.to_owned())
}

/// `MODULE@VERSION` and the package below it.
fn go_program(text: &str, below: Option<&str>) -> Result<GoProgram, Mistake> {
    let example = "write it like \"example.org/program@v1.2.3\"";
    let wrong = |why: &str| (format!("{text:?}: {why}"), Some(example.to_owned()));
    let (module, version) = text.split_once('@').ok_or_else(|| wrong("a Go module needs a version"))?;
    let path = |path: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~+-".contains(&byte);
        path.bytes().all(plain)
            && path.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with('.'))
    };
    if !path(module) || !module.split('/').next().is_some_and(|host| host.contains('.')) {
        return Err(wrong("this is not a Go module path"));
    }
    let numbers = version.strip_prefix('v').map(|rest| rest.split(['-', '+']).next().unwrap_or_default());
    let exact = numbers.is_some_and(|numbers| {
        let parts: Vec<&str> = numbers.split('.').collect();
        parts.len() == 3
            && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    });
    if !exact || !version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte)) {
        return Err(wrong("only an exact version gives the same bytes each time"));
    }
    let package = match below {
        None => module.to_owned(),
        Some(below) => {
            let rest = below.strip_prefix("./").unwrap_or(below);
            if !path(rest) {
                return Err((
                    format!("{below:?} is not a package below {module}"),
                    Some("such as \"./cmd/program\"".into()),
                ));
            }
            format!("{module}/{rest}")
        }
    };
    Ok(GoProgram { package, version: version.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(edit: impl FnOnce(&mut schema::Artifact)) -> schema::Artifact {
        let mut written = schema::Artifact { to: "/usr/bin/p".to_owned(), ..schema::Artifact::default() };
        edit(&mut written);
        written
    }

    fn parse(edit: impl FnOnce(&mut schema::Artifact)) -> Result<Artifact, String> {
        Artifact::parse("p", &written(edit), Path::new("/profiles")).map_err(|(message, _)| message)
    }

    #[test]
    fn each_kind_is_read() {
        let url = parse(|a| a.url = Some("https://h.example/v1%2B2/p-arm64".to_owned())).unwrap();
        assert_eq!((url.mode, url.to.as_str()), (0o755, "usr/bin/p"));
        let go = parse(|a| {
            a.go = Some("example.org/p@v0.0.0-20260212201848-7aac2a2c5b7c".to_owned());
            a.package = Some("./cmd/p".to_owned());
        });
        assert_eq!(go.unwrap().from.to_string(), "Go module example.org/p/cmd/p@v0.0.0-20260212201848-7aac2a2c5b7c");
        let file = parse(|a| a.file = Some("files/p".to_owned())).unwrap();
        assert_eq!((file.mode, file.from), (0o644, ArtifactSource::File("/profiles/files/p".into())));
    }

    #[test]
    fn what_cannot_be_pinned_or_placed_is_refused() {
        for to in ["usr/bin/p", "/", "/usr/../p", "/usr//p", "/usr/bin/", "/run/p", "/proc/p"] {
            let found = parse(|a| {
                a.to = to.to_owned();
                a.file = Some("p".to_owned());
            });
            assert!(found.is_err(), "{to}");
        }
        for url in
            ["ftp://h/p", "https://h", "https://h/", "https:///p", "https://u@h/p", "https://h/../p", "https://h/a b"]
        {
            assert!(parse(|a| a.url = Some(url.to_owned())).is_err(), "{url}");
        }
        for go in [
            "example.org/p",
            "example.org/p@latest",
            "example.org/p@v1",
            "example.org/p@master",
            "p@v1.0.0",
            "example.org/-p@v1.0.0",
            "example.org/../p@v1.0.0",
            "example.org/p@v1.0.0 -x",
        ] {
            assert!(parse(|a| a.go = Some(go.to_owned())).is_err(), "{go}");
        }
        assert!(parse(|_| ()).unwrap_err().contains("exactly one source"));
        let two = parse(|a| {
            a.file = Some("p".to_owned());
            a.url = Some("https://h/p".to_owned());
        });
        assert!(two.unwrap_err().contains("exactly one source"));
        let checksums = parse(|a| {
            a.file = Some("p".to_owned());
            a.checksums = Some("https://h/p".to_owned());
        });
        assert!(checksums.unwrap_err().contains("`checksums` is only valid"));
        for (edit, message) in [
            ((Some("https://h/p.asc"), None, false), "`signature` needs a `key`"),
            ((None, Some("p.asc"), false), "`key` is only valid with `signature`"),
            ((Some("file:///p.asc"), Some("p.asc"), false), "file:///p.asc"),
            ((None, Some("p.asc"), true), "`key` is only valid with `url`"),
            ((Some("https://h/p.asc"), None, true), "`signature` is only valid with `url`"),
        ] {
            let (signature, key, file) = edit;
            let found = parse(|a| {
                let from = if file { &mut a.file } else { &mut a.url };
                *from = Some("https://h/p".to_owned());
                (a.signature, a.key) = (signature.map(str::to_owned), key.map(str::to_owned));
            });
            let error = found.unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        assert!(Artifact::parse("firstboot", &written(|a| a.file = Some("p".into())), Path::new("/")).is_err());
    }
}
