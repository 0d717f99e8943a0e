//! Loads the kernel modules that the builder listed, in its order.

use super::guard::Guard;
use crate::console::warn;
use crate::sys::module;
use std::path::Path;

/// Loads every module. One that does not load is a warning: what needs it fails by its own name later, and what does
/// not need it should not keep a node from booting.
///
/// The watchdog is opened as soon as its driver has brought it, so that a module that hangs is noticed.
pub fn load(modules: &[String], guard: &Guard, warnings: &mut Vec<String>) {
    guard.open_watchdog();
    for path in modules {
        if let Err(error) = module::load(Path::new(path)) {
            warn(warnings, format!("loading the kernel module {path}: {error}"));
        }
        guard.open_watchdog();
    }
}
