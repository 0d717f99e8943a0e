//! `overlay.toml` at an overlay's top: owners and modes that git cannot keep.
//!
//! ```toml
//! [path."etc/app"]
//! owner = "app"           # a user of the profile, or user:group
//! mode = "0750"
//! [path."etc/app/*.key"]  # `*` and `?` stop at `/`, `**` does not, `{a,b}` means either
//! mode = "0600"
//! ```
//!
//! A path without `*`, `?` or `{` may name a folder; a pattern means files only, so that no folder loses the bit by which
//! it is entered. The profile sets what a service may do: file capabilities have no effect on services.

use super::{Accounts, Kind, Owner, Tree, take};
use crate::profile::diagnostic::did_you_mean;
use crate::profile::quantity::Mode;
use crate::profile::{Diagnostic, Place, Sources};
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde_spanned::Spanned;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Its name, directly in the overlay's folder.
pub const NAME: &str = "overlay.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    path: BTreeMap<Spanned<String>, Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    owner: Option<Spanned<String>>,
    mode: Option<Spanned<Mode>>,
}

/// The rules of one overlay, understood.
pub struct Rules {
    rules: Vec<One>,
    sources: Sources,
}

struct One {
    pattern: String,
    place: Place,
    glob: GlobMatcher,
    only_files: bool,
    owner: Option<(Owner, Place)>,
    mode: Option<(u32, Place)>,
}

impl Rules {
    /// Understands the text of the file at `path`.
    ///
    /// # Errors
    /// The first mistake in it, in its line.
    pub fn parse(path: &Path, text: &str, accounts: &Accounts) -> Result<Rules, Diagnostic> {
        let mut sources = Sources::default();
        let file = sources.add(path, text);
        let written: Written = toml::from_str(text).map_err(|error| Diagnostic::from_toml(&sources, file, &error))?;
        let mut rules = Vec::new();
        for (pattern, rule) in written.path {
            let place = |span| Place { file, span };
            let at = place(pattern.span());
            let wrong = |message: String, at: &Place, help: Option<String>| {
                Diagnostic::new(&sources, message, at, "here", None, help)
            };
            let pattern = pattern.into_inner();
            if rule.owner.is_none() && rule.mode.is_none() {
                let message = format!("{pattern:?} has neither owner nor mode");
                return Err(wrong(message, &at, None));
            }
            let parts_are_plain = pattern.split('/').all(|part| !matches!(part, "" | "." | ".."));
            let glob = GlobBuilder::new(&take::merged(&pattern)).literal_separator(true).build();
            let (true, Ok(glob)) = (parts_are_plain, glob) else {
                let help = "write it like \"etc/app/*.key\", from the overlay's top, without a leading slash";
                return Err(wrong(format!("{pattern:?} is not a valid pattern"), &at, Some(help.to_owned())));
            };
            let owner = match rule.owner {
                Some(text) => {
                    let at = place(text.span());
                    let owner =
                        owner(text.get_ref(), accounts).map_err(|(message, help)| wrong(message, &at, help))?;
                    Some((owner, at))
                }
                None => None,
            };
            rules.push(One {
                only_files: pattern.contains(['*', '?', '{', '[']),
                place: at,
                glob: glob.compile_matcher(),
                pattern,
                owner,
                mode: rule.mode.map(|mode| (mode.get_ref().0, place(mode.span()))),
            });
        }
        Ok(Rules { rules, sources })
    }

    /// Gives the overlay's own `paths` in the tree their owners and modes.
    ///
    /// # Errors
    /// When a rule means none of them, two rules contradict each other, or a mode is for a symbolic link.
    pub fn apply(&self, tree: &mut Tree, paths: &BTreeSet<String>) -> Result<(), Diagnostic> {
        let mut owners: BTreeMap<&str, (Owner, &Place)> = BTreeMap::new();
        let mut modes: BTreeMap<&str, (u32, &Place)> = BTreeMap::new();
        for rule in &self.rules {
            let kind = |path: &str| tree.nodes.get(path).map(|node| &node.kind);
            let meant = |path: &&String| {
                rule.glob.is_match(path.as_str())
                    && (!rule.only_files || matches!(kind(path), Some(Kind::File(_) | Kind::Symlink(_))))
            };
            let found: Vec<&String> = paths.iter().filter(meant).collect();
            if found.is_empty() {
                let message = format!("the overlay has nothing at {:?}", rule.pattern);
                let help = did_you_mean(&rule.pattern, paths.iter().map(String::as_str));
                return Err(Diagnostic::new(&self.sources, message, &rule.place, "here", None, help));
            }
            for path in found {
                if let Some((owner, place)) = &rule.owner {
                    self.once(&mut owners, path, *owner, place, "owner")?;
                }
                match &rule.mode {
                    // The kernel looks at no link's mode.
                    Some(_) if rule.only_files && matches!(kind(path), Some(Kind::Symlink(_))) => (),
                    Some((_, place)) if matches!(kind(path), Some(Kind::Symlink(_))) => {
                        let message = format!("/{path} is a symbolic link, which has no mode");
                        return Err(Diagnostic::new(&self.sources, message, place, "here", None, None));
                    }
                    Some((mode, place)) => self.once(&mut modes, path, *mode, place, "mode")?,
                    None => (),
                }
            }
        }
        let owners: Vec<_> = owners.into_iter().map(|(path, (owner, _))| (path, owner)).collect();
        let modes: Vec<_> = modes.into_iter().map(|(path, (mode, _))| (path, mode)).collect();
        for (path, owner) in owners {
            if let Some(node) = tree.nodes.get_mut(path) {
                node.owner = owner;
            }
        }
        for (path, mode) in modes {
            if let Some(node) = tree.nodes.get_mut(path) {
                node.mode = mode;
            }
        }
        Ok(())
    }

    fn once<'a, T: PartialEq + Copy>(
        &self,
        all: &mut BTreeMap<&'a str, (T, &'a Place)>,
        path: &'a str,
        value: T,
        place: &'a Place,
        what: &str,
    ) -> Result<(), Diagnostic> {
        match all.insert(path, (value, place)) {
            Some((before, other)) if before != value => {
                let message = format!("two rules give /{path} different {what}s");
                Err(Diagnostic::new(&self.sources, message, place, "here", Some((other, "and here")), None))
            }
            _ => Ok(()),
        }
    }
}

/// `user` or `user:group`, by the names of the image's accounts; what is wrong with it, and a proposal.
fn owner(text: &str, accounts: &Accounts) -> Result<Owner, (String, Option<String>)> {
    let (name, group) = text.split_once(':').unwrap_or((text, ""));
    let user = accounts.user(name).ok_or_else(|| {
        let help = did_you_mean(name, accounts.user_names());
        (format!("there is no user {name:?}"), help.or(Some(format!("add [user.{name}] to the profile"))))
    })?;
    let gid = if group.is_empty() { Some(user.gid) } else { accounts.gid(group) };
    let gid = gid.ok_or_else(|| {
        let help = did_you_mean(group, accounts.group_names());
        (format!("there is no group {group:?}"), help.or(Some(format!("add [group.{group}] to the profile"))))
    })?;
    Ok(Owner { uid: user.uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Node, User};

    fn accounts() -> Accounts {
        let mut accounts = Accounts::default();
        accounts.add_group("app", 200).unwrap();
        accounts
            .add_user(User {
                name: "app".to_owned(),
                uid: 200,
                gid: 200,
                groups: Vec::new(),
                home: "/nonexistent".to_owned(),
                shell: "/usr/sbin/nologin".to_owned(),
            })
            .unwrap();
        accounts
    }

    /// A tree of which everything but `etc/other` comes from the overlay, with these rules on it.
    fn ruled(text: &str) -> Result<Tree, Diagnostic> {
        let mut tree = Tree::default();
        for path in ["etc", "etc/app", "etc/app/keys"] {
            tree.nodes.insert(path.to_owned(), Node::directory("o"));
        }
        for path in ["etc/app/a.key", "etc/app/keys/b.key", "etc/app/conf", "etc/other"] {
            tree.nodes.insert(path.to_owned(), Node::of(Kind::File(Content::from(vec![1])), 0o644, "o"));
        }
        tree.nodes.insert("etc/app/link".to_owned(), Node::of(Kind::Symlink("conf".to_owned()), 0o777, "o"));
        let paths = tree.nodes.keys().filter(|path| *path != "etc/other").cloned().collect();
        Rules::parse(Path::new("overlay.toml"), text, &accounts())?.apply(&mut tree, &paths)?;
        Ok(tree)
    }

    fn refused(text: &str) -> String {
        ruled(text).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn rules_give_owners_and_modes() {
        let tree = ruled(
            "[path.\"etc/app\"]\nowner = \"root:app\"\nmode = \"0750\"\n[path.\"etc/app/**/*.key\"]\nmode = \"0600\"\n\
             [path.\"etc/app/**\"]\nowner = \"app\"\n",
        )
        .unwrap();
        let seen = |path: &str| {
            let node = &tree.nodes[path];
            (node.owner.uid, node.owner.gid, node.mode)
        };
        assert_eq!(seen("etc/app"), (0, 200, 0o750));
        assert_eq!(seen("etc/app/a.key"), (200, 200, 0o600));
        assert_eq!(seen("etc/app/keys/b.key"), (200, 200, 0o600));
        assert_eq!(seen("etc/app/conf"), (200, 200, 0o644));
        assert_eq!(seen("etc/app/link"), (200, 200, 0o777));
        assert_eq!(seen("etc/app/keys"), (0, 0, 0o755), "a pattern means no folder");
        assert_eq!(seen("etc/other"), (0, 0, 0o644));
        ruled("").unwrap();
    }

    #[test]
    fn mistakes_are_shown_in_their_line() {
        let cases = [
            (
                "[path.\"etc/app/cnof\"]\nmode = \"0600\"",
                "nothing at \"etc/app/cnof\"",
                "did you mean `etc/app/conf`?",
            ),
            ("[path.\"etc/other\"]\nmode = \"0600\"", "nothing at \"etc/other\"", "overlay.toml:1"),
            ("[path.\"etc/app/keys/*/x\"]\nmode = \"0600\"", "nothing at", "overlay.toml:1"),
            ("\n[path.\"etc/app\"]\nowner = \"apq\"", "there is no user \"apq\"", "did you mean `app`?"),
            ("[path.\"etc/app\"]\nowner = \"app:staf\"", "there is no group \"staf\"", "did you mean `staff`?"),
            ("[path.\"etc/app\"]\nowner = \"zz\"", "there is no user", "add [user.zz] to the profile"),
            ("[path.\"etc/app\"]\nmode = \"0999\"", "0999", "overlay.toml:2"),
            ("[path.\"etc/app\"]\nmode = 0640", "overlay.toml:2", "here"),
            ("[path.\"etc/app\"]\nmod = \"0640\"", "unknown field `mod`", "did you mean `mode`?"),
            ("[paths.x]\nmode = \"0640\"", "unknown field `paths`", "did you mean `path`?"),
            ("[path.\"etc/app\"]\n", "neither owner nor mode", "overlay.toml:1"),
            ("[path.\"/etc/app\"]\nmode = \"0640\"", "is not a valid pattern", "without a leading slash"),
            ("[path.\"etc/../x\"]\nmode = \"0640\"", "is not a valid pattern", "without a leading slash"),
            ("[path.\"etc/[x\"]\nmode = \"0640\"", "is not a valid pattern", "overlay.toml:1"),
            ("[path.\"etc/app/link\"]\nmode = \"0640\"", "a symbolic link, which has no mode", "overlay.toml:2"),
            (
                "[path.\"etc/app/conf\"]\nmode = \"0640\"\n[path.\"etc/app/c*\"]\nmode = \"0600\"",
                "two rules give /etc/app/conf different modes",
                "and here",
            ),
        ];
        for (text, what, next) in cases {
            let said = refused(text);
            assert!(said.contains(what) && said.contains(next), "{text}\n{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\n\\[\\]{}\"=.a-z0-9]{0,200}") {
            let _ = ruled(&text);
        }
    }
}
