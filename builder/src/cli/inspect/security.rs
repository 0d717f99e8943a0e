//! `--profile NAME --security`: how exposed the node is to each service of a profile.

use crate::cli::output;
use crate::profile::check::role_spec;
use crate::profile::exposure::Exposure;
use crate::profile::load;
use crate::profile::load::ProfileError;
use anyhow::{Context as _, Result};
use contract::role::Service;
use serde_json::{Value, json};

/// Most points that are named of one service.
const NAMED: usize = 5;

pub(super) fn show(name: &str, as_json: bool) -> Result<()> {
    let base = std::env::current_dir().context("the current folder no longer exists")?;
    let profile = load(&load::find(name, &base)?)?;
    let role = role_spec(&profile, "", Vec::new()).map_err(ProfileError::Mistakes)?;
    if as_json {
        let services: Vec<Value> = role.services.iter().map(|(name, service)| to_json(name, service)).collect();
        return output::json(&services);
    }
    outln!("{:<14} {:<12} {:>4} {:<9} not held back", "service", "user", "mark", "")?;
    for (name, service) in &role.services {
        let exposure = Exposure::of(service);
        let missing: Vec<&str> = exposure.missing().iter().map(|point| point.name).collect();
        let more = missing.len().saturating_sub(NAMED);
        let mut named = missing.get(..missing.len().min(NAMED)).unwrap_or_default().join(", ");
        if more > 0 {
            named.push_str(&format!(" and {more} more"));
        }
        let tenths = exposure.tenths();
        let mark = format!("{}.{}", tenths / 10, tenths % 10);
        outln!("{name:<14} {:<12} {mark:>4} {:<9} {named}", user(&profile, service), exposure.word())?;
    }
    Ok(())
}

fn user(profile: &crate::profile::Profile, service: &Service) -> String {
    let uid = service.identity.uid;
    let found = profile.users.iter().find(|(_, user)| user.value.id == uid);
    found.map_or_else(|| uid.to_string(), |(name, _)| name.clone())
}

fn to_json(name: &str, service: &Service) -> Value {
    let exposure = Exposure::of(service);
    let point = |point: &crate::profile::exposure::Point| json!({ "name": point.name, "weight": point.weight, "missing": f64::from(point.missing) / 10.0 });
    json!({
        "service": name,
        "mark": f64::from(exposure.tenths()) / 10.0,
        "word": exposure.word(),
        "points": exposure.points.iter().map(point).collect::<Vec<_>>(),
    })
}
