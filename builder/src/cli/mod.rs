//! The command line: one file per command. Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

#[macro_use]
mod output;

mod audit;
mod boot;
mod build;
mod bundle;
mod cache;
mod completions;
mod diff;
mod doctor;
mod flash;
mod from;
mod inspect;
mod installer;
mod keys;
mod lock;
mod man;
mod new;
mod node;
mod sbom;
mod schema;
mod serve;
mod sign;
mod verify;

use anyhow::Result;
use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use output::OutputError;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Builds signed A/B images of Raspberry Pi CM4 nodes from Debian packages.
#[derive(Debug, Parser)]
#[command(name = "microdc", version, max_term_width = 80, arg_required_else_help = true)]
#[command(
    after_help = "Start with:\n  microdc build router     make out/router.img\n  microdc boot out/router.img     run it in \
                        the emulated CM4\n\nEvery command has its own --help with examples."
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Build(build::Build),
    Lock(lock::Lock),
    Boot(boot::Boot),
    Verify(verify::Verify),
    Bundle(bundle::Bundle),
    Flash(flash::Flash),
    Installer(installer::Installer),
    New(new::New),
    Doctor(doctor::Doctor),
    Inspect(inspect::Inspect),
    Diff(diff::Diff),
    Sbom(sbom::Sbom),
    Audit(audit::Audit),
    Serve(serve::Serve),
    Sign(sign::Sign),
    #[command(subcommand)]
    Node(node::Node),
    #[command(subcommand)]
    Keys(keys::Keys),
    Schema(schema::Schema),
    Completions(completions::Completions),
    Man(man::Man),
    #[command(subcommand)]
    Cache(cache::CacheVerb),
}

/// The exit status when whoever read standard output has gone: what a shell says of a program that SIGPIPE ended.
const READER_IS_GONE: u8 = 141;

/// What every verb ends with.
const EXIT_STATUS: &str = "Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.";

/// The whole command line, every verb with what its exit status says.
#[must_use]
pub fn command() -> Command {
    with_exit_status(Cli::command())
}

fn with_exit_status(command: Command) -> Command {
    let command = command.mut_subcommands(with_exit_status);
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if help.contains("Exit status: ") {
        return command;
    }
    let separator = if help.is_empty() { "" } else { "\n\n" };
    command.after_help(format!("{help}{separator}{EXIT_STATUS}"))
}

/// Runs the program: reads the arguments, does the work, prints what failed.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    // The first Ctrl-C stops at the next clean place, the second at once.
    let handler = move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        note!("warning: Ctrl-C will stop the program without cleaning up: {error}");
    }
    match run(cli, &interrupted).and_then(|()| Ok(output::flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output_error(&error).is_some_and(OutputError::reader_is_gone) => ExitCode::from(READER_IS_GONE),
        Err(error) => {
            // What was being written does not matter to who reads this.
            match output_error(&error) {
                Some(error) => note!("error: {error}"),
                None => note!("error: {}", chain(&error)),
            }
            if output_error(&error).is_none() && is_disk_full(&error) {
                note!("free some space, or choose another disk: MICRODC_CACHE names the cache, -o the image");
            }
            match interrupted.load(Ordering::SeqCst) {
                true => ExitCode::from(130),
                false if error.downcast_ref::<audit::NotMade>().is_some() => ExitCode::from(audit::NOT_MADE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn run(cli: Cli, interrupted: &Arc<AtomicBool>) -> Result<()> {
    match cli.verb {
        Verb::Build(build) => build.run(interrupted),
        Verb::Boot(boot) => boot.run(),
        Verb::Verify(verify) => verify.run(),
        Verb::Bundle(bundle) => bundle.run(interrupted),
        Verb::Flash(flash) => flash.run(interrupted),
        Verb::Installer(installer) => installer.run(),
        Verb::Inspect(inspect) => inspect.run(interrupted),
        Verb::Diff(diff) => diff.run(),
        Verb::Sbom(sbom) => sbom.run(),
        Verb::Audit(audit) => audit.run(interrupted),
        Verb::Serve(serve) => serve.run(interrupted),
        Verb::Sign(sign) => sign.run(),
        Verb::Node(node) => node.run(),
        Verb::Keys(keys) => keys.run(),
        Verb::New(new) => new.run(),
        Verb::Doctor(doctor) => doctor.run(),
        Verb::Schema(schema) => schema.run(),
        Verb::Completions(completions) => completions.run(),
        Verb::Man(man) => man.run(),
        Verb::Lock(lock) => lock.run(interrupted),
        Verb::Cache(cache) => cache.run(interrupted),
    }
}

/// Whether standard output was what failed.
fn output_error(error: &anyhow::Error) -> Option<&OutputError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn is_disk_full(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let kind = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref().map(std::io::Error::kind);
    // Errors that pass another's words on unchanged do not give it as their cause.
    error.chain().any(|cause| matches!(kind(cause), Some(StorageFull | QuotaExceeded)))
        || error.to_string().contains(&std::io::Error::from(rustix::io::Errno::NOSPC).to_string())
}

/// An error and its causes; a cause whose text is in the one before is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.strip_prefix("error: ").unwrap_or(&cause);
        if text.is_empty() {
            text.push_str(cause);
        } else if !text.contains(cause) {
            text.push_str(&format!("\n  because {cause}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_every_verb_fits_80_columns() {
        let mut command = command();
        command.build();
        let mut queue = vec![command];
        while let Some(mut command) = queue.pop() {
            let help = command.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{}: {line:?}", command.get_name());
            }
            queue.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
