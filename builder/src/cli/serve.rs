//! `microdc serve`: bundles and images over HTTP.

use crate::serve::{self, Event, Server};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Serve the bundles and images of a folder over HTTP
///
/// For testing and for small sites; any web server that supports ranges works as
/// well. Writes nothing, and serves nothing outside the folder. Prints the
/// addresses, a line for each request, and a line for every 10 % of a node's
/// update. GET / lists the bundles and the nodes. Stop it with Ctrl-C.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc serve out\n  microdc serve out --listen 10.0.0.254:80\n  microdc serve out \
                        --json | jq 'select(.event == \"progress\")'"
)]
pub(super) struct Serve {
    /// The folder
    folder: PathBuf,
    /// Address to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

impl Serve {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        let Serve { folder, listen, json } = self;
        ensure!(folder.is_dir(), "{} is not a folder; name the one with the bundles, such as out", folder.display());
        let log = move |event: &Event| {
            // A reader that went away ends the log, not the server.
            let _ = match serde_json::to_string(event) {
                Ok(line) if json => outln!("{}", contract::text::json(&line)),
                _ => outln!("{event}"),
            };
        };
        let server = Server::logging(&folder, listen, Box::new(log))
            .with_context(|| format!("serving {} on {listen}", folder.display()))?;
        announce(&folder, &server, json)?;
        while !interrupted.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(server);
        Ok(())
    }
}

fn announce(folder: &std::path::Path, server: &Server, json: bool) -> Result<()> {
    let urls = serve::urls(server.address());
    let bundles = serve::list(folder).with_context(|| format!("reading {}", folder.display()))?;
    if json {
        let said = serde_json::json!({ "event": "listening", "urls": urls, "bundles": bundles });
        outln!("{}", contract::text::json(&said.to_string()))?;
        return Ok(());
    }
    outln!("serving {} at {}", folder.display(), urls.join(", "))?;
    if bundles.is_empty() {
        outln!("there is no bundle in it yet; `microdc bundle IMAGE` makes one")?;
    }
    for bundle in &bundles {
        let name = serve::encode(&bundle.name);
        outln!("\n{} ({})", bundle.name, crate::report::human_bytes(bundle.bytes))?;
        for url in &urls {
            outln!("  ssh operator@NODE update {url}/{name}")?;
        }
    }
    outln!()?;
    Ok(())
}
