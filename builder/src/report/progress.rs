//! A bar per stage on a terminal, otherwise a line per stage; always on standard error.

use super::summary::StageTime;
use crate::source::progress::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shows the stages of one build and keeps their times.
#[derive(Clone)]
pub struct Reporter {
    bars: MultiProgress,
    lines: bool,
    times: Arc<Mutex<Vec<StageTime>>>,
    /// What stages were made, and which were there already.
    work: Arc<Mutex<BTreeMap<String, bool>>>,
    /// Which of several builds this is.
    label: Arc<str>,
}

impl Reporter {
    /// Bars on a terminal, lines elsewhere; nothing at all when `silent`.
    #[must_use]
    pub fn new(silent: bool) -> Reporter {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if terminal && !silent { ProgressDrawTarget::stderr_with_hz(12) } else { ProgressDrawTarget::hidden() };
        Reporter {
            bars: MultiProgress::with_draw_target(target),
            lines: !terminal && !silent,
            times: Arc::default(),
            work: Arc::default(),
            label: "".into(),
        }
    }

    /// A reporter for one of several builds, with times of its own.
    #[must_use]
    pub fn of(&self, label: &str) -> Reporter {
        Reporter { times: Arc::default(), work: Arc::default(), label: format!("{label} ").into(), ..self.clone() }
    }

    /// Notes that the output of a stage was made, or was there already.
    pub fn did(&self, stage: &str, made: bool) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        *work.entry(stage.to_owned()).or_default() |= made;
    }

    /// Names of the stages whose output was there, and of those that were made.
    #[must_use]
    pub fn work(&self) -> (Vec<String>, Vec<String>) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let names =
            |wanted: bool| work.iter().filter(move |(_, made)| **made == wanted).map(|(name, _)| name.clone());
        (names(false).collect(), names(true).collect())
    }

    /// Begins a stage; it ends when the returned value is dropped.
    #[must_use]
    pub fn stage(&self, name: &'static str) -> Stage {
        let bar = self.bars.add(ProgressBar::new(0));
        bar.set_style(style("{prefix:>10} {spinner} {msg}"));
        bar.set_prefix(format!("{}{name}", self.label));
        bar.enable_steady_tick(Duration::from_millis(120));
        Stage {
            name,
            bar,
            reporter: self.clone(),
            start: Instant::now(),
            result: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// A line that stays, above the bars.
    pub fn say(&self, line: &str) {
        let line = contract::text::lines(line);
        if self.lines {
            // Progress that cannot be written stops no build.
            let _ = writeln!(std::io::stderr(), "{}{line}", self.label);
        } else {
            // A hidden bar has nowhere to print to; that is what `silent` means.
            let _ = self.bars.println(format!("{}{line}", self.label));
        }
    }

    /// The times of all ended stages, in the order of their ends.
    #[must_use]
    pub fn times(&self) -> Vec<StageTime> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running stage.
pub struct Stage {
    name: &'static str,
    bar: ProgressBar,
    reporter: Reporter,
    start: Instant,
    result: Mutex<String>,
    ended: AtomicBool,
}

impl Stage {
    /// What the stage came to, for its closing line.
    pub fn result(&self, text: impl Into<String>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// What the stage is doing right now.
    pub fn doing(&self, text: &str) {
        self.bar.set_message(contract::text::line(text).into_owned());
    }
}

impl Progress for Stage {
    fn add_total(&self, bytes: u64) {
        if self.bar.length() == Some(0) {
            self.bar.set_style(style(
                "{prefix:>10} {wide_bar} {bytes:>11} of {total_bytes} {bytes_per_sec:>12} {eta:>4}",
            ));
        }
        self.bar.inc_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn note(&self, line: &str) {
        self.reporter.say(&format!("{:>10} {line}", self.name));
    }
}

impl Stage {
    /// Ends the stage: its closing line is shown and its time is kept.
    pub fn end(&self) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let time = self.start.elapsed();
        self.bar.finish_and_clear();
        let result = std::mem::take(&mut *self.result.lock().unwrap_or_else(PoisonError::into_inner));
        if !result.is_empty() {
            self.reporter.say(&format!("{:>10} {result} in {:.2} s", self.name, time.as_secs_f64()));
        }
        let mut times = self.reporter.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push(StageTime { stage: self.name.to_owned(), seconds: time.as_secs_f64() });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
