//! A schema as a page: a table of keys for each table of the file.

use schemars::Schema;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The page of a schema: every table with its keys, in the order in which they are reached from the top.
#[must_use]
pub fn markdown(schema: &Schema) -> String {
    let root = schema.as_value();
    let mut page = Page { root, text: String::new(), seen: BTreeMap::new(), queue: Vec::new() };
    page.table("", root);
    while !page.queue.is_empty() {
        let (path, name) = page.queue.remove(0);
        let definition = &root["$defs"][&name];
        page.table(&path, definition);
    }
    page.text
}

struct Page<'s> {
    root: &'s Value,
    text: String,
    /// Where each definition has its heading.
    seen: BTreeMap<String, String>,
    /// Path in the file, and name of the definition.
    queue: Vec<(String, String)>,
}

impl<'s> Page<'s> {
    fn table(&mut self, path: &str, schema: &'s Value) {
        let heading = if path.is_empty() { "Top".to_owned() } else { format!("`{path}`") };
        let _ = write!(self.text, "\n## {heading}\n\n");
        if let Some(text) = description(schema).filter(|_| !path.is_empty()) {
            let _ = write!(self.text, "{text}\n\n");
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            self.choices(path, choices);
            return;
        }
        self.text.push_str("| key | type | what | default |\n|---|---|---|---|\n");
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let kind = self.kind(&below, value);
            let what = description(value).unwrap_or_default();
            let default = match &value["default"] {
                _ if required.contains(&key.as_str()) => "required".to_owned(),
                Value::Null => String::new(),
                Value::Array(list) if list.is_empty() => String::new(),
                Value::Object(map) if map.is_empty() => String::new(),
                other => format!("`{}`", toml(other)),
            };
            let _ = writeln!(self.text, "| `{key}` | {kind} | {what} | {default} |");
        }
    }

    /// One of several keys.
    fn choices(&mut self, path: &str, choices: &'s [Value]) {
        self.text.push_str("Exactly one of:\n\n| key | type | what |\n|---|---|---|\n");
        for choice in choices {
            for (key, value) in choice["properties"].as_object().into_iter().flatten() {
                let kind = self.kind(&format!("{path}.{key}"), value);
                let what = description(choice).or_else(|| description(value)).unwrap_or_default();
                let _ = writeln!(self.text, "| `{key}` | {kind} | {what} |");
            }
        }
    }

    /// What a value may be, in words; definitions that it leads to are put on the page.
    fn kind(&mut self, path: &str, schema: &'s Value) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|to| to.strip_prefix("#/$defs/")) {
            return self.defined(path, name);
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(list) = schema[several].as_array() {
                let kinds: Vec<String> = list
                    .iter()
                    .filter(|one| one["type"] != "null")
                    .map(|one| self.kind(path, one))
                    .filter(|kind| !kind.is_empty())
                    .collect();
                let unique: Vec<String> = kinds
                    .iter()
                    .enumerate()
                    .filter(|(at, kind)| !kinds[..*at].contains(kind))
                    .map(|(_, k)| k.clone())
                    .collect();
                return unique.join(" or ");
            }
        }
        if let Some(word) = schema["const"].as_str() {
            return format!("`\"{word}\"`");
        }
        if let Some(words) = schema["enum"].as_array() {
            return words
                .iter()
                .filter_map(Value::as_str)
                .map(|word| format!("`\"{word}\"`"))
                .collect::<Vec<_>>()
                .join(", ");
        }
        let named = match &schema["type"] {
            Value::Array(types) => types.iter().find(|name| *name != "null").and_then(Value::as_str),
            one => one.as_str(),
        };
        match named {
            Some("array") => format!("list of {}", self.kind(path, &schema["items"])),
            Some("object") if schema["additionalProperties"].is_object() => {
                let kind = self.kind(&format!("{path}.NAME"), &schema["additionalProperties"]);
                format!("by name: {kind}")
            }
            Some("string") => schema["title"].as_str().unwrap_or("string").to_owned(),
            Some("integer") => "integer".to_owned(),
            Some("boolean") => "boolean".to_owned(),
            Some("object") => "table".to_owned(),
            Some(other) => other.to_owned(),
            None => String::new(),
        }
    }

    fn defined(&mut self, path: &str, name: &str) -> String {
        let definition = &self.root["$defs"][name];
        let is_table = definition["properties"].is_object()
            || definition["oneOf"]
                .as_array()
                .is_some_and(|list| list.iter().any(|one| one["properties"].is_object()));
        if !is_table {
            // A word of a list, or a text of a certain shape.
            return self.kind(path, definition);
        }
        if let Some(place) = self.seen.get(name) {
            return format!("[as `{place}`](#{})", anchor(place));
        }
        self.seen.insert(name.to_owned(), path.to_owned());
        self.queue.push((path.to_owned(), name.to_owned()));
        format!("[table](#{})", anchor(path))
    }
}

/// What a heading is reached by on the pages that show Markdown: lower-case letters, digits, `-` and `_`.
fn anchor(path: &str) -> String {
    path.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).flat_map(char::to_lowercase).collect()
}

/// In one line.
fn description(schema: &Value) -> Option<String> {
    let text = schema["description"].as_str()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|"))
}

fn toml(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Object(map) => {
            let pairs: Map<String, Value> = map.clone();
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::{JsonSchema, schema_for};

    /// Written by hand.
    #[derive(JsonSchema, serde::Deserialize)]
    #[allow(dead_code)]
    struct File {
        /// How many.
        count: u32,
        /// The parts, a name each.
        #[serde(default)]
        part: BTreeMap<String, Part>,
        /// Others | too.
        other: Option<Part>,
    }

    /// One part.
    #[derive(JsonSchema, serde::Deserialize)]
    #[allow(dead_code)]
    struct Part {
        /// Whether it moves.
        #[serde(default)]
        moves: bool,
        /// What it is made of.
        made_of: Option<Vec<Stuff>>,
    }

    #[derive(JsonSchema, serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Stuff {
        Wood,
        CastIron,
    }

    #[test]
    fn a_page_has_every_table_once_with_all_its_keys() {
        let page = markdown(&schema_for!(File));
        for line in [
            "| `count` | integer | How many. | required |",
            "| `other` | [table](#other) | Others \\| too. |  |",
            "| `part` | by name: [as `other`](#other) | The parts, a name each. |  |",
            "## `other`",
            "| `moves` | boolean | Whether it moves. | `false` |",
            "| `made_of` | list of `\"wood\"`, `\"cast-iron\"` | What it is made of. |  |",
        ] {
            assert!(page.contains(line), "no {line:?} in:\n{page}");
        }
        assert_eq!(page.matches("## `").count(), 1);
    }
}
