//! `microdc node new`: a node config to start from.

use crate::profile::load;
use crate::scaffold;
use anyhow::{Context as _, Result};
use clap::Args;
use contract::node::HostName;
use contract::role::Role;

/// Print a node.toml to start from
///
/// Contains everything that a node of the role needs, and the rest as comments. For
/// a profile of your own, it is the profile's example with the node's name.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc node new router r1 > r1.toml\n  microdc node new profiles/edge.toml e1 > e1.toml"
)]
pub(in crate::cli) struct New {
    /// The node's role, or a profile: its name in profiles/, or the path of a .toml
    /// file
    role: String,
    /// Its host name
    name: String,
}

/// What every node's file has.
const COMMON: &str = include_str!("../node_common.toml");
/// What the file of a role that comes with microdc has besides.
const STARTERS: [(&str, &str); 6] = [
    ("garage", include_str!("../node_garage.toml")),
    ("k3s-agent", include_str!("../node_k3s_agent.toml")),
    ("k3s-server", include_str!("../node_k3s_server.toml")),
    ("minio", include_str!("../node_minio.toml")),
    ("router", include_str!("../node_router.toml")),
    ("tinkerbell", include_str!("../node_tinkerbell.toml")),
];

impl New {
    pub(super) fn run(self) -> Result<()> {
        let name = HostName::try_from(self.name).map_err(anyhow::Error::msg)?;
        let role = self.role.as_str();
        let text = match role.parse::<Role>() {
            Ok(role) if roles().any(|known| known == role.name()) => starter(&role, &name),
            _ => {
                let base = std::env::current_dir().context("the current folder no longer exists")?;
                let path = load::find(role, &base).map_err(|error| {
                    let shipped = roles().collect::<Vec<_>>().join(", ");
                    anyhow::anyhow!("{role:?} is neither a profile nor one of the roles {shipped}: {error}")
                })?;
                let example = load::load(&path)?.keys.example.value;
                let text = std::fs::read_to_string(&example);
                let text = text.with_context(|| format!("reading {}", example.display()))?;
                scaffold::renamed(&text, &name)
            }
        };
        out!("{text}")?;
        Ok(())
    }
}

/// The roles that come with microdc.
pub(in crate::cli) fn roles() -> impl Iterator<Item = &'static str> {
    STARTERS.iter().map(|(role, _)| *role)
}

/// A node config to begin with. A role of your own has what every node has.
pub(in crate::cli) fn starter(role: &Role, name: &HostName) -> String {
    let own = STARTERS.iter().find(|(known, _)| *known == role.name()).map_or("", |(_, own)| own);
    let name = name.as_str();
    format!("# A node of the role {role}. Lines that begin with # are optional.\nname = \"{name}\"\n\n{COMMON}{own}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::node::NodeConfig;

    fn name() -> HostName {
        HostName::try_from("r7".to_owned()).unwrap()
    }

    #[test]
    fn an_example_is_a_node_config_as_it_is_and_with_every_option() {
        for role in roles().chain(["edge"]) {
            let text = starter(&role.parse().unwrap(), &name());
            let config = NodeConfig::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error} in\n{text}"));
            assert_eq!((config.name.as_str(), config.router.is_some()), ("r7", role == "router"));
            assert_eq!(config.k3s.is_some(), role.starts_with("k3s-"));
            assert_eq!(config.tinkerbell.is_some(), role == "tinkerbell");
            // An option is a comment without a space behind its #.
            let option = |line: &str| line.starts_with('#') && !line.starts_with("# ");
            let all: String = text
                .lines()
                .map(|line| if option(line) { &line[1..] } else { line })
                .map(|line| format!("{line}\n"))
                .collect();
            assert!(all.contains("\n[network.wg0"), "{all}");
            NodeConfig::parse(all.as_bytes()).unwrap_or_else(|error| panic!("{error} in\n{all}"));
        }
    }
}
