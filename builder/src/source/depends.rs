//! Relations between packages: only names, without versions and architectures.

/// `a | b`: any of these satisfies.
pub type Alternatives = Vec<String>;

/// The names in a `Depends`, `Pre-Depends` or `Provides` field.
///
/// Versions are left out: within one suite they fit each other, and the lock holds exact versions.
#[must_use]
pub fn parse(field: &str) -> Vec<Alternatives> {
    let group = |group: &str| group.split('|').filter_map(name).collect::<Alternatives>();
    field.split(',').map(group).filter(|group| !group.is_empty()).collect()
}

/// `libc6:any (>= 2.38) [arm64]` → `libc6`.
fn name(relation: &str) -> Option<String> {
    let end = |c: char| c.is_whitespace() || matches!(c, '(' | '[' | '<' | ':');
    let name = relation.trim().split(end).next().unwrap_or_default();
    is_package_name(name).then(|| name.to_owned())
}

/// Debian policy 5.6.1: lower case letters, digits, plus, minus, full stop; at least two, the first a letter or digit.
#[must_use]
pub fn is_package_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() >= 2 && plain(name.as_bytes()[0]) && name.bytes().all(|byte| plain(byte) || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_taken_out_of_relations() {
        assert_eq!(
            super::parse(
                "libc6 (>= 2.38), perl:any,\n default-mta | mail-transport-agent, x [amd64], , libstdc++6 <!nocheck>"
            ),
            [vec!["libc6"], vec!["perl"], vec!["default-mta", "mail-transport-agent"], vec!["libstdc++6"]]
        );
    }
}
