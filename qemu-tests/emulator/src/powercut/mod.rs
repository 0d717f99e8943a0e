//! Power cuts: what a disk may hold when the power goes in the midst of recorded writes.
//!
//! QEMU records every write and flush of a disk ([`crate::Nvme::recorded`]); [`WriteLog`] reads the record; [`Cuts`] makes
//! states of the disk from it. What was flushed is there. Of what was written since the last flush, any part may be there, in any
//! order, down to single blocks: a disk with a cache in memory promises no more. Each state has a number and is the same at
//! every run, so that a state that fails a test can be made again by its number.
//!
//! ```no_run
//! use emulator::powercut::{Cuts, WriteLog};
//! let log = WriteLog::open("writes.log".as_ref())?;
//! let cuts = Cuts::new(&log, 512, 300);
//! for number in 0..cuts.count() {
//!     let cut = cuts.cut(number);
//!     let disk = emulator::Disk::copy_of("before.img".as_ref(), 0)?;
//!     cut.apply(&log, disk.raw())?;
//!     println!("state {number}: {cut}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cut;
mod log;

pub use cut::{Cut, Cuts};
pub use log::{Entry, LogError, WriteLog};
