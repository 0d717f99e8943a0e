//! A bill of materials as SPDX 2.3 JSON.

use super::{Bom, Component, Kind};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NO_ASSERTION: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-image";

/// The document.
#[must_use]
pub fn document(bom: &Bom) -> Value {
    let id = |number: usize| format!("SPDXRef-{number}");
    let ids: BTreeMap<&str, String> =
        bom.components.iter().enumerate().map(|(number, component)| (component.purl.as_str(), id(number))).collect();
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": bom.name,
        "versionInfo": bom.version,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
        "comment": format!("SHA-256 of its signed manifest: {}", bom.manifest),
    })];
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut relations = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    let inner = |purl: &str| bom.components.iter().any(|component| component.contains.contains(purl));
    for (number, component) in bom.components.iter().enumerate() {
        packages.push(package(component, &id(number)));
        if !inner(&component.purl) {
            relations.push(relation(IMAGE, "CONTAINS", &id(number)));
        }
        for purl in &component.contains {
            relations.extend(ids.get(purl.as_str()).map(|to| relation(&id(number), "CONTAINS", to)));
        }
    }
    let texts: Vec<Value> = bom
        .texts
        .iter()
        .map(|(reference, text)| {
            let name = reference.trim_start_matches("LicenseRef-");
            json!({ "licenseId": reference, "name": name, "extractedText": text })
        })
        .collect();
    let name = format!("{}-{}", bom.name, bom.version);
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/{name}-{}", bom.manifest),
        "creationInfo": { "created": bom.time, "creators": [format!("Tool: microdc-{}", bom.microdc)] },
        "packages": packages,
        "relationships": relations,
    });
    if !texts.is_empty() {
        document["hasExtractedLicensingInfos"] = texts.into();
    }
    document
}

fn package(component: &Component, id: &str) -> Value {
    let purpose = match component.kind {
        Kind::Artifact => "APPLICATION",
        Kind::Package | Kind::GoModule | Kind::Crate => "LIBRARY",
    };
    let mut value = json!({
        "SPDXID": id,
        "name": component.name,
        "primaryPackagePurpose": purpose,
        "downloadLocation": component.url.as_deref().unwrap_or(NO_ASSERTION),
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": component.licences.as_deref().unwrap_or(NO_ASSERTION),
        "copyrightText": NO_ASSERTION,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": component.purl,
        }],
    });
    if let Some(version) = &component.version {
        value["versionInfo"] = version.as_str().into();
    }
    if component.kind == Kind::Package {
        value["supplier"] = "Organization: Debian".into();
    }
    if let Some(sha256) = component.sha256 {
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256.to_string() }]);
    }
    if !component.facts.is_empty() {
        let facts: Vec<String> = component.facts.iter().map(|(name, fact)| format!("{name}: {fact}")).collect();
        value["comment"] = facts.join("; ").into();
    }
    value
}
