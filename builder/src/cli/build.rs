//! `microdc build`: a profile in, an image out.

use crate::pipeline::{self, Options};
use crate::report::Reporter;
use anyhow::{Context as _, Result};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Build the image of a profile
///
/// Takes the packages that the profile's lock names, or resolves them and
/// writes the lock; compiles firstboot; writes a signed image with slot A
/// filled. The same inputs give the same bytes on every machine. Needs no root.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc build router\n  microdc build router --locked -o /tmp/router.img\n  microdc \
                        build profiles/edge.toml --offline\n\nA second build of the same inputs finds everything in the \
                        cache\n($MICRODC_CACHE, else ~/.cache/microdc)."
)]
pub(super) struct Build {
    /// Name of a profile in profiles/, or path of a .toml file
    profile: String,
    /// The image [default: out/PROFILE.img]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fail instead of changing the lock
    #[arg(long)]
    locked: bool,
    /// Fetch nothing
    #[arg(long)]
    offline: bool,
    /// Base URL of Debian's archive [default: microdc.toml, else the machine's
    /// apt sources]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Base URL of Debian's security archive [default: beside the mirror]
    #[arg(long, value_name = "URL")]
    security_mirror: Option<String>,
    /// Resolve from a suite whose index has expired (a stale mirror); may be
    /// given several times
    #[arg(long, value_name = "SUITE")]
    accept_expired: Vec<String>,
    /// Threads and parallel downloads [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Private key that signs [default: keys/release.key, else a development
    /// key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Public key to trust beside the signer's [default: keys/next.pub if it
    /// exists]
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// Sign nothing: write the manifest beside the image, for `microdc sign`
    /// on the machine that has the private key
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
    /// Public key of who will sign [default: keys/release.pub]
    #[arg(long, value_name = "FILE", requires = "unsigned")]
    public: Option<PathBuf>,
    /// Use FILE for an artifact of the profile, or for firstboot, instead of
    /// fetching or making it; the image and its manifest say so
    #[arg(long, value_name = "NAME=FILE")]
    supply: Vec<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Build {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        let base = std::env::current_dir().context("the current folder is gone")?;
        let supplies = self.supply.iter().map(|text| pipeline::Supply::parse(text)).collect::<Result<_, _>>()?;
        let options = Options {
            profile: self.profile,
            output: self.output,
            locked: self.locked,
            offline: self.offline,
            mirror: self.mirror,
            security_mirror: self.security_mirror,
            accept_expired: self.accept_expired,
            jobs: self.jobs.map(usize::from),
            key: self.key,
            trust: self.trust,
            unsigned: self.unsigned,
            public: self.public,
            supplies,
            base,
            interrupted: interrupted.clone(),
        };
        let summary = pipeline::build(&options, &Reporter::new(self.json))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{summary}");
        }
        Ok(())
    }
}
