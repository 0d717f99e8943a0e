//! Runs the stages of a build, one after the other: profile → keys → firstboot → artifacts → packages → root → boot →
//! image.
//!
//! - [`one`] one image · [`several`] several at once · [`update`] locks alone
//! - [`root`] what all of these share: the root's tree and its lock · `boot` the files of the boot partition
//! - [`supply`], `artifacts` what comes from no package · [`settings`] `microdc.toml` · `record` finished builds

mod acts;
mod artifacts;
mod assemble;
mod boot;
mod hints;
mod inventory;
mod mistake;
mod one;
mod os_release;
mod package_set;
mod record;
mod root;
pub mod settings;
mod several;
mod supply;
mod update;
mod version;

pub use acts::acts;
pub use several::{Outcome, all_profiles, build, build_several};
pub use supply::{Supply, SupplyError};
pub use update::{LockOptions, Locked, lock};

use crate::cache::{Key, KeyBuilder};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The artifact that every image has: PID 1. `--supply firstboot=FILE` replaces it.
pub const FIRSTBOOT: &str = "firstboot";

/// What to build, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name or path of a profile.
    pub profile: String,
    /// The image; `out/PROFILE.img` below `base` when none is named.
    pub output: Option<PathBuf>,
    pub locked: bool,
    pub key: Option<PathBuf>,
    pub trust: Vec<PathBuf>,
    /// No one signs here: the manifest is written out for a machine that has the private key.
    pub unsigned: bool,
    /// The public key of who will sign an unsigned image; `keys/release.pub` when none is named.
    pub public: Option<PathBuf>,
    pub supplies: Vec<Supply>,
    pub from: Environment,
}

/// Where things are taken from.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The folder that holds `profiles/`, `keys/`, `out/` and `microdc.toml`.
    pub base: PathBuf,
    pub offline: bool,
    pub mirror: Option<String>,
    pub security_mirror: Option<String>,
    pub accept_expired: Vec<String>,
    /// Threads and parallel downloads.
    pub jobs: Option<usize>,
    /// Set when the operator wants to stop.
    pub interrupted: Arc<AtomicBool>,
}

impl Environment {
    fn jobs(&self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// A key for a stage's output: it begins with the builder's own version.
fn stage_key(stage: &str) -> KeyBuilder {
    Key::of_stage(stage, 2).with("microdc", env!("CARGO_PKG_VERSION"))
}
