//! `microdc flash`: an image onto a disk.

use super::keys;
use crate::cli::output;
use crate::flash::engine::Step;
use crate::flash::given::{self, Given};
use crate::flash::in_use::{self, Use};
use crate::flash::machine::{Disk, Machine};
use crate::flash::mark::Erase;
use crate::flash::refuse::Target;
use crate::flash::{self, Outcome, Request, bmap, found};
use crate::pipeline::settings::Settings;
use crate::report::{Reporter, Stage, human_bytes};
use crate::source::http::{Client, Patience};
use crate::source::progress::Progress as _;
use crate::source::trust::Trust;
use anyhow::{Context as _, Result};
use clap::Args;
use contract::node::NodeConfig;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Write an image onto a disk, and read it back
///
/// Checks the image against its signature, writes the blocks that contain data,
/// erases what an older system left, and reads everything back from the disk. The
/// partition table comes last: a disk that was half-written when the cable was
/// pulled does not boot, and the same command resumes where the last one stopped (a
/// marker on the disk records this; blocks that are already correct stay).
///
/// A disk is written to when it is blank, half-written or microdc's own; what a
/// node keeps on it as state and data stays. Anything else is named, and takes
/// --yes-erase. Disks that are mounted or otherwise in use are never written to.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc flash --list\n  microdc flash out/router.img --to /dev/sdb --node r1.toml\n  \
                  microdc flash out/router.img --to /tmp/disk.img --node r1.toml\n  microdc flash --to /dev/sdb \
                  https://images.example/router.img.zst\n  zstd -dc router.img.zst | microdc flash - --to /dev/sdb"
)]
pub(super) struct Flash {
    /// The image: a file or an http(s):// address, plain or packed (zstd, xz, gzip);
    /// - is standard input
    #[arg(required_unless_present = "list")]
    image: Option<Given>,
    /// The disk, or a file that stands for one; a file that is not there is created
    #[arg(long, value_name = "DISK|FILE", required_unless_present = "list")]
    to: Option<PathBuf>,
    /// Show the disks of this machine, and what is on them
    #[arg(long, conflicts_with_all = ["image", "to", "node", "key", "bmap", "yes_erase", "allow_unsigned"])]
    list: bool,
    /// Put this node.toml on the disk, where the node looks for it
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Erase what is on the disk, a node's state and data included. SERIAL is the
    /// disk's serial number as --list shows it (its kernel name where it has none; of
    /// a file, the file's name)
    #[arg(long, value_name = "SERIAL")]
    yes_erase: Option<String>,
    /// Public key to trust; can be given twice [default: keys/*.pub]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Write an image that is not signed, without checking its content; no node
    /// boots it
    #[arg(long, conflicts_with = "key")]
    allow_unsigned: bool,
    /// Compare the image with this map of its blocks [default: IMAGE.bmap, if it
    /// exists]
    #[arg(long, value_name = "FILE")]
    bmap: Option<PathBuf>,
    /// Print one JSON object instead of text; with --list, an array
    #[arg(long)]
    json: bool,
}

impl Flash {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        match (&self.image, &self.to) {
            (Some(image), Some(to)) => self.flash(image, to, interrupted),
            _ => list(&Machine::this(), self.json),
        }
    }

    fn flash(&self, given: &Given, to: &Path, interrupted: &Arc<AtomicBool>) -> Result<()> {
        let trusted = if self.allow_unsigned { None } else { Some(keys::trusted(&self.key)?) };
        let node_config = self.node.as_deref().map(node_config).transpose()?;
        let reporter = Reporter::new(self.json);
        let image = {
            let stage = reporter.stage("image");
            given::get(given, &|| client(interrupted), &stage)?
        };
        let beside = bmap::beside(image.path());
        let bmap = self.bmap.clone().or_else(|| Some(beside).filter(|path| image.is_given && path.exists()));
        let request = Request {
            image: image.path(),
            image_name: &given.to_string(),
            to,
            node_config: node_config.as_deref(),
            trusted: trusted.as_deref(),
            bmap: bmap.as_deref(),
            erase: self.yes_erase.as_deref(),
        };
        let bars = Bars { reporter: &reporter, shown: Mutex::new((Some(reporter.stage("check")), None)) };
        let report = |step, bytes, all| {
            bars.advance(step, bytes, all);
            match interrupted.load(Ordering::Relaxed) {
                true => Err(std::io::Error::other("interrupted")),
                false => Ok(()),
            }
        };
        let outcome = flash::flash(&Machine::this(), &request, &report)?;
        drop(bars);
        match self.json {
            true => output::json(&as_json(given, &outcome, node_config.is_some())),
            false => Ok(show(given, &outcome, node_config.is_some())?),
        }
    }
}

fn client(interrupted: &Arc<AtomicBool>) -> Result<Client> {
    let base = std::env::current_dir().context("the current folder is gone")?;
    let trust = Trust::find(Settings::load(&base)?.ca.as_deref())?;
    Ok(Client::trusting(Patience::default(), &trust, interrupted.clone()))
}

fn node_config(path: &Path) -> Result<Vec<u8>> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    NodeConfig::parse(&text)
        .with_context(|| format!("{}: `microdc node check {0}` shows the line", path.display()))?;
    Ok(text)
}

/// The bar of the step that the work is at. What is written after the first reading back is little.
struct Bars<'r> {
    reporter: &'r Reporter,
    shown: Mutex<(Option<Stage>, Option<Step>)>,
}

impl Bars<'_> {
    fn advance(&self, step: Step, bytes: u64, all: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let order = |step| match step {
            Step::Erase => 1,
            Step::Write => 2,
            Step::ReadBack => 3,
        };
        if shown.1.map_or(0, order) < order(step) {
            // The last one ends before the next one begins.
            shown.0 = None;
            let stage = self.reporter.stage(match step {
                Step::Erase => "erase",
                Step::Write => "write",
                Step::ReadBack => "read back",
            });
            stage.add_total(all);
            stage.result(human_bytes(all));
            *shown = (Some(stage), Some(step));
        }
        if let (Some(stage), Some(now)) = &*shown
            && *now == step
        {
            stage.advance(bytes);
        }
    }
}

/// Bytes in a second, of what took so long.
fn speed(bytes: u64, time: std::time::Duration) -> u64 {
    (bytes as f64 / time.as_secs_f64().max(1e-6)) as u64
}

fn as_json(given: &Given, outcome: &Outcome, has_config: bool) -> serde_json::Value {
    let Outcome { target, found, erase, manifests, image_size, done, resumed } = outcome;
    let disk = match target {
        Target::Disk(disk) => Some(disk),
        Target::File { .. } => None,
    };
    serde_json::json!({
        "image": given.to_string(),
        "image_size": image_size,
        "slots": manifests,
        "target": target.path(),
        "disk": disk,
        "held": found.to_string(),
        "kept_state": *erase == Erase::Image,
        "node_config": has_config,
        "resumed": resumed,
        "written": done.written,
        "there_already": done.there_already,
        "cleared": done.cleared,
        "read_back": done.written + done.there_already,
        "seconds": { "write": done.writing.as_secs_f64(), "read_back": done.reading_back.as_secs_f64() },
    })
}

fn show(given: &Given, outcome: &Outcome, has_config: bool) -> Result<(), output::OutputError> {
    let Outcome { target, erase, manifests, done, resumed, .. } = outcome;
    let all = done.written + done.there_already;
    outln!("{}: {given}, written and read back", target.name())?;
    for manifest in manifests {
        outln!("  slot      {} {}, kernel {}", manifest.role, manifest.version, manifest.kernel)?;
    }
    let there = match resumed {
        true => format!(", of which {} were there already", human_bytes(done.there_already)),
        false => String::new(),
    };
    let [write, read] = [done.writing, done.reading_back].map(|time| human_bytes(speed(all, time)));
    outln!("  written   {}{there} ({write}/s, read back {read}/s)", human_bytes(all))?;
    if *erase == Erase::Image {
        outln!("  kept      the node's state and data behind the image; --yes-erase erases them, too")?;
    }
    let config = match has_config {
        true => "node.toml is on bootsel".to_owned(),
        false => "no --node: the node asks by DHCP, and shows on its console what is missing".to_owned(),
    };
    outln!("  node      {config}")
}

/// A disk with what is on it.
#[derive(serde::Serialize)]
struct Shown {
    #[serde(flatten)]
    disk: Disk,
    /// In words; nothing where it cannot be read.
    holds: Option<String>,
    uses: Vec<Use>,
}

fn list(machine: &Machine, json: bool) -> Result<()> {
    let look = |disk: Disk| {
        let file = File::open(&disk.path).and_then(|file| found::look(&file, disk.size));
        let holds = match file {
            Ok(found) => Some(found.to_string()),
            Err(error) => {
                note!("{}: what is on it cannot be read: {error}", disk.path.display());
                None
            }
        };
        let uses = in_use::uses(machine, &disk);
        Shown { disk, holds, uses }
    };
    let shown: Vec<Shown> = machine.disks().into_iter().filter(|disk| disk.size > 0).map(look).collect();
    if json {
        return output::json(&shown);
    }
    if shown.is_empty() {
        outln!("this machine has no disks that could be flashed")?;
    }
    for Shown { disk, holds, uses } in &shown {
        let about = [disk.transport, disk.removable.then_some("removable"), disk.read_only.then_some("read-only")];
        let about: Vec<&str> = about.into_iter().flatten().collect();
        let model = disk.model.as_deref().unwrap_or("model unknown");
        outln!("{}  {}  {model}  ({})", disk.path.display(), human_bytes(disk.size), about.join(", "))?;
        outln!("  serial    {}", disk.serial.as_deref().unwrap_or("none: name it by its kernel name"))?;
        outln!("  holds     {}", holds.as_deref().unwrap_or("unknown (root is required to read it)"))?;
        for one in uses {
            let system = if one.is_system() { ": this machine runs from it" } else { "" };
            outln!("  in use    {one}{system}")?;
        }
    }
    Ok(())
}
