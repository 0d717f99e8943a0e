//! Stage: the kernel modules that the role needs, in the order that the build found.

use super::events::Warnings;
use crate::sys::module;
use std::path::Path;

/// Loads each; `feed` tells the watchdog that work goes on.
pub fn run(modules: &[String], feed: impl Fn(), warnings: &mut Warnings) {
    for path in modules {
        feed();
        if let Err(error) = module::load(Path::new(path)) {
            warnings.add(format_args!("cannot load the kernel module {path}: {error}"));
        }
    }
}
