//! Reading bytes that may be truncated, and the errors of this module.

/// How something is not OpenPGP, or of a kind that is not read here.
#[derive(Debug, thiserror::Error)]
pub enum OpenPgpError {
    #[error("the armour is damaged: {0}")]
    Armor(&'static str),
    #[error("it ends in the middle of {0}")]
    Cut(&'static str),
    #[error("{0} is not well-formed")]
    Malformed(&'static str),
    #[error("{what} is of version {found}; microdc reads version 4")]
    Version { what: &'static str, found: u8 },
    #[error("{what} uses OpenPGP's algorithm {found}; microdc reads {known}")]
    Algorithm { what: &'static str, found: u8, known: &'static str },
    #[error("it contains a packet of type {0} where none is allowed")]
    Packet(u8),
    #[error("it is a private key: give the public one (gpg --export --armor)")]
    PrivateKey,
}

/// What is left to read of some bytes; every read says what it was for.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    pub rest: &'a [u8],
    of: &'static str,
}

impl<'a> Bytes<'a> {
    pub fn new(rest: &'a [u8], of: &'static str) -> Bytes<'a> {
        Bytes { rest, of }
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], OpenPgpError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(OpenPgpError::Cut(self.of))?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], OpenPgpError> {
        self.take(N)?.try_into().map_err(|_| OpenPgpError::Cut(self.of))
    }

    pub fn byte(&mut self) -> Result<u8, OpenPgpError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, OpenPgpError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, OpenPgpError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A number of any size (RFC 9580, section 3.2), in big-endian bytes without zeroes in front.
    pub fn number(&mut self) -> Result<&'a [u8], OpenPgpError> {
        let bits = usize::from(self.u16()?);
        let bytes = self.take(bits.div_ceil(8))?;
        let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok(bytes.get(zeroes..).unwrap_or_default())
    }

    pub fn end(&self) -> Result<(), OpenPgpError> {
        if self.rest.is_empty() { Ok(()) } else { Err(OpenPgpError::Malformed(self.of)) }
    }
}
