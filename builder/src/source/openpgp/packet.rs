//! The framing of packets (RFC 9580, section 4.2), in the old form and the new one.

use super::bytes::{Bytes, OpenPgpError};

/// Kinds of packets (section 5) that concern signatures.
pub mod tag {
    pub const SIGNATURE: u8 = 2;
    pub const SECRET_KEY: u8 = 5;
    pub const PUBLIC_KEY: u8 = 6;
    pub const SECRET_SUBKEY: u8 = 7;
    pub const MARKER: u8 = 10;
    pub const TRUST: u8 = 12;
    pub const USER_ID: u8 = 13;
    pub const PUBLIC_SUBKEY: u8 = 14;
    pub const USER_ATTRIBUTE: u8 = 17;
    pub const PADDING: u8 = 21;
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub tag: u8,
    pub body: &'a [u8],
}

/// The packets of some bytes. Ends after the first error.
#[derive(Debug)]
pub struct Packets<'a> {
    rest: Bytes<'a>,
}

impl<'a> Packets<'a> {
    pub fn new(bytes: &'a [u8]) -> Packets<'a> {
        Packets { rest: Bytes::new(bytes, "a packet") }
    }

    fn read(&mut self) -> Result<Packet<'a>, OpenPgpError> {
        let first = self.rest.byte()?;
        if first & 0x80 == 0 {
            return Err(OpenPgpError::Malformed("the start of a packet"));
        }
        let (tag, length) = if first & 0x40 != 0 {
            (first & 0x3f, length(&mut self.rest)?)
        } else {
            let length = match first & 3 {
                0 => u32::from(self.rest.byte()?),
                1 => u32::from(self.rest.u16()?),
                2 => self.rest.u32()?,
                _ => return Err(OpenPgpError::Malformed("the length of a packet")),
            };
            (first >> 2 & 0xf, length)
        };
        Ok(Packet { tag, body: self.rest.take(length as usize)? })
    }
}

/// A length in the new form. Keys and signatures have no partial ones.
pub(super) fn length(bytes: &mut Bytes<'_>) -> Result<u32, OpenPgpError> {
    match bytes.byte()? {
        short @ 0..=191 => Ok(u32::from(short)),
        first @ 192..=223 => Ok((u32::from(first - 192) << 8) + u32::from(bytes.byte()?) + 192),
        224..=254 => Err(OpenPgpError::Malformed("the length of a packet")),
        255 => bytes.u32(),
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, OpenPgpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.rest.is_empty() {
            return None;
        }
        let packet = self.read();
        if packet.is_err() {
            self.rest.rest = &[];
        }
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn old_and_new_lengths_are_read() {
        let body = [7; 300];
        let with = |head: &[u8], length: usize| {
            let bytes = [head, &body[..length]].concat();
            let packets: Vec<_> = Packets::new(&bytes).collect::<Result<_, _>>().unwrap();
            assert_eq!(packets.len(), 1);
            (packets[0].tag, packets[0].body.len())
        };
        assert_eq!(with(&[0x98, 5], 5), (6, 5));
        assert_eq!(with(&[0x99, 1, 44], 300), (6, 300));
        assert_eq!(with(&[0x9a, 0, 0, 1, 44], 300), (6, 300));
        assert_eq!(with(&[0xc6, 5], 5), (6, 5));
        assert_eq!(with(&[0xc6, 192, 108], 300), (6, 300));
        assert_eq!(with(&[0xc6, 255, 0, 0, 1, 44], 300), (6, 300));
    }

    #[test]
    fn what_is_cut_or_of_no_known_length_is_an_error() {
        for bytes in
            [&[0x98, 5, 1][..], &[0x9b, 1], &[0xc6, 224, 1], &[0xc6, 255, 255, 255, 255, 255], &[0x06, 0], &[0x99]]
        {
            assert!(Packets::new(bytes).any(|packet| packet.is_err()), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_as_packets_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut errors = 0;
            let mut read = 0;
            for packet in Packets::new(&bytes) {
                match packet {
                    Ok(packet) => read += packet.body.len(),
                    Err(_) => errors += 1,
                }
            }
            prop_assert!(errors <= 1 && read <= bytes.len());
        }
    }
}
