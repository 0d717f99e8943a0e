//! An artifact in the text of a lock: flat, with the keys of its kind and no others.

use super::{LockedArtifact, LockedFrom};
use crate::profile::artifact::GoProgram;
use contract::hash::Digest;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Url,
    Go,
    File,
}

/// As it is in the file.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    name: String,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    go: Option<String>,
    size: u64,
    sha256: Digest,
}

impl TryFrom<Written> for LockedArtifact {
    type Error = String;

    fn try_from(written: Written) -> Result<LockedArtifact, String> {
        let Written { name, kind, url, package, version, module, sum, go, size, sha256 } = written;
        let from = match (kind, url, (package, version, module, sum, go)) {
            (Kind::Url, Some(url), (None, None, None, None, None)) => LockedFrom::Url { url },
            (Kind::Go, None, (Some(package), Some(version), Some(module), Some(sum), Some(go))) => {
                LockedFrom::Go { program: GoProgram { package, version }, module, sum, go }
            }
            (Kind::File, None, (None, None, None, None, None)) => LockedFrom::File,
            _ => return Err(format!("the artifact {name} lacks the keys of its kind")),
        };
        Ok(LockedArtifact { name, from, size, sha256 })
    }
}

impl From<LockedArtifact> for Written {
    fn from(artifact: LockedArtifact) -> Written {
        let LockedArtifact { name, from, size, sha256 } = artifact;
        let mut written = Written {
            name,
            kind: Kind::File,
            url: None,
            package: None,
            version: None,
            module: None,
            sum: None,
            go: None,
            size,
            sha256,
        };
        match from {
            LockedFrom::File => {}
            LockedFrom::Url { url } => (written.kind, written.url) = (Kind::Url, Some(url)),
            LockedFrom::Go { program, module, sum, go } => {
                written.kind = Kind::Go;
                (written.package, written.version) = (Some(program.package), Some(program.version));
                (written.module, written.sum, written.go) = (Some(module), Some(sum), Some(go));
            }
        }
        written
    }
}

impl std::fmt::Display for LockedFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockedFrom::Url { url } => f.write_str(url),
            LockedFrom::Go { program, go, .. } => write!(f, "{program}, by {go}"),
            LockedFrom::File => f.write_str("a file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FORMAT, Lock};
    use super::*;
    use std::path::Path;

    #[test]
    fn artifacts_come_back_as_they_were_written_and_have_the_keys_of_their_kind() {
        let artifact =
            |name: &str, from| LockedArtifact { name: name.to_owned(), from, size: 7, sha256: Digest::of(b"x") };
        let program = GoProgram { package: "example.org/p/cmd/p".into(), version: "v1.0.0".into() };
        let go =
            LockedFrom::Go { program, module: "example.org/p".into(), sum: "h1:x".into(), go: "go1.26.8".into() };
        let all = [
            artifact("banner", LockedFrom::File),
            artifact("k3s", LockedFrom::Url { url: "https://h.example/k3s".into() }),
            artifact("p", go),
        ];
        let artifacts = all.map(|artifact| (artifact.name.clone(), artifact)).into();
        let lock = Lock { artifacts, ..Lock::default() };
        let text = lock.to_text();
        assert_eq!(Lock::parse(&text, Path::new("t.lock")).unwrap(), lock, "{text}");
        assert!(text.contains("name = \"p\"\nkind = \"go\"\npackage = "), "{text}");
        for (from, to) in
            [("kind = \"url\"", "kind = \"file\""), ("sum = \"h1:x\"\n", ""), ("kind = \"go\"", "kind = \"deb\"")]
        {
            assert!(Lock::parse(&text.replace(from, to), Path::new("t.lock")).is_err(), "{from}");
        }
        let twice = format!("{text}{}", &text[text.find("\n[[artifact]]").unwrap()..]);
        assert!(Lock::parse(&twice, Path::new("t.lock")).unwrap_err().to_string().contains("twice"));
        assert_eq!(FORMAT, 1);
    }
}
