//! The emulated CM4.
