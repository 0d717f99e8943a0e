//! Programs of others that read bills of materials.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Python with the validators of both forms, in a folder of its own.
fn validators() -> PathBuf {
    const WANTED: [&str; 3] =
        ["cyclonedx-python-lib[json-validation]==11.12.0", "spdx-tools==0.8.5", "packageurl-python==0.17.6"];
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sbom-validators");
    let gate = std::fs::File::create(folder.with_extension("gate")).unwrap();
    gate.lock().unwrap();
    let (python, whole) = (folder.join("bin/python"), folder.join("whole"));
    if std::fs::read_to_string(&whole).ok().as_deref() != Some(&WANTED.join(" ")) {
        let made =
            Command::new("python3").args(["-m", "venv", "--clear", folder.to_str().unwrap()]).output().unwrap();
        assert!(made.status.success(), "install python3-venv: {}", String::from_utf8_lossy(&made.stderr));
        let pip = Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(WANTED).output().unwrap();
        let why = String::from_utf8_lossy(&pip.stderr);
        assert!(pip.status.success(), "the validators {WANTED:?} cannot be had from the Python index: {why}");
        std::fs::write(&whole, WANTED.join(" ")).unwrap();
    }
    python
}

const VALIDATE: &str = r#"
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
cyclonedx, spdx = sys.argv[1:]
text = open(cyclonedx).read()
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert wrong is None, wrong
wrong = validate_full_spdx_document(parse_file(spdx))
assert not wrong, [message.validation_message for message in wrong]
for component in json.loads(text)["components"]:
    assert PackageURL.from_string(component["purl"]).to_string() == component["purl"], component["purl"]
"#;

/// Both bills are what their standards say, by the validators of both, and every package URL is one.
pub fn assert_accepted(cyclonedx: &Path, spdx: &Path) {
    let output = Command::new(validators()).args(["-c", VALIDATE]).args([cyclonedx, spdx]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
