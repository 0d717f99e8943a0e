//! What a profile makes of a node config, without a node: its templates are rendered, and the programs that its services name
//! for checking their files (`check`) are run where this machine has them.
//!
//! This is beside the pipeline: no build comes by here.

use crate::pipeline::all_profiles;
use crate::profile::check::declared;
use crate::profile::schema::Check as Written;
use crate::profile::{Profile, load};
use anyhow::{Context as _, Result};
use contract::names::TEMPLATES;
use contract::node::{NodeConfig, NodeConfigError, Refusal, Rendered, wanted};
use contract::template::{self, TemplateError};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that one program may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Folders in which programs are looked for by their names: those of administrators are not on everyone's `PATH`.
const FOLDERS: [&str; 5] = ["/usr/sbin", "/usr/bin", "/usr/lib/frr", "/sbin", "/bin"];
/// Most of a program's words that are read, in bytes.
const WORDS: usize = 64 * 1024;

/// Renders the files of a profile, or says why a node would reject the config.
///
/// # Errors
/// When a template of the profile cannot be read.
pub fn render(profile: &Profile, config: &NodeConfig) -> Result<Result<Vec<Rendered>, String>> {
    let mut config = config.clone();
    if let Err(problems) = config.vars.complete(&declared(profile)) {
        return Ok(Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")));
    }
    for (name, service) in &profile.services {
        for (key, text) in service.value.environment.iter().filter(|(_, text)| template::is_template(text)) {
            if let Err(error) = template::render(key, text, &config) {
                return Ok(Err(format!("service {name}: its variable {key}: {}", error.message)));
            }
        }
    }
    let mut files = Vec::new();
    for entry in &profile.templates {
        let from = &entry.value.from;
        let inside = Path::new(TEMPLATES.trim_start_matches('/')).join(from);
        // The last overlay that has it counts, as in the image.
        let overlay =
            profile.overlays.iter().rev().map(|overlay| overlay.value.join(&inside)).find(|path| path.is_file());
        let overlay = overlay.with_context(|| format!("the template {from} is in no overlay of the profile"))?;
        let source = std::fs::read_to_string(&overlay).with_context(|| format!("reading {}", overlay.display()))?;
        match template::render(from, &source, &config) {
            Ok(text) => files.push(Rendered { to: entry.value.to.clone(), text }),
            Err(error) => return Ok(Err(reason(&error))),
        }
    }
    Ok(Ok(files))
}

/// Why a template cannot be rendered: a section that is missing is named as one.
fn reason(error: &TemplateError) -> String {
    let missing = NodeConfig::SECTIONS.iter().find(|name| error.message.contains(&format!("`{name}` is undefined")));
    missing.map_or_else(|| error.to_string(), |name| format!("the table [{name}] is missing ({error})"))
}

/// Which profiles a node config suits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suits {
    /// There is nothing to compare it with, or not all of it can be read.
    Unknown,
    These(Vec<String>),
    /// None, each with its reason.
    None(Vec<(String, String)>),
}

/// Compares a node config with every profile of a folder.
#[must_use]
pub fn suits(base: &Path, config: &NodeConfig) -> Suits {
    let (mut these, mut reasons, mut unknown) = (Vec::new(), Vec::new(), false);
    for name in all_profiles(base).unwrap_or_default() {
        let found =
            load::find(&name, base).and_then(|path| load::load(&path)).map(|profile| render(&profile, config));
        match found {
            Ok(Ok(Ok(_))) => these.push(name),
            Ok(Ok(Err(reason))) => reasons.push((name, reason)),
            Ok(Err(_)) | Err(_) => unknown = true,
        }
    }
    if !these.is_empty() {
        Suits::These(these)
    } else if unknown || reasons.is_empty() {
        Suits::Unknown
    } else {
        Suits::None(reasons)
    }
}

/// What programs said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub refused: Vec<NodeConfigError>,
    /// What could not be checked here, and why.
    pub not_checked: Vec<String>,
}

/// Runs the checks of a profile's services on `files`, which were rendered from `config`, which was read from `text`.
///
/// # Errors
/// When the files cannot be written to a temporary folder.
pub fn programs(profile: &Profile, config: &NodeConfig, text: &str, files: &[Rendered]) -> Result<Found> {
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let here = |text: &str| {
        let at = |to: &str| folder.path().join(to.trim_start_matches('/')).to_string_lossy().into_owned();
        files.iter().fold(text.to_owned(), |text, file| text.replace(&file.to, &at(&file.to)))
    };
    for file in files {
        let path = folder.path().join(file.to.trim_start_matches('/'));
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            std::fs::write(&path, here(&file.text))?;
            // They may hold secrets.
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        });
        written.with_context(|| format!("writing {}", path.display()))?;
    }
    let settings = serde_json::to_value(config)?;
    let mut found = Found::default();
    for (name, entry) in &profile.services {
        let service = &entry.value;
        let Some(check) = &service.check else { continue };
        if service.when.as_ref().is_some_and(|when| !wanted(&settings, when.get_ref())) {
            continue;
        }
        let (run, mistake) = match check {
            Written::Run(run) => (run, None),
            Written::Reports { run, mistake } => (run, Some(mistake.as_str())),
        };
        let arguments: Vec<String> = run.iter().map(|argument| here(argument)).collect();
        let said = program(&arguments, folder.path());
        let (well, words) = match said {
            Ok((well, words)) => (well, words.replace(&*folder.path().to_string_lossy(), "")),
            Err(why) => {
                found.not_checked.push(format!("the files of the service {name} were not checked: {why}"));
                continue;
            }
        };
        let line = mistake.and_then(|mistake| words.lines().find(|line| line.contains(mistake)));
        if well && line.is_none() {
            continue;
        }
        let refusal = Refusal::read(name, run, line.unwrap_or(&words), files, config);
        // Without a line it may be this machine that it does not like: no rights, no such user.
        if refusal.line.is_some() {
            found.refused.push(refusal.locate(text));
        } else {
            found.not_checked.push(format!(
                "the files of the service {name} were not checked: {} says here: {}",
                refusal.program, refusal.words
            ));
        }
    }
    Ok(found)
}

/// Runs a program of this machine. Returns whether it ended well, and what it said.
fn program(run: &[String], folder: &Path) -> Result<(bool, String), String> {
    let named = run.first().map_or("", String::as_str);
    let program = installed(named).ok_or_else(|| format!("this machine has no {named}"))?;
    let failed = |error: std::io::Error| format!("cannot run {}: {error}", program.display());
    let said = folder.join("said");
    let output = File::create(&said).map_err(failed)?;
    let mut command = Command::new(&program);
    command.args(run.get(1..).unwrap_or_default()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir(folder).stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
    let mut child = command.spawn().map_err(failed)?;
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if begin.elapsed() >= LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{} did not end within {} s", program.display(), LIMIT.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let words = std::fs::read(&said).map_err(failed)?;
    let words = words.get(..words.len().min(WORDS)).unwrap_or_default();
    Ok((status.success(), String::from_utf8_lossy(words).into_owned()))
}

/// The program itself, or one of its name.
fn installed(named: &str) -> Option<PathBuf> {
    let path = Path::new(named);
    let others =
        path.file_name().map(|name| FOLDERS.map(|folder| Path::new(folder).join(name))).into_iter().flatten();
    std::iter::once(path.to_owned()).chain(others).find(|path| path.is_file())
}
