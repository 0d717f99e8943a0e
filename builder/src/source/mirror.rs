//! Which mirror of Debian's archive to use: the configured one, or the one that the machine itself uses.
//!
//! No host name is hard-coded. The archive is recognised in apt's sources by its shape: its URI ends in `/debian`; the
//! one for security carries a suite that ends in `-security`.

use std::fs;
use std::path::{Path, PathBuf};

use deb822_fast::Deb822;

/// Base URLs, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub archive: String,
    pub security: String,
}

/// How no mirror is found.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    #[error(
        "no mirror of Debian's archive is known: the apt sources in {} name none\n\
         Name one with --mirror URL, or in microdc.toml:\n\n[debian]\nmirror = \"http://…/debian\"",
        apt.display()
    )]
    Unknown { apt: PathBuf },
    #[error("{url:?} is not the base URL of a mirror: it must begin with http:// or https:// and hold no spaces")]
    BadUrl { url: String },
    #[error(
        "the security mirror cannot be derived from {url:?}, because its path does not end in \"debian\": name it too \
         (--security-mirror URL, or security = \"…\" under [debian] in microdc.toml)"
    )]
    NoSecurity { url: String },
}

/// What the operator said about mirrors, in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorSettings {
    pub mirror: Option<String>,
    pub security: Option<String>,
}

impl Mirror {
    /// The mirror from the command line, else from `microdc.toml`, else from apt's folder (`/etc/apt`).
    ///
    /// # Errors
    /// When none is known, or what was told is not a valid URL.
    pub fn find(
        command_line: &MirrorSettings,
        configured: &MirrorSettings,
        apt: &Path,
    ) -> Result<Mirror, MirrorError> {
        for told in [command_line, configured] {
            if let Some(archive) = &told.mirror {
                return Mirror::told(archive, told.security.as_deref());
            }
        }
        let security = command_line.security.as_ref().or(configured.security.as_ref());
        from_apt(apt, security.map(String::as_str))
    }

    /// A mirror that was named, with the one for security beside it.
    ///
    /// # Errors
    /// When a URL is none, or the one for security is neither named nor to be told from the other.
    pub fn told(archive: &str, security: Option<&str>) -> Result<Mirror, MirrorError> {
        let archive = base_url(archive)?;
        let security = match security {
            Some(url) => base_url(url)?,
            None => beside(&archive).ok_or_else(|| MirrorError::NoSecurity { url: archive.clone() })?,
        };
        Ok(Mirror { archive, security })
    }

    /// The base URL that serves a suite.
    #[must_use]
    pub fn base(&self, suite: &str) -> &str {
        if suite.ends_with("-security") { &self.security } else { &self.archive }
    }
}

/// `http://host/debian` → `http://host/debian-security`.
fn beside(archive: &str) -> Option<String> {
    archive.ends_with("/debian").then(|| format!("{archive}-security"))
}

fn base_url(url: &str) -> Result<String, MirrorError> {
    let bad = || MirrorError::BadUrl { url: url.to_owned() };
    let trimmed = url.trim_end_matches('/');
    let rest = trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://")).ok_or_else(bad)?;
    let plain = !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(|b| b.is_ascii_graphic());
    if plain && !rest.contains(['?', '#']) { Ok(trimmed.to_owned()) } else { Err(bad()) }
}

/// One source of apt: a base URL and a suite.
#[derive(Debug, PartialEq, Eq)]
struct AptSource {
    url: String,
    suite: String,
}

fn from_apt(apt: &Path, security: Option<&str>) -> Result<Mirror, MirrorError> {
    let sources = apt_sources(apt);
    let ends_in_debian = |source: &&AptSource| source.url.ends_with("/debian");
    let archive = sources
        .iter()
        .filter(|source| !source.suite.ends_with("-security"))
        .find(ends_in_debian)
        .ok_or_else(|| MirrorError::Unknown { apt: apt.to_owned() })?;
    let own = sources
        .iter()
        .find(|source| source.suite.ends_with("-security") && source.url.ends_with("/debian-security"))
        .map(|source| source.url.as_str());
    Mirror::told(&archive.url, security.or(own))
}

/// All usable sources: `sources.list.d/*.sources` and `*.list` by name, then `sources.list`. What cannot be read or
/// understood is passed over, as it belongs to apt and not to us.
fn apt_sources(apt: &Path) -> Vec<AptSource> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.push(apt.join("sources.list"));
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => read_deb822(&text, &mut sources),
            Some("list") => read_list(&text, &mut sources),
            _ => {}
        }
    }
    sources
}

fn read_deb822(text: &str, sources: &mut Vec<AptSource>) {
    // deb822 knows comments only as whole lines, and apt allows them between fields.
    let plain: String = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let Ok(document) = plain.parse::<Deb822>() else { return };
    for paragraph in document.iter() {
        let words = |field| paragraph.get(field).unwrap_or_default().split_whitespace();
        let off = paragraph.get("Enabled").is_some_and(|value| matches!(value.trim(), "no" | "false" | "0" | "off"));
        if off || !words("Types").any(|kind| kind == "deb") {
            continue;
        }
        for url in words("URIs") {
            sources.extend(words("Suites").filter_map(|suite| source(url, suite)));
        }
    }
}

fn read_list(text: &str, sources: &mut Vec<AptSource>) {
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])) else { continue };
        let mut rest = rest.trim_start();
        if rest.starts_with('[') {
            let Some((_, after)) = rest.split_once(']') else { continue };
            rest = after;
        }
        let mut words = rest.split_whitespace();
        if let (Some(url), Some(suite)) = (words.next(), words.next()) {
            sources.extend(source(url, suite));
        }
    }
}

fn source(url: &str, suite: &str) -> Option<AptSource> {
    let suite = suite.trim_end_matches('/');
    Some(AptSource { url: base_url(url).ok()?, suite: suite.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apt(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn find(files: &[(&str, &str)]) -> Result<Mirror, MirrorError> {
        Mirror::find(&MirrorSettings::default(), &MirrorSettings::default(), apt(files).path())
    }

    fn mirror(archive: &str, security: &str) -> Mirror {
        Mirror { archive: archive.into(), security: security.into() }
    }

    #[test]
    fn deb822_sources_are_understood() {
        let text = "Types: deb deb-src\n# http://old.example/debian\nURIs: http://m.example/debian/\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://s.example/debian-security\nSuites: bookworm-security\nComponents: main\n";
        let found = find(&[("sources.list.d/debian.sources", text)]).unwrap();
        assert_eq!(found, mirror("http://m.example/debian", "http://s.example/debian-security"));
        assert_eq!(found.base("trixie-updates"), "http://m.example/debian");
        assert_eq!(found.base("trixie-security"), "http://s.example/debian-security");
    }

    #[test]
    fn one_line_sources_are_understood() {
        let text = "# deb http://no.example/debian x main\ndeb [arch=amd64 signed-by=/k] https://m.example/debian trixie main # here\n\
                    deb-src http://src.example/debian trixie main\n";
        let found = find(&[("sources.list", text)]).unwrap();
        assert_eq!(found, mirror("https://m.example/debian", "https://m.example/debian-security"));
    }

    #[test]
    fn sources_that_are_not_debians_archive_are_passed_over() {
        let other = "deb http://x.example/tools stable main\n";
        let off = "Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n";
        let list = "deb http://m.example/debian trixie main\n";
        let files =
            [("sources.list.d/a.list", other), ("sources.list.d/b.sources", off), ("sources.list.d/c.list", list)];
        assert_eq!(find(&files).unwrap().archive, "http://m.example/debian");
    }

    #[test]
    fn without_any_source_the_error_says_how_to_set_one() {
        let error = find(&[("sources.list.d/a.list", "deb http://x.example/tools stable main\n")]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("--mirror") && text.contains("microdc.toml"), "{text}");
    }

    #[test]
    fn what_was_told_goes_before_what_apt_says() {
        let folder = apt(&[("sources.list", "deb http://m.example/debian trixie main\n")]);
        let told = |url: &str| MirrorSettings { mirror: Some(url.into()), security: None };
        let find = |line: &MirrorSettings, file: &MirrorSettings| Mirror::find(line, file, folder.path());
        let both = find(&told("http://line.example/debian"), &told("http://file.example/debian")).unwrap();
        assert_eq!(both, mirror("http://line.example/debian", "http://line.example/debian-security"));
        assert_eq!(
            find(&MirrorSettings::default(), &told("http://file.example/debian/")).unwrap().archive,
            "http://file.example/debian"
        );
        assert!(matches!(
            find(&told("http://x.example/mirror"), &MirrorSettings::default()),
            Err(MirrorError::NoSecurity { .. })
        ));
        assert!(matches!(
            find(&told("ftp://x.example/debian"), &MirrorSettings::default()),
            Err(MirrorError::BadUrl { .. })
        ));
    }
}
