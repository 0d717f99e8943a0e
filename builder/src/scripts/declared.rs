//! What a package declares for systemd's tools: `sysusers.d(5)`, `tmpfiles.d(5)` and `sysctl.d(5)`.

use super::acts::{Account, Acts, octal};

/// Reads one kind of declaration.
pub(super) type Reader = fn(&mut Acts, &str);

/// The reader for the file at this path of a package.
pub(super) fn of_path(path: &str) -> Option<Reader> {
    let (folder, name) = path.rsplit_once('/')?;
    if !name.ends_with(".conf") {
        return None;
    }
    match folder.trim_start_matches("usr/") {
        "lib/sysusers.d" | "etc/sysusers.d" => Some(sysusers),
        "lib/tmpfiles.d" | "etc/tmpfiles.d" => Some(tmpfiles),
        "lib/sysctl.d" | "etc/sysctl.d" => Some(sysctls),
        _ => None,
    }
}

/// Lines that say something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// Fields, of which one may be in quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
        let (field, after) = match quote {
            Some(quote) => rest[1..].split_once(quote).unwrap_or((&rest[1..], "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        fields.push(field.to_owned());
        rest = after.trim_start();
    }
    fields
}

/// A field that says something.
fn given(fields: &[String], at: usize) -> Option<String> {
    fields.get(at).filter(|field| *field != "-" && !field.is_empty()).cloned()
}

/// `u NAME ID GECOS HOME SHELL`, `g NAME ID`, `m USER GROUP`.
fn sysusers(acts: &mut Acts, text: &str) {
    for line in lines(text) {
        let fields = fields(line);
        let Some(name) = given(&fields, 1) else { continue };
        match fields[0].trim_end_matches('!') {
            "u" => {
                let id = given(&fields, 2).unwrap_or_default();
                let (id, group) = id.split_once(':').map_or((id.as_str(), None), |(id, group)| (id, Some(group)));
                let account = Account {
                    id: id.parse().ok(),
                    group: group.filter(|group| group.parse::<u32>().is_err()).map(str::to_owned),
                    comment: given(&fields, 3),
                    home: given(&fields, 4),
                    shell: given(&fields, 5),
                    ..Account::default()
                };
                acts.user(&name, account);
            }
            "g" => acts.group(&name, given(&fields, 2)),
            "m" => {
                if let Some(group) = given(&fields, 2) {
                    acts.member(&name, &group);
                }
            }
            _ => (),
        }
    }
}

/// `TYPE PATH MODE USER GROUP AGE ARGUMENT`.
fn tmpfiles(acts: &mut Acts, text: &str) {
    for line in lines(text) {
        let fields = fields(line);
        let Some(path) = given(&fields, 1) else { continue };
        // Specifiers such as %t are a manager's own.
        if !path.starts_with('/') || path.contains('%') {
            continue;
        }
        let mode = given(&fields, 2).and_then(|mode| octal(mode.trim_start_matches(['~', ':'])));
        let (owner, group) = (given(&fields, 3), given(&fields, 4));
        let argument = fields.get(6..).unwrap_or_default().join(" ");
        match fields[0].trim_end_matches(['!', '-', '=', '~', '^', '$']) {
            "d" | "D" | "v" | "q" | "Q" => acts.directory(&path, owner, group, mode),
            "L" | "L+" | "L?" if !argument.is_empty() => drop(acts.links.insert(path, argument)),
            "C" | "C+" if !argument.is_empty() => drop(acts.copies.insert(path, argument)),
            "z" | "Z" => {
                let rights = acts.paths.entry(path).or_default();
                rights.owner = owner.or(rights.owner.take());
                rights.group = group.or(rights.group.take());
                rights.mode = mode.or(rights.mode);
            }
            "f" | "F" | "f+" | "w" | "w+" => {
                acts.notes.insert(format!("tmpfiles.d would write {path}: put it into an overlay or a template"));
            }
            _ => (),
        }
    }
}

/// `KEY = VALUE`; a hyphen before it means that the key may be missing.
fn sysctls(acts: &mut Acts, text: &str) {
    for (key, value) in lines(text).filter_map(|line| line.split_once('=')) {
        let key = key.trim().trim_start_matches('-');
        if !key.is_empty() {
            acts.sysctls.insert(key.to_owned(), value.trim().to_owned());
        }
    }
}
