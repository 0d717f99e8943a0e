//! The map of an image's blocks that is written beside it, so that other tools flash it, too: bmap format 2.0
//! (`bmap-tools`, `bmaptool create`). Each range has its SHA-256, and so has the file itself, its own digits taken as zeros.

use crate::unfinished::{Unfinished, UnfinishedError};
use contract::hash::Digest;
use contract::layout::{BLOCK, Extent};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A map is far shorter, in bytes.
pub const LONGEST: u64 = 4 * 1024 * 1024;

/// A map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmap {
    /// Of the image, in bytes.
    pub image_size: u64,
    /// In bytes.
    pub block_size: u64,
    /// In the order of their places.
    pub ranges: Vec<Range>,
}

/// Blocks that are written, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub last: u64,
    /// SHA-256 of their bytes in the image; those of the last block end with the image.
    pub digest: Digest,
}

/// A map that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BmapError {
    #[error("it is not a map of format 2.0 with SHA-256: {0}")]
    Format(String),
    #[error("it is damaged: its own checksum is {stated}, but that of its bytes is {found}")]
    Checksum { stated: Digest, found: Digest },
    #[error("it is the map of an image of {stated} bytes, and this one has {found}")]
    Size { stated: u64, found: u64 },
    #[error(
        "it is the map of another image: the bytes from {from} to {to} have another SHA-256. If the image was changed after it was built, delete the map"
    )]
    Other { from: u64, to: u64 },
    #[error("reading: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    File(#[from] UnfinishedError),
}

/// Where the map of an image is: `router.img.bmap` beside `router.img`.
#[must_use]
pub fn beside(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".bmap");
    PathBuf::from(name)
}

impl Bmap {
    /// The map of these extents of an image, which begin and end at blocks.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn of(image: &File, image_size: u64, extents: &[Extent]) -> io::Result<Bmap> {
        // In pieces: the digests of one range cannot be made side by side.
        const LARGEST: u64 = 16 * 1024 * 1024;
        let pieces = extents.iter().flat_map(|extent| {
            let starts = (extent.offset..extent.end()).step_by(LARGEST as usize);
            starts.map(|offset| Extent { offset, length: LARGEST.min(extent.end() - offset) })
        });
        let range = |extent: Extent| {
            let digest = digest(image, extent.offset, extent.end())?;
            Ok(Range { first: extent.offset / BLOCK, last: extent.end().div_ceil(BLOCK) - 1, digest })
        };
        let pieces: Vec<Extent> = pieces.collect();
        let ranges = pieces.into_par_iter().map(range).collect::<io::Result<_>>()?;
        Ok(Bmap { image_size, block_size: BLOCK, ranges })
    }

    /// Compares an image with it.
    ///
    /// # Errors
    /// The first range that differs.
    pub fn check(&self, image: &File, image_size: u64) -> Result<(), BmapError> {
        if self.image_size != image_size {
            return Err(BmapError::Size { stated: self.image_size, found: image_size });
        }
        self.ranges.par_iter().try_for_each(|range| {
            let from = range.first * self.block_size;
            let to = ((range.last + 1) * self.block_size).min(image_size);
            if digest(image, from, to)? == range.digest { Ok(()) } else { Err(BmapError::Other { from, to }) }
        })
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = self.with_checksum(&"0".repeat(64));
        self.with_checksum(&Digest::of(text.as_bytes()).to_string())
    }

    fn with_checksum(&self, checksum: &str) -> String {
        let Bmap { image_size, block_size, ranges } = self;
        let blocks = image_size.div_ceil(*block_size);
        let mapped: u64 = ranges.iter().map(|range| range.last - range.first + 1).sum();
        let mut text = format!(
            "<?xml version=\"1.0\" ?>\n<!-- For bmaptool, which writes the image faster with it than without. -->\n\
             <bmap version=\"2.0\">\n    <ImageSize> {image_size} </ImageSize>\n    <BlockSize> {block_size} </BlockSize>\n    \
             <BlocksCount> {blocks} </BlocksCount>\n    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
             <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {checksum} </BmapFileChecksum>\n    <BlockMap>\n"
        );
        for Range { first, last, digest } in ranges {
            let blocks = if first == last { first.to_string() } else { format!("{first}-{last}") };
            text.push_str(&format!("        <Range chksum=\"{digest}\"> {blocks} </Range>\n"));
        }
        text + "    </BlockMap>\n</bmap>\n"
    }

    /// Reads the text of such a file, of any tool that writes the format.
    ///
    /// # Errors
    /// When it is not one, or its checksum is wrong.
    pub fn parse(text: &str) -> Result<Bmap, BmapError> {
        let bad = |what: &str| BmapError::Format(what.to_owned());
        let plain = without_comments(text).ok_or_else(|| bad("a comment without an end"))?;
        let head = plain.split("<bmap").nth(1).and_then(|rest| rest.split('>').next());
        let version = head.ok_or_else(|| bad("no <bmap>"))?;
        if !["\"2.0\"", "'2.0'"].iter().any(|wanted| version.contains(&format!("version={wanted}"))) {
            return Err(bad("another version"));
        }
        let field = |name: &str| {
            let rest = plain.split_once(&format!("<{name}>")).map(|(_, rest)| rest);
            let value = rest.and_then(|rest| rest.split_once(&format!("</{name}>"))).map(|(value, _)| value.trim());
            value.map(str::to_owned).ok_or_else(|| bad(&format!("no {name}")))
        };
        let number = |name: &str| field(name)?.parse::<u64>().map_err(|_| bad(&format!("{name} is not a number")));
        if field("ChecksumType")? != "sha256" {
            return Err(bad("another kind of checksum"));
        }
        let stated = field("BmapFileChecksum")?;
        let digest = |text: &str| text.parse::<Digest>().map_err(|_| bad("a checksum that is not 64 hex digits"));
        let found = Digest::of(text.replacen(&stated, &"0".repeat(64), 1).as_bytes());
        let stated = digest(&stated)?;
        if stated != found {
            return Err(BmapError::Checksum { stated, found });
        }
        let (image_size, block_size) = (number("ImageSize")?, number("BlockSize")?);
        if !block_size.is_power_of_two() || !(512..=1 << 24).contains(&block_size) {
            return Err(bad("a block size that is no power of two between 512 bytes and 16 MiB"));
        }
        let blocks = image_size.div_ceil(block_size);
        let mut ranges: Vec<Range> = Vec::new();
        for part in field("BlockMap")?.split("<Range").skip(1) {
            let (attributes, rest) = part.split_once('>').ok_or_else(|| bad("a range without an end"))?;
            let (numbers, _) = rest.split_once("</Range>").ok_or_else(|| bad("a range without an end"))?;
            let checksum = attributes.split(['"', '\'']).nth(1).filter(|_| attributes.contains("chksum="));
            let checksum = digest(checksum.ok_or_else(|| bad("a range without a checksum"))?)?;
            let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
            let parsed = first.trim().parse().ok().zip(last.trim().parse().ok());
            let (first, last) = parsed.ok_or_else(|| bad("a range that is not two numbers"))?;
            let next = ranges.last().map_or(0, |range: &Range| range.last + 1);
            if first < next || last < first || last >= blocks {
                return Err(bad("ranges out of order, or beyond the end of the image"));
            }
            ranges.push(Range { first, last, digest: checksum });
        }
        Ok(Bmap { image_size, block_size, ranges })
    }

    /// Writes the file, in place of what is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BmapError> {
        let unfinished = Unfinished::create(path)?;
        let mut file = unfinished.file();
        file.write_all(self.to_text().as_bytes())?;
        file.sync_all()?;
        Ok(unfinished.finish()?)
    }
}

fn without_comments(text: &str) -> Option<String> {
    let mut parts = text.split("<!--");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once("-->")?.1);
    }
    Some(plain)
}

fn digest(image: &File, from: u64, to: u64) -> io::Result<Digest> {
    let mut buffer = vec![0; 1024 * 1024];
    let (mut hash, mut at) = (Sha256::new(), from);
    while at < to {
        let length = (to - at).min(buffer.len() as u64) as usize;
        image.read_exact_at(&mut buffer[..length], at)?;
        hash.update(&buffer[..length]);
        at += length as u64;
    }
    Ok(Digest(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Bmap {
        let range = |first, last| Range { first, last, digest: Digest::of(&[first as u8]) };
        Bmap { image_size: 40_000, block_size: 4096, ranges: vec![range(0, 2), range(5, 5), range(8, 9)] }
    }

    #[test]
    fn what_is_written_is_read_and_one_changed_byte_is_noticed() {
        let text = example().to_text();
        assert_eq!(Bmap::parse(&text).unwrap(), example());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(Bmap::parse(&changed).is_err(), "byte {at}: {changed}");
        }
    }

    #[test]
    fn ranges_that_overlap_or_leave_the_image_are_refused() {
        for (first, last) in [(2, 3), (9, 10), (0, 0), (3, 1 << 50)] {
            let mut bmap = example();
            bmap.ranges.truncate(1);
            bmap.ranges.push(Range { first, last, digest: Digest::of(b"") });
            assert!(matches!(Bmap::parse(&bmap.to_text()), Err(BmapError::Format(_))), "{first}-{last}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[<>/!a-zA-Z\"= 0-9-]{0,300}", at in 0usize..900) {
            let _ = Bmap::parse(&text);
            let mut whole = example().to_text();
            whole.insert_str(at.min(whole.len()), &text);
            let _ = Bmap::parse(&whole);
        }
    }
}
