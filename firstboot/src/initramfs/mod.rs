//! The first half of PID 1: from the kernel to the verified root.
//!
//! [`mounts`] → [`modules`] (and the watchdog, as soon as its driver is in: [`guard`]) → [`firmware`] and [`disks`] find
//! out which [`slot`] was started → [`crate::disk::verity`] trusts its signed manifest and nothing else → [`root`]
//! mounts the verified root and switches to it. Where the command line asks for an installation, [`installer`] does that
//! instead. A failure is reported on the console and ends in a reboot ([`failure`]): there is no shell, and nothing waits
//! for an operator.

mod disks;
mod failure;
pub mod firmware;
mod guard;
mod modules;
mod mounts;
mod root;
mod slot;
pub mod spec;

use crate::console::{self, warn};
use crate::disk::verity;
use crate::installer;
use crate::sys::time;
use anyhow::Context as _;
use contract::initramfs::BootReport;
use contract::installer::InstallOptions;
use contract::names;
use failure::{Failure, Place};
use guard::Guard;
use spec::COMMAND_LINE;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

/// How long the initramfs may take besides waiting for the disk, until the machine is reset.
const ALLOWANCE: Duration = Duration::from_secs(60);

/// Runs the initramfs half. Ends in exec of the system half, or in a reboot.
pub fn run() -> ! {
    if std::process::id() != 1 {
        console::say("without arguments, firstboot runs as the first process of a node and does nothing else");
        std::process::exit(2);
    }
    let guard = Guard::start(ALLOWANCE);
    let mut place = Place::default();
    let Err(failure) = walk(&guard, &mut place);
    failure.end()
}

/// Runs one stage; `place` is what is known of slot and disk by now.
fn stage<T>(name: &'static str, place: &Place, run: impl FnOnce() -> anyhow::Result<T>) -> Result<T, Failure> {
    run().map_err(|error| Failure { stage: name, place: place.clone(), error })
}

fn walk(guard: &Guard, place: &mut Place) -> Result<Infallible, Failure> {
    stage("mounting the kernel's file systems", place, mounts::set_up)?;
    let mut warnings = Vec::new();
    let spec = stage("reading its settings", place, || spec::read(Path::new(names::INITRAMFS_SPEC)))?;
    guard.extend(Duration::from_secs(spec.disk_timeout_s));
    modules::load(&spec.modules, guard, &mut warnings);
    if guard.watchdog().is_none() {
        warn(&mut warnings, "this machine has no hardware watchdog: it would not recover from a hang".to_owned());
    }

    let firmware = firmware::Firmware::read(Path::new(names::DT_BOOTLOADER));
    place.slot = firmware.slot;
    place.trial = firmware.trial;
    let line = stage("reading the kernel command line", place, || {
        std::fs::read_to_string(COMMAND_LINE).with_context(|| format!("reading {COMMAND_LINE}"))
    })?;
    let install = stage("reading the kernel command line", place, || Ok(InstallOptions::parse(&line)?))?;
    if install.is_some() {
        installer::lead(&|by| guard.extend(by));
    }
    let wanted = stage("reading the kernel command line", place, || Ok(firmware::root_hash(&line)?))?;

    let wait = Duration::from_secs(spec.disk_timeout_s);
    let found = disks::wait_for_slot(wanted, &firmware, &spec.keys, wait).map_err(|error| {
        place.slot = error.slot.or(place.slot);
        place.disk.clone_from(&error.disk);
        Failure { stage: error.stage(), place: place.clone(), error: error.into() }
    })?;
    place.slot = Some(found.slot);
    place.disk = Some(found.disk.clone());

    let manifest = &found.signed.manifest;
    let device = stage("verifying the slot", place, || {
        verity::open(&found.disk, found.slot, found.extent, manifest, &spec.role)
    })?;
    console::say(format_args!(
        "slot {} on {}: {} {}, root {}{}",
        found.slot,
        found.disk,
        manifest.role,
        manifest.version,
        manifest.root.root_hash,
        if firmware.trial { " (trial)" } else { "" }
    ));
    if let Err(error) = time::advance_to(manifest.built) {
        warn(&mut warnings, format!("the clock could not be set to the time of the build: {error}"));
    }
    stage("mounting the root", place, || root::mount(&device))?;

    let report = BootReport {
        slot: found.slot,
        disk: found.disk.clone(),
        version: manifest.version.to_string(),
        compatible: manifest.compatible(),
        manifest: found.signed.digest,
        root_hash: manifest.root.root_hash,
        rollback_index: manifest.rollback_index,
        built: manifest.built,
        trial: firmware.trial,
        watchdog: guard.watchdog(),
        keys: spec.keys.clone(),
        warnings,
    };
    stage("switching to the root", place, || root::switch(&report))
}
