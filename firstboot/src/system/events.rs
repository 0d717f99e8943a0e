//! Events, as lines on the console with the time since power-on, and the warnings that are kept.

use crate::console;
use crate::service::Moment;
use contract::text;
use std::fmt::Display;
use std::time::Duration;

/// Time after which the console says which services are still awaited.
pub const LATE: Duration = Duration::from_secs(60);
/// Warnings kept for the status page.
const KEPT: usize = 50;

/// Time since power-on, or as near to it as the kernel knows.
#[must_use]
pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// One event, with its time, on one line: no foreign text in it begins another one.
pub fn say(message: impl Display) {
    console::say(format_args!("[{:6.2}s] {}", now().as_secs_f64(), text::line(&message.to_string())));
}

/// Things that went less than well, in words for the operator.
#[derive(Debug, Default)]
pub struct Warnings(Vec<String>);

impl Warnings {
    /// Begins with those that the initramfs reported and said already.
    #[must_use]
    pub fn new(reported: Vec<String>) -> Warnings {
        Warnings(reported)
    }

    /// Says it and keeps it.
    pub fn add(&mut self, message: impl Display) {
        let message = message.to_string();
        say(format_args!("warning: {message}"));
        if self.0.len() < KEPT && !self.0.contains(&message) {
            self.0.push(message);
        }
    }

    #[must_use]
    pub fn list(&self) -> &[String] {
        &self.0
    }
}
