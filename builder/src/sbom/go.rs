//! What a Go program says of itself: the version of Go, and the modules that are in it.
//!
//! The linker puts it into the section `.go.buildinfo` (Go's `debug/buildinfo`): a magic number, flags, and since Go 1.18
//! two strings, each behind its length as a varint: Go's version, and the lines of `runtime/debug.BuildInfo` between two
//! marks of 16 bytes. The form before 1.18, which holds addresses in their place, is not read.

/// The section's name.
pub const SECTION: &str = ".go.buildinfo";

const MAGIC: &[u8; 14] = b"\xff Go buildinf:";
/// Both strings follow the head.
const INLINE: u8 = 2;
const HEAD: usize = 32;
const MARK: usize = 16;
/// A program has at most so many modules; the largest there are have some 600.
const MOST_MODULES: usize = 20_000;

/// What a Go program is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Go's version, such as `go1.24.4`.
    pub go: String,
    /// The module of the main package; nothing for programs that were built without modules.
    pub main: Option<Module>,
    /// The modules that it was built with.
    pub modules: Vec<Module>,
}

/// A module at a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module {
    pub path: String,
    /// `(devel)` where Go did not know.
    pub version: String,
    /// Go's hash of its source, `h1:…`; empty where there is none.
    pub sum: String,
}

/// Reads the content of the section. Nothing when it is none, or of a form that is not read.
#[must_use]
pub fn parse(section: &[u8]) -> Option<Program> {
    // The linker aligns it to 16 bytes; what stands before is not its own.
    let at = section.windows(MAGIC.len()).step_by(16).position(|window| window == MAGIC)? * 16;
    let head = section.get(at..at.checked_add(HEAD)?)?;
    if head.get(15)? & INLINE == 0 {
        return None;
    }
    let mut rest = section.get(at + HEAD..)?;
    let go = String::from_utf8(string(&mut rest)?.to_vec()).ok()?;
    let lines = string(&mut rest)?;
    let lines = lines.get(MARK..lines.len().saturating_sub(MARK)).unwrap_or_default();
    let mut program = Program { go, ..Program::default() };
    for line in std::str::from_utf8(lines).ok()?.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next().unwrap_or_default();
        let mut module = || {
            let (path, version) = (fields.next()?, fields.next()?);
            let sum = fields.next().unwrap_or_default();
            let good = |text: &str| !text.is_empty() && text.len() < 1024;
            (good(path) && good(version)).then(|| Module {
                path: path.to_owned(),
                version: version.to_owned(),
                sum: sum.to_owned(),
            })
        };
        match kind {
            "mod" => program.main = module(),
            "dep" if program.modules.len() < MOST_MODULES => program.modules.extend(module()),
            // The module before was replaced by this one.
            "=>" => {
                let place = program.modules.last_mut().or(program.main.as_mut());
                if let (Some(place), Some(module)) = (place, module()) {
                    *place = module;
                }
            }
            _ => (),
        }
    }
    Some(program)
}

/// Takes a string from the front: its length as a varint, then its bytes.
fn string<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (mut length, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
    let (text, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The section of a program with these lines.
    pub(in crate::sbom) fn section(go: &str, lines: &str) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend(MAGIC);
        bytes.extend([8, INLINE]);
        bytes.resize(16 + HEAD, 0);
        for text in [go.to_owned(), format!("{0}{lines}{0}", "#".repeat(MARK))] {
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push(length as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend(text.bytes());
        }
        bytes
    }

    const LINES: &str = "path\texample.org/cmd/x\nmod\texample.org/x\tv1.2.3\th1:a=\ndep\texample.org/a\tv0.1.0\th1:b=\n\
                         dep\texample.org/b\tv0.2.0\n=>\texample.org/c\tv0.3.0\th1:c=\nbuild\tGOARCH=arm64\n";

    fn module(path: &str, version: &str, sum: &str) -> Module {
        Module { path: path.into(), version: version.into(), sum: sum.into() }
    }

    #[test]
    fn modules_are_read_and_replaced_ones_are_what_replaced_them() {
        let program = parse(&section("go1.26.1", LINES)).unwrap();
        assert_eq!(program.go, "go1.26.1");
        assert_eq!(program.main, Some(module("example.org/x", "v1.2.3", "h1:a=")));
        let modules = [module("example.org/a", "v0.1.0", "h1:b="), module("example.org/c", "v0.3.0", "h1:c=")];
        assert_eq!(program.modules, modules);
    }

    #[test]
    fn the_form_before_go_1_18_is_not_read() {
        let mut old = section("go1.17", LINES);
        old[16 + 15] = 0;
        assert_eq!(parse(&old), None);
        assert_eq!(parse(b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), flags: u8) {
            let _ = parse(&bytes);
            let mut behind = MAGIC.to_vec();
            behind.extend([8, flags | INLINE]);
            behind.resize(HEAD, 0);
            behind.extend(&bytes);
            let _ = parse(&behind);
        }

        #[test]
        fn a_damaged_section_does_not_make_it_panic(at in 0..300_usize, byte: u8, end in 0..300_usize) {
            let mut bytes = section("go1.26.1", LINES);
            let place = at % bytes.len();
            bytes[place] = byte;
            bytes.truncate(end.max(1));
            let _ = parse(&bytes);
        }
    }
}
