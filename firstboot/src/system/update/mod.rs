//! Updates, as PID 1 sees them: a child installs a bundle into the other slot; PID 1 then checks the slot itself, asks
//! the firmware for a trial of it, and restarts; the next run is on trial until it commits or goes back.
//!
//! - [`machine`] where the node stands, and what follows from it · [`memory`] what it remembers on `state`
//! - [`baseline`] what the committed system managed, by which a trial is judged · [`outside`] what concerns a missing port
//! - [`reserve`] room for that when `state` is full
//! - [`installing`] the child that takes a bundle · here what is done to disk and memory

pub mod baseline;
pub mod installing;
pub mod machine;
pub mod memory;
pub mod outside;
mod reserve;

use super::events::{Warnings, say};
use crate::claim::choice;
use crate::disk::slots;
use baseline::{Baseline, Now};
use contract::autoboot;
use contract::error::chain;
use contract::initramfs::BootReport;
use contract::layout::Slot;
use contract::manifest::Manifest;
use contract::names::{AUTOBOOT, STATE_MOUNT, STATE_UPDATES, STATE_UPDATES_RESERVE};
use contract::role::Trial;
use contract::update::{Phase, Release, UpdateStatus};
use installing::Installing;
use machine::{Action, Boot, Choice, Facts, Machine, Standing};
use memory::{Memory, Pending, Stage, Stored};
use reserve::Reserve;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How the node stands with its slots, and the update that is being taken.
pub struct Updates {
    release: Release,
    slot: Slot,
    machine: Machine,
    memory: Memory,
    choice: Choice,
    /// What runs, by its trailer; the installer copies from it.
    pub running: Option<Manifest>,
    standby: Option<Release>,
    pub installing: Option<Installing>,
    /// Whether the firmware was asked for a trial in this run.
    asked: bool,
    /// What fails in this trial, or failed when it was committed, and does not count; with the reasons.
    pub tolerated: Vec<String>,
}

/// What is in the other slot and may be tried.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub release: Release,
    pub slot: Slot,
}

impl Updates {
    /// Looks at `autoboot.txt`, the memory and both slots, and says what this boot is.
    #[must_use]
    pub fn begin(report: &BootReport, limits: Trial, warnings: &mut Warnings) -> Updates {
        let choice = read_choice(report);
        if let Choice::Unreadable(why) = &choice {
            warnings.add(format_args!("cannot tell which slot the EEPROM starts: {why}"));
        }
        let mut memory = match Memory::load(Path::new(STATE_MOUNT)) {
            Ok(memory) => memory.unwrap_or_default(),
            Err(error) => {
                let file = STATE_UPDATES;
                warnings
                    .add(format_args!("the record of earlier updates is lost: {file} on state: {}", chain(&error)));
                Memory::default()
            }
        };
        let running = match slots::manifest(report, report.slot) {
            Ok((_, manifest)) => Some(manifest),
            Err(error) => {
                warnings.add(format_args!("cannot read the trailer of the running slot: {error:#}"));
                None
            }
        };
        let standby = standby(report);
        let release = Release {
            version: report.version.clone(),
            manifest: report.manifest,
            rollback_index: report.rollback_index,
        };
        let boot = Boot { slot: report.slot, trial: report.trial, release: release.clone(), choice: choice.clone() };
        let (machine, begun) = Machine::begin(&boot, limits, &mut memory, standby.is_some(), unix_time());
        let slot = report.slot;
        if let Err(error) = Reserve::at(Path::new(STATE_MOUNT)).prepare() {
            warnings.add(format_args!(
                "no room can be kept for the memory of updates: {STATE_UPDATES_RESERVE} on state: {error}; free some, or a \
                 release that fails may be forgotten"
            ));
        }
        let mut updates = Updates {
            release,
            slot,
            machine,
            memory,
            choice,
            running,
            standby,
            installing: None,
            asked: false,
            tolerated: Vec::new(),
        };
        // What is said is written down: power may go as soon as it is read.
        if begun.remember {
            updates.remember(warnings);
        }
        for line in &begun.says {
            say(line);
        }
        updates
    }

    fn remember(&mut self, warnings: &mut Warnings) {
        match self.memory.store(Path::new(STATE_MOUNT)) {
            Ok(Stored::InPlace) => {}
            Ok(Stored::InReserve(error)) => say(format_args!(
                "{STATE_UPDATES} on state cannot be written ({error}): the state of updates is kept in {STATE_UPDATES_RESERVE}"
            )),
            Err(error) => {
                warnings.add(format_args!("cannot save the state of updates: {STATE_UPDATES} on state: {error}"));
            }
        }
    }

    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    #[must_use]
    pub fn status(&self) -> UpdateStatus {
        let phase = match (&self.installing, self.machine.standing()) {
            (Some(installing), _) => installing.phase(),
            (None, Standing::Committed) => Phase::Committed,
            (None, Standing::Trial) => Phase::Trial {
                waits_for: self.machine.waits_for().to_owned(),
                deadline_s: self.machine.deadline().as_secs_f64(),
            },
            (None, Standing::Stray(reason)) => Phase::Stray { reason: reason.clone() },
            (None, Standing::Over) => Phase::Trial {
                waits_for: "the restart that ends it".to_owned(),
                deadline_s: self.machine.deadline().as_secs_f64(),
            },
        };
        UpdateStatus {
            phase,
            default_slot: self.choice.slot(),
            rollback_index: self.memory.rollback_index,
            standby: self.standby.clone(),
            failed: self.memory.failed.clone(),
            failures: self.memory.failures,
            tolerated: self.tolerated.clone(),
        }
    }

    /// Looks at the facts and does what follows from them. Gives the reason when the node is to go back.
    pub fn step(&mut self, report: &BootReport, facts: &Facts, warnings: &mut Warnings) -> Option<String> {
        let mut back = None;
        for action in self.machine.step(facts) {
            match action {
                Action::Reach(stage) => {
                    if let Some(pending) = &mut self.memory.pending {
                        pending.stage = stage;
                    }
                    self.remember(warnings);
                }
                Action::Commit => back = self.commit(report, warnings).err(),
                Action::GoBack(reason) => back = Some(reason),
                Action::Rewrite(slot) => self.mend(report, slot, warnings),
            }
        }
        if let Some(reason) = &back {
            self.end_trial(reason, warnings);
        }
        back
    }

    /// Makes the running slot the one that the EEPROM starts. First the choice, then the memory of it: between the two the
    /// next boot knows by the choice.
    fn commit(&mut self, report: &BootReport, warnings: &mut Warnings) -> Result<(), String> {
        if let Err(error) = choice::choose(report, self.slot) {
            // What now is there is seen at the next boot.
            let reason = format!("it could not be committed: {error:#}");
            let _ended = self.machine.end(&reason);
            return Err(reason);
        }
        self.choice = Choice::Slot(self.slot);
        self.machine.chosen(self.slot);
        self.memory.pending = None;
        self.memory.commit(&self.release, self.slot);
        self.remember(warnings);
        say(format_args!("committed: slot {}, {}", self.slot, self.release.version));
        for line in &self.tolerated {
            say(format_args!("committed all the same: {line}"));
        }
        Ok(())
    }

    fn mend(&mut self, report: &BootReport, slot: Slot, warnings: &mut Warnings) {
        match choice::choose(report, slot) {
            Ok(()) => {
                self.choice = Choice::Slot(slot);
                self.machine.chosen(slot);
                if slot == self.slot {
                    self.memory.commit(&self.release, slot);
                    self.remember(warnings);
                }
                say(format_args!("{AUTOBOOT} was damaged and is rewritten: the EEPROM starts slot {slot}"));
            }
            Err(error) => warnings.add(format_args!("{AUTOBOOT} is damaged and cannot be rewritten: {error:#}")),
        }
    }

    /// Says and writes down why the trial ends.
    fn end_trial(&mut self, reason: &str, warnings: &mut Warnings) {
        if let Some(pending) = &mut self.memory.pending {
            pending.ended = Some(reason.to_owned());
        }
        self.remember(warnings);
        say(format_args!("going back: {reason}"));
    }

    /// Someone ends the run or the trial. Returns whether there was one.
    pub fn end(&mut self, reason: &str, warnings: &mut Warnings) -> bool {
        let ends = self.machine.end(reason).is_some();
        if ends {
            self.end_trial(reason, warnings);
        }
        ends
    }

    /// What is in the other slot, after all checks that need no bundle.
    ///
    /// # Errors
    /// Why it is not tried, in words.
    pub fn candidate(&mut self, report: &BootReport, force: bool) -> Result<Candidate, String> {
        let slot = self.slot.other();
        self.standby = None;
        let (release, manifest) =
            slots::manifest(report, slot).map_err(|error| format!("slot {slot} has nothing to try: {error:#}"))?;
        self.standby = Some(release.clone());
        let fits = report.compatible.takes(&manifest.compatible(), force);
        fits.map_err(|error| format!("slot {slot} is not tried: {error}"))?;
        if release.rollback_index < self.memory.rollback_index && !force {
            return Err(format!(
                "{} has rollback index {}, but this node has committed {}; use --force to install it anyway",
                release.version, release.rollback_index, self.memory.rollback_index
            ));
        }
        if let Some(failed) = self.memory.failure(&release.manifest).filter(|_| !force) {
            return Err(format!("{} has failed here: {}; --force tries it again", release.version, failed.reason));
        }
        Ok(Candidate { release, slot })
    }

    /// Why nothing can be installed or tried now.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn free(&self) -> Result<(), String> {
        if self.installing.is_some() {
            return Err("an update is already being installed; `cancel` stops it".to_owned());
        }
        if self.asked {
            return Err("the node is about to restart into a trial".to_owned());
        }
        match self.machine.standing() {
            Standing::Committed => Ok(()),
            Standing::Trial => Err(format!(
                "slot {} is on trial and waits for {}; until it is committed the other slot is not touched; `rollback` \
                 ends the trial",
                self.slot,
                self.machine.waits_for()
            )),
            Standing::Over => Err("the node is returning to its other slot".to_owned()),
            Standing::Stray(reason) => {
                Err(format!("slot {} is running without being the default slot: {reason}", self.slot))
            }
        }
    }

    /// What the committed system managed of this node; nothing is excused where there is no record of it.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        self.memory.baseline.clone().unwrap_or_default()
    }

    /// The committed system writes down how the node is with it.
    pub fn record(&mut self, now: &Now, warnings: &mut Warnings) {
        if self.note(now) {
            self.remember(warnings);
        }
    }

    /// Returns whether anything has changed.
    fn note(&mut self, now: &Now) -> bool {
        let found = Some(Baseline::of(now, &self.baseline()));
        let changed = found != self.memory.baseline;
        self.memory.baseline = found;
        changed
    }

    /// Writes down that a trial is asked for, and how the node is before it; then asks the firmware.
    ///
    /// # Errors
    /// Why the firmware does not try it, in words. The node stays as it is.
    pub fn ask_for_trial(&mut self, candidate: &Candidate, now: &Now, warnings: &mut Warnings) -> Result<(), String> {
        self.note(now);
        self.memory.pending = Some(Pending {
            release: candidate.release.clone(),
            slot: candidate.slot,
            asked_at: unix_time(),
            stage: Stage::Asked,
            ended: None,
        });
        self.remember(warnings);
        match crate::sys::firmware::ask_for_trial() {
            Ok(way) => {
                self.asked = true;
                let Candidate { release, slot } = candidate;
                say(format_args!("the firmware was asked by {way} to try {} in slot {slot} once", release.version));
                Ok(())
            }
            Err(error) => {
                self.memory.pending = None;
                self.remember(warnings);
                let reason = format!("the firmware cannot be asked to try slot {}: {error}", candidate.slot);
                warnings.add(&reason);
                Err(reason)
            }
        }
    }

    /// All is stopped, and the node is about to restart into a trial: from here on one that does not come is a failure.
    pub fn restarting(&mut self, warnings: &mut Warnings) {
        if self.asked
            && let Some(pending) = &mut self.memory.pending
        {
            pending.stage = Stage::Restarting;
            self.remember(warnings);
        }
    }

    /// Looks again at what is in the other slot.
    pub fn inspect_standby(&mut self, report: &BootReport) {
        self.standby = standby(report);
    }
}

fn standby(report: &BootReport) -> Option<Release> {
    slots::manifest(report, report.slot.other()).ok().map(|(release, _)| release)
}

fn read_choice(report: &BootReport) -> Choice {
    match choice::read(report) {
        Ok(Some(bytes)) => match autoboot::default_slot(&bytes) {
            Some(slot) => Choice::Slot(slot),
            None => Choice::Foreign(format!("{AUTOBOOT} is not as microdc writes it")),
        },
        Ok(None) => Choice::Foreign(format!("there is no {AUTOBOOT} on bootsel")),
        Err(error) => Choice::Unreadable(format!("{error:#}")),
    }
}

/// Seconds since 1970.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
