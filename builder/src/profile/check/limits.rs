//! Limits of the folders that services keep: each must be one that a node can hold to.

use super::super::diagnostic::{FileId, Place};
use super::super::merge::Profile;
use super::super::quantity::Bytes;
use super::super::spanned::Spanned;
use super::Checker;
use contract::layout::{MIB, STATE_SIZE, state_file_system};
use contract::role::{Capability, Directory, Service};
use std::collections::BTreeMap;

/// The least limit: an empty folder takes a few KiB of it.
const LEAST: Bytes = Bytes(MIB);

/// The kernel's module that counts what a folder with a limit holds. It brings those that it needs.
pub const MODULE: &str = "quota_v2";

/// The first limit of a profile, if there is one.
#[must_use]
pub fn first(profile: &Profile) -> Option<Place> {
    let at = |file: FileId, limit: &Spanned<Bytes>| Place { file, span: limit.span() };
    let directories = profile.directories.values().filter_map(|entry| {
        let limit = entry.value.limit.as_ref()?;
        Some(at(entry.place.file, limit))
    });
    let kept = profile.services.values().flat_map(|entry| {
        let folders = entry.value.persistent.iter().chain(&entry.value.data);
        folders.filter_map(move |folder| Some(at(entry.place.file, folder.limit()?)))
    });
    directories.chain(kept).next()
}

impl Checker<'_> {
    /// The limit of a folder in bytes, as it is written in the entry at `entry`. `on` says where the folder is kept.
    pub(super) fn limit(
        &mut self,
        path: &str,
        limit: Option<&Spanned<Bytes>>,
        entry: &Place,
        on: Option<Disk>,
    ) -> Option<u64> {
        let limit = limit?;
        let (bytes, place) = (*limit.get_ref(), Place { file: entry.file, span: limit.span() });
        let room = Bytes(state_file_system(STATE_SIZE));
        if bytes.0 < LEAST.0 {
            let help = format!("write at least \"{LEAST}\", or remove `limit`: the folder then has none");
            self.wrong(&place, format!("the limit of {path} is {bytes}, less than {LEAST}"), Some(help));
        }
        match on {
            None => {
                let help = "add `persistent = true`; a folder that is not kept is in memory".to_owned();
                self.wrong(&place, format!("{path} has a `limit`, but is not persistent"), Some(help));
            }
            Some(Disk::State) if bytes.0 > room.0 => {
                let help = format!(
                    "write less than \"{room}\", or keep the folder on `data`: `data = [{{ path = {path:?}, limit = \"{bytes}\" }}]` in a \
                     service"
                );
                self.wrong(
                    &place,
                    format!("the limit of {path} is {bytes}, but `state` has only {room}: it would never be reached"),
                    Some(help),
                );
            }
            Some(_) => {}
        }
        Some(bytes.0)
    }

    /// What has to do with more than one entry.
    pub(super) fn limits(&mut self, directories: &[Directory], services: &BTreeMap<String, Service>) {
        for limited in directories.iter().filter(|directory| directory.limit_bytes.is_some()) {
            let Some(place) = self.limit_of(&limited.path) else { continue };
            let nested = directories.iter().find(|other| {
                other.persistent && (inside(&other.path, &limited.path) || inside(&limited.path, &other.path))
            });
            if let Some(other) = nested {
                let message = format!("{} has a limit, and {} is kept as well", limited.path, other.path);
                let help = "one of them is in the other: give neither a limit, or move one elsewhere".to_owned();
                self.wrong(&place, message, Some(help));
            }
            for (name, service) in services.iter().filter(|(_, service)| writes_to(service, &limited.path)) {
                let why = if service.sandbox.unconfined {
                    "`sandbox.unconfined`"
                } else if service.sandbox.containers {
                    "`sandbox.containers`"
                } else if service.capabilities.contains(&Capability::SysResource) {
                    "the capability SYS_RESOURCE"
                } else {
                    continue;
                };
                let message =
                    format!("the limit of {} does not hold for the service {name}, which has {why}", limited.path);
                let help = format!("remove {why} from [service.{name}], or `limit`");
                self.wrong(&place, message, Some(help));
            }
        }
    }

    /// Where the limit of a folder is written.
    fn limit_of(&self, path: &str) -> Option<Place> {
        let directory =
            self.profile.directories.get(path).map(|entry| (entry.place.file, entry.value.limit.as_ref()));
        let kept = self.profile.services.values().flat_map(|entry| {
            let folders = entry.value.persistent.iter().chain(&entry.value.data);
            folders.filter(|folder| folder.path() == path).map(move |folder| (entry.place.file, folder.limit()))
        });
        directory.into_iter().chain(kept).find_map(|(file, limit)| Some(Place { file, span: limit?.span() }))
    }
}

/// Where a folder is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    State,
    Data,
}

/// Whether a path is below a folder.
fn inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

fn writes_to(service: &Service, path: &str) -> bool {
    service.sandbox.folders.iter().any(|folder| folder == path || inside(path, folder) || inside(folder, path))
}
