//! `microdc node`: node configs, checked by the node's own code.

mod check;
mod new;

pub(super) use check::shown;
pub(super) use new::{roles, starter};

use anyhow::Result;
use clap::Subcommand;

/// Write and check node configs
#[derive(Debug, Subcommand)]
pub(super) enum Node {
    Check(check::Check),
    New(new::New),
}

impl Node {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Node::Check(check) => check.run(),
            Node::New(new) => new.run(),
        }
    }
}
