//! `firstboot vip WHAT ...`: watches the API of this node, and gives the node the address of all servers (`[vip]` of node.toml)
//! only while the API answers. `WHAT` are health checks of the role by name (the readiness of the Kubernetes API, requests, ports,
//! services), and URLs.
//!
//! Where BGP announces the address, it is on the loopback interface while the API answers, and bgpd announces it while it is
//! there. Where a holder is elected, keepalived reads [`DOWN`]. The address has a time to live in the kernel, so that nobody
//! who has stopped watching keeps it.
//!
//! - here the loop · [`look`] what is looked at · [`api`] who asks the Kubernetes API · [`checks`] the role's health checks ·
//!   [`verdict`] when it counts as up and as down

pub mod api;
mod checks;
mod look;
mod verdict;

use crate::net::LoopbackAddresses;
use crate::notify::Notify;
use crate::sys::signal::{Signal, Signals};
use anyhow::Context as _;
use look::Looks;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::IpAddr;
use std::time::Duration;
use verdict::{Change, Verdict};

/// Addresses for the loopback interface, one a line; none where a holder is elected.
const ADDRESSES: &str = "/run/vip/addresses";
/// What keepalived tracks: `0` while the API answers, `1` otherwise (keepalived.conf(5), "Track files").
const DOWN: &str = "/run/vip/down";

/// Time between two looks while the API answers, and while it does not.
const EVERY: Duration = Duration::from_millis(200);
const EVERY_DOWN: Duration = Duration::from_millis(500);

/// Runs it; `arguments` are those behind `vip`.
pub fn run(arguments: &[String]) {
    if let Err(error) = watch(arguments) {
        println!("the API cannot be watched: {error:#}");
        std::process::exit(1);
    }
}

/// Returns when it is asked to end.
fn watch(arguments: &[String]) -> anyhow::Result<()> {
    let mut looks = Looks::of(arguments, &checks::of_role()?)?;
    let text = std::fs::read_to_string(ADDRESSES).with_context(|| format!("cannot read {ADDRESSES}"))?;
    let mut place = Place { addresses: LoopbackAddresses::open(addresses(&text)?)?, said: None };
    let signals = Signals::open().context("signals cannot be awaited")?;
    let notify = Notify::inherited();
    let mut verdict = Verdict::default();
    // What an earlier run may have left is believed no more.
    place.down()?;
    notify.tell("READY=1\nSTATUS=the API has not answered yet");
    loop {
        let found = looks.take(verdict.is_up());
        match verdict.found(found.is_ok()) {
            Some(Change::Up) => {
                println!("the API answers");
                notify.tell("STATUS=the API answers");
            }
            Some(Change::Down) => {
                place.down()?;
                let why = found.err().map_or_else(String::new, |why| format!(": {why:#}"));
                println!("the API does not answer{why}");
                notify.tell(&format!("STATUS=the API does not answer{why}"));
            }
            None => {}
        }
        if verdict.is_up() {
            place.up()?;
        }
        if asked_to_end(&signals, if verdict.is_up() { EVERY } else { EVERY_DOWN })? {
            return place.down();
        }
    }
}

/// Waits this long. Returns true when the process is to end.
fn asked_to_end(signals: &Signals, pause: Duration) -> anyhow::Result<bool> {
    let pause = Timespec::try_from(pause).context("a pause that is too long")?;
    match poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&pause)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).context("signals cannot be awaited"),
    }
    Ok(std::iter::from_fn(|| signals.next()).any(|signal| signal != Signal::Child))
}

fn addresses(text: &str) -> anyhow::Result<Vec<IpAddr>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.parse().with_context(|| format!("{ADDRESSES}: {line:?} is not an address"))).collect()
}

/// What others see of the verdict.
struct Place {
    addresses: LoopbackAddresses,
    /// What is in [`DOWN`].
    said: Option<&'static str>,
}

impl Place {
    fn up(&mut self) -> anyhow::Result<()> {
        self.addresses.hold().context("the address cannot be added to the loopback interface")?;
        self.say("0")
    }

    /// The election first: its file is written even where the kernel refuses.
    fn down(&mut self) -> anyhow::Result<()> {
        self.say("1")?;
        self.addresses.release().context("the address cannot be removed from the loopback interface")
    }

    fn say(&mut self, word: &'static str) -> anyhow::Result<()> {
        if self.said != Some(word) {
            std::fs::write(DOWN, format!("{word}\n")).with_context(|| format!("cannot write {DOWN}"))?;
            self.said = Some(word);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_stand_alone_in_their_lines() {
        let found = addresses("# made at boot\n10.99.0.1\n\nfd99::1\n").unwrap();
        assert_eq!(found, ["10.99.0.1".parse::<IpAddr>().unwrap(), "fd99::1".parse().unwrap()]);
        assert_eq!(addresses("# none\n").unwrap(), Vec::<IpAddr>::new());
        let error = addresses("10.99.0.1/32\n").unwrap_err();
        assert!(error.to_string().ends_with("\"10.99.0.1/32\" is not an address"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}|([0-9a-f:.#]|\n){0,60}") {
            let _ = addresses(&text);
        }
    }
}
