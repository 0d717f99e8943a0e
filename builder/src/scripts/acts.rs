//! What the commands of a script do, as far as a profile can say it.

use super::shell::Word;
use crate::tree::take::{matcher, merged};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A link that `update-alternatives(1)` makes through `/etc/alternatives`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Alternative {
    pub link: String,
    pub target: String,
    /// The highest one wins.
    pub priority: i64,
}

/// A user of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub id: Option<u32>,
    /// Primary group, when it is not one of the same name.
    pub group: Option<String>,
    /// Supplementary groups.
    pub groups: BTreeSet<String>,
    pub home: Option<String>,
    pub shell: Option<String>,
    pub comment: Option<String>,
}

/// Owner and mode of a path, and whether it is a directory that is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rights {
    pub directory: bool,
    pub owner: Option<String>,
    pub group: Option<String>,
    pub mode: Option<u32>,
}

/// What scripts do. Paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Acts {
    pub alternatives: BTreeSet<Alternative>,
    pub users: BTreeMap<String, Account>,
    /// Groups that are no user's own, with their numbers where they are fixed.
    pub groups: BTreeMap<String, Option<u32>>,
    /// Supplementary groups of users that other packages make.
    pub members: BTreeSet<(String, String)>,
    pub paths: BTreeMap<String, Rights>,
    /// Symbolic links and their targets.
    pub links: BTreeMap<String, String>,
    /// Files that are copies: where to, and from where.
    pub copies: BTreeMap<String, String>,
    /// Programs with capabilities, as `setcap(8)` writes them.
    pub capabilities: BTreeMap<String, String>,
    pub sysctls: BTreeMap<String, String>,
    /// Anything else that matters, each in a sentence.
    pub notes: BTreeSet<String>,
}

/// Arguments by kind: options with and without a value, and the others.
#[derive(Default)]
struct Arguments {
    options: BTreeMap<String, String>,
    others: Vec<Word>,
}

impl Arguments {
    /// `valued` are options that take a value, by all their names; the first name of each row stands for them.
    fn of(words: &[Word], valued: &[&[&str]]) -> Arguments {
        let mut arguments = Arguments::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(text) = word.as_deref().filter(|text| text.len() > 1 && text.starts_with('-')) else {
                arguments.others.push(word.clone());
                continue;
            };
            let (name, value) = match text.split_once('=').filter(|_| text.starts_with("--")) {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            match valued.iter().find(|names| names.contains(&name)) {
                Some(names) => {
                    let value = value.or_else(|| words.next().cloned().flatten());
                    if let (Some(first), Some(value)) = (names.first(), value) {
                        arguments.options.insert((*first).to_owned(), value);
                    }
                }
                None => drop(arguments.options.insert(name.to_owned(), String::new())),
            }
        }
        arguments
    }

    fn get(&self, option: &str) -> Option<String> {
        self.options.get(option).cloned()
    }

    fn has(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// The arguments that are no options; none where one of them is unknown.
    fn known(&self) -> Vec<&str> {
        self.others.iter().map(Option::as_deref).collect::<Option<_>>().unwrap_or_default()
    }

    /// Those of them that are absolute paths and known.
    fn paths(&self) -> impl Iterator<Item = String> {
        self.others.iter().flatten().filter(|path| path.starts_with('/')).cloned()
    }
}

impl Acts {
    /// Takes a command into account.
    pub(super) fn command(&mut self, command: &[Word]) {
        let Some((Some(program), words)) = command.split_first() else { return };
        match program.rsplit('/').next().unwrap_or_default() {
            "update-alternatives" => self.update_alternatives(words),
            "dpkg-statoverride" => self.statoverride(words),
            "adduser" | "addgroup" => self.adduser(program.ends_with("addgroup"), words),
            "useradd" => self.useradd(words),
            "groupadd" => {
                let arguments = Arguments::of(words, &[&["--gid", "-g"]]);
                if let [name] = arguments.known()[..] {
                    self.group(name, arguments.get("--gid"));
                }
            }
            "usermod" => {
                let arguments = Arguments::of(words, &[&["--groups", "-G", "-aG", "-Ga"]]);
                if let ([name], Some(groups)) = (&arguments.known()[..], arguments.get("--groups")) {
                    groups.split(',').for_each(|group| self.member(name, group));
                }
            }
            "setcap" => {
                if let [capabilities, path] = Arguments::of(words, &[]).known()[..] {
                    self.capabilities.insert(path.to_owned(), capabilities.to_owned());
                }
            }
            "install" => self.install(words),
            "mkdir" => {
                let arguments = Arguments::of(words, &[&["--mode", "-m"]]);
                let mode = arguments.get("--mode").and_then(|mode| octal(&mode));
                arguments.paths().for_each(|path| self.directory(&path, None, None, mode));
            }
            "chown" | "chgrp" | "chmod" => self.rights(program, words),
            "ln" => self.link(words),
            "ucf" | "cp" => {
                let arguments = Arguments::of(words, &[&["--src-dir"], &["--sum-file"]]);
                if let [from, to] = arguments.known()[..]
                    && from.starts_with("/usr/")
                    && to.starts_with('/')
                {
                    self.copies.insert(to.to_owned(), from.to_owned());
                }
            }
            "locale-gen" => {
                let note = "locale-gen would compile locales into /usr/lib/locale: take one that is compiled, such as \
                            usr/lib/locale/C.utf8 of libc-bin, or of locales-all";
                self.notes.insert(note.to_owned());
            }
            _ => (),
        }
    }

    /// Of all this, what makes the path or pattern that a profile takes: links, copies and folders. `None` when nothing does.
    #[must_use]
    pub fn making(&self, pattern: &str) -> Option<Acts> {
        let glob = matcher(pattern)?;
        let meant = |path: &str| glob.is_match(merged(path).as_ref());
        let mut acts = Acts::default();
        acts.alternatives.extend(self.alternatives.iter().filter(|one| meant(&one.link)).cloned());
        let of = |all: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            all.iter().filter(|(path, _)| meant(path)).map(|(path, from)| (path.clone(), from.clone())).collect()
        };
        (acts.links, acts.copies) = (of(&self.links), of(&self.copies));
        let made = self.paths.iter().filter(|(path, rights)| rights.directory && meant(path));
        acts.paths.extend(made.map(|(path, rights)| (path.clone(), rights.clone())));
        (acts != Acts::default()).then_some(acts)
    }

    fn update_alternatives(&mut self, words: &[Word]) {
        let words: Vec<Option<&str>> = words.iter().map(Option::as_deref).collect();
        let mut priority = None;
        for (at, word) in words.iter().enumerate() {
            let arguments = words.get(at + 1..).unwrap_or_default();
            match (word, arguments) {
                (Some("--install"), [Some(link), _, Some(target), Some(number), ..]) => {
                    priority = number.parse().ok();
                    self.alternative(link, target, priority);
                }
                (Some("--slave"), [Some(link), _, Some(target), ..]) => self.alternative(link, target, priority),
                _ => (),
            }
        }
    }

    fn alternative(&mut self, link: &str, target: &str, priority: Option<i64>) {
        let Some(priority) = priority.filter(|_| link.starts_with('/') && target.starts_with('/')) else { return };
        self.alternatives.insert(Alternative { link: link.to_owned(), target: target.to_owned(), priority });
    }

    /// `--add USER GROUP MODE PATH`.
    fn statoverride(&mut self, words: &[Word]) {
        let arguments = Arguments::of(words, &[&["--root"], &["--admindir"], &["--instdir"]]);
        let adds = arguments.has("--add");
        if let ([user, group, mode, path], true) = (&arguments.known()[..], adds) {
            let rights = self.paths.entry((*path).to_owned()).or_default();
            rights.owner = Some((*user).to_owned());
            rights.group = Some((*group).to_owned());
            rights.mode = octal(mode);
        }
    }

    fn adduser(&mut self, groups_only: bool, words: &[Word]) {
        let valued: [&[&str]; 8] = [
            &["--home"],
            &["--shell"],
            &["--comment", "--gecos"],
            &["--uid"],
            &["--gid"],
            &["--ingroup"],
            &["--firstuid"],
            &["--conf"],
        ];
        let arguments = Arguments::of(words, &valued);
        // What is not known is an option that depends on how the script is called.
        let known: Vec<&str> = arguments.others.iter().filter_map(Option::as_deref).collect();
        match known[..] {
            [name] if groups_only || arguments.has("--group") && !arguments.has("--system") => {
                self.group(name, arguments.get("--gid"));
            }
            [name] => {
                // adduser(8): a system user without --group and --ingroup is in nogroup.
                let own = arguments.has("--group") || !arguments.has("--system");
                let group = arguments.get("--ingroup").or_else(|| (!own).then(|| "nogroup".to_owned()));
                self.user(
                    name,
                    Account {
                        id: arguments.get("--uid").and_then(|id| id.parse().ok()),
                        group,
                        groups: BTreeSet::new(),
                        home: arguments.get("--home"),
                        shell: arguments.get("--shell"),
                        comment: arguments.get("--comment"),
                    },
                );
            }
            [name, group] if !groups_only => self.member(name, group),
            _ => (),
        }
    }

    fn useradd(&mut self, words: &[Word]) {
        let valued: [&[&str]; 7] = [
            &["--gid", "-g"],
            &["--groups", "-G"],
            &["--home-dir", "-d", "--home"],
            &["--shell", "-s"],
            &["--comment", "-c"],
            &["--uid", "-u"],
            &["--base-dir", "-b"],
        ];
        let arguments = Arguments::of(words, &valued);
        let [name] = arguments.known()[..] else { return };
        let groups = arguments.get("--groups").unwrap_or_default();
        self.user(
            name,
            Account {
                id: arguments.get("--uid").and_then(|id| id.parse().ok()),
                group: arguments.get("--gid").filter(|group| group != name),
                groups: groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect(),
                home: arguments.get("--home-dir"),
                shell: arguments.get("--shell"),
                comment: arguments.get("--comment"),
            },
        );
    }

    pub(super) fn user(&mut self, name: &str, account: Account) {
        if !is_name(name) {
            return;
        }
        let groups = self.users.get(name).map(|before| before.groups.clone()).unwrap_or_default();
        let mut account = account;
        account.groups.extend(groups);
        self.users.insert(name.to_owned(), account);
    }

    pub(super) fn group(&mut self, name: &str, id: Option<String>) {
        if is_name(name) {
            self.groups.insert(name.to_owned(), id.and_then(|id| id.parse().ok()));
        }
    }

    pub(super) fn member(&mut self, user: &str, group: &str) {
        if !is_name(user) || !is_name(group) || user == group {
            return;
        }
        match self.users.get_mut(user) {
            Some(account) => drop(account.groups.insert(group.to_owned())),
            None => drop(self.members.insert((user.to_owned(), group.to_owned()))),
        }
    }

    /// `install -d`: folders. Files come from where only a run can tell.
    fn install(&mut self, words: &[Word]) {
        let valued: [&[&str]; 3] = [&["--mode", "-m"], &["--owner", "-o"], &["--group", "-g"]];
        let arguments = Arguments::of(words, &valued);
        if !arguments.has("-d") && !arguments.has("--directory") {
            return;
        }
        let mode = arguments.get("--mode").and_then(|mode| octal(&mode));
        for path in arguments.paths() {
            self.directory(&path, arguments.get("--owner"), arguments.get("--group"), mode);
        }
    }

    pub(super) fn directory(&mut self, path: &str, owner: Option<String>, group: Option<String>, mode: Option<u32>) {
        let rights = self.paths.entry(path.trim_end_matches('/').to_owned()).or_default();
        rights.directory = true;
        rights.owner = owner.or(rights.owner.take());
        rights.group = group.or(rights.group.take());
        rights.mode = mode.or(rights.mode);
    }

    /// `chown`, `chgrp`, `chmod` with numbers.
    fn rights(&mut self, program: &str, words: &[Word]) {
        let arguments = Arguments::of(words, &[&["--from"], &["--reference"]]);
        let Some(Some(first)) = arguments.others.first().cloned() else { return };
        let (owner, group, mode) = match program.rsplit('/').next() {
            Some("chown") => match first.split_once([':', '.']) {
                Some((owner, group)) => (some(owner), some(group), None),
                None => (some(&first), None, None),
            },
            Some("chgrp") => (None, some(&first), None),
            _ => (None, None, octal(&first)),
        };
        if owner.is_none() && group.is_none() && mode.is_none() {
            return;
        }
        for path in arguments.paths() {
            let rights = self.paths.entry(path.trim_end_matches('/').to_owned()).or_default();
            rights.owner = owner.clone().or(rights.owner.take());
            rights.group = group.clone().or(rights.group.take());
            rights.mode = mode.or(rights.mode);
        }
    }

    /// `ln -s TARGET LINK`.
    fn link(&mut self, words: &[Word]) {
        let arguments = Arguments::of(words, &[&["--suffix", "-S"]]);
        let short = |option: &String| !option.starts_with("--") && option.contains('s');
        let symbolic = arguments.has("--symbolic") || arguments.options.keys().any(short);
        if let ([target, link], true) = (&arguments.known()[..], symbolic)
            && link.starts_with('/')
        {
            self.links.insert((*link).to_owned(), (*target).to_owned());
        }
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// Whether a profile can name a user or group so.
fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (1..=32).contains(&name.len())
        && letter(name.as_bytes()[0])
        && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit() || byte == b'-')
}
