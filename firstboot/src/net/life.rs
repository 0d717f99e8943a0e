//! The life of an address that there should be.

/// How long an address is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// As long as the node config has it.
    Fixed,
    /// It is leased, and not known yet to be no one else's.
    Tried,
    /// Seconds from now; `None`: for good.
    Leased { preferred_s: Option<u32>, valid_s: Option<u32> },
}
