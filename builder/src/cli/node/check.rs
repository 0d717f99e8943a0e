//! `microdc node check`: a node config before it goes to its node.

use crate::cli::output;
use crate::node_check::{self, Suits};
use crate::profile::check::declared;
use crate::profile::diagnostic::{Diagnostic, Place, Sources};
use crate::profile::load;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use contract::node::{NodeConfig, NodeConfigError, secrets};
use std::path::{Path, PathBuf};

/// Check a node.toml before it goes to its node
///
/// Uses the same code as the node. Every mistake is shown with its line, and the
/// exit status is 1. The file must suit a profile: that of --profile, or one of
/// those in profiles/. With --profile, the programs that the node lets check its
/// files (nft, bgpd, dnsmasq, haproxy, sshd ...) are run too, as far as this machine
/// has them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc node check r1.toml\n  microdc node check r1.toml --profile router\n  \
                        microdc node check r1.toml --existing\n  microdc node check r1.toml --json")]
pub(in crate::cli) struct Check {
    /// The file
    file: PathBuf,
    /// Name of a profile in profiles/, or path of a .toml file
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// The node has a config already: a value of `*` stands for the secret that it
    /// has
    #[arg(long)]
    existing: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// A mistake, and its place if it has one.
struct Mistake {
    message: String,
    place: Option<(usize, usize)>,
    shown: String,
}

/// What a check came to.
#[derive(Default)]
struct Report {
    name: Option<String>,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
    /// Profiles that it suits.
    profiles: Vec<String>,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        let path = &self.file;
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let report = self.check(&bytes)?;
        if self.json {
            let one = |mistake: &Mistake| {
                serde_json::json!({
                    "message": mistake.message,
                    "line": mistake.place.map(|place| place.0), "column": mistake.place.map(|place| place.1),
                })
            };
            output::json(&serde_json::json!({
                "file": path, "ok": report.mistakes.is_empty(), "name": report.name,
                "mistakes": report.mistakes.iter().map(one).collect::<Vec<_>>(),
                "warnings": report.warnings, "profiles": report.profiles,
            }))?;
        } else {
            for warning in &report.warnings {
                note!("warning: {warning}");
            }
        }
        if !report.mistakes.is_empty() {
            bail!(
                "{}",
                report.mistakes.iter().map(|mistake| mistake.shown.as_str()).collect::<Vec<_>>().join("\n\n")
            );
        }
        if let (false, Some(name)) = (self.json, report.name) {
            let suits = match report.profiles.as_slice() {
                [] => String::new(),
                [one] => format!(" with the profile {one}"),
                several => format!(" with one of the profiles {}", several.join(", ")),
            };
            outln!("{}: a valid node config for the node {name}{suits}", path.display())?;
        }
        Ok(())
    }

    fn check(&self, bytes: &[u8]) -> Result<Report> {
        let path = &self.file;
        let mut report = Report::default();
        let located = |error| mistake(path, bytes, error);
        let config = match NodeConfig::read(bytes) {
            Ok(config) => config,
            Err(all) => {
                report.mistakes.extend(all.into_iter().map(located));
                return Ok(report);
            }
        };
        report.name = Some(config.name.as_str().to_owned());
        // It was parsed, so it is text.
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        if !self.existing {
            report.mistakes.extend(secrets::not_given(text, &config).into_iter().map(located));
        }
        if config.ssh.keys.is_empty() {
            report.warnings.push("ssh.keys has no key: nobody can log in to this node".to_owned());
        }
        let base = std::env::current_dir().context("the current folder no longer exists")?;
        let whole =
            |message: String| Mistake { shown: format!("{}: {message}", path.display()), message, place: None };
        match &self.profile {
            Some(name) => {
                let profile = load::load(&load::find(name, &base)?)?;
                if let Err(problems) = config.clone().vars.complete(&declared(&profile)) {
                    report.mistakes.extend(problems.into_iter().map(|problem| located(problem.locate(text))));
                    return Ok(report);
                }
                match node_check::render(&profile, &config)? {
                    Err(reason) => {
                        report
                            .mistakes
                            .push(whole(format!("a node of the profile {name} would reject it: {reason}")));
                    }
                    Ok(files) => {
                        let found = node_check::programs(&profile, &config, text, &files)?;
                        report.mistakes.extend(found.refused.into_iter().map(located));
                        report.warnings.extend(found.not_checked);
                        report.profiles.push(name.clone());
                    }
                }
            }
            None => match node_check::suits(&base, &config) {
                Suits::Unknown => {}
                Suits::These(names) => report.profiles = names,
                Suits::None(reasons) => {
                    let reasons = reasons.iter().map(|(name, reason)| format!("\n  {name}: {reason}"));
                    let reasons = reasons.collect::<String>();
                    report.mistakes.push(whole(format!("no profile of this folder can use it:{reasons}")));
                }
            },
        }
        Ok(report)
    }
}

/// The mistakes of a file in their lines, as people read them.
pub(in crate::cli) fn shown(path: &Path, bytes: &[u8], errors: Vec<NodeConfigError>) -> String {
    errors.into_iter().map(|error| mistake(path, bytes, error).shown).collect::<Vec<_>>().join("\n\n")
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

#[cfg(test)]
mod tests {
    use super::*;

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
