//! The role's health checks by name, and how long an answer to one may take here.

use anyhow::Context as _;
use contract::names::ROLE_SPEC;
use contract::role::{HealthCheck, RoleSpec};
use std::time::{Duration, Instant};

/// Time for one answer: longer than a busy server takes, and with the pause between two looks less than a second.
pub const LIMIT: Duration = Duration::from_millis(700);
/// A failure that comes sooner than this is asked about once more: a connection that was kept open may have been closed by
/// the other end meanwhile.
const SOON: Duration = Duration::from_millis(200);

/// The health checks of this node's role.
///
/// # Errors
/// The role cannot be read.
pub fn of_role() -> anyhow::Result<Vec<HealthCheck>> {
    let role = std::fs::read(ROLE_SPEC).with_context(|| format!("cannot read {ROLE_SPEC}"))?;
    let role: RoleSpec = serde_json::from_slice(&role).with_context(|| format!("cannot read {ROLE_SPEC}"))?;
    Ok(role.health)
}

/// The one with this name.
///
/// # Errors
/// There is none.
pub fn named<'c>(checks: &'c [HealthCheck], name: &str) -> anyhow::Result<&'c HealthCheck> {
    let check = checks.iter().find(|check| check.name == name);
    check.with_context(|| format!("the profile has no health check {name:?}"))
}

/// Asks once more where the first failure came soon.
///
/// # Errors
/// That of the last question.
pub fn twice<T>(mut ask: impl FnMut(bool) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let begin = Instant::now();
    ask(false).or_else(|error| if begin.elapsed() < SOON { ask(true) } else { Err(error) })
}
