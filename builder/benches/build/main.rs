//! The router's image, beside the classic pipeline doing the same job in the same run:
//!
//! ```sh
//! cargo bench -p microdc --bench build                  # three pairs
//! cargo bench -p microdc --bench build -- --runs 5
//! ```
//! Both find their packages downloaded and firstboot compiled, both end with an image on the disk and its SHA-256. They
//! take turns, so that a machine busy with other things slows both. Figures are printed and never judged here.
//!
//! mmdebstrap needs root and a few tools (`classic.sh` names them); without them there are our own figures only.

mod classic;
mod folder;
mod measure;
mod ours;
mod repository;
mod table;

use anyhow::{Context as _, Result};
use classic::Classic;
use ours::Ours;
use std::path::Path;
use table::Series;

const USUAL_RUNS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this program too, and wants no figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("this measures only when `cargo bench` runs it");
        return Ok(());
    }
    let runs = runs(&arguments)?;
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-build");
    let ours = Ours::prepare(&work.join("ours"))?;
    let classic = match Classic::prepare(&work.join("classic"), &ours) {
        Ok(classic) => Some(classic),
        Err(reason) => {
            println!("no classic pipeline to compare with: {reason:#}\n");
            None
        }
    };

    let (mut cold, mut whole, mut unpacking) = (Series::default(), Series::default(), Series::default());
    let mut all = Series::default();
    for turn in 1..=runs {
        println!("pair {turn} of {runs}, load {}", measure::load());
        cold.push(ours.cold()?);
        unpacking.push(ours.only_unpacking()?);
        all.push(ours.all_cold()?);
        if let Some(classic) = &classic {
            whole.push(classic.run()?);
        }
    }
    ours.cold()?;
    let (mut unchanged, mut overlay) = (Series::default(), Series::default());
    for turn in 1..=runs.max(5) {
        unchanged.push(ours.unchanged()?);
        overlay.push(ours.overlay_changed(turn)?);
    }

    println!("\nmedian (least .. most) of {runs} runs and more, load {}\n", measure::load());
    table::head();
    cold.row("cold build");
    all.row("cold build of five roles");
    unchanged.row("nothing changed");
    overlay.row("one overlay file changed");
    unpacking.row("only unpacking our packages");
    whole.row("classic pipeline");
    println!();
    cold.ratio("cold build to only unpacking", &unpacking);
    cold.ratio("cold build to classic pipeline", &whole);
    all.ratio("five roles to one", &cold);
    println!();
    ours.describe()?;
    if let Some(classic) = &classic {
        classic.describe()?;
    }
    Ok(())
}

fn runs(arguments: &[String]) -> Result<usize> {
    match arguments.iter().position(|argument| argument == "--runs") {
        None => Ok(USUAL_RUNS),
        Some(at) => arguments.get(at + 1).and_then(|number| number.parse().ok()).context("--runs wants a number"),
    }
}
