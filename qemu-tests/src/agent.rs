//! Asks the probe in a running node.

use crate::probe::{PORT, Request, ask};
use crate::router::STEP;
use emulator::Node;
use std::time::{Duration, Instant};

/// The probe of one node. Every question has a connection of its own to the port, so it survives the node's resets.
#[derive(Clone, Copy, Debug)]
pub struct Agent<'n>(pub &'n Node);

impl Agent<'_> {
    /// Asks once.
    ///
    /// # Errors
    /// What the probe says.
    ///
    /// # Panics
    /// When the probe cannot be reached.
    pub fn ask(self, request: &Request) -> Result<String, String> {
        let mut port = self.0.port(PORT).expect("the node has a port for its probe");
        port.set_read_timeout(Some(STEP)).expect("a time-out can be set");
        let out = port.try_clone().expect("a port can be shared");
        let answer = ask(&mut port, out, request).unwrap_or_else(|error| panic!("{request}: {error}"));
        answer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file; empty when there is none.
    #[must_use]
    pub fn cat(self, path: &str) -> String {
        self.ask(&Request::Cat(path.to_owned())).unwrap_or_default()
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn write(self, path: &str, text: &str) {
        let request = Request::Write { path: path.to_owned(), text: text.to_owned() };
        self.ask(&request).unwrap_or_else(|error| panic!("{request}: {error}"));
    }

    /// # Panics
    /// When one of these modules is not loaded.
    pub fn has_modules(self, wanted: &[&str]) {
        let modules = self.cat("/proc/modules");
        for module in wanted {
            assert!(modules.lines().any(|line| line.split(' ').next() == Some(module)), "no {module}:\n{modules}");
        }
    }

    /// How many processes have this name.
    #[must_use]
    pub fn count(self, name: &str) -> usize {
        let list = self.ask(&Request::Ps).unwrap_or_default();
        list.lines().filter(|line| line.split_once(' ').is_some_and(|(_, found)| found == name)).count()
    }

    /// Waits until something that it can be asked holds; gives that.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until<T>(self, what: &str, mut holds: impl FnMut(Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = holds(self) {
                return found;
            }
            assert!(begin.elapsed() < STEP, "never: {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
