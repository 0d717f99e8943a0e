//! The only unsafe code and the only raw system calls, one kernel interface a file.

pub mod block;
pub mod bpf;
pub mod cgroup;
pub mod dm;
pub mod firmware;
mod flush;
pub mod icmp6;
pub mod inherited;
mod ioctl;
pub mod module;
pub mod mount;
pub mod notify;
pub mod packet;
pub mod peer;
pub mod process;
pub mod quota;
pub mod reboot;
pub mod signal;
pub mod socket;
pub mod time;
pub mod watchdog;
