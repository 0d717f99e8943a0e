//! Secrets in the text of a `node.toml`. Once the node has them, the file on `bootsel` keeps its length and its layout, and
//! each secret there is overwritten with `*`. Such a file can be edited and dropped again: a value of `*` alone means the
//! one that the node has already.

use super::{NodeConfig, NodeConfigError};
use crate::secret::HIDDEN;
use serde_json::Value;
use std::ops::Range;
use toml::de::{DeArray, DeTable, DeValue};

/// What tells one element of a list from the others, when the list was edited.
const IDENTITIES: [&str; 3] = ["public_key", "name", "address"];

/// Whether a value stands for the one that the node has already.
#[must_use]
pub fn is_kept(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte == b'*')
}

/// Where the secrets of `config`, read from `text`, are in it, in bytes, without their quotes. Those that are
/// overwritten already are left out.
#[must_use]
pub fn places(text: &str, config: &NodeConfig) -> Vec<Range<usize>> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let spans = paths(config).into_iter().filter_map(|path| {
        let found = literal(table.get_ref(), &path)?;
        let raw = text.get(found.span.clone())?;
        let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
        (!is_kept(&found.value) && raw.len() > 2 * quotes).then(|| found.span.start + quotes..found.span.end - quotes)
    });
    spans.collect()
}

/// Every secret that is not given: a value of `*` alone, which a node without a config has none for.
#[must_use]
pub fn not_given(text: &str, config: &NodeConfig) -> Vec<NodeConfigError> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let kept = paths(config).into_iter().filter_map(|path| {
        let found = literal(table.get_ref(), &path).filter(|found| is_kept(&found.value))?;
        Some(not_known(text, &path, found.span))
    });
    kept.collect()
}

fn not_known(text: &str, path: &[String], span: Range<usize>) -> NodeConfigError {
    let message = format!("{}: the node has no secret under this name", path.join("."));
    NodeConfigError::at(text, span, message, Some("write the value itself in place of `*`".to_owned()))
}

/// The text with its secrets overwritten; of the same length.
#[must_use]
pub fn hide(text: &str, config: &NodeConfig) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for place in places(text, config) {
        if let Some(secret) = bytes.get_mut(place) {
            secret.fill(b'*');
        }
    }
    // Whole literals were overwritten, so it is text still.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The text with each `*` replaced by the secret that is at the same place in `kept`, the node's own file.
///
/// # Errors
/// When the text is not a node config, or `kept` has no such secret; the message says where.
pub fn restore(text: &str, kept: Option<&str>) -> Result<String, NodeConfigError> {
    let config = NodeConfig::parse(text.as_bytes())?;
    let Ok(table) = DeTable::parse(text) else { return Ok(text.to_owned()) };
    let kept_table = kept.and_then(|kept| DeTable::parse(kept).ok());
    let mut changes: Vec<(Range<usize>, &str)> = Vec::new();
    for path in paths(&config) {
        let Some(found) = literal(table.get_ref(), &path).filter(|found| is_kept(&found.value)) else { continue };
        let known = kept.zip(kept_table.as_ref()).and_then(|(kept, kept_table)| {
            let path = counterpart(&path, table.get_ref(), kept_table.get_ref())?;
            let known = literal(kept_table.get_ref(), &path).filter(|known| !is_kept(&known.value))?;
            kept.get(known.span)
        });
        let Some(known) = known else {
            return Err(not_known(text, &path, found.span));
        };
        changes.push((found.span, known));
    }
    changes.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut whole = text.to_owned();
    for (span, known) in changes {
        whole.replace_range(span, known);
    }
    Ok(whole)
}

/// The paths of all secrets: they serialise as [`HIDDEN`], whatever fields they are.
fn paths(config: &NodeConfig) -> Vec<Vec<String>> {
    fn walk(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let mut inner = |step: String, value| {
            path.push(step);
            walk(value, path, found);
            path.pop();
        };
        match value {
            Value::String(text) if text == HIDDEN => found.push(path.clone()),
            Value::Object(table) => table.iter().for_each(|(key, value)| inner(key.clone(), value)),
            Value::Array(list) => list.iter().enumerate().for_each(|(at, value)| inner(at.to_string(), value)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::to_value(config).unwrap_or_default(), &mut Vec::new(), &mut found);
    found
}

/// A string in the text.
struct Literal {
    /// With its quotes.
    span: Range<usize>,
    value: String,
}

fn literal(table: &DeTable<'_>, path: &[String]) -> Option<Literal> {
    let (first, rest) = path.split_first()?;
    let (_, mut value) = table.iter().find(|(key, _)| key.get_ref() == first.as_str())?;
    for step in rest {
        value = match value.get_ref() {
            DeValue::Table(inner) => inner.iter().find(|(key, _)| key.get_ref() == step.as_str())?.1,
            DeValue::Array(list) => list.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(Literal { span: value.span(), value: value.get_ref().as_str()?.to_owned() })
}

/// The same path in another text, whose lists may be in another order.
fn counterpart(path: &[String], table: &DeTable<'_>, other: &DeTable<'_>) -> Option<Vec<String>> {
    enum Here<'h, 'i> {
        Table(&'h DeTable<'i>),
        List(&'h DeArray<'i>),
        Leaf,
    }
    fn into<'h, 'i>(value: &'h DeValue<'i>) -> Here<'h, 'i> {
        match value {
            DeValue::Table(table) => Here::Table(table),
            DeValue::Array(list) => Here::List(list),
            _ => Here::Leaf,
        }
    }
    let (mut here, mut there) = (Here::Table(table), Here::Table(other));
    let mut found = Vec::new();
    for step in path {
        let (mine, theirs, step) = match (&here, &there) {
            (Here::Table(here), Here::Table(there)) => {
                let at = |table: &'_ DeTable<'_>| table.iter().position(|(key, _)| key.get_ref() == step.as_str());
                let mine = here.iter().nth(at(here)?)?.1.get_ref();
                let theirs = there.iter().nth(at(there)?)?.1.get_ref();
                (into(mine), into(theirs), step.clone())
            }
            (Here::List(here), Here::List(there)) => {
                let mine = here.get(step.parse::<usize>().ok()?)?.get_ref();
                let at = match identity(mine) {
                    Some(mine) => {
                        there.iter().position(|theirs| identity(theirs.get_ref()).as_ref() == Some(&mine))?
                    }
                    None if here.len() == there.len() => step.parse().ok()?,
                    None => return None,
                };
                (into(mine), into(there.get(at)?.get_ref()), at.to_string())
            }
            _ => return None,
        };
        (here, there) = (mine, theirs);
        found.push(step);
    }
    Some(found)
}

fn identity(value: &DeValue<'_>) -> Option<(&'static str, String)> {
    let DeValue::Table(table) = value else { return None };
    IDENTITIES.iter().find_map(|name| {
        let (_, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
        Some((*name, value.get_ref().as_str()?.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";
    const B: &str = "b3RoZXIga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";
    const C: &str = "dGhpcmQga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";

    fn text(private: &str, peers: &[(&str, &str)]) -> String {
        let mut text = format!(
            "name = \"r1\" # ä\n[network.wg0]\naddresses = [\"10.9.0.1/24\"]\n[network.wg0.wireguard]\n\
             private_key = \"{private}\"\nlisten_port = 51820\n"
        );
        for (public, preshared) in peers {
            text += &format!(
                "[[network.wg0.wireguard.peer]]\npreshared_key = '{preshared}'\npublic_key = \"{public}\"\nallowed = []\n"
            );
        }
        text
    }

    fn hidden(text: &str) -> String {
        hide(text, &NodeConfig::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn secrets_are_overwritten_in_place_and_come_back_from_the_kept_file() {
        let whole = text(A, &[(B, C), (C, B)]);
        let shown = hidden(&whole);
        assert_eq!(shown.len(), whole.len());
        assert!(!shown.contains(A) && shown.matches(B).count() == 1 && shown.matches(C).count() == 1, "{shown}");
        assert_eq!(hidden(&shown), shown, "nothing is left to hide");
        assert_eq!(restore(&shown, Some(&whole)).unwrap(), whole);
        // Edited: the name changed, the peers in another order, a short star.
        let edited = text("*", &[(C, "*"), (B, "**")]).replace("r1", "r2");
        assert_eq!(restore(&edited, Some(&whole)).unwrap(), text(A, &[(C, B), (B, C)]).replace("r1", "r2"));
    }

    #[test]
    fn a_star_without_a_kept_secret_is_named_with_its_place() {
        let shown = text("*", &[]);
        for kept in [None, Some("name = \"r1\"\n"), Some(shown.as_str()), Some("nonsense")] {
            let error = restore(&shown, kept).unwrap_err().to_string();
            assert!(error.contains("line 5, column 15") && error.contains("no secret"), "{error}");
        }
        let other_peer = restore(&text(A, &[(B, "*")]), Some(&text(A, &[(C, A)]))).unwrap_err().to_string();
        assert!(other_peer.contains("peer.0.preshared_key"), "{other_peer}");
    }

    #[test]
    fn every_way_of_writing_a_string_is_overwritten() {
        for literal in [format!("\"{A}\""), format!("'{A}'"), format!("\"\"\"{A}\"\"\""), format!("'''\n{A}'''")] {
            let whole = text("PLACE", &[]).replace("\"PLACE\"", &literal);
            let shown = hidden(&whole);
            assert!(!shown.contains(&A[..10]) && shown.len() == whole.len(), "{shown}");
            assert_eq!(restore(&shown, Some(&whole)).unwrap(), whole);
        }
    }

    proptest! {
        #[test]
        fn whatever_two_texts_stand_there_nothing_panics(a in "[a-z\\[\\]\"'=.*\\n ]{0,80}", b in "[a-z\\[\\]\"'=.*\\n ]{0,80}") {
            let _ = restore(&format!("name = \"x\"\n{a}"), Some(&b));
        }
    }
}
