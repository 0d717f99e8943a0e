//! Reads a file out of a cpio archive ("newc", as [`super::cpio`] writes it). The bytes are untrusted.

const HEAD: usize = 110;

/// An archive that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no cpio archive, or a damaged one, at byte {0}")]
pub struct CpioError(pub usize);

/// The content of the regular file at `path` (no leading slash), if the archive has it.
///
/// # Errors
/// When the archive is damaged before that file.
pub fn file<'a>(archive: &'a [u8], path: &str) -> Result<Option<&'a [u8]>, CpioError> {
    let mut at = 0;
    loop {
        let (entry, next) = entry(archive, at).ok_or(CpioError(at))?;
        if entry.name == b"TRAILER!!!" {
            return Ok(None);
        }
        if entry.name == path.as_bytes() && entry.mode & 0o170_000 == 0o100_000 {
            return Ok(Some(entry.data));
        }
        at = next;
    }
}

struct Entry<'a> {
    name: &'a [u8],
    mode: usize,
    data: &'a [u8],
}

/// The entry at `at`, and where the next one begins.
fn entry(archive: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let head = archive.get(at..at.checked_add(HEAD)?)?;
    if !head.starts_with(b"070701") {
        return None;
    }
    let field = |number: usize| {
        let text = std::str::from_utf8(head.get(6 + number * 8..)?.get(..8)?).ok()?;
        text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| usize::from_str_radix(text, 16).ok())?
    };
    let (mode, size, name_length) = (field(1)?, field(6)?, field(11)?);
    let name_end = at + HEAD + name_length;
    let name = archive.get(at + HEAD..name_end)?.strip_suffix(b"\0")?;
    let data_at = name_end.next_multiple_of(4);
    let data = archive.get(data_at..data_at.checked_add(size)?)?;
    Some((Entry { name, mode, data }, (data_at + size).next_multiple_of(4)))
}

#[cfg(test)]
mod tests {
    use super::super::cpio::{Archive, What};
    use super::*;
    use proptest::prelude::*;

    fn archive() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.add("etc", 0o755, What::Directory);
        archive.add("init", 0o755, What::File(b"program"));
        archive.add("link", 0o777, What::Symlink("init"));
        archive.add("etc/spec", 0o644, What::File(b"{}"));
        archive.finish()
    }

    #[test]
    fn files_are_found_by_their_paths() {
        let archive = archive();
        assert_eq!(file(&archive, "etc/spec"), Ok(Some(&b"{}"[..])));
        assert_eq!(file(&archive, "init"), Ok(Some(&b"program"[..])));
        for none in ["etc", "link", "nothing"] {
            assert_eq!(file(&archive, none), Ok(None), "{none}");
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_is_damaged() {
        let archive = archive();
        for length in [0, 5, 109, 111, 200] {
            assert!(file(&archive[..length], "etc/spec").is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..600) {
            let mut archive = archive();
            for (offset, byte) in bytes.iter().enumerate() {
                if let Some(place) = archive.get_mut(at + offset) { *place = *byte; }
            }
            let _ = file(&archive, "etc/spec");
            let _ = file(&bytes, "etc/spec");
        }
    }
}
