//! The parts of firstboot, PID 1 of a microdc node from the initramfs to power-off. One static program; the first
//! argument says which part of it this process is:
//!
//! - no argument: [`initramfs`], the first process of all
//! - `system`: [`system`], the same PID 1 after switch root
//! - `data`: [`claim::run`], a child that claims the disk for data, so that no foreign byte on it is read by PID 1
//! - `network`: [`net`], a child that configures the network, so that no foreign packet is parsed by PID 1
//! - `metrics`: [`metrics`], a child without rights that serves metrics
//! - `contain`: [`contain`], the first process of a service that makes containers
//! - `confine-as`: [`system::confine_as`], a program confined as a service is, for tests
//! - `install`: [`installer`], a child in the initramfs that puts a bundle onto a disk
//! - `host-key`: [`host_key`], a oneshot service that makes the ssh host key
//! - `nodectl`, or called by that name: [`operator`]
//! - `probe`: [`probe`], a short-lived child that looks whether something is as it should be
//! - `time`: [`truetime`], a child that reports when the clock is correct
//! - `update`: [`update`], a child that installs a bundle into the standby slot
//! - `vip`: [`vip`], a child that gives this node the address of all servers while its own API answers
//! - `page`: [`net::page`], a short-lived child that writes the routing table for the console
//!
//! A library for tests alone, by the feature `testing`: [`foreign`] has the parsers of untrusted bytes, for fuzzing;
//! [`dry_run`] the claim on files in place of disks; [`install`] takes bundles into files.

// PID 1 has no panic path: what can panic on data is not used. `guard` is for what no one thought of.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented
    )
)]

mod claim;
mod config;
mod console;
mod contain;
mod disk;
#[cfg(any(test, feature = "testing"))]
pub mod foreign;
mod guard;
mod health;
mod host_key;
mod initramfs;
mod installer;
mod kept;
mod metrics;
mod net;
mod notify;
mod operator;
mod probe;
mod service;
mod sys;
mod system;
mod tls;
mod truetime;
mod update;
mod vip;

#[cfg(any(test, feature = "testing"))]
pub use claim::dry_run;
#[cfg(any(test, feature = "testing"))]
pub use update::install;

/// Runs the part that the first argument names. PID 1's parts do not return.
pub fn run() {
    guard::install();
    let arguments: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let (program, arguments) = arguments.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    if operator::is_name(program) {
        operator::run(arguments);
    }
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        None => initramfs::run(),
        Some("system") => system::run(),
        Some("metrics") => metrics::run(rest),
        Some("data") => claim::run(),
        Some("network") => net::run(),
        Some("contain") => contain::run(rest),
        Some("confine-as") => system::confine_as(rest),
        Some("host-key") => host_key::run(rest),
        Some("install") => installer::run(),
        Some("nodectl") => operator::run(rest),
        Some("page") => net::page::run(),
        Some("probe") => probe::run(),
        Some("time") => truetime::run(),
        Some("update") => update::run(),
        Some("vip") => vip::run(rest),
        Some("vip-api") => vip::api::run(rest),
        Some(other) => {
            eprintln!("firstboot: unknown command {other:?}; this program is started by the kernel and by itself");
            std::process::exit(2);
        }
    }
}
