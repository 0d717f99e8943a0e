//! `microdc node`: node configs, checked by the node's own code.

use crate::cli::output;
use crate::profile::check::declared;
use crate::profile::diagnostic::{Diagnostic, Place, Sources};
use crate::profile::{Profile, load};
use crate::scaffold;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use contract::node::{HostName, NodeConfig, NodeConfigError};
use contract::role::Role;
use contract::template;
use std::path::{Path, PathBuf};

/// Write and check node configs
#[derive(Debug, Subcommand)]
pub(super) enum Node {
    Check(Check),
    New(New),
}

/// Check a node.toml before it goes to its node
///
/// Uses the same code as the node. An error is shown with its line, and the exit
/// status is 1. With --profile, the profile's templates are rendered too, as the
/// node does before it accepts the file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc node check r1.toml\n  microdc node check r1.toml --profile router\n  \
                        microdc node check r1.toml --json")]
pub(super) struct Check {
    /// The file
    file: PathBuf,
    /// Name of a profile in profiles/, or path of a .toml file
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Print a node.toml to start from
///
/// Contains everything that a node of the role needs, and the rest as comments. For
/// a profile of your own, it is the profile's example with the node's name.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc node new router r1 > r1.toml\n  microdc node new profiles/edge.toml e1 > e1.toml"
)]
pub(super) struct New {
    /// The node's role, or a profile: its name in profiles/, or the path of a .toml
    /// file
    role: String,
    /// Its host name
    name: String,
}

impl Node {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Node::Check(check) => check.run(),
            Node::New(new) => new.run(),
        }
    }
}

/// A mistake, and its place if it has one.
#[derive(Default)]
struct Mistake {
    message: String,
    place: Option<(usize, usize)>,
    shown: String,
}

impl Check {
    fn run(self) -> Result<()> {
        let path = &self.file;
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let found = match NodeConfig::parse(&bytes) {
            Err(error) => Err(mistake(path, &bytes, error)),
            Ok(config) => match &self.profile {
                None => Ok(config),
                Some(profile) => self.try_profile(profile, config, &bytes)?,
            },
        };
        if self.json {
            let report = match &found {
                Ok(config) => serde_json::json!({ "file": path, "ok": true, "name": config.name.as_str() }),
                Err(mistake) => serde_json::json!({
                    "file": path, "ok": false, "message": mistake.message,
                    "line": mistake.place.map(|place| place.0), "column": mistake.place.map(|place| place.1),
                }),
            };
            output::json(&report)?;
        }
        match found {
            Ok(config) => {
                if !self.json {
                    outln!("{}: a valid node config for the node {}", path.display(), config.name.as_str())?;
                }
                Ok(())
            }
            Err(mistake) => bail!("{}", mistake.shown),
        }
    }
}

impl Check {
    /// What the node does before it accepts a file: variables, then templates and environments.
    fn try_profile(
        &self,
        profile: &str,
        mut config: NodeConfig,
        bytes: &[u8],
    ) -> Result<Result<NodeConfig, Mistake>> {
        let base = std::env::current_dir().context("the current folder no longer exists")?;
        let profile = load::load(&load::find(profile, &base)?)?;
        if let Err(problems) = config.vars.complete(&declared(&profile)) {
            let text = String::from_utf8_lossy(bytes);
            let all = problems.into_iter().map(|problem| mistake(&self.file, bytes, problem.locate(&text)));
            return Ok(Err(all.reduce(Mistake::and).unwrap_or_default()));
        }
        Ok(match try_templates(&profile, &config)? {
            None => Ok(config),
            Some(message) => Err(Mistake { shown: message.clone(), message, place: None }),
        })
    }
}

impl Mistake {
    /// Both; the place is the first one's.
    fn and(self, other: Mistake) -> Mistake {
        Mistake {
            message: format!("{}; {}", self.message, other.message),
            place: self.place,
            shown: format!("{}\n\n{}", self.shown, other.shown),
        }
    }
}

/// A mistake in its line, as people read it.
pub(super) fn shown(path: &Path, bytes: &[u8], error: NodeConfigError) -> String {
    mistake(path, bytes, error).shown
}

fn mistake(path: &Path, bytes: &[u8], error: NodeConfigError) -> Mistake {
    match error {
        NodeConfigError::At { line, column, span, message, help } => {
            let mut sources = Sources::default();
            let file = sources.add(path, &String::from_utf8_lossy(bytes));
            let shown = Diagnostic::new(&sources, message.clone(), &Place { file, span }, "here", None, help);
            Mistake { message, place: Some((line, column)), shown: shown.to_string() }
        }
        NodeConfigError::NotUtf8 { line, column } => {
            let error = NodeConfigError::NotUtf8 { line, column };
            Mistake {
                message: error.to_string(),
                place: Some((line, column)),
                shown: format!("{}: {error}", path.display()),
            }
        }
        NodeConfigError::TooLong => {
            Mistake { message: error.to_string(), place: None, shown: format!("{}: {error}", path.display()) }
        }
    }
}

/// What is wrong with the first template of the profile that cannot be rendered.
fn try_templates(profile: &Profile, config: &NodeConfig) -> Result<Option<String>> {
    let path = &profile.path;
    for (name, service) in &profile.services {
        for (key, text) in service.value.environment.iter().filter(|(_, text)| template::is_template(text)) {
            if let Err(error) = template::render(key, text, config) {
                return Ok(Some(format!(
                    "the node would reject it: service {name}: its variable {key}: {}",
                    error.message
                )));
            }
        }
    }
    for entry in &profile.templates {
        let from = &entry.value.from;
        let inside = Path::new(contract::names::TEMPLATES.trim_start_matches('/')).join(from);
        // The last overlay that has it counts, as in the image.
        let overlay =
            profile.overlays.iter().rev().map(|overlay| overlay.value.join(&inside)).find(|path| path.is_file());
        let overlay =
            overlay.with_context(|| format!("the template {from} is in no overlay of {}", path.display()))?;
        let source = std::fs::read_to_string(&overlay).with_context(|| format!("reading {}", overlay.display()))?;
        if let Err(error) = template::render(from, &source, config) {
            return Ok(Some(format!("the node would reject it: {error}")));
        }
    }
    Ok(None)
}

/// What every node's file has.
const COMMON: &str = include_str!("node_common.toml");
/// What the file of a role that comes with microdc has besides.
const STARTERS: [(&str, &str); 5] = [
    ("k3s-agent", include_str!("node_k3s_agent.toml")),
    ("k3s-server", include_str!("node_k3s_server.toml")),
    ("minio", include_str!("node_minio.toml")),
    ("router", include_str!("node_router.toml")),
    ("tinkerbell", include_str!("node_tinkerbell.toml")),
];

impl New {
    fn run(self) -> Result<()> {
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
pub(super) fn roles() -> impl Iterator<Item = &'static str> {
    STARTERS.iter().map(|(role, _)| *role)
}

/// A node config to begin with. A role of your own has what every node has.
pub(super) fn starter(role: &Role, name: &HostName) -> String {
    let own = STARTERS.iter().find(|(known, _)| *known == role.name()).map_or("", |(_, own)| own);
    let name = name.as_str();
    format!("# A node of the role {role}. Lines that begin with # are optional.\nname = \"{name}\"\n\n{COMMON}{own}")
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_mistake_is_shown_in_its_line() {
        let text = b"name = \"r1\"\n[network.eth0]\nadresses = []\n";
        let error = NodeConfig::parse(text).unwrap_err();
        let Mistake { place, shown, .. } = mistake(Path::new("r1.toml"), text, error);
        assert_eq!(place, Some((3, 1)));
        for part in ["r1.toml:3:1", "adresses = []", "did you mean `addresses`?"] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
