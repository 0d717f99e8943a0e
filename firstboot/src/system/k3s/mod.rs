//! What PID 1 knows of k3s: [`files`] that it writes for administrators, [`commands`] that are run for them among its processes,
//! and the list of [`snapshots`] that one of these writes.

pub mod commands;
pub mod files;
pub mod snapshots;
