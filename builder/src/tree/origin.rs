//! Why something is in an image, as [`super::Node::origin`] has it: a source, a comma, and the reason in words.
//!
//! | source | means |
//! |---|---|
//! | `package NAME VERSION` | a file of that package |
//! | `artifact NAME` | an artifact of the profile |
//! | `overlay NAME` | the operator's own file |
//! | `microdc` | made by the build |
//!
//! The words go into the image ([`crate::inventory`]): they name no path of the machine that built it.

use super::Package;

/// Where something comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'o> {
    /// A package, by its name.
    Package(&'o str),
    /// An artifact, by its name.
    Artifact(&'o str),
    /// An overlay, by its name.
    Overlay(&'o str),
    /// The build itself.
    Microdc,
}

/// The origin of what comes from a package.
#[must_use]
pub fn of_package(package: &Package, why: &str) -> String {
    format!("package {} {}, {why}", package.name, package.version)
}

/// The origin of an artifact.
#[must_use]
pub fn of_artifact(name: &str, why: &str) -> String {
    format!("artifact {name}, {why}")
}

/// The origin of what an overlay brings.
#[must_use]
pub fn of_overlay(name: &str) -> String {
    format!("overlay {name}")
}

/// The origin of what the build makes.
#[must_use]
pub fn made(why: &str) -> String {
    format!("microdc, {why}")
}

/// The source that an origin names. What names none was made by the build.
#[must_use]
pub fn source(origin: &str) -> Source<'_> {
    let source = origin.split(',').next().unwrap_or_default();
    let name = |rest: &'_ str| rest.split(' ').next().unwrap_or_default().len();
    if let Some(rest) = source.strip_prefix("package ") {
        Source::Package(&rest[..name(rest)])
    } else if let Some(rest) = source.strip_prefix("artifact ") {
        Source::Artifact(&rest[..name(rest)])
    } else if let Some(rest) = source.strip_prefix("overlay ") {
        Source::Overlay(rest)
    } else {
        Source::Microdc
    }
}

/// The path of the file that needed this one, where the reason is such a need: `needed by /PATH as NAME`.
#[must_use]
pub fn needed_by(origin: &str) -> Option<&str> {
    let (_, rest) = origin.split_once(", needed by /")?;
    Some(rest.rsplit_once(" as ")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_they_are_written() {
        let package = Package {
            name: "frr".into(),
            version: "1:10.3-3".into(),
            source: crate::tree::SourcePackage::of("", "frr", "1:10.3-3"),
            entries: Default::default(),
        };
        let why = "needed by /usr/lib/a as b.so as libc.so.6";
        let origin = of_package(&package, why);
        assert_eq!(origin, format!("package frr 1:10.3-3, {why}"));
        assert_eq!(source(&origin), Source::Package("frr"));
        assert_eq!(needed_by(&origin), Some("usr/lib/a as b.so"));
        assert_eq!(source(&of_artifact("minio", "minio.toml places it")), Source::Artifact("minio"));
        assert_eq!(source(&of_overlay("my router")), Source::Overlay("my router"));
        assert_eq!(source(&made("a link of router.toml")), Source::Microdc);
        assert_eq!(source("what nobody wrote"), Source::Microdc);
        assert_eq!(needed_by(&made("a link")), None);
    }
}
