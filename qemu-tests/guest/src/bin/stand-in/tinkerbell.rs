//! What Tinkerbell shows of itself: `/healthz` of its HTTP server.

use super::{Facts, answer};
use std::fs;

pub fn run(facts: &mut Facts) {
    facts.keeps("/var/lib/tinkerbell");
    let mut files: Vec<_> =
        fs::read_dir("/run/tinkerbell").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for path in files {
        facts.file(&path.to_string_lossy());
    }
    let variable = |name: &str| std::env::var(format!("TINKERBELL_{name}")).unwrap_or_default();
    answer(&format!("{}:{}", variable("BIND_ADDRESS"), variable("HTTP_PORT")), "ok");
}
