//! Users and groups as Debian's own files state them: `/etc/passwd`, `/etc/group`, `/etc/shadow`.

use super::{Kind, Node, Owner, Tree, TreeError};
use std::collections::{BTreeMap, BTreeSet};

/// Shell of those who do not log in.
pub const NO_LOGIN: &str = "/usr/sbin/nologin";
/// Debian's group `shadow`.
const SHADOW: u32 = 42;

/// A user of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Names of further groups.
    pub groups: Vec<String>,
    pub home: String,
    pub shell: String,
}

/// Users and groups by name, beginning with those of every Debian system that files belong to.
#[derive(Clone, Debug)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<(String, u32)>,
}

/// Accounts that contradict each other.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccountError {
    #[error(
        "{what} {name:?}: a name consists of a-z, 0-9, - and _, begins with a letter or _, and has at most 32 characters"
    )]
    Name { what: &'static str, name: String },
    #[error("{what} {name:?} is declared twice")]
    Twice { what: &'static str, name: String },
    #[error("{what} {first:?} and {second:?} have the same number {number}")]
    Number { what: &'static str, first: String, second: String, number: u32 },
    #[error("user {user:?} is in the group {group}, which does not exist")]
    NoGroup { user: String, group: String },
    #[error("user {user:?}: {field} {value:?} is not an absolute path without \":\"")]
    Field { user: String, field: &'static str, value: String },
}

impl Default for Accounts {
    /// Debian's base-passwd: root, daemon and nobody, and the groups that Debian's files and devices belong to.
    fn default() -> Accounts {
        let user = |name: &str, number: u32, home: &str, shell: &str| User {
            name: name.to_owned(),
            uid: number,
            gid: number,
            groups: Vec::new(),
            home: home.to_owned(),
            shell: shell.to_owned(),
        };
        let groups = [
            ("root", 0),
            ("daemon", 1),
            ("adm", 4),
            ("tty", 5),
            ("disk", 6),
            ("mail", 8),
            ("kmem", 15),
            ("dialout", 20),
            ("shadow", SHADOW),
            ("utmp", 43),
            ("staff", 50),
            ("users", 100),
            ("nogroup", 65534),
        ];
        Accounts {
            users: vec![
                user("root", 0, "/root", NO_LOGIN),
                user("daemon", 1, "/usr/sbin", NO_LOGIN),
                user("nobody", 65534, "/nonexistent", NO_LOGIN),
            ],
            groups: groups.map(|(name, gid)| (name.to_owned(), gid)).to_vec(),
        }
    }
}

impl Accounts {
    /// Adds a group.
    ///
    /// # Errors
    /// When its name is none, or name or number are taken.
    pub fn add_group(&mut self, name: &str, gid: u32) -> Result<(), AccountError> {
        check_name("group", name)?;
        if let Some((first, number)) = self.groups.iter().find(|(other, number)| other == name || *number == gid) {
            return Err(clash("group", first, name, *number));
        }
        self.groups.push((name.to_owned(), gid));
        Ok(())
    }

    /// Adds a user, or puts it in the place of `root`. Its groups must be there.
    ///
    /// # Errors
    /// When something about it is wrong or taken.
    pub fn add_user(&mut self, user: User) -> Result<(), AccountError> {
        check_name("user", &user.name)?;
        for (field, value) in [("home", &user.home), ("shell", &user.shell)] {
            if !value.starts_with('/') || value.contains([':', '\n']) {
                return Err(AccountError::Field { user: user.name.clone(), field, value: value.clone() });
            }
        }
        let no_group = |group: String| AccountError::NoGroup { user: user.name.clone(), group };
        if !self.groups.iter().any(|(_, gid)| *gid == user.gid) {
            return Err(no_group(user.gid.to_string()));
        }
        if let Some(group) = user.groups.iter().find(|group| self.gid(group).is_none()) {
            return Err(no_group(group.clone()));
        }
        if user.name == "root" && user.uid == 0 {
            self.users[0] = user;
            return Ok(());
        }
        if let Some(other) = self.users.iter().find(|other| other.name == user.name || other.uid == user.uid) {
            return Err(clash("user", &other.name, &user.name, other.uid));
        }
        self.users.push(user);
        Ok(())
    }

    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    #[must_use]
    pub fn gid(&self, group: &str) -> Option<u32> {
        self.groups.iter().find(|(name, _)| name == group).map(|(_, gid)| *gid)
    }

    pub fn user_names(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(|user| user.name.as_str())
    }

    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|(name, _)| name.as_str())
    }

    /// Puts the three files into the tree.
    ///
    /// # Errors
    /// When something else is at their paths.
    pub fn insert(&self, tree: &mut Tree, origin: &str) -> Result<(), TreeError> {
        let mut users: Vec<&User> = self.users.iter().collect();
        users.sort_by_key(|user| user.uid);
        let mut members: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for user in &users {
            for group in &user.groups {
                members.entry(group).or_default().insert(&user.name);
            }
        }
        let mut groups: Vec<&(String, u32)> = self.groups.iter().collect();
        groups.sort_by_key(|(_, gid)| *gid);
        let (mut passwd, mut shadow, mut group) = (String::new(), String::new(), String::new());
        for User { name, uid, gid, home, shell, .. } in users {
            let described = if *uid == 0 || *uid == 65534 { name.as_str() } else { "" };
            passwd += &format!("{name}:x:{uid}:{gid}:{described}:{home}:{shell}\n");
            // No password either way; OpenSSH takes "!" for a locked account and "*" for one without a password.
            let password = if shell == NO_LOGIN { "!*" } else { "*" };
            shadow += &format!("{name}:{password}:::::::\n");
        }
        for (name, gid) in groups {
            let list = members.get(name.as_str()).map(|names| names.iter().copied().collect::<Vec<_>>().join(","));
            group += &format!("{name}:x:{gid}:{}\n", list.unwrap_or_default());
        }
        tree.insert_parents("etc/passwd");
        for (path, mode, gid, text) in
            [("etc/passwd", 0o644, 0, passwd), ("etc/group", 0o644, 0, group), ("etc/shadow", 0o640, SHADOW, shadow)]
        {
            let mut node = Node::of(Kind::File(text.into_bytes().into()), mode, origin);
            node.owner = Owner { uid: 0, gid };
            tree.insert(path, node)?;
        }
        Ok(())
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), AccountError> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if first && rest && name.len() <= 32 {
        return Ok(());
    }
    Err(AccountError::Name { what, name: name.to_owned() })
}

fn clash(what: &'static str, first: &str, second: &str, number: u32) -> AccountError {
    if first == second {
        return AccountError::Twice { what, name: first.to_owned() };
    }
    AccountError::Number { what, first: first.to_owned(), second: second.to_owned(), number }
}
