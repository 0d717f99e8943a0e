//! Where the node config comes from: the operator's `node.toml` on bootsel when it is new and fine, else the last good
//! one on `state`, else the default.

use super::store::{Access, write_atomic};
use contract::names::NODE_CONFIG;
use contract::node::{HostName, NodeConfig};
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// The node config in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Intake {
    pub config: NodeConfig,
    pub origin: Origin,
    /// What the operator should know, each a sentence.
    pub notes: Vec<String>,
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

/// Settles the node config. `state` is the folder where it is kept, `bootsel` the bytes found on bootsel, `name` the
/// host name of a node that has no config.
#[must_use]
pub fn intake(state: &Path, bootsel: Option<&[u8]>, name: &str) -> Intake {
    let mut notes = Vec::new();
    let kept_path = state.join(NODE_CONFIG);
    let kept = match read(&kept_path) {
        Ok(kept) => kept,
        Err(error) => {
            notes.push(format!("cannot read {}: {error}", kept_path.display()));
            None
        }
    };
    if let Some(bytes) = bootsel.filter(|bytes| kept.as_deref() != Some(bytes)) {
        match NodeConfig::parse(bytes) {
            Ok(config) => {
                if let Err(error) = write_atomic(&kept_path, bytes, Access::root(0o600)) {
                    notes.push(format!(
                        "{NODE_CONFIG} from bootsel is in force, but cannot be kept on state: {error}"
                    ));
                }
                return Intake { config, origin: Origin::Bootsel, notes };
            }
            Err(error) => notes.push(format!("{NODE_CONFIG} on bootsel is not taken: {error}")),
        }
    }
    match kept.as_deref().map(NodeConfig::parse) {
        Some(Ok(config)) => {
            if !notes.is_empty() {
                notes.push(format!("the last good {NODE_CONFIG} stays in force"));
            }
            Intake { config, origin: Origin::State, notes }
        }
        Some(Err(error)) => {
            notes.push(format!("the {NODE_CONFIG} kept on state cannot be used: {error}"));
            default(name, notes)
        }
        None => default(name, notes),
    }
}

/// The config of a node that was given none: its name, and DHCP on the first Ethernet port.
fn default(name: &str, mut notes: Vec<String>) -> Intake {
    notes.push(format!(
        "no {NODE_CONFIG} in force: DHCP on the first Ethernet port; to configure this node, put a {NODE_CONFIG} on the \
         partition bootsel and restart it"
    ));
    let config = NodeConfig {
        name: HostName::try_from(name.to_owned()).unwrap_or_default(),
        cluster: contract::node::Cluster::default(),
        disks: contract::node::Disks::default(),
        network: contract::node::Network::default(),
        router: None,
        ssh: contract::node::Ssh::default(),
        metrics: None,
        time: contract::node::Time::default(),
    };
    Intake { config, origin: Origin::Default, notes }
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
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn taken(state: &Path, bootsel: Option<&str>) -> (String, Origin, String) {
        let intake = intake(state, bootsel.map(str::as_bytes), "microdc-abc123");
        (intake.config.name.as_str().to_owned(), intake.origin, intake.notes.join("\n"))
    }

    #[test]
    fn a_config_from_bootsel_is_kept_and_used_when_bootsel_has_none_any_more() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(taken(state.path(), Some("name = \"r1\"")), ("r1".into(), Origin::Bootsel, String::new()));
        assert_eq!(taken(state.path(), None), ("r1".into(), Origin::State, String::new()));
        assert_eq!(taken(state.path(), Some("name = \"r1\"")), ("r1".into(), Origin::State, String::new()));
        let mode = std::fs::metadata(state.path().join("node.toml")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_changed_config_replaces_the_kept_one() {
        let state = tempfile::tempdir().unwrap();
        taken(state.path(), Some("name = \"r1\""));
        assert_eq!(taken(state.path(), Some("name = \"r2\"")).0, "r2");
        assert_eq!(taken(state.path(), None).0, "r2");
    }

    #[test]
    fn a_broken_config_is_named_with_its_place_and_the_last_good_one_stays() {
        let state = tempfile::tempdir().unwrap();
        taken(state.path(), Some("name = \"r1\""));
        let (name, origin, notes) = taken(state.path(), Some("name = \"r1\"\nadress = 3\n"));
        assert_eq!((name.as_str(), origin), ("r1", Origin::State));
        assert!(notes.contains("line 2, column 1") && notes.contains("last good"), "{notes}");
        assert_eq!(taken(state.path(), None), ("r1".into(), Origin::State, String::new()));
    }

    #[test]
    fn a_node_without_config_has_a_name_and_says_how_to_give_one() {
        let state = tempfile::tempdir().unwrap();
        let (name, origin, notes) = taken(state.path(), None);
        assert_eq!((name.as_str(), origin), ("microdc-abc123", Origin::Default));
        assert!(notes.contains("bootsel"), "{notes}");
        let (name, origin, notes) = taken(state.path(), Some("name = "));
        assert_eq!((name.as_str(), origin), ("microdc-abc123", Origin::Default));
        assert!(notes.contains("line 1"), "{notes}");
    }

    #[test]
    fn a_kept_config_that_is_broken_does_not_stop_the_node() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("node.toml"), [0xff, 0xfe]).unwrap();
        assert_eq!(taken(state.path(), None).1, Origin::Default);
        assert_eq!(taken(state.path(), Some("name = \"r1\"")).1, Origin::Bootsel);
    }

    #[test]
    fn a_state_that_cannot_be_written_does_not_keep_the_config_from_its_force() {
        let (name, origin, notes) = taken(Path::new("/proc/nowhere"), Some("name = \"r1\""));
        assert_eq!((name.as_str(), origin), ("r1", Origin::Bootsel));
        assert!(notes.contains("cannot be kept"), "{notes}");
    }

    #[test]
    fn the_fallback_is_a_host_name() {
        assert_eq!(intake(Path::new("/nowhere"), None, "-").config.name.as_str(), "microdc");
    }
}
