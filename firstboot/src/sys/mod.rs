//! The only unsafe code and the only raw system calls, one kernel interface a file.

pub mod block;
pub mod dm;
mod ioctl;
pub mod module;
pub mod mount;
pub mod reboot;
pub mod time;
pub mod watchdog;
