//! What scripts would have done, as lines of a profile.

use super::acts::{Account, Acts, Alternative, Rights};
use crate::tree::{Package, take::merged};
use contract::text;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The first of the numbers that are proposed for users and groups; Debian hands out 100 to 999 for those of packages.
const FIRST_ID: u32 = 900;
/// Where memory file systems are at run time.
const IN_MEMORY: [&str; 5] = ["/run/", "/var/log/", "/tmp/", "/var/tmp/", "/dev/shm/"];
/// Documentation: its alternatives are of no use on a node.
const DOCUMENTATION: [&str; 3] = ["usr/share/man/", "usr/share/doc/", "usr/share/info/"];

/// A path as the image has it.
fn path(path: &str) -> String {
    format!("/{}", merged(path))
}

/// A quoted string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text::line(text).into_owned()).to_string()
}

/// The links that update-alternatives would make: the target with the highest priority, and the others.
fn chosen<'a>(all: impl Iterator<Item = &'a Alternative>) -> BTreeMap<String, Vec<&'a Alternative>> {
    let mut links: BTreeMap<String, Vec<&Alternative>> = BTreeMap::new();
    for one in all.filter(|one| !DOCUMENTATION.iter().any(|folder| merged(&one.link).starts_with(folder))) {
        links.entry(path(&one.link)).or_default().push(one);
    }
    for targets in links.values_mut() {
        targets.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.target.cmp(&b.target)));
    }
    links
}

/// What to write for these alternatives of a package: its files, and the links to them.
#[must_use]
pub fn alternative_lines(package: &str, alternatives: &[&Alternative]) -> String {
    let mut lines = String::new();
    let links = chosen(alternatives.iter().copied());
    let targets: BTreeSet<String> =
        links.values().filter_map(|targets| Some(merged(&targets.first()?.target).into_owned())).collect();
    let take: Vec<String> = targets.iter().map(|target| quoted(target)).collect();
    let _ = writeln!(lines, "[packages.{}]\ntake = [{}]\n", key(package), take.join(", "));
    alternatives_toml(&mut lines, &links);
    lines
}

/// A name as a key of TOML.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare { name.to_owned() } else { quoted(name) }
}

fn alternatives_toml(lines: &mut String, links: &BTreeMap<String, Vec<&Alternative>>) {
    if links.is_empty() {
        return;
    }
    lines.push_str("[link]\n");
    for (link, targets) in links {
        let Some((first, others)) = targets.split_first() else { continue };
        let others: Vec<String> = others.iter().map(|other| text::line(&path(&other.target)).into_owned()).collect();
        let others = if others.is_empty() { String::new() } else { format!("   # or {}", others.join(", ")) };
        let _ = writeln!(lines, "{} = {}{others}", quoted(link), quoted(&path(&first.target)));
    }
}

/// All of it. What no key of a profile says is a comment.
#[must_use]
pub fn to_toml(acts: &Acts, package: &Package) -> String {
    let mut out = format!(
        "# What the maintainer scripts of {package} would have done, as lines of a profile. Conditions in scripts are not\n\
         # evaluated: keep what you need.\n"
    );
    let start = out.len();
    accounts(&mut out, acts);
    let links = chosen(acts.alternatives.iter());
    if !links.is_empty() || !acts.links.is_empty() {
        out.push('\n');
        if links.is_empty() {
            out.push_str("[link]\n");
        } else {
            out.push_str("# By update-alternatives: take the targets from their packages.\n");
        }
        alternatives_toml(&mut out, &links);
        for (link, target) in acts.links.iter().filter(|(link, _)| !links.contains_key(&path(link))) {
            let _ = writeln!(out, "{} = {}", quoted(&path(link)), quoted(target));
        }
    }
    directories(&mut out, acts);
    if !acts.sysctls.is_empty() {
        out.push_str("\n[sysctl]\n");
        for (key, value) in &acts.sysctls {
            let _ = writeln!(out, "{} = {}", quoted(key), quoted(value));
        }
    }
    remarks(&mut out, acts);
    if out.len() == start {
        out.push_str("\n# Nothing that a profile has to say.\n");
    }
    out
}

fn accounts(out: &mut String, acts: &Acts) {
    let mut next = FIRST_ID;
    let mut id = |fixed: Option<u32>| match fixed {
        Some(fixed) => (fixed, ""),
        None => {
            next += 1;
            (next - 1, "   # or any number below 1000 that is free in the profile")
        }
    };
    for (name, account) in &acts.users {
        let Account { id: fixed, group, groups, home, shell, comment } = account;
        let (number, note) = id(*fixed);
        let _ = writeln!(out, "\n[user.{}]\nid = {number}{note}", key(name));
        if let Some(group) = group {
            let _ = writeln!(out, "group = {}", quoted(group));
        }
        if !groups.is_empty() {
            let groups: Vec<String> = groups.iter().map(|group| quoted(group)).collect();
            let _ = writeln!(out, "groups = [{}]", groups.join(", "));
        }
        if let Some(home) = home.as_ref().filter(|home| home.starts_with('/')) {
            let _ = writeln!(out, "home = {}", quoted(home));
        }
        if let Some(comment) = comment {
            let _ = writeln!(out, "comment = {}", quoted(comment));
        }
        let logs_in = |shell: &&String| !shell.ends_with("/nologin") && !shell.ends_with("/false");
        if let Some(shell) = shell.as_ref().filter(logs_in) {
            let _ = writeln!(out, "# shell = {}   # where it is in the image", quoted(shell));
        }
    }
    for (name, fixed) in acts.groups.iter().filter(|(name, _)| own_group(acts, name)) {
        let (number, note) = id(*fixed);
        let _ = writeln!(out, "\n[group.{}]\nid = {number}{note}", key(name));
    }
}

/// Whether a group is no user's own, which comes with the user.
fn own_group(acts: &Acts, name: &str) -> bool {
    acts.users.get(name).is_none_or(|account| account.group.is_some())
}

fn directories(out: &mut String, acts: &Acts) {
    let made = acts.paths.iter().filter(|(_, rights)| rights.directory);
    // /lib and /usr/lib are one folder.
    let made: BTreeMap<String, &Rights> = made.map(|(at, rights)| (path(at), rights)).collect();
    for (at, rights) in made {
        let _ = writeln!(out, "\n[directory.{}]", quoted(&at));
        let owner = owner(rights);
        if owner != "root" {
            let _ = writeln!(out, "owner = {}", quoted(&owner));
        }
        if let Some(mode) = rights.mode {
            let _ = writeln!(out, "mode = \"{mode:04o}\"");
        }
        if !IN_MEMORY.iter().any(|memory| at.starts_with(memory)) && !at.starts_with("/var/run/") {
            out.push_str("persistent = true\n");
        }
    }
}

fn owner(rights: &Rights) -> String {
    let owner = rights.owner.as_deref().unwrap_or("root");
    match rights.group.as_deref() {
        Some(group) if group != owner => format!("{owner}:{group}"),
        _ => owner.to_owned(),
    }
}

/// What a profile has no key for.
fn remarks(out: &mut String, acts: &Acts) {
    let mut remarks = Vec::new();
    for (user, group) in &acts.members {
        remarks.push(format!("the user {user} would be in the group {group}: `groups` of [user.{user}]"));
    }
    for (at, rights) in acts.paths.iter().filter(|(_, rights)| !rights.directory) {
        let mode = rights.mode.map(|mode| format!(" with mode {mode:04o}")).unwrap_or_default();
        remarks.push(format!("{at} would belong to {}{mode}", owner(rights)));
    }
    for (at, capabilities) in &acts.capabilities {
        let names: Vec<String> = capability_names(capabilities).iter().map(|name| quoted(name)).collect();
        remarks.push(format!(
            "{at} would have {capabilities}: in the service that runs it, capabilities = [{}]",
            names.join(", ")
        ));
    }
    for (to, from) in &acts.copies {
        remarks.push(format!("{to} would be a copy of {from}: put one of your own into an overlay"));
    }
    remarks.extend(acts.notes.iter().cloned());
    if !remarks.is_empty() {
        out.push('\n');
    }
    for remark in remarks {
        let _ = writeln!(out, "# {}", text::line(&remark));
    }
}

/// `cap_net_raw,cap_net_admin+ep` → `NET_RAW`, `NET_ADMIN`.
fn capability_names(text: &str) -> Vec<String> {
    let names = text.split(['+', '=']).next().unwrap_or_default();
    names.split(',').map(|name| name.trim().to_uppercase().trim_start_matches("CAP_").to_owned()).collect()
}
