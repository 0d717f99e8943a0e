//! A node with an operator's key, and the operator's machine with OpenSSH's own programs.

use crate::images;
use crate::probe::{PORT, Request, ask};
use crate::router::{STEP, wait_up};
use emulator::{Machine, Node};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A tunnel's private and preshared key, and the public key of its other end.
pub const SECRETS: [&str; 2] =
    ["Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=", "dGhpcmQga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU="];
pub const PEER: &str = "b3RoZXIga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";

/// A node with an operator's key, and the operator's machine.
pub struct Site {
    pub node: Node,
    /// The operator's files.
    folder: tempfile::TempDir,
    /// Of this host, led to the node's port 22.
    pub port: u16,
}

impl Site {
    /// Switches on a router with a tunnel, and waits until it is up.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Site {
        let machine = emulator::Machine::new(images::router_with_probe())
            .name("r1")
            .port(PORT)
            .user_network()
            .deadline(Duration::from_secs(600));
        let site = Site::of(machine, |ssh| {
            format!(
                "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\ngateway = \"10.0.2.2\"\n\
                 [network.wg0]\naddresses = [\"10.8.0.1/24\"]\n\
                 [network.wg0.wireguard]\nprivate_key = \"{}\"\n\
                 [[network.wg0.wireguard.peer]]\npublic_key = \"{PEER}\"\npreshared_key = \"{}\"\n\
                 allowed = [\"10.8.0.2/32\"]\n\
                 [router]\nasn = 65001\n{ssh}",
                SECRETS[0], SECRETS[1],
            )
        });
        wait_up(&site.node, "r1").unwrap();
        site
    }

    /// Switches on a node that has a user network. `config` gets the section of its node.toml that lets the operator in,
    /// and gives the whole.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn of(mut machine: Machine, config: impl FnOnce(&str) -> String) -> Site {
        let folder = tempfile::tempdir().unwrap();
        for name in ["operator", "stranger"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(folder.path().join(name))
                .status()
                .expect("ssh-keygen of openssh-client");
            assert!(made.success());
        }
        let key = std::fs::read_to_string(folder.path().join("operator.pub")).unwrap();
        let mut config = config(&format!("[ssh]\nkeys = [{:?}]\n", key.trim_end()));
        // The port to the host leads outside, where a router does not let operators in by itself.
        if config.contains("[router]") && !config.contains("[router.firewall]") {
            config += "\n[router.firewall]\ntcp = [22]\n";
        }
        let port = machine.forward(22).unwrap();
        let node = machine.node_config(config).start().unwrap();
        Site { node, folder, port }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `ssh`, `scp` or `sftp` with nothing of this host's own configuration.
    pub fn client(&self, program: &str, key: &str) -> Command {
        let mut command = Command::new(program);
        let option = |name: &str, value: &str| format!("-o{name}={value}");
        command
            .args(["-F", "none"])
            .arg(option("Port", &self.port.to_string()))
            .arg(option("IdentityFile", &self.path(key).display().to_string()))
            .arg(option("UserKnownHostsFile", &self.path("known_hosts").display().to_string()))
            .args(["-oStrictHostKeyChecking=accept-new", "-oIdentitiesOnly=yes", "-oBatchMode=yes"])
            .args(["-oConnectTimeout=60", "-oIdentityAgent=none", "-oLogLevel=ERROR"])
            .stdin(Stdio::null())
            .env_remove("SSH_AUTH_SOCK");
        command
    }

    pub fn ssh(&self, words: &[&str]) -> Output {
        // Words behind the dashes are for the node, also where they begin with one.
        self.client("ssh", "operator").args(["operator@127.0.0.1", "--"]).args(words).output().unwrap()
    }

    /// What a command that works says.
    pub fn fine(&self, words: &[&str]) -> String {
        let output = self.ssh(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, words: &[&str]) -> Value {
        let text = self.fine(words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error} in {text}"))
    }

    pub fn probe(&self, request: &Request) -> Result<Vec<u8>, String> {
        let mut port = self.node.port(PORT).unwrap();
        port.set_read_timeout(Some(STEP)).unwrap();
        let out = port.try_clone().unwrap();
        ask(&mut port, out, request).unwrap()
    }

    /// The node's processes by number and name.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let text = String::from_utf8(self.probe(&Request::Ps).unwrap()).unwrap();
        let line = |line: &str| line.split_once(' ').map(|(pid, name)| (pid.parse().unwrap(), name.to_owned()));
        text.lines().filter_map(line).collect()
    }

    /// sshd still lets the operator in. After failures it makes an address wait (PerSourcePenalties).
    pub fn still_up(&self, after: &str) {
        let begin = Instant::now();
        loop {
            let output = self.ssh(&["status", "--json"]);
            if output.status.success() {
                let status: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(status["name"], "r1");
                break;
            }
            assert!(begin.elapsed() < STEP, "no way in after {after}: {output:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
        let services = self.json(&["services", "--json"]);
        let sshd = services.as_array().unwrap().iter().find(|service| service["name"] == "sshd").unwrap();
        assert_eq!((&sshd["state"], &sshd["restarts"]), (&"ready".into(), &0.into()), "after {after}");
    }
}

pub fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
