//! The page of routes: a child without any rights reads the kernel's routing table and writes the page to a pipe.

use super::super::events::now;
use super::super::{keys, pages};
use super::turn::{Loop, Page};
use crate::console::show;
use crate::service::{Moment, confine};
use crate::sys::process::{Program, Surroundings, spawn};
use contract::names;
use contract::role::Identity;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::AsFd as _;
use std::time::Duration;

/// Longest page, in bytes, and time for it.
const LENGTH: usize = 64 * 1024;
const LIMIT: Duration = Duration::from_secs(5);
/// The user that writes it: nobody.
const NOBODY: u32 = 65_534;

impl Loop {
    /// Lets a child without any rights write the routing table.
    pub(super) fn begin_page(&mut self) {
        if self.page.is_some() {
            return;
        }
        let started = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(|error| error.to_string())
            .and_then(|(output, write)| {
                let run = [names::FIRSTBOOT.to_owned(), "page".to_owned()];
                let identity = Identity { uid: NOBODY, gid: NOBODY, groups: Vec::new() };
                let program = Program {
                    run: &run,
                    environment: Vec::new(),
                    identity: &identity,
                    capabilities: &[],
                    cgroup: None,
                    output: write.as_fd(),
                    surroundings: Surroundings {
                        confinement: Some(confine::of_reader()?),
                        ..Surroundings::default()
                    },
                };
                spawn(&program).map_err(|error| error.to_string())?;
                Ok(output)
            });
        match started {
            Ok(output) => self.page = Some(Page { output, text: Vec::new(), deadline: now() + LIMIT }),
            Err(error) => show(&pages::framed("routes", &error)),
        }
    }

    pub(super) fn read_page(&mut self) {
        let Some(page) = &mut self.page else { return };
        match keys::read(&page.output) {
            Some(bytes) if page.text.len() < LENGTH => page.text.extend(bytes),
            _ => page.deadline = Moment::ZERO,
        }
    }

    pub(super) fn end_page(&mut self, now: Moment) {
        if self.page.as_ref().is_some_and(|page| now >= page.deadline)
            && let Some(page) = self.page.take()
        {
            show(&pages::framed("routes", &String::from_utf8_lossy(&page.text)));
        }
    }
}
