//! Fetches frames, many with one request where they lie near each other, and unpacks them.

use super::disk::BLOCK_LEN;
use super::error::InstallError;
use super::frame::unpack;
use super::tally::Tally;
use super::web::{Piece, Web};
use contract::bundle::{BundleError, Frames, Sections};
use contract::layout::Extent;
use contract::manifest::Which;
use std::collections::BTreeMap;

/// Bytes between two wanted frames that are fetched with them: less than a request and its answer cost.
const NEAR: u64 = 1024;
/// Most bytes of one request: what is kept in memory, and lost when the power goes before they are written.
const PIECE: u64 = 256 << 10;

/// So often two servers may take turns at one frame before one of them is given up.
const TURNS: usize = 8;

pub(super) struct Fetcher {
    sections: Sections,
    length: u64,
    /// Where each server says that the frames lie: what one says is not believed of another's file.
    indexes: BTreeMap<usize, Frames>,
    /// Frames that are known to be wanted, in their order in the file.
    wanted: Vec<(Which, u64)>,
    /// Where the bytes that were fetched last lie in the file, and from which server they are.
    offset: u64,
    bytes: Vec<u8>,
    source: usize,
    /// The frame that was unpacked last.
    last: Option<(Which, u64)>,
    data: Vec<u8>,
}

impl Fetcher {
    pub fn new(sections: Sections, length: u64) -> Fetcher {
        Fetcher {
            sections,
            length,
            indexes: BTreeMap::new(),
            wanted: Vec::new(),
            offset: 0,
            bytes: Vec::new(),
            source: 0,
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
        if self.wanted.is_empty() {
            return Ok(0);
        }
        let server = self.index(web, tally)?;
        let length = |&(which, frame): &(Which, u64)| {
            self.indexes.get(&server).and_then(|frames| frames.extent(which, frame)).map_or(0, |extent| extent.length)
        };
        Ok(self.wanted.iter().map(length).sum())
    }

    /// The server that sent the frame of the last block.
    pub fn source(&self) -> usize {
        self.source
    }

    /// One block.
    pub fn block(
        &mut self,
        which: Which,
        block: u64,
        web: &mut Web,
        tally: &mut Tally<'_>,
    ) -> Result<&[u8], InstallError> {
        if !web.is_trusted(self.source) {
            self.bytes.clear();
            self.last = None;
        }
        let frame = self.sections.frame_of(block);
        let blocks = self.sections.blocks_of(which, frame);
        if self.last != Some((which, frame)) {
            let extent = self.get(which, frame, web, tally)?;
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

    /// Brings a frame into `bytes`, from a server whose own index says where it lies.
    fn get(
        &mut self,
        which: Which,
        frame: u64,
        web: &mut Web,
        tally: &mut Tally<'_>,
    ) -> Result<Extent, InstallError> {
        loop {
            for _ in 0..TURNS {
                let server = self.index(web, tally)?;
                let Some(frames) = self.indexes.get(&server) else { continue };
                let extent = frames.extent(which, frame).unwrap_or(Extent { offset: 0, length: 0 });
                let here = extent.offset >= self.offset && extent.end() <= self.offset + self.bytes.len() as u64;
                if here && server == self.source {
                    return Ok(extent);
                }
                let length = joined(frames, &self.wanted, (which, frame), extent);
                let piece = web.piece(extent.offset, length, tally)?;
                (self.bytes, self.source, self.offset) = (piece.bytes, piece.from, extent.offset);
            }
            if !web.blame(self.source, &InstallError::Scattered, tally) {
                return Err(InstallError::Scattered);
            }
        }
    }

    /// Sees to it that the index of the server that is asked is known; gives the server.
    fn index(&mut self, web: &mut Web, tally: &mut Tally<'_>) -> Result<usize, InstallError> {
        loop {
            let server = web.asked()?;
            if self.indexes.contains_key(&server) {
                return Ok(server);
            }
            let (boot, root) = (self.sections.boot.index, self.sections.root.index);
            let Piece { bytes, from } = web.piece(boot.offset, boot.length + root.length, tally)?;
            let short = BundleError::Short { what: "index", needed: boot.length, found: bytes.len() as u64 };
            let frames = bytes.split_at_checked(boot.length as usize).ok_or(short);
            match frames.and_then(|(boot, root)| Frames::parse(self.sections, boot, root, self.length)) {
                Ok(frames) => {
                    self.indexes.insert(from, frames);
                }
                Err(error) => {
                    let error = error.into();
                    if !web.blame(from, &error, tally) {
                        return Err(error);
                    }
                }
            }
        }
    }
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
