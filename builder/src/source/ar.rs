//! The outer archive of a package, `ar(5)` as restricted by `deb(5)`: short plain names, even offsets, no trailing
//! data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: u64 = 60;
/// A package has three members; a few more may come with later versions of the format.
const MOST_MEMBERS: usize = 16;

/// How an archive is not understood.
#[derive(Debug, thiserror::Error)]
pub enum ArError {
    #[error("it is not an ar archive")]
    Magic,
    #[error("the member header at byte {at} is damaged")]
    Header { at: u64 },
    #[error("member {name:?} at byte {at} goes past the end of the file")]
    PastEnd { name: String, at: u64 },
    #[error("it has more than {MOST_MEMBERS} members")]
    TooMany,
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// One member: where its bytes are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub offset: u64,
    pub size: u64,
}

/// Lists the members of an archive of `length` bytes.
///
/// # Errors
/// When a header is not exactly as the format says, or the last member does not end with the file.
pub fn members(file: &File, length: u64) -> Result<Vec<Member>, ArError> {
    let mut magic = [0; MAGIC.len()];
    if length < MAGIC.len() as u64 {
        return Err(ArError::Magic);
    }
    file.read_exact_at(&mut magic, 0)?;
    if &magic != MAGIC {
        return Err(ArError::Magic);
    }
    let mut members = Vec::new();
    let mut at = MAGIC.len() as u64;
    while at < length {
        if members.len() == MOST_MEMBERS {
            return Err(ArError::TooMany);
        }
        let mut header = [0; HEADER as usize];
        if length - at < HEADER {
            return Err(ArError::Header { at });
        }
        file.read_exact_at(&mut header, at)?;
        let (name, size) = parse_header(&header).ok_or(ArError::Header { at })?;
        let offset = at + HEADER;
        let end = offset.checked_add(size).filter(|end| *end <= length);
        let end = end.ok_or_else(|| ArError::PastEnd { name: name.clone(), at })?;
        members.push(Member { name, offset, size });
        // Members begin at even offsets; the last one's padding may be missing.
        at = end + end % 2;
        if end < at && end < length {
            let mut pad = [0];
            file.read_exact_at(&mut pad, end)?;
            if pad != *b"\n" {
                return Err(ArError::Header { at: end });
            }
        }
    }
    Ok(members)
}

/// Name (16 bytes), time (12), owner (6), group (6), mode (8), size (10), and an end mark.
fn parse_header(header: &[u8; HEADER as usize]) -> Option<(String, u64)> {
    let text = std::str::from_utf8(header).ok()?;
    if !text.is_ascii() || !text.ends_with("`\n") {
        return None;
    }
    let name = text[..16].trim_end_matches(' ');
    let name = name.strip_suffix('/').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    let size = text[48..58].trim_end_matches(' ');
    // `parse` would take a sign.
    if !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((name.to_owned(), size.parse().ok()?))
}
