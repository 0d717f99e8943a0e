//! All tests of the installer that look at it from outside, as one program: it is compiled and linked once.

#![cfg(not(target_env = "musl"))]

// What they share.
mod node;

// What is claimed.
mod hostile_bundles;
mod install;
mod lies;
