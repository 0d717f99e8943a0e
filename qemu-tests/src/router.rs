//! Routers under test.

use emulator::{Machine, Node, WaitError};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for one step of a node. An emulated node on a loaded machine is slow; a step that fails says so at once.
pub const STEP: Duration = Duration::from_secs(240);

/// With which neighbours sign what they send each other.
const PASSWORD: &str = "for-tests-alone";

/// A router with `eth0` on the backbone 10.0.0.0/24 and `eth1` on a LAN of its own.
#[derive(Clone, Copy, Debug)]
pub struct Router {
    /// Counts from 1: `r1` is 10.0.0.1, AS 65001, and has the LAN 10.1.0.0/24.
    pub number: u8,
}

impl Router {
    #[must_use]
    pub fn name(self) -> String {
        format!("r{}", self.number)
    }

    /// Its LAN as a prefix.
    #[must_use]
    pub fn lan(self) -> String {
        format!("10.{}.0.0/24", self.number)
    }

    /// Its node.toml, with these routers as BGP neighbours.
    #[must_use]
    pub fn node_config(self, neighbours: &[Router]) -> String {
        self.config(neighbours, "", |_| String::new())
    }

    /// As [`Router::node_config`], with neighbours as providers ask for them: they sign what they send, and accept one another's
    /// LAN but not what is announced besides it.
    #[must_use]
    pub fn provider_config(self, neighbours: &[Router]) -> String {
        let more = format!(", \"172.16.{}.0/24\"", self.number);
        self.config(neighbours, &more, |neighbour| {
            format!(
                "password = \"{PASSWORD}\"\nmax_prefix = 10\nhold = 9\nin = [\"10.{}.0.0/16 le 24\"]\n\
                 out = [\"10.0.0.0/8 le 24\", \"172.16.0.0/12 le 24\"]\n",
                neighbour.number
            )
        })
    }

    /// A router whose FRR has a complete configuration of its owner's: it speaks with this neighbour as one of
    /// [`Router::provider_config`] does, and announces also a static route, [`Router::kept`].
    #[must_use]
    pub fn whole_config(self, neighbour: Router) -> String {
        let (n, m) = (self.number, neighbour.number);
        let kept = self.kept();
        format!(
            "name = \"r{n}\"\n[network.eth0]\naddresses = [\"10.0.0.{n}/24\"]\n\
             [network.eth1]\naddresses = [\"10.{n}.0.1/24\"]\n[router.firewall]\ntcp = [179]\n[router]\n\
             config = \"\"\"\nfrr defaults datacenter\nhostname r{n}\nlog stdout informational\n!\n\
             ip route {kept} Null0\n!\nip prefix-list lans seq 5 permit 10.0.0.0/8 le 24\n!\n\
             route-map out permit 10\n match ip address prefix-list lans\nexit\n!\nrouter bgp {}\n\
             \x20bgp router-id 10.0.0.{n}\n no bgp ebgp-requires-policy\n no bgp network import-check\n\
             \x20neighbor 10.0.0.{m} remote-as {}\n neighbor 10.0.0.{m} timers connect 5\n\
             \x20neighbor 10.0.0.{m} timers 3 9\n neighbor 10.0.0.{m} password {PASSWORD}\n\
             \x20address-family ipv4 unicast\n  network 10.{n}.0.0/24\n  network 172.16.{n}.0/24\n\
             \x20 redistribute static route-map out\n exit-address-family\nexit\n\"\"\"\n",
            65_000 + u32::from(n),
            65_000 + u32::from(m),
        )
    }

    /// A network that goes nowhere, within what neighbours accept.
    #[must_use]
    pub fn kept(self) -> String {
        format!("10.{}.7.0/24", self.number)
    }

    /// `announced` are further networks; `keys` gives further keys of a neighbour.
    fn config(self, neighbours: &[Router], announced: &str, keys: impl Fn(Router) -> String) -> String {
        let n = self.number;
        let mut toml = format!(
            "name = \"r{n}\"\n\
             [network.eth0]\naddresses = [\"10.0.0.{n}/24\"]\n\
             [network.eth1]\naddresses = [\"10.{n}.0.1/24\"]\n\
             [router]\nasn = {}\nannounce = [\"10.{n}.0.0/24\"{announced}]\n",
            65_000 + u32::from(n)
        );
        for neighbour in neighbours {
            let (m, asn) = (neighbour.number, 65_000 + u32::from(neighbour.number));
            let keys = keys(*neighbour);
            let _ = write!(toml, "[[router.neighbor]]\naddress = \"10.0.0.{m}\"\nasn = {asn}\n{keys}");
        }
        toml
    }

    /// The machine with this router's image and node config, without network cards.
    #[must_use]
    pub fn machine(self, image: PathBuf, neighbours: &[Router]) -> Machine {
        let config = self.node_config(neighbours);
        Machine::new(image).name(&self.name()).serial(&format!("MICRODC{}", self.number)).node_config(config)
    }
}

/// Waits until the node is up; a failure that it reports ends the wait at once.
///
/// # Errors
/// When it does not come up.
///
/// # Panics
/// When it reports a failure.
pub fn wait_up(node: &Node, name: &str) -> Result<String, WaitError> {
    let up = format!("{name} is up");
    let (index, line) = node.expect_any(&[&up, "microdc: FAILED"], STEP)?;
    assert_eq!(index, 0, "{name}: {line}");
    Ok(line)
}

/// Asks for the page of the network until it is as wanted; gives it.
///
/// # Panics
/// When it does not become so.
pub fn wait_page(node: &Node, what: &str, wanted: impl Fn(&str) -> bool) -> String {
    let begin = std::time::Instant::now();
    loop {
        let page = node.page("r", STEP).expect("the node shows no page");
        if wanted(&page) {
            return page;
        }
        assert!(begin.elapsed() < STEP, "{what}: the last page was:\n{page}\n{}", node.console());
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Asks for the page of routes until one of them has all of `words`; gives that line.
///
/// # Errors
/// When the node does not answer.
///
/// # Panics
/// When no such route comes.
pub fn wait_route(node: &Node, words: &[&str]) -> Result<String, WaitError> {
    let begin = std::time::Instant::now();
    loop {
        let page = node.page("r", STEP)?;
        if let Some(line) = page.lines().find(|line| words.iter().all(|word| line.contains(word))) {
            return Ok(line.to_owned());
        }
        assert!(begin.elapsed() < STEP, "no route with {words:?} came; the last page was:\n{page}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Waits until a text is on the console, wherever, also before what was waited for last; gives its line.
///
/// # Panics
/// When it does not come.
#[must_use]
pub fn wait_said(node: &Node, text: &str) -> String {
    let begin = std::time::Instant::now();
    loop {
        let console = node.console();
        if let Some(line) = console.lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        assert!(begin.elapsed() < STEP, "never said: {text:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// The line about a service on the status page.
///
/// # Panics
/// When the page has none.
#[must_use]
pub fn service<'p>(page: &'p str, name: &str) -> &'p str {
    let wanted = format!("service {name}:");
    page.lines().find(|line| line.starts_with(&wanted)).unwrap_or_else(|| panic!("no {wanted} on the page:\n{page}"))
}

/// A whole number behind `word ` in a line.
#[must_use]
pub fn number_after(line: &str, word: &str) -> Option<u32> {
    let rest = line.split_once(word)?.1.trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_configs_are_ones_that_a_node_accepts() {
        let (one, two) = (Router { number: 1 }, Router { number: 2 });
        assert!(contract::node::NodeConfig::parse(one.node_config(&[two]).as_bytes()).is_ok());
        let config = contract::node::NodeConfig::parse(one.provider_config(&[two]).as_bytes()).unwrap();
        let router = config.router.unwrap();
        assert_eq!((router.asn, router.neighbors[0].asn, router.neighbors.len()), (Some(65_001), 65_002, 1));
        assert_eq!(router.announce[0].to_string(), one.lan());
        let config = contract::node::NodeConfig::parse(two.whole_config(one).as_bytes()).unwrap();
        assert!(config.router.unwrap().config.is_some_and(|text| text.contains("\n  network 10.2.0.0/24\n")));
    }

    #[test]
    fn facts_are_found_on_a_page() {
        let page = "name r1\nservice zebra: ready, pid 70\nservice bgpd: ready, pid 123, restarts 1, up 9.1 s\n";
        assert_eq!(number_after(service(page, "bgpd"), "pid"), Some(123));
        assert_eq!(number_after(service(page, "bgpd"), "restarts"), Some(1));
        assert_eq!(number_after(service(page, "zebra"), "restarts"), None);
    }
}
