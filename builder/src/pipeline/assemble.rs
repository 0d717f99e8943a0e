//! The root file system of a profile: skeleton, accounts, what is taken from packages, overlays, links, firstboot, the
//! role spec; then the libraries that all of it needs, and the checks that need the whole tree.

use super::artifacts::Placed;
use super::hints;
use super::mistake::{mistake, mistake_with_help};
use super::os_release;
use crate::profile::{Diagnostic, Place, Profile, check};
use crate::tree::{Accounts, Package, User};
use crate::tree::{Content, Kind, Libraries, Node, Tree, certificates, elf, origin, overlay, skeleton, take};
use anyhow::{Context as _, Result};
use contract::names::{FIRSTBOOT, ROLE_SPEC, TEMPLATES};
use contract::node::NodeConfig;
use contract::role::{Mount, Probe, Ready, RoleSpec};
use contract::template;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the root is made of, besides the profile.
pub(super) struct Inputs<'a> {
    pub profile: &'a Profile,
    /// The packages that the profile names.
    pub packages: &'a BTreeMap<String, Arc<Package>>,
    pub artifacts: &'a [Placed<'a>],
    /// Modules of the system half, with their paths in the root, in load order.
    pub modules: &'a [crate::boot::modules::Module],
    /// The package that the modules come from.
    pub kernel: &'a Package,
    /// Who has what a package has not.
    pub elsewhere: hints::Finder<'a>,
}

/// The role spec as it lies in the root.
fn role_spec(spec: &RoleSpec) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(spec)?)
}

/// Writes the version of the image into its role spec: it follows from the tree, and so comes last.
pub(super) fn tell_version(tree: &mut Tree, version: &str) -> Result<()> {
    let node = tree.nodes.get_mut(ROLE_SPEC.trim_start_matches('/')).context("the tree has no role spec")?;
    let Kind::File(content) = &node.kind else { anyhow::bail!("the role spec is not a file") };
    let mut spec: RoleSpec = serde_json::from_slice(&content.to_bytes()?)?;
    version.clone_into(&mut spec.version);
    node.kind = Kind::File(Content::from(role_spec(&spec)?));
    Ok(())
}

/// Makes the tree, but for the version in its role spec: see [`tell_version`].
pub(super) fn assemble(inputs: &Inputs<'_>, libraries: &mut dyn Libraries) -> Result<Tree> {
    let profile = inputs.profile;
    let mut tree = skeleton();
    let accounts = accounts(profile)?;
    accounts.insert(&mut tree, &origin::made("the users and groups of the profile"))?;
    for (name, (_, wanted)) in &profile.packages {
        let package = inputs.packages.get(name).with_context(|| format!("package {name} was not fetched"))?;
        for pattern in &wanted.patterns {
            let why = format!("{} takes {:?}", profile.shown(&pattern.place), pattern.value);
            take::take(&mut tree, package, std::slice::from_ref(&pattern.value), &why).map_err(|error| {
                match hints::explain(name, &error, inputs.elsewhere) {
                    (message, Some(help)) => mistake_with_help(profile, &pattern.place, &message, help),
                    (message, None) => mistake(profile, &pattern.place, &message),
                }
            })?;
        }
    }
    for Placed { name, artifact, content, origin, place, .. } in inputs.artifacts {
        tree.insert_parents(&artifact.to);
        tree.insert(&artifact.to, Node::of(Kind::File(content.clone()), artifact.mode, origin))
            .map_err(|error| mistake(profile, place, &format!("the artifact {name}: {error}")))?;
    }
    for module in inputs.modules {
        let path = module.path.trim_start_matches('/');
        tree.insert_parents(path);
        let origin =
            origin::of_package(inputs.kernel, "a kernel module that the profile loads, or one that it needs");
        tree.insert(path, Node::of(Kind::File(module.content.clone()), 0o644, &origin))?;
    }
    for folder in &profile.overlays {
        let name = folder.value.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        overlay::lay(&mut tree, &folder.value, &name, &accounts)?;
    }
    for (path, target) in &profile.links {
        let path = path.trim_start_matches('/');
        tree.insert_parents(path);
        let origin = origin::made(&format!("a link of {}", profile.shown(&target.place)));
        tree.insert(path, Node::of(Kind::Symlink(target.value.clone()), 0o777, &origin))
            .map_err(|error| mistake(profile, &target.place, &error.to_string()))?;
    }
    // Overlays bring programs too, and links lead to libraries.
    let accepted = profile.missing_libraries.iter().map(|name| name.value.clone()).collect();
    elf::close(&mut tree, libraries, &accepted)?;
    certificates::insert(&mut tree)?;
    os_release::insert(&mut tree, &profile.name)?;
    // The program itself comes with the initramfs and is shown here.
    file(&mut tree, FIRSTBOOT, Vec::new(), 0o755, &origin::of_artifact("firstboot", "PID 1"))?;
    let paths = inputs.modules.iter().map(|module| format!("/{}", module.path.trim_start_matches('/'))).collect();
    let spec = check::role_spec(profile, "", paths).map_err(|mistakes| anyhow::anyhow!(joined(&mistakes)))?;
    places(&spec, &mut tree)?;
    hidden(profile, &tree)?;
    let why = origin::made("the profile's settings for PID 1");
    file(&mut tree, ROLE_SPEC, role_spec(&spec)?, 0o644, &why)?;
    programs(profile, &spec, &tree)?;
    shells(profile, &tree)?;
    templates(profile, &spec, &tree)?;
    Ok(tree)
}

/// Makes the folders that services keep, and those that something is mounted on. The root cannot be written to later.
fn places(spec: &RoleSpec, tree: &mut Tree) -> Result<()> {
    let kept = spec.directories.iter().filter(|directory| directory.persistent).map(|directory| &directory.path);
    let mounted = spec.services.values().flat_map(|service| &service.mounts).filter_map(|mount| match mount {
        Mount::Temporary { path, .. } | Mount::Bind { to: path, .. } => Some(path),
        Mount::ReadOnly(_) | Mount::Hidden(_) => None,
    });
    for path in kept.chain(mounted).map(|path| path.trim_start_matches('/')) {
        if !path.starts_with("run/") && tree.resolve(path).is_none() {
            tree.insert_parents(path);
            tree.insert(path, Node::directory(&origin::made("a persistent folder or mount point of a service")))?;
        }
    }
    Ok(())
}

/// What an overlay puts below a folder that a service keeps is never seen: the folder on the disk is mounted over it.
fn hidden(profile: &Profile, tree: &Tree) -> Result<()> {
    for (name, entry) in &profile.services {
        let kept = entry.value.persistent.iter().map(|folder| (folder.path(), "persistent"));
        for (folder, key) in kept.chain(entry.value.data.iter().map(|folder| (folder.path(), "data"))) {
            let below = format!("{}/", folder.trim_matches('/'));
            let content = |node: &Node| {
                !matches!(node.kind, Kind::Directory)
                    && matches!(origin::source(&node.origin), origin::Source::Overlay(_))
            };
            let found = tree.nodes.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
            let Some((path, node)) = found.into_iter().find(|(_, node)| content(node)) else { continue };
            let message = format!(
                "/{path} ({}) is never seen on a node: {folder} is kept by the service {name} (`{key}`), and the folder on the \
                 disk covers it",
                node.origin
            );
            let help = "render it with a [[template]] to a place below /run that the program reads, or copy it there with a \
                        one-shot service";
            return Err(mistake_with_help(profile, &entry.place, &message, help.to_owned()));
        }
    }
    Ok(())
}

fn file(tree: &mut Tree, path: &str, bytes: Vec<u8>, mode: u32, origin: &str) -> Result<()> {
    let path = path.trim_start_matches('/');
    tree.insert_parents(path);
    tree.insert(path, Node::of(Kind::File(Content::from(bytes)), mode, origin))?;
    Ok(())
}

fn accounts(profile: &Profile) -> Result<Accounts> {
    let mut accounts = Accounts::default();
    let own = |accounts: &mut Accounts, name: &str, id: u32, place: &Place| {
        // Debian's own accounts may be named again, for their numbers.
        if accounts.gid(name) == Some(id) {
            return Ok(());
        }
        accounts.add_group(name, id).map_err(|error| mistake(profile, place, &error.to_string()))
    };
    for (name, group) in &profile.groups {
        own(&mut accounts, name, group.value.id, &group.place)?;
    }
    for (name, user) in profile.users.iter().filter(|(_, user)| user.value.group.is_none()) {
        own(&mut accounts, name, user.value.id, &user.place)?;
    }
    for (name, entry) in &profile.users {
        let user = &entry.value;
        let at = |error: String| mistake(profile, &entry.place, &error);
        let group = user.group.as_deref().unwrap_or(name);
        let gid = accounts.gid(group).ok_or_else(|| at(format!("there is no group {group:?}")))?;
        if accounts.user(name).is_some_and(|there| there.uid == user.id && there.gid == gid) && name != "root" {
            continue;
        }
        let new = User {
            name: name.clone(),
            uid: user.id,
            gid,
            groups: user.groups.clone(),
            home: user.home.clone().unwrap_or_else(|| "/nonexistent".to_owned()),
            shell: user.shell.clone().unwrap_or_else(|| crate::tree::NO_LOGIN.to_owned()),
        };
        accounts.add_user(new).map_err(|error| at(error.to_string()))?;
    }
    Ok(accounts)
}

/// Every program that is run must be there and be a program.
fn programs(profile: &Profile, spec: &RoleSpec, tree: &Tree) -> Result<()> {
    for (name, service) in &spec.services {
        let Some(place) = profile.services.get(name).map(|entry| &entry.place) else { continue };
        program(profile, place, &service.run, tree)?;
        if let Some(Ready::Program(run) | Ready::ProgramWith { run, .. }) = &service.ready {
            program(profile, place, run, tree)?;
        }
        if let Some(check) = &service.check {
            program(profile, place, &check.run, tree)?;
        }
    }
    // The spec has its checks in the order of the profile.
    for (check, entry) in spec.health.iter().zip(&profile.health) {
        if let Probe::Program { run, .. } = &check.probe {
            program(profile, &entry.place, run, tree)?;
        }
    }
    Ok(())
}

/// Every login shell must be there and be a program.
fn shells(profile: &Profile, tree: &Tree) -> Result<()> {
    for (name, entry) in &profile.users {
        let Some(shell) = &entry.value.shell else { continue };
        let found = tree.resolve(shell.trim_start_matches('/')).and_then(|path| tree.nodes.get(&path));
        if !found.is_some_and(|node| matches!(node.kind, Kind::File(_)) && node.mode & 0o111 != 0) {
            return Err(mistake(
                profile,
                &entry.place,
                &format!("{shell}, the shell of {name}, is not a program in the image"),
            ));
        }
    }
    Ok(())
}

fn program(profile: &Profile, place: &Place, run: &[String], tree: &Tree) -> Result<()> {
    let program = run.first().map_or("", String::as_str);
    let path = tree.resolve(program.trim_start_matches('/'));
    match path.and_then(|path| tree.nodes.get(&path)) {
        Some(node) if matches!(node.kind, Kind::File(_)) && node.mode & 0o111 != 0 => Ok(()),
        Some(_) => Err(mistake(profile, place, &format!("{program} is not a program"))),
        None if tree.nodes.contains_key(program.trim_start_matches('/')) => {
            let message = format!("{program} is a symbolic link to something that is not in the image");
            Err(mistake_with_help(profile, place, &message, "take what it leads to as well".to_owned()))
        }
        None => {
            let known = tree.nodes.keys().map(|path| format!("/{path}")).collect::<Vec<_>>();
            let near = crate::profile::diagnostic::did_you_mean(program, known.iter().map(String::as_str));
            let help = near.unwrap_or_else(|| "take it from a package".to_owned());
            Err(mistake(profile, place, &format!("{program} is not in the image; {help}")))
        }
    }
}

/// Renders every template with the example node config, so that a mistake is found now.
fn templates(profile: &Profile, spec: &RoleSpec, tree: &Tree) -> Result<()> {
    let path = &profile.example.value;
    let text = std::fs::read(path).with_context(|| format!("reading the example {}", path.display()))?;
    let mut config = NodeConfig::parse(&text).with_context(|| format!("the example {}", path.display()))?;
    if let Err(problems) = config.vars.complete(&spec.vars) {
        let text = String::from_utf8_lossy(&text);
        let problems: Vec<String> = problems.into_iter().map(|problem| problem.locate(&text).to_string()).collect();
        anyhow::bail!("the example {}: {}", path.display(), problems.join("\n"));
    }
    for (name, service) in &spec.services {
        for (key, text) in service.environment.iter().filter(|(_, text)| template::is_template(text)) {
            template::render(key, text, &config).with_context(|| {
                format!("the environment of the service {name} cannot be made with the example {}", path.display())
            })?;
        }
    }
    for entry in &profile.templates {
        let from = &entry.value.from;
        let inside = format!("{TEMPLATES}/{from}");
        let Some(Node { kind: Kind::File(content), .. }) = tree.nodes.get(inside.trim_start_matches('/')) else {
            let message = format!("the template {from} is in no overlay: no file {inside} in the image");
            return Err(mistake(profile, &entry.place, &message));
        };
        let source = content.to_bytes().with_context(|| format!("reading the template {from}"))?;
        let source = std::str::from_utf8(&source).with_context(|| format!("the template {from} is not UTF-8"))?;
        template::render(from, source, &config)
            .with_context(|| format!("the template {from} cannot be rendered with the example {}", path.display()))?;
    }
    Ok(())
}

fn joined(mistakes: &[Diagnostic]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}
