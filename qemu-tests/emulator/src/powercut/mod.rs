//! Power cuts: what a disk may hold when the power goes in the midst of recorded writes.
//!
//! QEMU records every write and flush of a disk ([`crate::Machine::recorded`], [`crate::Nvme::recorded`]), one boot behind
//! the other; [`WriteLog`] reads the record; [`Cuts`] makes states of the disk from it. What was flushed is there. Of what was
//! written since the last flush, any part may be there, in any order, down to single blocks: a disk with a cache in memory
//! promises no more. Each state has a number, and with the same record and seed is the same at every run, so that a state
//! that fails a test can be made again by its number. [`Medium`] brings one disk from state to state, which is quicker than
//! to make each again.
//!
//! ```no_run
//! use emulator::powercut::{Cuts, Medium, WriteLog};
//! let log = WriteLog::open("writes.log".as_ref())?;
//! let cuts = Cuts::new(&log, 512, 300, 1);
//! let mut medium = Medium::new(&log, "before.img".as_ref())?;
//! let mut states: Vec<_> = (0..cuts.count()).map(|number| cuts.cut(number)).collect();
//! states.sort_by_key(|cut| cut.flushed());
//! for cut in &states {
//!     medium.at(cut, |disk| println!("{cut}: {:?}", disk.digest()))?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cut;
mod log;
mod medium;

pub use cut::{Cut, Cuts, Manner};
pub use log::{Entry, LogError, WriteLog};
pub use medium::{Medium, MediumError};
