//! Frames into a pcap file (draft-ietf-opsawg-pcap, link type Ethernet), for tcpdump and Wireshark.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An open capture file.
#[derive(Debug)]
pub(crate) struct Capture(File);

impl Capture {
    pub(crate) fn create(path: &Path) -> io::Result<Capture> {
        let mut file = File::create(path)?;
        let mut header = Vec::new();
        header.extend(0xa1b2_c3d4_u32.to_le_bytes());
        header.extend(2_u16.to_le_bytes());
        header.extend(4_u16.to_le_bytes());
        for word in [0_u32, 0, 65_535, 1] {
            header.extend(word.to_le_bytes());
        }
        file.write_all(&header)?;
        Ok(Capture(file))
    }

    /// A capture is a help for people: that it cannot be written stops no test.
    pub(crate) fn frame(&mut self, frame: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = frame.len() as u32;
        let mut record = Vec::with_capacity(16 + frame.len());
        for word in [now.as_secs() as u32, now.subsec_micros(), length, length] {
            record.extend(word.to_le_bytes());
        }
        record.extend(frame);
        let _ = self.0.write_all(&record);
    }
}
