//! How many bytes a node fetches for an update, for bundles with frames of each length, beside casync, RAUC's adaptive
//! updates and a full download of the same pairs of images:
//!
//! ```sh
//! cargo bench -p microdc --bench update
//! cargo bench -p microdc --bench update -- --firstboot FILE    # does not compile firstboot
//! cargo bench -p microdc --bench update -- --frames 4          # frames of this length alone
//! ```
//! The images are made by the builder from packages of the archive. The node has the old image in one slot, and nothing in
//! the other. Bytes are those of bodies, without the headers of HTTP. Figures are printed and never judged here.
//!
//! microdc's installer and casync are run in earnest, against a server that counts. RAUC's installer needs kernel
//! modules and a bus; its bundle and its index are made in earnest, and what its installer would read is reckoned in
//! its favour ([`rauc`]).

mod casync;
#[expect(dead_code, reason = "the other benchmark needs more of it")]
#[path = "../build/folder.rs"]
mod folder;
mod ours;
mod pairs;
mod rauc;
mod server;
mod slot;
mod table;
mod tool;

use anyhow::{Context as _, Result};
use contract::bundle::FRAME_BLOCKS;
use slot::Slot;
use std::path::{Path, PathBuf};
use table::Table;

/// Frame lengths that are tried, in blocks.
const FRAMES: [u32; 5] = [1, 2, 4, 8, 16];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this program too, and wants no figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("this measures only when `cargo bench` runs it");
        return Ok(());
    }
    let frames = frames(&arguments)?;
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-update");
    folder::fresh(&work)?;
    let (new, pairs) = pairs::make(&work, firstboot(&arguments)?.as_deref())?;
    let to = Slot::read(&new, &work.join("new"))?;
    let bundles = ours::publish(&new, &frames, &work.join("bundles"))?;
    let full = to.compressed()?;
    let casync = present(casync::publish(&to, &work.join("casync")));
    let rauc = present(rauc::publish(&to, &work.join("rauc")));

    let mut table = Table::new(pairs.iter().map(|(name, _)| (*name).to_owned()));
    let (mut others, mut own) = (Vec::new(), Vec::new());
    let mut full_row = ("full download (zstd -19)".to_owned(), Vec::new());
    let mut casync_rows: Vec<(String, Vec<u64>)> = Vec::new();
    let mut rauc_row = ("RAUC adaptive, at least".to_owned(), Vec::new());
    for (name, image) in &pairs {
        println!("{name}");
        let from = Slot::read(image, &work.join("old"))?;
        full_row.1.push(full);
        if let Some(casync) = &casync {
            for (number, (name, bytes)) in casync.update(&from)?.into_iter().enumerate() {
                if casync_rows.len() == number {
                    casync_rows.push((name, Vec::new()));
                }
                casync_rows[number].1.push(bytes);
            }
        }
        if let Some(rauc) = &rauc {
            rauc_row.1.push(rauc.update(&from, &to)?);
        }
        own.push(bundles.update(&from, &to)?);
    }
    others.push(full_row);
    others.extend(casync_rows);
    if !rauc_row.1.is_empty() {
        others.push(rauc_row);
    }
    for (label, row) in &others {
        table.row(label, row);
    }
    for (number, frame_blocks) in frames.into_iter().enumerate() {
        let chosen = if frame_blocks == FRAME_BLOCKS { ", as made" } else { "" };
        let row: Vec<u64> = own.iter().map(|sent| sent[number].bytes).collect();
        table.row(&format!("microdc, {frame_blocks} blocks a frame{chosen}"), &row);
        if frame_blocks == FRAME_BLOCKS {
            let best = |tuned: bool| -> Vec<u64> {
                let fit = |name: &String| tuned || !casync::is_tuned(name);
                let rows: Vec<&Vec<u64>> = others.iter().filter(|(name, _)| fit(name)).map(|(_, row)| row).collect();
                (0..row.len()).map(|pair| rows.iter().map(|row| row[pair]).min().unwrap_or(u64::MAX)).collect()
            };
            table.ratio("  to the best of the others as they come", &row, &best(false));
            table.ratio("  to the best of the others however set up", &row, &best(true));
        }
    }
    println!("\nbytes fetched\n");
    table.print();
    println!();
    for ((name, _), sent) in pairs.iter().zip(&own) {
        let answers: Vec<String> = sent.iter().map(|sent| sent.answers.to_string()).collect();
        println!("{name}: microdc's installer asked {} times", answers.join(", "));
    }
    Ok(())
}

fn firstboot(arguments: &[String]) -> Result<Option<PathBuf>> {
    let Some(at) = arguments.iter().position(|argument| argument == "--firstboot") else { return Ok(None) };
    let path = arguments.get(at + 1).context("--firstboot wants a file")?;
    Ok(Some(std::path::absolute(path)?))
}

fn frames(arguments: &[String]) -> Result<Vec<u32>> {
    match arguments.iter().position(|argument| argument == "--frames") {
        None => Ok(FRAMES.to_vec()),
        Some(at) => {
            let text = arguments.get(at + 1).context("--frames wants numbers, as in 2,4")?;
            text.split(',')
                .map(|number| number.parse().with_context(|| format!("{number:?} is not a valid number")))
                .collect()
        }
    }
}

fn present<T>(made: Result<T>) -> Option<T> {
    made.map_err(|reason| println!("left out: {reason:#}")).ok()
}
