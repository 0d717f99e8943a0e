//! `firstboot time`: a child that says `READY=1` when the clock follows a time server, so that services can come after the
//! true time as they come after the network. It needs no rights.

use crate::notify::Notify;
use crate::sys::time;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time between two checks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time after which it says that it waits.
const LATE: Duration = Duration::from_secs(5);
/// Time between two checks once the time was true.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Watches the clock for ever.
pub fn run() {
    let notify = Notify::inherited();
    let begin = Instant::now();
    let mut said = false;
    notify.tell("STATUS=waiting for a time server");
    while !time::is_true() {
        if !said && begin.elapsed() >= LATE {
            println!("no time server has set the clock yet; services that need the correct time are waiting");
            said = true;
        }
        sleep(LOOK_EVERY);
    }
    notify.tell("READY=1\nSTATUS=set by a time server");
    let mut before = true;
    loop {
        sleep(LOOK_AGAIN);
        let now = time::is_true();
        if now != before {
            notify.tell(if now { "STATUS=set by a time server" } else { "STATUS=no time server answers any more" });
            before = now;
        }
    }
}
