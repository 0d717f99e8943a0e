//! What a Rust program says of itself: the crates that are in it, in the form of `cargo auditable`: JSON packed with zlib
//! in the section `.dep-v0`.

use flate2::read::ZlibDecoder;
use serde::Deserialize;
use std::io::Read as _;

/// The section's name.
pub const SECTION: &str = ".dep-v0";

/// The list of the largest program there is has some hundred kilobytes.
const LARGEST: u64 = 8 << 20;

/// A crate at a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    pub name: String,
    pub version: String,
}

#[derive(Deserialize)]
struct List {
    packages: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    version: String,
    /// `build` for what only ran while it was compiled.
    #[serde(default)]
    kind: Option<String>,
    /// The program itself.
    #[serde(default)]
    root: bool,
}

/// The crates of the section's content, without the program itself and without what only built it. Nothing when it is no
/// such list.
#[must_use]
pub fn parse(section: &[u8]) -> Option<Vec<Crate>> {
    let mut json = Vec::new();
    ZlibDecoder::new(section).take(LARGEST + 1).read_to_end(&mut json).ok()?;
    if json.len() as u64 > LARGEST {
        return None;
    }
    let List { packages } = serde_json::from_slice(&json).ok()?;
    let linked = packages.into_iter().filter(|listed| !listed.root && listed.kind.as_deref() != Some("build"));
    let mut crates: Vec<Crate> = linked.map(|Listed { name, version, .. }| Crate { name, version }).collect();
    crates.sort();
    crates.dedup();
    Some(crates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write as _;

    fn packed(json: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(json).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn linked_crates_are_read_and_build_tools_are_not() {
        let json = br#"{"packages":[{"name":"x","version":"1.0.0","source":"local","root":true,"dependencies":[1]},
            {"name":"serde","version":"1.0.229","source":"registry"},
            {"name":"cc","version":"1.2.0","source":"registry","kind":"build"}]}"#;
        let serde = Crate { name: "serde".into(), version: "1.0.229".into() };
        assert_eq!(parse(&packed(json)), Some(vec![serde]));
    }

    #[test]
    fn what_unpacks_without_end_is_refused() {
        assert_eq!(parse(&packed(&vec![b' '; LARGEST as usize + 1])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&packed(&bytes));
        }
    }
}
