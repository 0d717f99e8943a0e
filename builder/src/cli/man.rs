//! `microdc man`: manual pages, made from the same source as the help.

use anyhow::{Context as _, Result};
use clap::{Args, Command};
use clap_mangen::Man as Renderer;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Print a manual page, or write all of them to a folder
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc man > microdc.1\n  microdc man --to man1\n  microdc man build | man -l -"
)]
pub(super) struct Man {
    /// The verb, such as `build` or `node check` [default: microdc itself]
    verb: Vec<String>,
    /// Write a page for each verb to this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "verb")]
    to: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<()> {
        let mut command = super::command().disable_help_subcommand(true);
        command.build();
        let Some(folder) = self.to else {
            let mut found = &command;
            for word in &self.verb {
                found = found.find_subcommand(word).with_context(|| {
                    format!("there is no verb {:?}; `microdc --help` lists them", self.verb.join(" "))
                })?;
            }
            out!("{}", page(found)?)?;
            return Ok(());
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
        let mut queue = vec![&command];
        let mut count = 0;
        while let Some(next) = queue.pop() {
            let path = folder.join(format!("{}.1", name(next)));
            std::fs::write(&path, page(next)?).with_context(|| format!("writing {}", path.display()))?;
            queue.extend(next.get_subcommands());
            count += 1;
        }
        outln!("{}: {count} pages", folder.display())?;
        Ok(())
    }
}

/// `microdc-node-check`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

/// One page (man-pages(7), groff_man(7)).
fn page(command: &Command) -> Result<String> {
    let version = concat!("microdc ", env!("CARGO_PKG_VERSION"));
    let renderer = Renderer::new(command.clone()).title(name(command)).source(version).manual("microdc");
    let mut bytes = Vec::new();
    renderer.render_title(&mut bytes)?;
    renderer.render_name_section(&mut bytes)?;
    renderer.render_synopsis_section(&mut bytes)?;
    renderer.render_description_section(&mut bytes)?;
    if command.get_arguments().next().is_some() {
        renderer.render_options_section(&mut bytes)?;
    }
    if command.has_subcommands() {
        renderer.render_subcommands_section(&mut bytes)?;
    }
    let mut text = String::from_utf8(bytes).context("a page that is not UTF-8")?;
    let more = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    after(&mut text, &more.unwrap_or_default());
    Ok(text)
}

/// What follows the options in the help: examples as they are, the rest as sections.
fn after(text: &mut String, help: &str) {
    for block in help.split("\n\n") {
        let mut lines = block.lines();
        let first = lines.next().unwrap_or_default();
        match first {
            "" => (),
            "Examples:" | "Example:" | "Start with:" => {
                // Indented as in the help: what fits into 80 columns there does so here.
                text.push_str(".SH EXAMPLES\n.nf\n.in 2n\n");
                for line in lines {
                    let _ = writeln!(text, "{}", escaped(line.strip_prefix("  ").unwrap_or(line)));
                }
                text.push_str(".in\n.fi\n");
            }
            _ => {
                let (heading, first) = match first.strip_prefix("Exit status: ") {
                    Some(rest) => ("EXIT STATUS", rest),
                    None => ("NOTES", first),
                };
                let _ = writeln!(text, ".SH \"{heading}\"\n{}", escaped(first));
                for line in lines {
                    let _ = writeln!(text, "{}", escaped(line));
                }
            }
        }
    }
}

/// Text of a roff source: a backslash is one, a hyphen can be copied, a line that begins with a dot is not a request.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}
