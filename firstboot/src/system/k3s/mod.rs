//! What PID 1 knows of k3s: [`files`] that it writes for administrators, and [`commands`] that are run for them among its
//! processes.

pub mod commands;
pub mod files;
