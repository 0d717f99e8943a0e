//! What the confinement of services costs: the router with the probe as it is built, beside the same image in which every
//! service of the role is unconfined. Nothing else differs: kernel, programs, services and node config are the same.
//!
//! ```sh
//! cargo bench -p qemu-tests --bench confinement                # five pairs
//! cargo bench -p qemu-tests --bench confinement -- --runs 9
//! ```
//! The two take turns, so that a machine busy with other things slows both. The time of the processor is the emulator's, until
//! the health gate has passed; it depends less on what else runs. Figures are printed and never judged here.

use anyhow::{Context as _, Result};
use emulator::Network;
use qemu_tests::agent::Agent;
use qemu_tests::benchmark::{load, runs};
use qemu_tests::forge::Forge;
use qemu_tests::images;
use qemu_tests::probe::PORT;
use qemu_tests::router::{Router, STEP};
use std::path::Path;

const USUAL_RUNS: usize = 5;
/// Of the kernel's clock for processes, in a second (`USER_HZ`).
const TICKS: f64 = 100.0;
const UNDER_TEST: Router = Router { number: 1 };

/// One boot.
#[derive(Clone, Copy, Debug, Default)]
struct Boot {
    /// Seconds from power-on.
    ready: f64,
    healthy: f64,
    /// Seconds of the host's processors.
    processor: f64,
    /// KiB, after the health gate has passed.
    init: f64,
    used: f64,
}

/// A figure by its name, with its unit.
type Figure = (&'static str, &'static str, fn(&Boot) -> f64);

const FIGURES: [Figure; 5] = [
    ("all services ready", "s", |boot| boot.ready),
    ("health gate passed", "s", |boot| boot.healthy),
    ("processor until then", "s", |boot| boot.processor),
    ("PID 1, resident", "KiB", |boot| boot.init),
    ("memory of the node in use", "KiB", |boot| boot.used),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this program too, and wants no figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("this measures only when `cargo bench` runs it");
        return Ok(());
    }
    let runs = runs(&arguments, USUAL_RUNS)?;
    let confined = images::router_with_probe();
    let bare = Forge::of(&confined).role(unconfined).finish();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 1..=runs {
        println!("pair {turn} of {runs}, load {}", load());
        // Who comes first takes turns, too.
        let order = if turn % 2 == 0 { [true, false] } else { [false, true] };
        for is_confined in order {
            let image = if is_confined { confined.as_path() } else { bare.path() };
            let boot = boot(image)?;
            println!("  {} {boot:?}", if is_confined { "confined  " } else { "unconfined" });
            if is_confined {
                with.push(boot)
            } else {
                without.push(boot)
            };
        }
    }
    println!("\nmedian (least .. most) of {runs} boots each\n");
    for (name, unit, of) in FIGURES {
        let column = |boots: &[Boot]| sorted(boots.iter().map(of).collect());
        let row = |all: &[f64]| {
            let [least, median, most] = [0, all.len() / 2, all.len() - 1].map(|at| all[at]);
            format!("{median:9.2} ({least:.2} .. {most:.2}) {unit}")
        };
        let pairs = sorted(with.iter().zip(&without).map(|(with, without)| of(with) - of(without)).collect());
        println!("{name:<26} unconfined {}", row(&column(&without)));
        println!("{:<26} confined   {}", "", row(&column(&with)));
        println!("{:<26} difference {}", "", row(&pairs));
    }
    Ok(())
}

/// Every service of the role sees what PID 1 sees.
fn unconfined(role: &mut serde_json::Value) {
    let services = role["services"].as_object_mut().expect("a role has services");
    for service in services.values_mut() {
        let operators = service["sandbox"]["operators"] == true;
        // FRR insists on these; its confinement answers as if it had them.
        if service["sandbox"]["fixed_capabilities"] == true {
            service["capabilities"] = serde_json::json!(["NET_BIND_SERVICE", "NET_ADMIN", "NET_RAW", "SYS_ADMIN"]);
        }
        service["sandbox"] = serde_json::json!({ "unconfined": true, "operators": operators });
    }
}

fn boot(image: &Path) -> Result<Boot> {
    let before = processor()?;
    let machine = UNDER_TEST.machine(image.to_owned(), &[]).network(&Network::new()).network(&Network::new());
    let mut node = machine.port(PORT).start()?;
    node.expect("r1 is up", STEP)?;
    let ready = node.uptime().as_secs_f64();
    node.expect("health passed", STEP)?;
    let healthy = node.uptime().as_secs_f64();
    let (status, memory) = (Agent(&node).cat("/proc/1/status"), Agent(&node).cat("/proc/meminfo"));
    let kib = |text: &str, name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {name}"))?;
        Ok(number.parse()?)
    };
    let init = kib(&status, "VmRSS")?;
    let used = kib(&memory, "MemTotal")? - kib(&memory, "MemAvailable")?;
    node.kill();
    drop(node);
    Ok(Boot { ready, healthy, processor: processor()? - before, init, used })
}

/// Seconds that the processes have taken which this one has started and seen the end of (proc_pid_stat(5): cutime, cstime).
fn processor() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    let (_, behind) = text.rsplit_once(") ").context("/proc/self/stat has no name")?;
    let ticks = behind.split(' ').skip(13).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS)
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}
