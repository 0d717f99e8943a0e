//! Arguments of the commands that download.

use crate::pipeline::Environment;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[derive(Debug, Args)]
pub(super) struct FromArguments {
    /// Download nothing
    #[arg(long)]
    offline: bool,
    /// Base URL of Debian's archive [default: from microdc.toml, otherwise the
    /// machine's apt sources]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Base URL of Debian's security archive [default: next to the mirror]
    #[arg(long, value_name = "URL")]
    security_mirror: Option<String>,
    /// Accept the expired index of this suite (a stale mirror); can be repeated
    #[arg(long, value_name = "SUITE")]
    accept_expired: Vec<String>,
    /// Threads and parallel downloads [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
}

impl FromArguments {
    pub(super) fn read(self, base: PathBuf, interrupted: &Arc<AtomicBool>) -> Environment {
        Environment {
            base,
            offline: self.offline,
            mirror: self.mirror,
            security_mirror: self.security_mirror,
            accept_expired: self.accept_expired,
            jobs: self.jobs.map(usize::from),
            interrupted: interrupted.clone(),
        }
    }
}
