//! Packs frames as the bundle's documentation says, with xz's own library.

use contract::bundle::DICTIONARY;
use liblzma::stream::{Action, Filters, LzmaOptions, Status, Stream};

pub fn lzma2(blocks: &[u8]) -> Vec<u8> {
    let mut options = LzmaOptions::new_preset(1).unwrap();
    options.dict_size(DICTIONARY);
    let mut stream = Stream::new_raw_encoder(Filters::new().arm64().lzma2(&options)).unwrap();
    // LZMA2 adds three bytes to 64 KiB at most where nothing can be saved.
    let mut packed = Vec::with_capacity(blocks.len() + blocks.len() / 1000 + 64);
    assert!(matches!(stream.process_vec(blocks, &mut packed, Action::Finish).unwrap(), Status::StreamEnd));
    packed
}
