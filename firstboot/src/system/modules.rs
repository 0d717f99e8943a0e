//! Stage: the kernel modules that the role needs, in the order that the build found.

use super::events::Warnings;
use crate::sys::module;
use std::path::Path;

pub fn run(modules: &[String], warnings: &mut Warnings) {
    for path in modules {
        if let Err(error) = module::load(Path::new(path)) {
            warnings.add(format_args!("cannot load the kernel module {path}: {error}"));
        }
    }
}
