//! How far a claim has come, as its record on the disk says.

/// `Making` is written before anything else, `Made` when all else has reached the disk: a power cut in between leaves
/// `Making`, and the work starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Making,
    Made,
}

impl Phase {
    pub const BOTH: [Phase; 2] = [Phase::Making, Phase::Made];

    /// As stored.
    pub fn bytes(self) -> &'static [u8; 8] {
        match self {
            Phase::Making => b"making  ",
            Phase::Made => b"made    ",
        }
    }
}
