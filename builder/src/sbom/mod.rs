//! The bill of materials of a slot: packages, artifacts, and what the programs among them declare that they contain, as
//! CycloneDX 1.6 or SPDX 2.3. Everything comes from the slot itself ([`crate::inventory`] and the programs in the
//! root), and times and ids follow from the manifest: the same slot gives the same bytes.
//!
//! - [`inside`] what programs say, with [`go`] and [`crates`] · [`dep5`], [`licence`] licences · [`purl`] package URLs
//! - [`cyclonedx`], [`spdx`] the two forms

pub mod crates;
pub mod cyclonedx;
pub mod dep5;
pub mod go;
pub mod inside;
pub mod licence;
pub mod purl;
pub mod spdx;

use crate::inventory::{Artifact, Inventory, Package, licences};
use crate::open::{OpenError, OpenSlot};
use crate::tree::origin::{self, Source};
use contract::calendar::show_time;
use contract::hash::Digest;
use contract::names::LICENCES;
use std::collections::{BTreeMap, BTreeSet};

/// The fact that names the source package and its version, as `NAME VERSION`.
pub const FACT_SOURCE: &str = "source";

/// What a slot is made of.
#[derive(Clone, Debug)]
pub struct Bom {
    /// `microdc-ROLE`.
    pub name: String,
    pub version: String,
    /// Of the manifest's bytes: what the bill's ids are made of.
    pub manifest: Digest,
    /// `2026-11-20T02:11:10Z`: the time of the newest input.
    pub time: String,
    /// Version of the builder that made the slot.
    pub microdc: String,
    /// In order; the first ones are the packages.
    pub components: Vec<Component>,
    /// Texts of licences that SPDX has no name for, by their `LicenseRef-`.
    pub texts: BTreeMap<String, String>,
}

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Package,
    Artifact,
    GoModule,
    Crate,
}

/// One thing that a slot is made of.
#[derive(Clone, Debug)]
pub struct Component {
    pub kind: Kind,
    pub name: String,
    pub version: Option<String>,
    /// Unique in the bill.
    pub purl: String,
    /// Of the package file, or of the artifact's bytes.
    pub sha256: Option<Digest>,
    /// An SPDX expression; nothing where no one says.
    pub licences: Option<String>,
    /// Where it was fetched from, when that is a URL.
    pub url: Option<String>,
    /// Facts for people, by name.
    pub facts: Vec<(&'static str, String)>,
    /// Package URLs of what is in it.
    pub contains: BTreeSet<String>,
}

/// Makes the bill of a slot.
///
/// # Errors
/// When the slot cannot be read, or does not say what it is made of.
pub fn of(look: &OpenSlot) -> Result<Bom, OpenError> {
    let inventory = look.inventory()?;
    let root = look.root()?;
    let archive = match root.read(LICENCES.trim_start_matches('/')) {
        Err(OpenError::NoFile(_)) => BTreeMap::new(),
        bytes => licences::read(&bytes?).map_err(|error| OpenError::Root(format!("{LICENCES}: {error}")))?,
    };
    let mut texts = BTreeMap::new();
    let with_files = packages_with_files(&inventory);
    let packages = inventory.packages.iter().filter(|package| with_files.contains(package.name.as_str()));
    let mut components: Vec<Component> = packages.map(|package| of_package(package, &archive, &mut texts)).collect();
    components.extend(inventory.artifacts.iter().map(of_artifact));
    inside_of(&inventory, inside::programs(&root)?, &mut components);
    let manifest = &look.manifest;
    let built = show_time(manifest.built);
    Ok(Bom {
        name: format!("microdc-{}", manifest.role),
        version: manifest.version.to_string(),
        manifest: look.manifest_digest(),
        time: built.trim_end_matches(" UTC").replace(' ', "T") + "Z",
        microdc: inventory.microdc,
        components,
        texts,
    })
}

/// Packages that some file of the image is from. Others were only needed to find or to describe those: a package that
/// names the kernel's, or one that has the licence of another. They are not in the image.
pub(crate) fn packages_with_files(inventory: &Inventory) -> BTreeSet<&str> {
    let (root, boot) = (inventory.reasons(), inventory.boot_reasons());
    let origins = root.into_values().chain(boot.into_values());
    origins
        .filter_map(|origin| if let Source::Package(name) = origin::source(origin) { Some(name) } else { None })
        .collect()
}

fn of_package(
    package: &Package,
    archive: &BTreeMap<String, Vec<u8>>,
    texts: &mut BTreeMap<String, String>,
) -> Component {
    let mut facts = vec![("suite", package.suite.clone()), ("component", package.component.clone())];
    facts.extend(package.source.as_ref().map(|source| (FACT_SOURCE, source.to_string())));
    let file = package.copyright.as_ref().and_then(|path| Some((path, archive.get(path)?)));
    if let Some((path, bytes)) = file {
        facts.push(("copyright", format!("{path} in {LICENCES}, SHA-256 {}", Digest::of(bytes))));
    }
    let copyright = file.and_then(|(_, bytes)| dep5::parse(&String::from_utf8_lossy(bytes)));
    let licences = copyright.map(|copyright| {
        let expressions: BTreeSet<String> =
            copyright.expressions.iter().map(|text| licence::expression(text)).collect();
        for expression in &expressions {
            for reference in licence::references(expression) {
                let text = copyright.texts.iter().find(|(name, _)| licence::name(name) == reference);
                let text = text.map(|(_, text)| text.clone());
                let elsewhere = || format!("See {LICENCES} in the image: the copyright file of {}.", package.name);
                texts.entry(reference.to_owned()).or_insert_with(|| text.unwrap_or_else(elsewhere));
            }
        }
        conjunction(&expressions)
    });
    Component {
        kind: Kind::Package,
        name: package.name.clone(),
        version: Some(package.version.clone()),
        purl: purl::debian(&package.name, &package.version, &package.architecture, &package.suite),
        sha256: Some(package.sha256),
        licences,
        url: None,
        facts,
        contains: BTreeSet::new(),
    }
}

/// All of these hold: each is the licence of some file of the package.
fn conjunction(expressions: &BTreeSet<String>) -> String {
    let wrapped = |text: &String| match text.contains(' ') && expressions.len() > 1 {
        true => format!("({text})"),
        false => text.clone(),
    };
    expressions.iter().map(wrapped).collect::<Vec<_>>().join(" AND ")
}

fn of_artifact(artifact: &Artifact) -> Component {
    let Artifact { name, kind, from, version, path, sha256, supplied, .. } = artifact;
    let mut facts = vec![("path", path.clone()), ("kind", kind.clone())];
    if *supplied {
        facts.push(("supplied", "by hand: where it comes from is not known".to_owned()));
    }
    let from = from.as_deref().filter(|_| !supplied);
    let url = from.filter(|_| kind == "url").map(str::to_owned);
    let own = kind == "microdc";
    Component {
        kind: Kind::Artifact,
        name: name.clone(),
        version: version.clone().filter(|_| !supplied || own),
        purl: match (kind.as_str(), from) {
            ("go", Some(module)) => purl::go(module, version.as_deref().unwrap_or_default()),
            _ => purl::generic(name, version.as_deref().filter(|_| !supplied || own), url.as_deref(), *sha256),
        },
        sha256: Some(*sha256),
        licences: own.then(|| "MIT OR Apache-2.0".to_owned()),
        url,
        facts,
        contains: BTreeSet::new(),
    }
}

/// Adds what programs say is in them, below the package or artifact that each comes from.
fn inside_of(inventory: &Inventory, programs: Vec<inside::Program>, components: &mut Vec<Component>) {
    let reasons = inventory.reasons();
    let mut inner: BTreeMap<String, Component> = BTreeMap::new();
    // The node's own program does not list its crates itself.
    let own =
        components.iter_mut().find(|component| component.kind == Kind::Artifact && component.name == "firstboot");
    if let Some(own) = own {
        for (name, rest) in inventory.crates.iter().filter_map(|one| one.split_once(' ')) {
            let (version, licence) =
                rest.split_once(' ').map_or((rest, None), |(version, licence)| (version, Some(licence)));
            let purl = purl::cargo(name, version);
            own.contains.insert(purl.clone());
            let licences = licence.map(str::to_owned);
            inner.insert(purl.clone(), Component { licences, ..component(Kind::Crate, name, version, purl) });
        }
    }
    for inside::Program { path, go, crates } in programs {
        let owner = reasons.get(path.as_str()).map_or(Source::Microdc, |origin| origin::source(origin));
        let owner = components.iter_mut().find(|component| match owner {
            Source::Package(name) => component.kind == Kind::Package && component.name == name,
            Source::Artifact(name) => component.kind == Kind::Artifact && component.name == name,
            Source::Overlay(_) | Source::Microdc => false,
        });
        let mut found = Vec::new();
        if let Some(go::Program { go, main, modules }) = go {
            found.push(component(
                Kind::GoModule,
                "stdlib",
                go.trim_start_matches("go"),
                purl::go("stdlib", go.trim_start_matches("go")),
            ));
            for module in main.into_iter().chain(modules) {
                let mut made =
                    component(Kind::GoModule, &module.path, &module.version, purl::go(&module.path, &module.version));
                if !module.sum.is_empty() {
                    made.facts.push(("go-sum", module.sum));
                }
                found.push(made);
            }
        }
        for crates::Crate { name, version } in crates {
            found.push(component(Kind::Crate, &name, &version, purl::cargo(&name, &version)));
        }
        if let Some(owner) = owner {
            // What is a component itself, such as the main module of a Go artifact, does not contain itself.
            let others = found.iter().map(|found| found.purl.clone()).filter(|purl| *purl != owner.purl);
            owner.contains.extend(others);
        }
        for component in found {
            inner.entry(component.purl.clone()).or_insert(component);
        }
    }
    let outer: BTreeSet<String> = components.iter().map(|component| component.purl.clone()).collect();
    components.extend(inner.into_values().filter(|component| !outer.contains(&component.purl)));
}

fn component(kind: Kind, name: &str, version: &str, purl: String) -> Component {
    Component {
        kind,
        name: name.to_owned(),
        version: Some(version.to_owned()),
        purl,
        sha256: None,
        licences: None,
        url: None,
        facts: Vec::new(),
        contains: BTreeSet::new(),
    }
}
