//! The packages to look up: of an image's inventory, of a lock, or of a bill of materials.

use crate::cache::Cache;
use crate::inventory::Inventory;
use crate::lock::Lock;
use crate::sbom;
use crate::source::deb;
use crate::source::depends::is_package_name;
use crate::source::percent::decoded;
use crate::source::version::Version;
use crate::tree::SourcePackage;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One package of Debian's, as the tracker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The binary package.
    pub package: String,
    pub source: SourcePackage,
    /// Code name: `trixie`.
    pub release: String,
    /// Whether the source was told from the archive's path or from the package's name.
    pub guessed: bool,
}

/// All that is looked at, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    pub followed: Vec<Subject>,
    /// Packages of suites that the tracker does not follow, with the suite.
    pub not_followed: Vec<String>,
    /// What comes from no package.
    pub not_covered: Vec<String>,
}

/// A bill of materials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BillError {
    #[error("it cannot be read as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is neither a CycloneDX nor an SPDX 2 document")]
    Form,
}

impl Subjects {
    /// The packages that some file of the image comes from.
    #[must_use]
    pub fn of_inventory(inventory: &Inventory) -> Subjects {
        let with_files = sbom::packages_with_files(inventory);
        let mut subjects = Subjects::default();
        for package in inventory.packages.iter().filter(|package| with_files.contains(package.name.as_str())) {
            let guess = || by_path(&package.path, &package.name, &package.version);
            subjects.add(&package.name, &package.version, &package.suite, package.source.clone(), guess);
        }
        // Its crates are another tracker's.
        subjects.not_covered =
            inventory.artifacts.iter().map(|artifact| artifact.name.escape_default().to_string()).collect();
        subjects
    }

    /// The packages of a lock. Where the cache has one unpacked, the package itself says what it was built from.
    #[must_use]
    pub fn of_lock(lock: &Lock, cache: &Cache) -> Subjects {
        let mut subjects = Subjects::default();
        for package in lock.packages.values() {
            let source = deb::cached(cache, package).map(|unpacked| unpacked.package.source.clone());
            let guess = || by_path(&package.path, &package.name, &package.version);
            subjects.add(&package.name, &package.version, &package.suite, source, guess);
        }
        subjects.not_covered = lock.artifacts.keys().cloned().collect();
        subjects
    }

    /// The packages of a CycloneDX or SPDX document, of microdc's own or of another program's: what has a package URL of
    /// the type `deb`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn of_bill(text: &[u8]) -> Result<Subjects, BillError> {
        let bill: Bill = serde_json::from_slice(text)?;
        if bill.bom_format.as_deref() != Some("CycloneDX") && bill.spdx_version.is_none() {
            return Err(BillError::Form);
        }
        let mut subjects = Subjects::default();
        for component in &bill.components {
            let property = |property: &&Property| property.name.strip_prefix("microdc:") == Some(sbom::FACT_SOURCE);
            let source = component.properties.iter().find(property).map(|property| property.value.as_str());
            subjects.add_purl(&component.name, component.purl.as_deref(), source);
        }
        for package in &bill.packages {
            let purl = package.references.iter().find(|reference| reference.kind == "purl");
            let source = package.comment.as_deref().and_then(|comment| comment.split("; ").find_map(source_fact));
            // The image itself is a package too, without a purl.
            if purl.is_some() {
                subjects.add_purl(&package.name, purl.map(|purl| purl.locator.as_str()), source);
            }
        }
        Ok(subjects)
    }

    fn add_purl(&mut self, name: &str, purl: Option<&str>, source: Option<&str>) {
        let Some(purl) = purl.and_then(Purl::parse) else {
            self.not_covered.push(name.escape_default().to_string());
            return;
        };
        let pair = |text: &str, separator: char| {
            let (name, version) = text.split_once(separator)?;
            Some(SourcePackage { name: name.to_owned(), version: version.to_owned() })
        };
        // Other programs write `upstream=NAME@VERSION`, or the name alone.
        let upstream = purl.qualifiers.get("upstream");
        let upstream = upstream.map(|text| {
            pair(text, '@').unwrap_or_else(|| SourcePackage { name: text.clone(), version: plain(&purl.version) })
        });
        let source = source.and_then(|text| pair(text, ' ')).or(upstream);
        let guess = || SourcePackage { name: purl.name.clone(), version: plain(&purl.version) };
        let distro = purl.qualifiers.get("distro").map_or("", String::as_str);
        self.add(&purl.name, &purl.version, distro, source, guess);
    }

    fn add(
        &mut self,
        package: &str,
        version: &str,
        suite: &str,
        source: Option<SourcePackage>,
        guess: impl Fn() -> SourcePackage,
    ) {
        let Some(release) = release(suite) else {
            self.not_followed.push(match suite {
                "" => format!("{} (of no named release)", package.escape_default()),
                _ => format!("{} ({})", package.escape_default(), suite.escape_default()),
            });
            return;
        };
        let guessed = source.is_none();
        let source = tracked(source.unwrap_or_else(guess), version);
        // What Debian would not name so is not Debian's, and is not printed as it is either.
        let named = is_package_name(package) && is_package_name(&source.name);
        if !named || source.version.parse::<Version>().is_err() {
            let (source, version) = (source.name.escape_default(), source.version.escape_default());
            self.not_followed.push(format!("{} (of {source} {version})", package.escape_default()));
            return;
        }
        self.followed.push(Subject { package: package.to_owned(), source, release, guessed });
    }
}

/// The release that a suite belongs to, by its code name; nothing where the tracker does not follow the suite.
fn release(suite: &str) -> Option<String> {
    let name = ["-security", "-updates", "-proposed-updates"].iter().find_map(|end| suite.strip_suffix(end));
    let name = name.unwrap_or(suite);
    // What other programs write into package URLs: `debian-13`, `debian-13.2`.
    let number = name.strip_prefix("debian-").map(|number| number.split('.').next().unwrap_or(number));
    let name = match number.unwrap_or(name) {
        "11" => "bullseye",
        "12" => "bookworm",
        "13" => "trixie",
        "14" => "forky",
        "unstable" => "sid",
        name => name,
    };
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    (plain && !matches!(name, "stable" | "testing" | "oldstable" | "experimental")).then(|| name.to_owned())
}

/// The name and version under which the tracker has a source package. Debian signs kernels in a source package of their
/// own, `linux-signed-arm64 (6.12.57+1)`; its packages carry the version of `linux`, which is what the tracker follows.
fn tracked(source: SourcePackage, version: &str) -> SourcePackage {
    if source.name.starts_with("linux-signed-") {
        return SourcePackage { name: "linux".to_owned(), version: plain(version) };
    }
    source
}

/// In the archive a package lies below its source's name: `pool/main/g/glibc/libc6_2.41-12_arm64.deb`. The source's version
/// is mostly the package's.
fn by_path(path: &str, name: &str, version: &str) -> SourcePackage {
    let parts: Vec<&str> = path.split('/').collect();
    let source = if let ["pool", _, _, source, _] = parts[..] { source } else { name };
    SourcePackage { name: source.to_owned(), version: plain(version) }
}

/// A version without what a rebuild of the same source adds (`+b1`).
fn plain(version: &str) -> String {
    let rebuilt = version
        .rsplit_once("+b")
        .filter(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    rebuilt.map_or(version, |(version, _)| version).to_owned()
}

/// `source: glibc 2.41-12`, as our SPDX documents have it.
fn source_fact(fact: &str) -> Option<&str> {
    fact.strip_prefix(sbom::FACT_SOURCE)?.strip_prefix(": ")
}

/// What both kinds of documents have that is of interest here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bill {
    bom_format: Option<String>,
    #[serde(default)]
    components: Vec<Component>,
    spdx_version: Option<String>,
    #[serde(default)]
    packages: Vec<SpdxPackage>,
}

#[derive(Deserialize)]
struct Component {
    name: String,
    purl: Option<String>,
    #[serde(default)]
    properties: Vec<Property>,
}

#[derive(Deserialize)]
struct Property {
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct SpdxPackage {
    name: String,
    comment: Option<String>,
    #[serde(default, rename = "externalRefs")]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "referenceType")]
    kind: String,
    #[serde(rename = "referenceLocator")]
    locator: String,
}

/// A package URL (ECMA-427) of the type `deb` and the vendor `debian`.
struct Purl {
    name: String,
    version: String,
    qualifiers: BTreeMap<String, String>,
}

impl Purl {
    fn parse(text: &str) -> Option<Purl> {
        let rest = text.strip_prefix("pkg:deb/debian/")?;
        let rest = rest.split('#').next().unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (name, version) = path.split_once('@')?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let qualifiers = pairs.map(|(key, value)| (key.to_owned(), decoded(value))).collect();
        Some(Purl { name: decoded(name), version: decoded(version), qualifiers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cyclonedx(purl: &str, properties: &str) -> Subjects {
        let text = format!(
            r#"{{"bomFormat": "CycloneDX", "components": [{{"name": "x", "purl": "{purl}", "properties": [{properties}]}}]}}"#
        );
        Subjects::of_bill(text.as_bytes()).unwrap()
    }

    fn source(subjects: &Subjects) -> (String, &str, bool) {
        let subject = &subjects.followed[0];
        (subject.source.to_string(), &subject.release, subject.guessed)
    }

    #[test]
    fn a_bill_of_our_own_names_the_source() {
        let ours = cyclonedx(
            "pkg:deb/debian/dmsetup@2:1.02.205-2?arch=arm64&distro=trixie",
            r#"{"name": "microdc:suite", "value": "trixie"}, {"name": "microdc:source", "value": "lvm2 2.03.31-2"}"#,
        );
        assert_eq!(source(&ours), ("lvm2 2.03.31-2".to_owned(), "trixie", false));
    }

    #[test]
    fn bills_of_other_programs_are_understood() {
        let upstream =
            cyclonedx("pkg:deb/debian/libc6@2.41-12%2Bb1?arch=arm64&distro=debian-13&upstream=glibc%402.41-12", "");
        assert_eq!(source(&upstream), ("glibc 2.41-12".to_owned(), "trixie", false));
        let name = cyclonedx("pkg:deb/debian/libc6@2.41-12%2Bb1?distro=debian-13.2&upstream=glibc", "");
        assert_eq!(source(&name), ("glibc 2.41-12".to_owned(), "trixie", false));
        let nothing = cyclonedx("pkg:deb/debian/frr@10.3-3%2Bb2?distro=sid", "");
        assert_eq!(source(&nothing), ("frr 10.3-3".to_owned(), "sid", true));
        let other = cyclonedx("pkg:golang/stdlib@1.24", "");
        assert_eq!((other.followed.len(), other.not_covered), (0, vec!["x".to_owned()]));
        assert!(matches!(Subjects::of_bill(b"{\"components\": []}"), Err(BillError::Form)));
        assert!(matches!(Subjects::of_bill(b"not json"), Err(BillError::Json(_))));
    }

    #[test]
    fn what_debian_would_not_name_so_is_not_looked_up_and_cannot_reach_a_terminal() {
        for (purl, source) in [
            ("pkg:deb/debian/x%1B%5B31m@1?distro=trixie", ""),
            ("pkg:deb/debian/xx@1%1B?distro=trixie", ""),
            ("pkg:deb/debian/xx@1?distro=trixie", r#"{"name": "microdc:source", "value": "a\u001bb 1"}"#),
            ("pkg:deb/debian/xx@1?distro=tri%1Bxie", ""),
        ] {
            let found = cyclonedx(purl, source);
            assert!(found.followed.is_empty() && found.not_followed.len() == 1, "{found:?}");
            assert!(!found.not_followed[0].contains('\u{1b}'), "{found:?}");
        }
    }

    #[test]
    fn the_signed_kernel_is_looked_up_as_linux() {
        let signed =
            SourcePackage::of("linux-signed-arm64 (6.12.57+1)", "linux-image-6.12.57+deb13-arm64", "6.12.57-1");
        assert_eq!(tracked(signed, "6.12.57-1").to_string(), "linux 6.12.57-1");
    }

    #[test]
    fn a_source_is_told_from_the_path_when_nothing_else_says_it() {
        let path = "pool/main/g/glibc/libc6_2.41-12+b1_arm64.deb";
        assert_eq!(by_path(path, "libc6", "2.41-12+b1").to_string(), "glibc 2.41-12");
        assert_eq!(by_path("libc6.deb", "libc6", "2.41-12+bx").to_string(), "libc6 2.41-12+bx");
    }

    #[test]
    fn suites_belong_to_the_release_that_the_tracker_follows() {
        let names = ["trixie", "trixie-security", "trixie-updates", "sid", "unstable", "debian-13.1"].map(release);
        assert_eq!(names.map(Option::unwrap), ["trixie", "trixie", "trixie", "sid", "sid", "trixie"]);
        for other in ["trixie-backports", "stable", "", "x\u{1b}[31m", "experimental"] {
            assert_eq!(release(other), None, "{other:?}");
        }
    }
}
