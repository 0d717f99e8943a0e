//! Other programs among the processes of a service: what works on its files while it runs, or in its place.

use super::machine::{Moment, State};
use super::supervisor::Supervisor;
use super::unit::Unit;
use rustix::process::Pid;

/// Reads of a service's pipe after a program has ended: it holds 64 KiB at most.
const READS: usize = 5;

impl Supervisor {
    fn unit(&self, name: &str) -> Result<&Unit, String> {
        self.units.iter().find(|unit| unit.name == name).ok_or_else(|| format!("there is no service {name}"))
    }

    /// How a service is run.
    ///
    /// # Errors
    /// There is no such service.
    pub fn command(&self, name: &str) -> Result<&[String], String> {
        self.unit(name).map(|unit| unit.spec.run.as_slice())
    }

    /// Stops the program of a service, and keeps it from starting until [`Supervisor::release`]. What its program has left,
    /// such as containers, goes on.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn hold(&mut self, name: &str, now: Moment) -> Result<(), String> {
        if *self.unit(name)?.machine.state() != State::Waiting {
            self.restart(name, now)?;
        }
        self.units.iter_mut().filter(|unit| unit.name == name).for_each(|unit| unit.held = true);
        Ok(())
    }

    /// Whether a service that is held has no process any more.
    #[must_use]
    pub fn is_down(&self, name: &str) -> bool {
        let down = |unit: &Unit| unit.held && unit.pid.is_none() && *unit.machine.state() == State::Waiting;
        self.unit(name).is_ok_and(down)
    }

    /// Lets a service start again.
    pub fn release(&mut self, name: &str) {
        self.units.iter_mut().filter(|unit| unit.name == name).for_each(|unit| unit.held = false);
    }

    /// Starts a program among the processes of a service.
    ///
    /// # Errors
    /// Why it could not be started, in words.
    pub fn run_beside(&self, name: &str, run: &[String]) -> Result<Pid, String> {
        self.unit(name)?.run_beside(run)
    }

    /// The lines that came to the log of a service after the first `seen` ones, read to the last.
    pub fn lines_now(&mut self, name: &str, seen: u64) -> Vec<String> {
        for unit in self.units.iter_mut().filter(|unit| unit.name == name) {
            for _ in 0..READS {
                unit.read_output(false);
            }
        }
        let (lines, _) = self.lines_since(name, seen);
        lines.into_iter().map(str::to_owned).collect()
    }
}
