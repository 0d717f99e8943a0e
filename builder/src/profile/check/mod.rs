//! Turns a profile into the role spec that the node reads: names become numbers, references are followed.
//!
//! - here accounts, and what is made at boot · [`service`] · [`limits`] of folders · [`health`] · [`update`]
//! - what is checked as soon as a profile is read: [`node_toml`] what it says about node.toml · [`packages`] ·
//!   [`vars`] what nodes set for themselves

mod health;
pub mod limits;
mod node_toml;
mod packages;
mod service;
mod update;
mod vars;

pub use vars::declared;

use super::diagnostic::{Diagnostic, Place, did_you_mean};
use super::merge::Profile;
use super::value::Located;
use contract::manifest::MAX_ROLLBACK_INDEX;
use contract::role::{Directory, FORMAT, Identity, RoleSpec, Template};
use std::collections::BTreeMap;

/// Accounts of a profile, by number.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    users: BTreeMap<String, Identity>,
    groups: BTreeMap<String, u32>,
}

/// What is wrong with a profile, as far as its own files and overlays tell.
#[must_use]
pub fn written(profile: &Profile) -> Vec<Diagnostic> {
    let mut mistakes = packages::take_something(profile);
    mistakes.extend(node_toml::node_toml(profile));
    mistakes.extend(vars::vars(profile));
    mistakes.extend(rollback_index(profile));
    mistakes
}

/// One that no node would take.
fn rollback_index(profile: &Profile) -> Option<Diagnostic> {
    let index = profile.rollback_index.as_ref().filter(|index| index.value > MAX_ROLLBACK_INDEX)?;
    let message = format!("the rollback index {} is too high; the highest one is {MAX_ROLLBACK_INDEX}", index.value);
    Some(Diagnostic::new(&profile.sources, message, &index.place, "here", None, None))
}

struct Checker<'p> {
    profile: &'p Profile,
    accounts: Accounts,
    mistakes: Vec<Diagnostic>,
}

/// The role spec of a profile. `modules` are absolute paths in load order.
///
/// # Errors
/// Every mistake found: unknown users, services or groups, circles of `after`, paths that are not absolute.
pub fn role_spec(profile: &Profile, version: &str, modules: Vec<String>) -> Result<RoleSpec, Vec<Diagnostic>> {
    let mut checker = Checker { profile, accounts: Accounts::default(), mistakes: Vec::new() };
    checker.accounts();
    let mut directories = checker.directories();
    let templates = checker.templates();
    let sysctls = checker.sysctls();
    let services = checker.services();
    directories.extend(checker.kept_folders());
    checker.limits(&directories, &services);
    let health = checker.health();
    let update = checker.update();
    if !checker.mistakes.is_empty() {
        return Err(checker.mistakes);
    }
    Ok(RoleSpec {
        format: FORMAT,
        role: profile.role.value.clone(),
        summary: profile.summary.value.clone(),
        version: version.to_owned(),
        modules,
        sysctls,
        directories,
        templates,
        services,
        health,
        vars: declared(profile),
        update,
    })
}

impl Checker<'_> {
    fn wrong(&mut self, place: &Place, message: String, help: Option<String>) {
        self.mistakes.push(Diagnostic::new(&self.profile.sources, message, place, "here", None, help));
    }

    fn accounts(&mut self) {
        let profile = self.profile;
        let mut numbers: BTreeMap<(bool, u32), &str> = BTreeMap::new();
        for (name, group) in &profile.groups {
            self.accounts.groups.insert(name.clone(), group.value.id);
            if let Some(other) = numbers.insert((false, group.value.id), name) {
                self.wrong(&group.place, format!("the groups {other} and {name} have the same number"), None);
            }
        }
        for (name, user) in &profile.users {
            if user.value.group.is_none() {
                self.accounts.groups.entry(name.clone()).or_insert(user.value.id);
            }
            if let Some(other) = numbers.insert((true, user.value.id), name) {
                self.wrong(&user.place, format!("the users {other} and {name} have the same number"), None);
            }
        }
        for (name, user) in &profile.users {
            let gid = self.group(user.value.group.as_deref().unwrap_or(name), &user.place);
            let groups = user.value.groups.iter().filter_map(|group| self.group(group, &user.place)).collect();
            let identity = Identity { uid: user.value.id, gid: gid.unwrap_or(0), groups };
            self.accounts.users.insert(name.clone(), identity);
        }
    }

    fn group(&mut self, name: &str, place: &Place) -> Option<u32> {
        let found = self.accounts.groups.get(name).copied();
        if found.is_none() {
            let help = did_you_mean(name, self.accounts.groups.keys().map(String::as_str));
            self.wrong(place, format!("there is no group {name:?}"), help.or(Some(format!("add [group.{name}]"))));
        }
        found
    }

    fn user(&mut self, name: &str, place: &Place) -> Identity {
        if let Some(found) = self.accounts.users.get(name) {
            return found.clone();
        }
        let help = did_you_mean(name, self.accounts.users.keys().map(String::as_str));
        self.wrong(place, format!("there is no user {name:?}"), help.or(Some(format!("add [user.{name}]"))));
        Identity::default()
    }

    /// `user` or `user:group`.
    fn owner(&mut self, text: &str, place: &Place) -> Identity {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let identity = self.user(user, place);
        let gid = if group.is_empty() { Some(identity.gid) } else { self.group(group, place) };
        Identity { uid: identity.uid, gid: gid.unwrap_or(0), groups: Vec::new() }
    }

    fn absolute(&mut self, path: &str, place: &Place) {
        let fine = path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains('\0');
        if !fine {
            self.wrong(place, format!("{path:?} must be an absolute path without `..`"), None);
        }
    }

    fn directories(&mut self) -> Vec<Directory> {
        let profile = self.profile;
        let one = |(path, entry): (&String, &Located<super::schema::Directory>)| {
            self.absolute(path, &entry.place);
            let written = &entry.value;
            let owner = self.owner(&written.owner, &entry.place);
            let on = written.persistent.then_some(limits::Disk::State);
            let limit_bytes = self.limit(path, written.limit.as_ref(), &entry.place, on);
            let (mode, persistent) = (written.mode.0, written.persistent);
            Directory { path: path.clone(), owner, mode, persistent, data: false, limit_bytes }
        };
        profile.directories.iter().map(one).collect()
    }

    fn templates(&mut self) -> Vec<Template> {
        let profile = self.profile;
        let one = |entry: &Located<super::schema::Template>| {
            let written = &entry.value;
            if !written.to.starts_with("/run/") {
                let message = format!("a template is rendered into /run, not to {:?}", written.to);
                self.wrong(&entry.place, message, None);
            }
            self.absolute(&written.to, &entry.place);
            let owner = self.owner(&written.owner, &entry.place);
            Template { from: written.from.clone(), to: written.to.clone(), owner, mode: written.mode.0 }
        };
        profile.templates.iter().map(one).collect()
    }

    fn sysctls(&mut self) -> BTreeMap<String, String> {
        let profile = self.profile;
        let mut sysctls = BTreeMap::new();
        for (key, value) in &profile.sysctls {
            // Both ways of writing are common: net.ipv4.ip_forward and net/ipv4/ip_forward.
            let path = if key.contains('/') { key.clone() } else { key.replace('.', "/") };
            if path.starts_with('/') || path.split('/').any(|part| part.is_empty() || part == "..") {
                self.wrong(&value.place, format!("{key:?} is not a valid kernel setting"), None);
            }
            sysctls.insert(path, value.value.clone());
        }
        sysctls
    }
}
