//! Installs a bundle into the standby slot. The same code runs on the node, in tests and in benchmarks.
//!
//! Nothing is written before the manifest is signed by a trusted key, is for this role and board, is not older than what
//! the node has committed, has not failed here, and fits. Then the standby slot stops being one: its trailer goes first and
//! comes back last. Every block is proven by the signed root hashes before it is written, wherever it comes from; the
//! running slot is only read. Hostile bundles and servers, a power cut or a kill at any instant leave the running slot and
//! the choice of slot as they were; what is in its place already is not fetched again.
//!
//! - here the entry · [`order`] what is wanted, and the files that the child of PID 1 finds open · [`error`] why not
//! - [`blueprint`] what can be checked beforehand · [`own`] what the node has · [`disk`] partitions · [`target`] the order
//!   of writes · [`tally`] what is told of it
//! - [`remote`] from servers that know ranges: [`web`] asks them, [`servers`] which of them, [`http`] understands them,
//!   [`fetch`] frames ·
//!   [`stream`] front to back · [`frame`] unpacks
//! - [`fixture`] small bundles, for tests

mod blueprint;
mod disk;
mod error;
mod fetch;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
pub(crate) mod frame;
pub mod http;
pub mod order;
mod own;
mod remote;
mod servers;
mod stream;
mod tally;
mod target;
mod web;

pub use disk::Pair;
pub use error::InstallError;
pub use order::Order;
pub use web::Patience;
pub(crate) use web::agent;

use contract::bundle::FIRST_READ;
use contract::error::chain;
use contract::update::{Release, UpdateEvent};
use error::Fault;
use std::io::Read;
use tally::Tally;
use web::{First, Web};

/// Where a bundle comes from.
pub enum Source<'s> {
    /// From the addresses of the order, with so much patience.
    Web(Patience),
    /// Front to back.
    Stream(&'s mut dyn Read),
}

/// Installs what `order` says into `standby`. `tell` hears how it goes; the last word is [`UpdateEvent::Plan`] for a dry
/// run, else [`UpdateEvent::Installed`] or [`UpdateEvent::Failed`]; and [`UpdateEvent::AlreadyRunning`] for the release that
/// runs, which is written nowhere: the standby slot keeps the previous release.
///
/// # Errors
/// Why not. The standby slot cannot be started then, unless it was refused before anything was written.
pub fn install(
    order: &Order,
    standby: &Pair,
    running: &Pair,
    source: Source<'_>,
    tell: &mut dyn FnMut(UpdateEvent),
) -> Result<Release, InstallError> {
    let mut tally = Tally::new(order.slot, tell);
    let result = match source {
        Source::Stream(reader) => stream::install(order, standby, running, reader, &mut tally),
        Source::Web(patience) => from_web(order, standby, running, patience, &mut tally),
    };
    match result {
        Err(InstallError::AlreadyRunning { release, .. }) => {
            tally.tell(UpdateEvent::AlreadyRunning { release: release.clone(), slot: order.slot.other() });
            Ok(release)
        }
        Err(error) => {
            tally.tell(UpdateEvent::Failed { reason: chain(&error) });
            Err(error)
        }
        Ok(release) => Ok(release),
    }
}

fn from_web(
    order: &Order,
    standby: &Pair,
    running: &Pair,
    patience: Patience,
    tally: &mut Tally<'_>,
) -> Result<Release, InstallError> {
    let mut web = Web::new(order, patience);
    // Each round ends with a bundle, gives a server up, or is one of the failures in a row that are counted.
    let mut already = None;
    loop {
        tally.done = 0;
        let result = web.first(FIRST_READ, tally).and_then(|first| match first {
            First::Piece(front) => remote::install(order, standby, running, &mut web, front, tally),
            First::Whole(mut body) => stream::install(order, standby, running, &mut body, tally),
        });
        let error = match result {
            Ok(release) => {
                if !order.dry_run {
                    web.say_done(tally);
                }
                return Ok(release);
            }
            Err(error) => error,
        };
        if let (InstallError::AlreadyRunning { blocks, .. }, false) = (&error, order.dry_run) {
            tally.blocks = *blocks;
            web.say_done(tally);
        }
        match error.fault() {
            Fault::Node => return Err(error),
            Fault::Servers => {}
            // A stream begins again, and passes over what is in its place by now.
            Fault::Connection => {
                if let Err(all) = web.try_again(&error, tally)
                    && !web.begin_anew()
                {
                    return Err(already.unwrap_or(all));
                }
            }
            // What it has begun with is no more than another server's bundle was: nothing of it is believed.
            Fault::Bundle => {
                web.blame(web.last(), &error, tally);
            }
        }
        // A server that has what runs here may be behind the others; when none has anything else, that is the answer.
        match (web.begin_anew(), matches!(error, InstallError::AlreadyRunning { .. })) {
            (true, true) => {
                already.get_or_insert(error);
            }
            (true, false) => {}
            (false, true) => return Err(already.unwrap_or(error)),
            (false, false) => return Err(already.unwrap_or_else(|| web.refusal(error))),
        }
    }
}
