//! Fetches frames, many with one request where they lie near each other, and unpacks them.

use super::disk::BLOCK_LEN;
use super::error::InstallError;
use super::frame::unpack;
use super::tally::Tally;
use super::web::Web;
use contract::bundle::{BundleError, Frames, Sections};
use contract::layout::Extent;
use contract::manifest::Which;

/// Bytes between two wanted frames that are fetched with them: less than a request and its answer cost.
const NEAR: u64 = 1024;
/// Most bytes of one request: what is kept in memory, and lost when the power goes before they are written.
const PIECE: u64 = 256 << 10;

pub(super) struct Fetcher {
    sections: Sections,
    length: u64,
    frames: Option<Frames>,
    /// Frames that are known to be wanted, in their order in the file.
    wanted: Vec<(Which, u64)>,
    /// Where the bytes that were fetched last lie in the file.
    offset: u64,
    bytes: Vec<u8>,
    /// The frame that was unpacked last.
    last: Option<(Which, u64)>,
    data: Vec<u8>,
}

impl Fetcher {
    pub fn new(sections: Sections, length: u64) -> Fetcher {
        Fetcher {
            sections,
            length,
            frames: None,
            wanted: Vec::new(),
            offset: 0,
            bytes: Vec::new(),
            last: None,
            data: Vec::new(),
        }
    }

    /// Says which frames will be wanted. Returns their bytes in the bundle.
    pub fn plan(
        &mut self,
        wanted: Vec<(Which, u64)>,
        web: &mut Web,
        tally: &mut Tally<'_>,
    ) -> Result<u64, InstallError> {
        self.wanted = wanted;
        let mut bytes = 0;
        for &(which, frame) in &self.wanted {
            let frames = index(&mut self.frames, self.sections, self.length, web, tally)?;
            bytes += frames.extent(which, frame).map_or(0, |extent| extent.length);
        }
        Ok(bytes)
    }

    /// What was fetched is not to be used again.
    pub fn forget(&mut self) {
        self.bytes.clear();
        self.last = None;
    }

    /// One block.
    pub fn block(
        &mut self,
        which: Which,
        block: u64,
        web: &mut Web,
        tally: &mut Tally<'_>,
    ) -> Result<&[u8], InstallError> {
        let frame = self.sections.frame_of(block);
        let blocks = self.sections.blocks_of(which, frame);
        if self.last != Some((which, frame)) {
            let frames = index(&mut self.frames, self.sections, self.length, web, tally)?;
            let extent = frames.extent(which, frame).unwrap_or(Extent { offset: 0, length: 0 });
            if extent.offset < self.offset || extent.end() > self.offset + self.bytes.len() as u64 {
                let length = joined(frames, &self.wanted, (which, frame), extent);
                self.bytes = web.piece(extent.offset, length, tally)?;
                self.offset = extent.offset;
            }
            let from = usize::try_from(extent.offset - self.offset).unwrap_or(usize::MAX);
            let stored =
                self.bytes.get(from..).and_then(|rest| rest.get(..extent.length as usize)).unwrap_or_default();
            let holds = (blocks.end - blocks.start) as usize * BLOCK_LEN;
            self.last = None;
            self.data =
                unpack(stored, holds).map_err(|source| InstallError::Unpack { image: which, frame, source })?;
            self.last = Some((which, frame));
        }
        let at = (block - blocks.start) as usize * BLOCK_LEN;
        Ok(self.data.get(at..).and_then(|rest| rest.get(..BLOCK_LEN)).unwrap_or_default())
    }
}

/// The index, once it is needed.
fn index<'f>(
    frames: &'f mut Option<Frames>,
    sections: Sections,
    length: u64,
    web: &mut Web,
    tally: &mut Tally<'_>,
) -> Result<&'f Frames, InstallError> {
    let known = match frames.take() {
        Some(known) => known,
        None => {
            let (boot, root) = (sections.boot.index, sections.root.index);
            let both = web.piece(boot.offset, boot.length + root.length, tally)?;
            let short = BundleError::Short { what: "index", needed: boot.length, found: both.len() as u64 };
            let (boot, root) = both.split_at_checked(boot.length as usize).ok_or(short)?;
            Frames::parse(sections, boot, root, length)?
        }
    };
    Ok(frames.insert(known))
}

/// How many bytes to fetch from `first` on: with it come the wanted frames that follow near by.
fn joined(frames: &Frames, wanted: &[(Which, u64)], frame: (Which, u64), first: Extent) -> u64 {
    let at = wanted.partition_point(|other| *other <= frame);
    let mut end = first.end();
    for &(which, next) in wanted.get(at..).unwrap_or_default() {
        match frames.extent(which, next) {
            Some(next) if next.offset - end <= NEAR && next.end() - first.offset <= PIECE => end = next.end(),
            _ => break,
        }
    }
    end - first.offset
}
