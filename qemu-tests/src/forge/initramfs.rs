//! Changes to an initramfs. The kernel unpacks one archive after the other and lets later files replace earlier ones
//! (Documentation/driver-api/early-userspace/buffer-format.rst), so a change is an archive of its own behind the first.

use contract::initramfs::InitramfsSpec;
use contract::names::INITRAMFS_SPEC;

/// An initramfs in which `bytes` are at `path`.
#[must_use]
pub fn with(mut initramfs: Vec<u8>, path: &str, bytes: &[u8]) -> Vec<u8> {
    // An archive that is not packed begins at a multiple of four; the kernel passes over the zeros before it.
    initramfs.resize(initramfs.len().next_multiple_of(4), 0);
    entry(&mut initramfs, path.trim_start_matches('/'), 0o100_755, bytes);
    entry(&mut initramfs, "TRAILER!!!", 0, &[]);
    initramfs
}

/// An initramfs with another spec.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn with_spec(initramfs: Vec<u8>, change: impl FnOnce(&mut InitramfsSpec)) -> Vec<u8> {
    let bytes = read(&initramfs, INITRAMFS_SPEC).expect("an initramfs has a spec");
    let mut spec: InitramfsSpec = serde_json::from_slice(&bytes).expect("the spec can be read");
    change(&mut spec);
    with(initramfs, INITRAMFS_SPEC, &serde_json::to_vec(&spec).expect("a spec can be written"))
}

/// The file at `path`: the last one of that name.
#[must_use]
pub fn read(initramfs: &[u8], path: &str) -> Option<Vec<u8>> {
    let path = path.trim_start_matches('/');
    let packed = zstd::zstd_safe::find_frame_compressed_size(initramfs).ok()?;
    let first = zstd::decode_all(initramfs.get(..packed)?).ok()?;
    // Places in an archive that is not packed count from a multiple of four of the whole.
    let rest = initramfs.get(packed.next_multiple_of(4)..).unwrap_or_default();
    [rest, &first].into_iter().find_map(|archive| find(archive, path))
}

/// Fields of a "newc" header behind its magic, each of eight hexadecimal digits.
const FIELDS: usize = 13;
const SIZE: usize = 6;
const NAME_LENGTH: usize = 11;
const HEADER: usize = 6 + FIELDS * 8;

fn entry(archive: &mut Vec<u8>, name: &str, mode: usize, bytes: &[u8]) {
    let start = archive.len();
    archive.extend(b"070701");
    let mut fields = [0; FIELDS];
    // 0 is the inode, 4 the number of links.
    (fields[0], fields[1], fields[4]) = (start, mode, 1);
    (fields[SIZE], fields[NAME_LENGTH]) = (bytes.len(), name.len() + 1);
    archive.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(bytes);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// The last file of this name in archives that follow each other.
fn find(archives: &[u8], path: &str) -> Option<Vec<u8>> {
    let (mut at, mut found) = (0, None);
    while let Some(header) = archives.get(at..at + HEADER) {
        if !header.starts_with(b"070701") {
            // What fills up to where the next one begins.
            at += 1;
            continue;
        }
        let field = |number: usize| {
            let digits = std::str::from_utf8(&header[6 + number * 8..14 + number * 8]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (size, name_length) = (field(SIZE)?, field(NAME_LENGTH)?);
        let name = archives.get(at + HEADER..at + HEADER + name_length)?;
        let data = (at + HEADER + name_length).next_multiple_of(4);
        if name.strip_suffix(&[0]) == Some(path.as_bytes()) {
            found = archives.get(data..data + size).map(<[u8]>::to_vec);
        }
        at = (data + size).next_multiple_of(4);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_unpacks_the_archive_that_was_put_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("cpio")
            .args(["-i", "--quiet"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("cpio of Debian's package of that name");
        cpio.stdin.take().unwrap().write_all(&with(Vec::new(), "/init", b"a program")).unwrap();
        assert!(cpio.wait().unwrap().success());
        assert_eq!(std::fs::read(folder.path().join("init")).unwrap(), b"a program");
    }

    #[test]
    fn the_last_file_of_a_name_counts() {
        let mut first = Vec::new();
        entry(&mut first, "init", 0o100_755, b"old");
        entry(&mut first, "TRAILER!!!", 0, &[]);
        let packed = zstd::encode_all(&first[..], 3).unwrap();
        assert_eq!(read(&packed, "/init").unwrap(), b"old");
        let changed = with(with(packed, "/init", b"new"), "/etc/other", b"");
        assert_eq!(read(&changed, "/init").unwrap(), b"new");
        assert_eq!(read(&changed, "/etc/other").unwrap(), b"");
        assert_eq!(read(&changed, "/etc/nothing"), None);
    }
}
