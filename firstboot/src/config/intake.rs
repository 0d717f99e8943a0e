//! Where the node config comes from: the operator's `node.toml` on bootsel if it is new and valid, otherwise the last
//! valid one on `state`, otherwise the default.

use super::store::{Access, write_atomic};
use contract::names::NODE_CONFIG;
use contract::node::{HostName, NodeConfig, NodeConfigError, secrets};
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::path::Path;

/// Most mistakes of one file that are told.
const SHOWN: usize = 5;

/// The node config in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Intake {
    pub config: NodeConfig,
    pub origin: Origin,
    /// What the operator should know, each a sentence.
    pub notes: Vec<String>,
    /// Where secrets are in the file on bootsel, in bytes, now that `state` has them: they are to be overwritten.
    pub secrets: Vec<Range<usize>>,
}

/// Where the config in force was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// New on bootsel, and kept on `state` from now on.
    Bootsel,
    /// Kept on `state`.
    State,
    /// There is none.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Origin::Bootsel => "new from bootsel",
            Origin::State => "kept on state",
            Origin::Default => "none given",
        })
    }
}

/// See [`Keeper::try_out`].
pub type TryOut<'k> = dyn Fn(&NodeConfig, &str) -> Result<Vec<String>, String> + 'k;

/// Where a node keeps its config, and what it makes of one.
pub struct Keeper<'k> {
    /// The folder on `state`.
    pub state: &'k Path,
    /// Whether `state` is on a disk. If not, secrets stay on bootsel, the only place where they last.
    pub lasting: bool,
    /// Host name of a node that has no config.
    pub name: &'k str,
    /// Whether the role can do with a config, which was read from this text: what could not be found out, or what is wrong.
    pub try_out: &'k TryOut<'k>,
}

/// Settles the node config. `bootsel` is what was found on bootsel, if anything.
#[must_use]
pub fn intake(keeper: &Keeper<'_>, bootsel: Option<&[u8]>) -> Intake {
    let mut notes = Vec::new();
    let kept_path = keeper.state.join(NODE_CONFIG);
    let kept = match read(&kept_path) {
        Ok(kept) => kept,
        Err(error) => {
            notes.push(format!("cannot read {}: {error}", kept_path.display()));
            None
        }
    };
    let kept_text = kept.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    if let Some(bytes) = bootsel {
        match examine(keeper, bytes, kept_text) {
            Ok(found) if kept_text == Some(found.whole.as_str()) => {
                // Also after a power cut between keeping and overwriting.
                let secrets = if keeper.lasting { found.secrets } else { Vec::new() };
                return Intake { config: found.config, origin: Origin::State, notes, secrets };
            }
            Ok(found) => {
                notes.extend(found.notes);
                let kept = write_atomic(&kept_path, found.whole.as_bytes(), Access::root(0o600));
                if let Err(error) = &kept {
                    notes.push(format!(
                        "{NODE_CONFIG} from bootsel is in force, but cannot be kept on state: {error}"
                    ));
                }
                let safe = kept.is_ok() && keeper.lasting;
                if !safe && !found.secrets.is_empty() {
                    notes.push(
                        "its secrets stay on bootsel, where anyone who holds the disk can read them".to_owned(),
                    );
                }
                let secrets = if safe { found.secrets } else { Vec::new() };
                return Intake { config: found.config, origin: Origin::Bootsel, notes, secrets };
            }
            Err(error) => notes.push(format!("{NODE_CONFIG} on bootsel is rejected: {error}")),
        }
    }
    match kept.as_deref().map(NodeConfig::parse) {
        Some(Ok(config)) => {
            if !notes.is_empty() {
                notes.push(format!("the last valid {NODE_CONFIG} stays in force"));
            }
            Intake { config, origin: Origin::State, notes, secrets: Vec::new() }
        }
        Some(Err(error)) => {
            notes.push(format!("the {NODE_CONFIG} kept on state cannot be used: {error}"));
            default(keeper.name, notes)
        }
        None => default(keeper.name, notes),
    }
}

/// A config from bootsel that can be used.
struct Found {
    config: NodeConfig,
    /// The text with all its secrets.
    whole: String,
    /// Where secrets are in the text as it was found, in bytes.
    secrets: Vec<Range<usize>>,
    notes: Vec<String>,
}

fn examine(keeper: &Keeper<'_>, bytes: &[u8], kept: Option<&str>) -> Result<Found, String> {
    if let Some(found) = kept.and_then(|kept| overwritten(bytes, kept)) {
        return Ok(found);
    }
    let as_found = NodeConfig::read(bytes).map_err(|all| joined(&all))?;
    // It was parsed, so it is text.
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let whole = secrets::restore(text, kept).map_err(|error| error.to_string())?;
    let config = NodeConfig::parse(whole.as_bytes()).map_err(|error| error.to_string())?;
    // One that is there already was tried, and is not given up because a new version of the role wants more.
    let notes = if kept == Some(whole.as_str()) { Vec::new() } else { (keeper.try_out)(&config, text)? };
    Ok(Found { config, secrets: secrets::places(text, &as_found), whole, notes })
}

/// What is wrong, in one line.
fn joined(mistakes: &[NodeConfigError]) -> String {
    let shown: Vec<String> = mistakes.iter().take(SHOWN).map(ToString::to_string).collect();
    match mistakes.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{}; and {more} more", shown.join("; ")),
        None => shown.join("; "),
    }
}

/// The kept file itself, as far as its secrets were overwritten: all, or some when the power went meanwhile.
fn overwritten(bytes: &[u8], kept: &str) -> Option<Found> {
    let same =
        bytes.len() == kept.len() && bytes.iter().zip(kept.bytes()).all(|(&now, then)| now == then || now == b'*');
    let config = NodeConfig::parse(kept.as_bytes()).ok().filter(|_| same)?;
    let left =
        |place: &Range<usize>| bytes.get(place.clone()).is_some_and(|now| now.iter().any(|&byte| byte != b'*'));
    let secrets = secrets::places(kept, &config).into_iter().filter(left).collect();
    Some(Found { config, whole: kept.to_owned(), secrets, notes: Vec::new() })
}

/// The config of a node that was given none: its name, and DHCP on the first Ethernet port.
fn default(name: &str, mut notes: Vec<String>) -> Intake {
    notes.push(format!(
        "no {NODE_CONFIG} in force: DHCP on the first Ethernet port; to configure this node, put a {NODE_CONFIG} on the \
         partition bootsel and restart it"
    ));
    let config = NodeConfig::named(HostName::try_from(name.to_owned()).unwrap_or_default());
    Intake { config, origin: Origin::Default, notes, secrets: Vec::new() }
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(contract::node::MAX_LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
