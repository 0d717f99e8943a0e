//! A bill of materials as CycloneDX 1.6 JSON.

use super::{Bom, Component, Kind};
use serde_json::{Value, json};

/// The document.
#[must_use]
pub fn document(bom: &Bom) -> Value {
    let root = format!("{}@{}", bom.name, bom.version);
    let mut depends: Vec<&str> = Vec::new();
    // What is in a component hangs below it; all the rest is the image's own.
    let inner = |purl: &str| bom.components.iter().any(|component| component.contains.contains(purl));
    depends.extend(bom.components.iter().map(|component| component.purl.as_str()).filter(|purl| !inner(purl)));
    let mut dependencies = vec![json!({ "ref": root, "dependsOn": depends })];
    for component in &bom.components {
        let mut dependency = json!({ "ref": component.purl });
        if !component.contains.is_empty() {
            dependency["dependsOn"] = json!(component.contains);
        }
        dependencies.push(dependency);
    }
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(bom)),
        "version": 1,
        "metadata": {
            "timestamp": bom.time,
            "tools": { "components": [{ "type": "application", "name": "microdc", "version": bom.microdc }] },
            "component": {
                "type": "operating-system",
                "bom-ref": root,
                "name": bom.name,
                "version": bom.version,
                "properties": [{ "name": "microdc:manifest-sha256", "value": bom.manifest.to_string() }],
            },
        },
        "components": bom.components.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

fn component(component: &Component) -> Value {
    let kind = match component.kind {
        Kind::Artifact => "application",
        Kind::Package | Kind::GoModule | Kind::Crate => "library",
    };
    let mut value =
        json!({ "type": kind, "bom-ref": component.purl, "name": component.name, "purl": component.purl });
    if let Some(version) = &component.version {
        value["version"] = version.as_str().into();
    }
    if component.kind == Kind::Package {
        value["supplier"] = json!({ "name": "Debian" });
    }
    if let Some(sha256) = component.sha256 {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": sha256.to_string() }]);
    }
    if let Some(expression) = &component.licences {
        value["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(url) = &component.url {
        value["externalReferences"] = json!([{ "type": "distribution", "url": url }]);
    }
    if !component.facts.is_empty() {
        let fact = |(name, fact): &(&str, String)| json!({ "name": format!("microdc:{name}"), "value": fact });
        value["properties"] = component.facts.iter().map(fact).collect();
    }
    value
}

/// A UUID of version 8 (RFC 9562) made of the manifest's digest.
fn uuid(bom: &Bom) -> uuid::Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&bom.manifest.0[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
