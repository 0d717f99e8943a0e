//! Everything that is wrong with a `node.toml`, not only the first thing: what was found is taken out, and the rest is read again.

use super::{FORMAT, MAX_LENGTH, NodeConfig, NodeConfigError};
use serde::Deserialize as _;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

/// Most mistakes that are looked for.
const MOST: usize = 20;
/// Most mistakes of meaning among which they are chosen: each is looked up in the text.
const ENOUGH: usize = 200;
/// Tables that stand for themselves: their values can be judged whatever the network's are.
const ALONE: [&str; 5] = ["cluster", "disks", "hosts", "time", "certificates"];

impl NodeConfig {
    /// As [`NodeConfig::parse`], with everything that is wrong, in the order of the file.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn read(bytes: &[u8]) -> Result<NodeConfig, Vec<NodeConfigError>> {
        NodeConfig::parse(bytes).map_err(|first| match std::str::from_utf8(bytes).map(all) {
            Ok(all) if bytes.len() <= MAX_LENGTH && !all.is_empty() => all,
            _ => vec![first],
        })
    }
}

/// All mistakes of a text, in its order. Empty where it has none, or one that keeps all others from being seen.
fn all(text: &str) -> Vec<NodeConfigError> {
    if text.contains('\0') {
        return Vec::new();
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // Behind the first mistake of a line the rest of it is guesswork.
        return in_order(errors.iter().map(|error| NodeConfigError::toml(text, error)), true);
    }
    let format = table.get_ref().iter().find(|(key, _)| key.get_ref() == "format");
    if format.is_some_and(|(_, value)| value.get_ref().as_integer().is_none_or(|n| n.as_str() != FORMAT.to_string()))
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut taken_out = TakenOut::default();
    while found.len() < MOST {
        let error = match NodeConfig::deserialize(Deserializer::from(taken_out.rest(text))) {
            Ok(config) => {
                let sure = |table: &str| {
                    let doubts = |table| taken_out.tables.contains(table);
                    !doubts(table) && (!doubts("network") || ALONE.contains(&table))
                };
                let problems = config.problems().into_iter().filter(|problem| sure(problem.table())).take(ENOUGH);
                found.extend(problems.map(|problem| problem.locate(text)));
                break;
            }
            Err(error) => error,
        };
        let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        // A key that was taken out is not missing.
        if missing.is_none_or(|missing| !taken_out.keys.contains(missing)) {
            found.push(NodeConfigError::toml(text, &error));
        }
        if !taken_out.add(text, &error.span().unwrap_or(0..0), missing) {
            break;
        }
    }
    in_order(found.into_iter(), false)
}

/// What is left out of a text because it is wrong.
#[derive(Default)]
struct TakenOut {
    spans: Vec<Range<usize>>,
    /// The tables at the top from which something is missing, and the keys that are.
    tables: BTreeSet<String>,
    keys: BTreeSet<String>,
    /// Whether the node is given a name.
    named: bool,
}

impl TakenOut {
    /// The text without it.
    fn rest<'t>(&self, text: &'t str) -> Spanned<DeTable<'t>> {
        let mut table = DeTable::parse_recoverable(text).0;
        for span in &self.spans {
            take_out(table.get_mut(), span, &mut BTreeSet::new());
        }
        if self.named {
            let value = DeValue::String(Cow::Borrowed("x"));
            table.get_mut().insert(Spanned::new(0..0, Cow::Borrowed("name")), Spanned::new(0..0, value));
        }
        table
    }

    /// Takes out what is at this place, or gives the node the name that it lacks. Returns whether there is anything to do.
    fn add(&mut self, text: &str, span: &Range<usize>, missing: Option<&str>) -> bool {
        let mut table = DeTable::parse_recoverable(text).0;
        if !self.spans.contains(span)
            && let Some(top) = take_out(table.get_mut(), span, &mut self.keys)
        {
            self.tables.insert(top);
            self.spans.push(span.clone());
            return true;
        }
        let unnamed = !self.named && missing == Some("name");
        self.named |= unnamed;
        unnamed
    }
}

/// In the order of the file, each once; or the first of each line.
fn in_order(found: impl Iterator<Item = NodeConfigError>, one_a_line: bool) -> Vec<NodeConfigError> {
    let mut all: BTreeMap<(usize, usize, String), NodeConfigError> = BTreeMap::new();
    for error in found {
        let place = match &error {
            NodeConfigError::At { line, column, .. } | NodeConfigError::NotUtf8 { line, column } => (*line, *column),
            NodeConfigError::TooLong => (0, 0),
        };
        if !one_a_line || !all.keys().any(|(line, ..)| *line == place.0) {
            all.entry((place.0, place.1, error.to_string())).or_insert(error);
        }
    }
    all.into_values().take(MOST).collect()
}

/// Takes out what is at this place of the file, a key with its value or an element of a list. Returns the table at the top that
/// it was in, or `None` when nothing is there; `keys` gets the key.
fn take_out(top: &mut DeTable<'_>, span: &Range<usize>, keys: &mut BTreeSet<String>) -> Option<String> {
    let inside = top
        .iter_mut()
        .find_map(|(key, value)| from_value(value.get_mut(), span, keys).then(|| key.get_ref().clone().into_owned()));
    inside.or_else(|| {
        let key = remove(top, span)?;
        keys.insert(key.clone());
        Some(key)
    })
}

/// Removes the entry of a table that is at this place. Returns its key.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let (key, _) = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span)?;
    let key = key.clone();
    table.remove(&key);
    Some(key.into_inner().into_owned())
}

/// What is inside goes first: a list of tables is where its first table is.
fn from_value(value: &mut DeValue<'_>, span: &Range<usize>, keys: &mut BTreeSet<String>) -> bool {
    match value {
        DeValue::Table(table) => {
            if table.iter_mut().any(|(_, inner)| from_value(inner.get_mut(), span, keys)) {
                return true;
            }
            let removed = remove(table, span);
            let found = removed.is_some();
            keys.extend(removed);
            found
        }
        DeValue::Array(list) => {
            if list.iter_mut().any(|element| from_value(element.get_mut(), span, keys)) {
                return true;
            }
            let found = list.iter().any(|element| element.span() == *span);
            let all = std::mem::replace(list, DeArray::new());
            *list = all.into_iter().filter(|element| element.span() != *span).collect();
            found
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        NodeConfig::read(text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    /// Each mistake begins with its place, in the order of the file.
    fn has(text: &str, wanted: &[(&str, &str)]) {
        let found = shown(text);
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for (found, (place, words)) in found.iter().zip(wanted) {
            assert!(found.starts_with(place) && found.contains(words), "{found}, not {place} {words}");
        }
    }

    #[test]
    fn every_mistake_is_shown_not_only_the_first() {
        has(
            "name = \"my node\"\nnmae = 3\n[network.eth0]\nadresses = []\nmtu = \"big\"\naddresses = [\"10.0.0.300/24\", \"10.0.0.1/24\", 5]\n\
             [router]\nasn = 1\n[[router.neighbor]]\naddress = \"10.0.0.2\"\n[[router.neighbor]]\nasn = 4\naddress = \"x\"\n\
             [cluster]\nname = \"\"\n",
            &[
                ("line 1, column 8", "not a valid host name"),
                ("line 2, column 1", "did you mean `name`?"),
                ("line 4, column 1", "did you mean `addresses`?"),
                ("line 5, column 7", "invalid type"),
                ("line 6, column 14", "invalid IP"),
                ("line 6, column 46", "invalid type"),
                ("line 9", "missing field `asn`"),
                ("line 13, column 11", "invalid IP"),
                ("line 15, column 8", "it must be 1 to 63"),
            ],
        );
    }

    #[test]
    fn what_values_mean_together_is_checked_everywhere_at_once() {
        has(
            "name = \"r1\"\n[network.eth0]\nmtu = 5\naddresses = [\"10.0.0.0/24\"]\n[network.eth1]\nmtu = 6\n\
             [ssh]\nlisten = [\"10.9.9.9\"]\n[time]\nservers = [\"a b\"]\n",
            &[
                ("line 3", "MTU of 5"),
                ("line 4", "the network itself"),
                ("line 6", "MTU of 6"),
                ("line 8", "not one of"),
                ("line 10", "neither a host name"),
            ],
        );
    }

    #[test]
    fn several_mistakes_of_meaning_in_a_section_are_shown_together() {
        has(
            "name = \"s1\"\n[network.eth0]\naddresses = [\"10.0.0.0/24\", \"10.0.1.255/24\"]\n\
             gateway = \"10.9.0.1\"\n[hosts]\n\"a b\" = \"10.0.0.2\"\n\"c d\" = \"10.0.0.3\"\n[k3s]\n\
             cluster_init = true\nserver = \"https://10.0.0.9:6443\"\n\
             cluster_cidr = [\"10.42.0.1/16\", \"10.43.0.0/16\"]\ntls_san = [\"a b\", \"fine\", \"c d\"]\n",
            &[
                ("line 3, column 14", "the network itself"),
                ("line 3, column 29", "broadcast"),
                ("line 4", "any of its addresses"),
                ("line 6", "not a valid host name"),
                ("line 7", "not a valid host name"),
                ("line 8", "k3s keeps images"),
                ("line 9", "starts a cluster or joins"),
                ("line 10", "k3s.token is required"),
                ("line 11, column 16", "one of each family"),
                ("line 11, column 17", "host bits"),
                ("line 12, column 12", "neither a host name"),
                ("line 12, column 27", "neither a host name"),
            ],
        );
        has(
            "name = \"m1\"\n[minio]\nuser = \"a,\"\npassword = \"short\"\npeers = [\"m1\", \"m1\", \"x y\"]\n\
             settings = { FOO = \"1\", MINIO_ADDRESS = \":9\" }\n[haproxy]\nservers = [\"10.0.0.1:1\", \"10.0.0.1:1\"]\n",
            &[
                ("line 2", "MinIO keeps"),
                ("line 3", "at least 3"),
                ("line 3", "are not allowed"),
                ("line 4", "at least 8"),
                ("line 5, column 16", "listed twice"),
                ("line 5, column 22", "neither a host name"),
                ("line 6", "not a setting of MinIO"),
                ("line 6", "from the other keys"),
                ("line 7", "required, such as"),
                ("line 8", "listed twice"),
            ],
        );
    }

    #[test]
    fn a_mistake_brings_no_others_that_would_go_with_it() {
        // Without its address the gateway could not be reached, and nothing could be handed out.
        let text = "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.0.300/24\"]\ngateway = \"10.0.0.2\"\n\
                    [router]\nasn = 1\n[router.dhcp.eth0]\nfirst = \"10.0.0.5\"\nlast = \"10.0.0.9\"\n";
        has(text, &[("line 3", "")]);
        has("[network.eth0]\nmtu = 5\n", &[("line 1, column 1", "missing field `name`"), ("line 2", "MTU")]);
    }

    #[test]
    fn broken_toml_is_shown_once_for_each_line() {
        let found = shown("name = r1\n[network.eth0\nmtu = = 5\n");
        assert!(found.len() >= 2 && found.iter().all(|line| line.starts_with("line ")), "{found:#?}");
        assert!(found[0].starts_with("line 1"), "{found:#?}");
    }

    #[test]
    fn another_format_or_another_file_is_one_mistake() {
        has("format = 9\nnmae = 1\n", &[("line 1, column 10", "format 9")]);
        assert_eq!(NodeConfig::read(&[0xff]).unwrap_err().len(), 1);
        assert_eq!(NodeConfig::read(&vec![b'#'; 70_000]).unwrap_err(), [NodeConfigError::TooLong]);
        assert!(NodeConfig::read(b"name = \"r1\"").is_ok());
    }

    proptest! {
        #[test]
        fn all_mistakes_are_found_exactly_where_one_is(
            text in "(name = \"r1\"|\\[network\\.a\\]|\\[\\[router\\.neighbor\\]\\]|mtu = [0-9]|asn = 1|x|\\n|=|\\[|\\]|\\PC){0,14}",
        ) {
            prop_assert_eq!(NodeConfig::parse(text.as_bytes()).is_ok(), NodeConfig::read(text.as_bytes()).is_ok());
        }
    }
}
