//! `microdc build`: a profile in, an image out.

use super::from::FromArguments;
use crate::cli::output;
use crate::pipeline::{self, Options, Outcome, Supply};
use crate::report::Reporter;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use clap::error::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Build the image of a profile
///
/// Uses the packages in the profile's lock, or resolves them and writes the lock;
/// compiles firstboot; writes a signed image with slot A filled. The same inputs
/// give the same bytes on every machine. Does not need root.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc build router\n  microdc build --all --supply k3s=k3s-arm64\n  microdc build router --locked -o /tmp/router.img\n  microdc \
                        build profiles/edge.toml --offline\n\nA second build of the same inputs finds everything in the \
                        cache\n($MICRODC_CACHE, else ~/.cache/microdc)."
)]
pub(super) struct Build {
    /// Profiles: names in profiles/, or paths of .toml files
    #[arg(required_unless_present = "all")]
    profiles: Vec<String>,
    /// Every profile in profiles/
    #[arg(long, conflicts_with = "profiles")]
    all: bool,
    /// Where to write the image of a single profile [default: out/PROFILE.img]
    #[arg(short, long, value_name = "FILE", conflicts_with = "all")]
    output: Option<PathBuf>,
    /// Fail instead of changing the lock
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    from: FromArguments,
    /// Private key to sign with [default: keys/release.key, otherwise a development
    /// key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Public key to trust besides the signer's [default: keys/next.pub, if it
    /// exists]
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// Do not sign: write the manifest next to the image, for `microdc sign` on the
    /// machine that has the private key
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
    /// Public key of the future signer [default: keys/release.pub]
    #[arg(long, value_name = "FILE", requires = "unsigned")]
    public: Option<PathBuf>,
    /// Use FILE for an artifact of the profile, or for firstboot, instead of
    /// downloading or compiling it; the image and its manifest record this
    #[arg(long, value_name = "NAME=FILE", value_parser = Supply::parse)]
    supply: Vec<Supply>,
    /// Print one JSON object instead of text; an array for several images
    #[arg(long)]
    json: bool,
}

impl Build {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        let base = std::env::current_dir().context("the current folder no longer exists")?;
        let profiles = if self.all { pipeline::all_profiles(&base)? } else { self.profiles };
        let several = self.all || profiles.len() > 1;
        if several && self.output.is_some() {
            let what = format!("-o names a single image, but {} profiles are to be built", profiles.len());
            super::command().error(ErrorKind::ArgumentConflict, what).exit();
        }
        let from = self.from.read(base, interrupted);
        let options = |profile: String| Options {
            profile,
            output: self.output.clone(),
            locked: self.locked,
            key: self.key.clone(),
            trust: self.trust.clone(),
            unsigned: self.unsigned,
            public: self.public.clone(),
            supplies: self.supply.clone(),
            from: from.clone(),
        };
        let builds: Vec<Options> = profiles.into_iter().map(options).collect();
        let reporter = Reporter::new(self.json);
        if !several {
            let Some(options) = builds.first() else { bail!("no profile was given; name one, or use --all") };
            let summary = pipeline::build(options, &reporter)?;
            if self.json {
                output::json(&summary)?;
            } else {
                outln!("{summary}")?;
            }
            return Ok(());
        }
        let outcomes = pipeline::build_several(&builds, &reporter)?;
        report(&outcomes, self.json)
    }
}

/// Shows the outcome of each profile, failures last.
fn report(outcomes: &[Outcome], json: bool) -> Result<()> {
    if json {
        let one = |outcome: &Outcome| match &outcome.result {
            Ok(summary) => serde_json::to_value(summary),
            Err(error) => Ok(serde_json::json!({ "profile": outcome.profile, "error": super::chain(error) })),
        };
        let all = outcomes.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        output::json(&all)?;
    } else {
        for summary in outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok()) {
            outln!("{summary}")?;
        }
    }
    let failed = outcomes.iter().filter_map(|outcome| Some((&outcome.profile, outcome.result.as_ref().err()?)));
    let failed: Vec<(&String, &anyhow::Error)> = failed.collect();
    if failed.is_empty() {
        return Ok(());
    }
    for (profile, error) in &failed {
        note!("{profile} failed: {}", super::chain(error));
    }
    let names: Vec<&str> = failed.iter().map(|(profile, _)| profile.as_str()).collect();
    bail!("{} of {} images failed: {}", failed.len(), outcomes.len(), names.join(", "))
}
