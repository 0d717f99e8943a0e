//! Nodes that take updates: each with an operator and a server of bundles; a router has a neighbour that speaks BGP with it.

use crate::bundles;
use crate::figures::figure;
use crate::forge::Forged;
use crate::images;
use crate::probe::PORT;
use crate::router::{Router, STEP, wait_route, wait_up};
use crate::site::{Site, words};
use contract::control::Status;
use contract::health::Verdict;
use contract::layout::Slot;
use emulator::eeprom::Eeprom;
use emulator::{Machine, Network, Node};
use microdc::serve::Server;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;
use std::time::{Duration, Instant};

/// Longest wait for a trial to end, one way or the other: some end by a deadline of a minute or two.
pub const TRIAL: Duration = Duration::from_secs(300);

const NEIGHBOUR: Router = Router { number: 2 };
/// What the neighbour announces, as it is in the node's routing table; and what the node announces, in the other's.
const LEARNT: [&str; 3] = ["10.2.0.0/24", "via 10.0.0.2", "proto bgp"];
const GIVEN: [&str; 3] = ["10.1.0.0/24", "via 10.0.0.1", "proto bgp"];

/// A folder of bundles and its server.
pub struct BundleServer {
    folder: tempfile::TempDir,
    server: Server,
}

impl BundleServer {
    /// Serves on a port of this host's loopback.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn open() -> BundleServer {
        let folder = tempfile::tempdir().expect("a folder for bundles");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(folder.path(), address).expect("a server of bundles");
        BundleServer { folder, server }
    }

    /// A file of the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a bundle of a release. Gives its URL, as a node on a user network reaches this host.
    ///
    /// # Panics
    /// When it is not valid.
    #[must_use]
    pub fn publish(&self, release: &Forged) -> String {
        let name = format!("{}.{}", release.manifest.version, contract::bundle::EXTENSION);
        bundles::write(release, &self.path(&name));
        format!("http://10.0.2.2:{}/{name}", self.server.address().port())
    }
}

/// A node with its operator and a shelf of bundles; a router has a neighbour.
pub struct Bench {
    pub site: Site,
    neighbour: Option<Node>,
    pub shelf: BundleServer,
}

impl Bench {
    /// Switches on a router from this image and its neighbour, and waits until they serve each other.
    ///
    /// # Panics
    /// When they do not.
    #[must_use]
    pub fn start(name: &str, image: &std::path::Path) -> Bench {
        let backbone = Network::new();
        let r1 = Router { number: 1 };
        let neighbour = NEIGHBOUR
            .machine(images::router(), &[r1])
            .name(&format!("{name}-neighbour"))
            .memory(512)
            .network(&backbone)
            .network(&Network::new())
            .deadline(Duration::from_secs(3600))
            .start()
            .unwrap();
        let machine = machine(name, image).network(&backbone).user_network();
        let site = Site::of(machine, |ssh| {
            format!(
                "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n\
                 [network.eth1]\naddresses = [\"10.0.2.15/24\"]\n\
                 [router]\nasn = 65001\nannounce = [\"10.1.0.0/24\"]\n\
                 [[router.neighbor]]\naddress = \"10.0.0.2\"\nasn = 65002\n{ssh}"
            )
        });
        wait_up(&neighbour, "r2").unwrap();
        wait_up(&site.node, "r1").unwrap();
        let bench = Bench { site, neighbour: Some(neighbour), shelf: BundleServer::open() };
        bench.serves();
        bench
    }

    /// Switches on a node from the image [`images::trials`], which is no router and boots in half the time, and waits until
    /// it is healthy.
    ///
    /// # Panics
    /// When it does not get there.
    #[must_use]
    pub fn alone(name: &str) -> Bench {
        let machine = machine(name, &images::trials()).user_network();
        let site =
            Site::of(machine, |ssh| format!("name = \"n1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\n{ssh}"));
        wait_up(&site.node, "n1").unwrap();
        let bench = Bench { site, neighbour: None, shelf: BundleServer::open() };
        bench.serves();
        bench
    }

    fn node(&self) -> &Node {
        &self.site.node
    }

    /// Waits until the router has its neighbour's prefix and the neighbour has the router's; until a node that is no router
    /// is healthy.
    ///
    /// # Panics
    /// When they do not get there.
    pub fn serves(&self) {
        if let Some(neighbour) = &self.neighbour {
            wait_route(self.node(), &LEARNT).unwrap();
            wait_route(neighbour, &GIVEN).unwrap();
            return;
        }
        let begin = Instant::now();
        loop {
            let status = self.status();
            if status.health.verdict == Verdict::Passed && status.not_ready.is_empty() {
                return;
            }
            assert!(begin.elapsed() < STEP, "not healthy: {status:?}");
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// How much the router has said, so that what comes later can be told from it.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.node().console().len()
    }

    /// Waits until the router says `text` behind a mark; gives the line.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn said(&self, mark: usize, text: &str) -> String {
        let begin = Instant::now();
        loop {
            let console = self.node().console();
            let lines = console.get(mark..).unwrap_or_default();
            // A line counts when it is complete.
            let whole = lines.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(begin.elapsed() < TRIAL, "never said: {text:?}; the end of what was said:\n{}", tail(lines));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `nodectl update` with these words.
    #[must_use]
    pub fn update(&self, more: &[&str]) -> Output {
        self.site.ssh(&[&["update"][..], more].concat())
    }

    /// As [`status`].
    ///
    /// # Panics
    /// When it gives no answer.
    #[must_use]
    pub fn status(&self) -> Status {
        status(&self.site)
    }

    /// Takes a release from its URL and waits until it is committed. Gives the time from the command to the commit, and
    /// for how long a router's neighbour missed it.
    ///
    /// # Panics
    /// When it is not committed, or the role does not come back.
    pub fn commits(&self, release: &Forged, url: &str, more: &[&str]) -> (Duration, Option<Duration>) {
        let (mark, begin) = (self.mark(), Instant::now());
        let slot = other(&self.status());
        let output = self.update(&[more, &[url]].concat());
        assert!(said_installed(&output), "{}", words(&output));
        let away = self.neighbour.as_ref().map(missed);
        let version = release.manifest.version.as_str();
        let _ = self.said(mark, &format!("trial of {version} in slot {slot}"));
        let _ = self.said(mark, &format!("committed: slot {slot}, {version}"));
        let took = begin.elapsed();
        self.serves();
        let status = self.status();
        assert_eq!((status.slot, status.version.as_str()), (slot, version));
        assert_eq!(status.update.default_slot, Some(slot));
        (took, away)
    }

    /// Takes a faulty release from its URL, and shows that the node comes back from it by itself: the old slot serves
    /// again, the reason is known and has all of `because`, and the release is refused from then on. `during` is called
    /// when the trial has begun.
    ///
    /// # Panics
    /// When any of that does not hold.
    pub fn comes_back(&mut self, cause: &str, release: &Forged, because: &[&str], during: impl FnOnce(&mut Bench)) {
        let before = self.status();
        let url = self.shelf.publish(release);
        let mark = self.mark();
        let output = self.update(&[&url]);
        assert!(said_installed(&output), "{cause}: {}", words(&output));
        // The emulated EEPROM's own line.
        let _ = self.said(mark, ", tryboot 1");
        let begin = Instant::now();
        during(self);
        let after = self.mark_of(mark, ", tryboot 1");
        let _ = self.said(after, ", tryboot 0");
        let reset = Instant::now();
        let version = release.manifest.version.as_str();
        let line = self.said(after, &format!("the trial of {version} failed: "));
        for word in because {
            assert!(line.contains(word), "{cause}: {word:?} is not the reason: {line}");
        }
        self.serves();
        let (whole, back) = (begin.elapsed(), reset.elapsed());
        figure(
            &format!("going back, {cause}"),
            format_args!(
                "{:.1} s from the trial's start to service, {:.1} s from the reset",
                secs(whole),
                secs(back)
            ),
        );
        let status = self.status();
        assert_eq!((&status.slot, &status.version), (&before.slot, &before.version), "{cause}");
        assert_eq!(status.update.default_slot, before.update.default_slot, "{cause}");
        let failed = status.update.failed.first().unwrap_or_else(|| panic!("{cause}: nothing is remembered"));
        assert_eq!((failed.release.manifest, failed.release.version.as_str()), (release.digest, version), "{cause}");
        assert!(because.iter().all(|word| failed.reason.contains(word)), "{cause}: {}", failed.reason);
        let metrics = self.site.fine(&["metrics"]);
        let sample = format!("microdc_update_refused{{version=\"{version}\",manifest=\"{}\",", release.digest);
        let sample = metrics.lines().find(|line| line.starts_with(&sample));
        let sample = sample.unwrap_or_else(|| panic!("{cause}: the metrics do not have it: {metrics}"));
        assert!(because.iter().all(|word| sample.contains(word)), "{cause}: {sample}");
        let remembered = format!("version {version} has failed here: ");
        self.refuses(&url, &[&[remembered.as_str()][..], because].concat());
    }

    /// The node does not take what is at this URL, says why with all of `because`, and goes on running.
    ///
    /// # Panics
    /// When it takes it.
    pub fn refuses(&self, url: &str, because: &[&str]) {
        let boots = self.node().boots();
        let output = self.update(&[url]);
        let said = words(&output);
        assert!(!output.status.success() && !said_installed(&output), "it was taken: {said}");
        for word in because {
            assert!(said.contains(word), "{word:?} is not the reason: {said}");
        }
        assert_eq!(self.node().boots(), boots);
    }

    /// Where the line with `text` behind a mark ends.
    fn mark_of(&self, mark: usize, text: &str) -> usize {
        let console = self.node().console();
        mark + console.get(mark..).and_then(|rest| rest.find(text)).map_or(0, |at| at + text.len())
    }
}

/// The node that takes updates, without network cards.
fn machine(name: &str, image: &std::path::Path) -> Machine {
    let machine = Machine::new(image).name(name).serial("MICRODC1").eeprom(Eeprom::prepared()).port(PORT);
    machine.deadline(Duration::from_secs(3600))
}

/// Watches from the neighbour how the router's prefix goes and comes back. Gives for how long it was away.
///
/// # Panics
/// When it does not go, or not come back.
fn missed(neighbour: &Node) -> Duration {
    let there = || {
        let page = neighbour.page("r", STEP).unwrap();
        page.lines().any(|line| GIVEN.iter().all(|word| line.contains(word)))
    };
    let begin = Instant::now();
    while there() {
        assert!(begin.elapsed() < STEP, "the router never went down");
        std::thread::sleep(Duration::from_millis(250));
    }
    let gone = Instant::now();
    while !there() {
        assert!(gone.elapsed() < TRIAL, "the router's prefix does not come back");
        std::thread::sleep(Duration::from_millis(250));
    }
    gone.elapsed()
}

/// What a node says of itself. While it restarts, the question is asked again.
///
/// # Panics
/// When it gives no answer.
#[must_use]
pub fn status(site: &Site) -> Status {
    let begin = Instant::now();
    loop {
        let output = site.ssh(&["status", "--json"]);
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        }
        assert!(begin.elapsed() < STEP, "no status: {output:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn secs(time: Duration) -> f32 {
    time.as_secs_f32()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Whether nodectl says that the slot is complete.
fn said_installed(output: &Output) -> bool {
    words(output).contains("installed")
}

/// The slot that does not run.
fn other(status: &Status) -> Slot {
    status.slot.other()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::Forge;
    use contract::names::KERNEL;
    use std::io::{Read as _, Write as _};

    #[test]
    fn a_release_that_cannot_boot_is_published_all_the_same() {
        let shelf = BundleServer::open();
        let release =
            Forge::of(&images::router()).version("no-kernel").file(KERNEL, b"this is not a kernel").finish();
        let url = shelf.publish(&release);
        assert!(url.ends_with("/no-kernel.bundle"), "{url}");
        let mut stream = std::net::TcpStream::connect(shelf.server.address()).unwrap();
        let request = "GET /no-kernel.bundle HTTP/1.1\r\nHost: x\r\nRange: bytes=0-7\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 206") && answer.ends_with("\r\n\r\nmicrodcB"), "{answer}");
    }
}
