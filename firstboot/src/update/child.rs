//! `firstboot update`: the installer, an unprivileged child of PID 1. It inherits open files for what it may touch
//! ([`super::install::order::files`]); it never sees the whole disk.

use super::install::order::{LONGEST, files};
use super::install::{Order, Pair, Patience, Source, install};
use crate::sys::inherited;
use anyhow::Context as _;
use contract::update::UpdateEvent;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::RawFd;

/// Does it, and ends the process: with 0 when the slot is complete, or would be (a dry run); with 1 when not, and the last
/// event says why.
pub fn run() -> ! {
    let status = match work() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("the update is refused: {error:#}");
            1
        }
    };
    std::process::exit(status)
}

fn work() -> anyhow::Result<()> {
    let mut events = open(files::EVENTS, "the way to PID 1")?;
    let result = prepare().map(|(order, standby, running, mut stream)| {
        let source = match stream.as_mut() {
            Some(stream) => Source::Stream(stream),
            None => Source::Web(Patience::default()),
        };
        let mut told = true;
        let mut tell = |event: UpdateEvent| told &= say(&mut events, &event);
        let result = install(&order, &standby, &running, source, &mut tell);
        (result.map(|_| ()), told)
    });
    match result {
        Ok((Ok(()), true)) => Ok(()),
        Ok((Ok(()), false)) => anyhow::bail!("PID 1 is not listening"),
        // The installer has said why.
        Ok((Err(error), _)) => Err(error.into()),
        Err(error) => {
            say(&mut events, &UpdateEvent::Failed { reason: format!("{error:#}") });
            Err(error)
        }
    }
}

fn prepare() -> anyhow::Result<(Order, Pair, Pair, Option<File>)> {
    let mut order = Vec::new();
    open(files::ORDER, "the order")?.take(LONGEST).read_to_end(&mut order).context("cannot read the order")?;
    let order: Order = serde_json::from_slice(&order).context("cannot parse the order")?;
    let standby = Pair {
        boot: open(files::STANDBY_BOOT, "the standby slot's boot partition")?,
        root: open(files::STANDBY_ROOT, "the standby slot's root partition")?,
    };
    let running = Pair {
        boot: open(files::RUNNING_BOOT, "the running slot's boot partition")?,
        root: open(files::RUNNING_ROOT, "the running slot's root partition")?,
    };
    let stream = if order.urls.is_empty() { Some(open(files::STREAM, "the client's connection")?) } else { None };
    Ok((order, standby, running, stream))
}

fn open(number: RawFd, what: &str) -> anyhow::Result<File> {
    Ok(inherited::file(number).with_context(|| format!("PID 1 did not provide {what}"))?.into())
}

fn say(events: &mut File, event: &UpdateEvent) -> bool {
    let Ok(mut line) = serde_json::to_vec(event) else { return false };
    line.push(b'\n');
    events.write_all(&line).is_ok()
}
