//! Numbers by chance.

/// By which an answer is known, say: nobody else on the link may guess it.
#[must_use]
pub fn unguessable() -> u32 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}
