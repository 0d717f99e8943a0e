//! `microdc completions`: what shells complete.

use crate::cli::output;
use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

/// Print shell completions
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc completions bash > microdc.bash && . ./microdc.bash\n  microdc completions zsh \
                  > _microdc\n  microdc completions fish > microdc.fish\n\nPut the file where the shell looks for \
                  completions, such as\n~/.local/share/bash-completion/completions/microdc."
)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<()> {
        // The generator panics when it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "microdc", &mut script);
        Ok(output::bytes(&script)?)
    }
}
