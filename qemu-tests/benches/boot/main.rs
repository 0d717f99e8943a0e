//! From power-on to a working router, beside Debian's own kernel and systemd running the same FRR in the same QEMU:
//!
//! ```sh
//! cargo bench -p qemu-tests --bench boot                # three pairs
//! cargo bench -p qemu-tests --bench boot -- --runs 5
//! ```
//! A neighbour of ours is up and waits. The router under test is switched on; the clock stops when the neighbour's kernel
//! has the prefix that the router announces. The two systems take turns, so that a machine busy with other things slows
//! both. Figures are printed and never judged here.
//!
//! Debian's disk is made once, as root (`debian.sh` says what it needs); without it there are our own figures only.

use anyhow::{Context as _, Result, bail};
use emulator::{Machine, Network, Node};
use qemu_tests::benchmark::{load, runs};
use qemu_tests::images;
use qemu_tests::router::{Router, STEP, wait_route, wait_up};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const USUAL_RUNS: usize = 3;
const UNDER_TEST: Router = Router { number: 1 };
const NEIGHBOUR: Router = Router { number: 2 };
/// Debian takes its time.
const PATIENCE: Duration = Duration::from_secs(600);

/// Seconds of several runs.
#[derive(Default)]
struct Series(Vec<f64>);

impl Series {
    fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64());
    }

    fn sorted(&self) -> Vec<f64> {
        let mut all = self.0.clone();
        all.sort_by(f64::total_cmp);
        all
    }

    fn median(&self) -> Option<f64> {
        let all = self.sorted();
        all.get(all.len() / 2).copied()
    }

    fn row(&self, name: &str) {
        if let (Some(median), Some(least), Some(most)) = (self.median(), self.sorted().first(), self.sorted().last())
        {
            println!("{name:<44} {median:7.2} s  ({least:.2} .. {most:.2})");
        }
    }
}

/// Our own stages, from power-on.
#[derive(Default)]
struct Stages {
    network: Series,
    ready: Series,
    health: Series,
    established: Series,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this program too, and wants no figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("this measures only when `cargo bench` runs it");
        return Ok(());
    }
    let runs = runs(&arguments, USUAL_RUNS)?;
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-boot");
    std::fs::create_dir_all(&work)?;
    let debian = match debian(&work) {
        Ok(image) => Some(image),
        Err(reason) => {
            println!("no Debian to compare with: {reason:#}\n");
            None
        }
    };

    let backbone = Network::new();
    let neighbour = NEIGHBOUR
        .machine(images::router(), &[UNDER_TEST])
        .network(&backbone)
        .network(&Network::new())
        .deadline(PATIENCE * u32::try_from(runs).unwrap_or(u32::MAX) * 2)
        .start()?;
    wait_up(&neighbour, &NEIGHBOUR.name())?;

    let (mut stages, mut peer) = (Stages::default(), Series::default());
    for turn in 1..=runs {
        println!("pair {turn} of {runs}, load {}", load());
        ours(&backbone, &neighbour, &mut stages)?;
        if let Some(image) = &debian {
            peer.push(debians(image, &backbone, &neighbour)?);
        }
    }

    println!("\nfrom power-on, median (least .. most) of {runs} runs, load {}\n", load());
    stages.network.row("microdc: addresses on the ports");
    stages.ready.row("microdc: all services ready");
    stages.health.row("microdc: health gate passed");
    stages.established.row("microdc: prefix in the neighbour's kernel");
    peer.row("Debian with systemd: the same");
    if let (Some(ours), Some(theirs)) = (stages.established.median(), peer.median()) {
        println!("\nmicrodc to Debian with systemd: 1/{:.1}", theirs / ours);
    }
    Ok(())
}

/// Waits until the neighbour has the prefix (or, with `false`, no longer has it).
fn wait_prefix(neighbour: &Node, there: bool) -> Result<()> {
    let lan = UNDER_TEST.lan();
    if there {
        wait_route(neighbour, &[&lan, "proto bgp"])?;
        return Ok(());
    }
    while neighbour.page("r", STEP)?.lines().any(|line| line.contains(&lan) && line.contains("proto bgp")) {
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn ours(backbone: &Network, neighbour: &Node, stages: &mut Stages) -> Result<()> {
    let lan = Network::new();
    let node = UNDER_TEST.machine(images::router(), &[NEIGHBOUR]).network(backbone).network(&lan).start()?;
    node.expect("network ready", STEP)?;
    stages.network.push(node.uptime());
    node.expect("r1 is up", STEP)?;
    stages.ready.push(node.uptime());
    wait_prefix(neighbour, true)?;
    stages.established.push(node.uptime());
    node.expect("health passed", STEP)?;
    stages.health.push(node.uptime());
    drop(node);
    wait_prefix(neighbour, false)
}

fn debians(image: &Path, backbone: &Network, neighbour: &Node) -> Result<Duration> {
    let lan = Network::new();
    let node =
        Machine::new(image).name(&UNDER_TEST.name()).deadline(PATIENCE).network(backbone).network(&lan).start()?;
    let begin = std::time::Instant::now();
    let lan_prefix = UNDER_TEST.lan();
    while !neighbour.page("r", STEP)?.lines().any(|line| line.contains(&lan_prefix) && line.contains("proto bgp")) {
        if begin.elapsed() > PATIENCE || !node.is_on() {
            bail!("Debian's router announced nothing; its console said:\n{}", node.console());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    let time = node.uptime();
    drop(node);
    wait_prefix(neighbour, false)?;
    Ok(time)
}

/// The disk with Debian on it; made when it is not there.
fn debian(work: &Path) -> Result<PathBuf> {
    let image = work.join("debian.img");
    if !image.is_file() {
        let script = images::root().join("qemu-tests/benches/boot/debian.sh");
        println!("making Debian's disk, which takes some minutes: {}", image.display());
        let status = Command::new("bash").arg(script).arg(&image).status().context("cannot start bash")?;
        anyhow::ensure!(status.success(), "making Debian's disk failed ({status})");
    }
    Ok(image)
}
