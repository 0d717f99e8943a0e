//! The system half of PID 1, after switch root. Stages in order, each in its own file:
//! [`mounts`] → [`modules`] → [`lock`] → write protection → [`clock`] → state → node config → [`update`]: what this boot is →
//! [`identity`] → [`certificates`] → [`sysctls`] → [`directories`] → [`limits`] → templates → services and network, in [`steady`], until a reboot or power-off is
//! asked for.
//!
//! No stage ends the boot: problems are reported on the console and kept for the status page, and the node comes up as
//! far as it can, so that an operator can reach it.

mod answers;
mod board;
mod certificates;
mod clock;
mod control;
mod directories;
mod events;
mod identity;
mod k3s;
mod keys;
mod limits;
mod lock;
mod modules;
mod mounts;
mod node;
mod pages;
mod rehearse;
mod room;
mod screen;
mod services;
mod steady;
mod sysctls;
pub mod update;
mod visitors;

use crate::claim;
use crate::config::intake::{Intake, Keeper, intake};
use crate::config::native::Checker;
use crate::config::templates;
use crate::console;
use crate::disk::protect;
use crate::service::LOOKS;
use crate::sys::reboot;
use anyhow::Context as _;
use contract::initramfs::BootReport;
use contract::names;
use contract::role::{FORMAT, RoleSpec};
use contract::storage::{Data, Disk, State, Storage};
use events::Warnings;
use node::Node;
pub use rehearse::run as confine_as;
use serde::de::DeserializeOwned;
use std::path::Path;
use update::Updates;

/// Runs the system until its end. Does not return.
pub fn run() {
    console::open_others(console::SECOND_TERMINAL);
    let (report, role) = match read_specs() {
        Ok(specs) => specs,
        Err(error) => {
            events::say(format_args!("this node cannot run: {error:#}; it restarts in 10 s"));
            std::thread::sleep(std::time::Duration::from_secs(10));
            reboot::finish(reboot::Action::Reboot, None);
        }
    };
    let mut warnings = Warnings::new(report.warnings.clone());
    let feed = || steady::feed_watchdog(&report);
    let cgroups = mounts::run(&mut warnings);
    feed();
    modules::run(&role.modules, feed, &mut warnings);
    lock::run(&mut warnings);
    protect::all(&report).iter().for_each(|reason| warnings.add(reason));
    feed();
    clock::floor(report.built, &mut warnings);
    let state = state(&report, limits::wanted(&role, false), &mut warnings);
    feed();
    clock::floor(clock::saved(), &mut warnings);
    let lasting = matches!(state, State::Persistent { .. });
    let intake = node_config(&report, &role, lasting, cgroups.as_deref(), &mut warnings);
    let updates = Updates::begin(&report, role.update, &mut warnings);
    feed();
    let (disks, data) = data(&report, &intake, limits::wanted(&role, true), &mut warnings);
    feed();
    identity::run(&intake.config, &mut warnings);
    certificates::run(&intake.config, &mut warnings);
    sysctls::run(&role.sysctls, &mut warnings);
    directories::run(&role.directories, &data, &mut warnings);
    let storage = Storage { disks, state, data };
    let limits = limits::run(&role, &storage, &feed, &mut warnings);
    let missing = templates::render_all(&role.templates, Path::new(names::TEMPLATES), Path::new("/"), &intake.config);
    feed();
    let board = board::Watch::begin(&mut warnings);
    let node = Node { report, role, intake, storage, limits, board, warnings };
    let (supervisor, health) = services::prepare(&node, cgroups, &missing, updates.baseline().absent);
    steady::run(node, supervisor, health, updates);
}

fn state(report: &BootReport, limits: bool, warnings: &mut Warnings) -> State {
    let state = claim::state(report, limits);
    match &state {
        State::Persistent { device, created, notes } => {
            if *created {
                events::say(format_args!("state was made on {device}"));
            }
            for note in notes {
                warnings.add(note);
            }
        }
        State::Volatile { reason } => {
            warnings.add(format_args!("state is in memory only and will be lost: {reason}"));
        }
    }
    state
}

fn data(report: &BootReport, intake: &Intake, limits: bool, warnings: &mut Warnings) -> (Vec<Disk>, Data) {
    let (disks, data) = claim::data(report, &intake.config, limits);
    match &data {
        Data::NotWanted => {}
        Data::Ready { device, kind, created, notes, .. } => {
            events::say(format_args!("data ({kind}) {} {device}", if *created { "was made on" } else { "is on" }));
            for note in notes {
                warnings.add(note);
            }
        }
        Data::Refused { reason } => warnings.add(format_args!("there is no data: {reason}")),
    }
    (disks, data)
}

fn read_specs() -> anyhow::Result<(BootReport, RoleSpec)> {
    let report: BootReport = read_json(names::BOOT_REPORT)?;
    let role: RoleSpec = read_json(names::ROLE_SPEC)?;
    anyhow::ensure!(role.format == FORMAT, "{} has format {}, not {FORMAT}", names::ROLE_SPEC, role.format);
    Ok((report, role))
}

fn read_json<T: DeserializeOwned>(path: &str) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("cannot parse {path}"))
}

fn node_config(
    report: &BootReport,
    settings: &RoleSpec,
    lasting: bool,
    cgroups: Option<&Path>,
    warnings: &mut Warnings,
) -> Intake {
    let bootsel = match claim::bootsel_node_config(report) {
        Ok(found) => {
            if let Some(name) = found.near_miss {
                warnings.add(format_args!(
                    "bootsel has {name:?}, which is not read: a node config is called {}; rename it and restart the node",
                    names::NODE_CONFIG
                ));
            }
            found.config
        }
        Err(error) => {
            warnings.add(format_args!("cannot look for {} on bootsel: {error:#}", names::NODE_CONFIG));
            None
        }
    };
    let looks = cgroups.and_then(|services| Some(services.parent()?.join(LOOKS)));
    let checker = Checker {
        role: settings,
        templates: Path::new(names::TEMPLATES),
        scratch: names::SCRATCH.into(),
        cgroups: looks.as_deref(),
        feed: &|| steady::feed_watchdog(report),
    };
    let keeper = Keeper {
        state: Path::new(names::STATE_MOUNT),
        lasting,
        name: &identity::default_name(&report.disk),
        try_out: &|config, text| checker.accept(config, text),
    };
    let mut intake = intake(&keeper, bootsel.as_deref());
    for problem in intake.config.vars.complete(&settings.vars).err().unwrap_or_default() {
        warnings.add(format_args!("{}: {problem}", names::NODE_CONFIG));
    }
    for note in &intake.notes {
        warnings.add(note);
    }
    // What is kept was synced before: from here on bootsel need not have it.
    if let Some(bytes) = bootsel.filter(|_| !intake.secrets.is_empty()) {
        match claim::bootsel_overwrite(report, &bytes, &intake.secrets) {
            Ok(()) => events::say("the secrets of node.toml were moved from bootsel to state"),
            Err(error) => warnings.add(format_args!("secrets are still on bootsel: {error:#}")),
        }
    }
    intake
}
