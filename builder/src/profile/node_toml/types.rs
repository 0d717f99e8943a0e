//! The types of node.toml, read from the JSON Schema of what it is once it has been read.

use crate::profile::field::join;
use contract::node::NodeConfig;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::sync::LazyLock;

/// The schema of the value that `when`, health checks and templates look into: node.toml as it is written out again,
/// with its defaults.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<NodeConfig>().to_value()
});

/// What may be at a place of node.toml.
#[derive(Clone, Debug)]
pub struct Type<'s> {
    root: &'s Value,
    /// Schemas, each of which may hold; without references and choices.
    schemas: Vec<&'s Value>,
    /// The place, as a dotted path; empty for the whole file. `NAME` stands for a key of the operator's choice.
    pub path: String,
}

/// A key that no node.toml has at this place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The place that was looked into, as a dotted path; empty for the whole file.
    pub at: String,
    pub key: String,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is a table, with these keys and no others.
    Keys(Vec<String>),
    /// It is a list: its entries may have keys.
    List,
    /// It is a single value.
    Value,
}

impl Type<'static> {
    /// The whole of node.toml.
    #[must_use]
    pub fn node_toml() -> Type<'static> {
        Type::of(&SCHEMA)
    }
}

impl<'s> Type<'s> {
    /// What a whole schema says.
    #[must_use]
    pub fn of(root: &'s Value) -> Type<'s> {
        Type { root, schemas: Vec::new(), path: String::new() }.with(root)
    }

    /// What is below a key.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn key(&self, name: &str) -> Result<Type<'s>, Unknown> {
        let below = Type { root: self.root, schemas: Vec::new(), path: join(&self.path, name) };
        let found = self.schemas.iter().flat_map(|schema| keyed(schema, name)).fold(below, Type::with);
        if !found.schemas.is_empty() {
            return Ok(found);
        }
        let keys = self.keys();
        let why = match keys.is_empty() {
            false => Why::Keys(keys),
            true if self.schemas.iter().any(|schema| is(schema, "array")) => Why::List,
            true => Why::Value,
        };
        Err(Unknown { at: self.path.clone(), key: name.to_owned(), why })
    }

    /// What the entries of a list are. [`None`] for what is not a list.
    #[must_use]
    pub fn element(&self) -> Option<Type<'s>> {
        let lists = self.schemas.iter().filter(|schema| is(schema, "array"));
        let below = Type { root: self.root, schemas: Vec::new(), path: self.path.clone() };
        let found = lists.filter_map(|list| list.get("items")).fold(below, Type::with);
        (!found.schemas.is_empty()).then_some(found)
    }

    /// What is below the keys of a table, whichever key. [`None`] for what is not a table.
    #[must_use]
    pub fn values(&self) -> Option<Type<'s>> {
        let below = Type { root: self.root, schemas: Vec::new(), path: join(&self.path, "NAME") };
        let found = self.schemas.iter().flat_map(|schema| named(schema).chain(free(schema))).fold(below, Type::with);
        (!found.schemas.is_empty()).then_some(found)
    }

    /// Whether it may be a text or a number.
    #[must_use]
    pub fn is_text_or_number(&self) -> bool {
        self.schemas.iter().any(|schema| {
            let word = schema["const"].is_string() || schema["enum"].is_array();
            word || ["string", "number", "integer"].iter().any(|kind| is(schema, kind)) || is_anything(schema)
        })
    }

    /// One of two.
    #[must_use]
    pub fn or(mut self, other: &Type<'s>) -> Type<'s> {
        self.schemas.extend(&other.schemas);
        self
    }

    fn keys(&self) -> Vec<String> {
        let tables = self.schemas.iter().filter_map(|schema| schema["properties"].as_object());
        tables.flat_map(|properties| properties.keys().cloned()).collect()
    }

    /// A schema more, which may hold too.
    fn with(mut self, schema: &'s Value) -> Type<'s> {
        if let Some(name) = schema["$ref"].as_str().and_then(|to| to.strip_prefix("#/$defs/")) {
            let root = self.root;
            return self.with(&root["$defs"][name]);
        }
        let choices: Vec<&Value> =
            ["anyOf", "oneOf", "allOf"].iter().filter_map(|some| schema[*some].as_array()).flatten().collect();
        if schema != &Value::Bool(false) && schema["type"] != "null" && (choices.is_empty() || has_content(schema)) {
            self.schemas.push(schema);
        }
        choices.into_iter().fold(self, Type::with)
    }
}

/// Whether a schema with choices says something besides them.
fn has_content(schema: &Value) -> bool {
    ["properties", "items", "additionalProperties", "patternProperties"].iter().any(|key| !schema[*key].is_null())
}

fn is(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::String(one) => one == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

/// Whether a schema says nothing: anything may be there.
fn is_anything(schema: &Value) -> bool {
    let said = ["type", "const", "enum", "properties", "items", "$ref"];
    *schema == Value::Bool(true) || schema.is_object() && said.iter().all(|key| schema[*key].is_null())
}

/// Schemas of a key of this name.
fn keyed<'s>(schema: &'s Value, name: &str) -> Vec<&'s Value> {
    match schema["properties"].get(name) {
        Some(found) => vec![found],
        None if is_anything(schema) => vec![schema],
        None => free(schema).collect(),
    }
}

/// Schemas of the keys that have their names from the types.
fn named(schema: &Value) -> impl Iterator<Item = &Value> {
    schema["properties"].as_object().into_iter().flat_map(|properties| properties.values())
}

/// Schemas of the keys that operators choose.
fn free(schema: &Value) -> impl Iterator<Item = &Value> {
    let rest = schema.get("additionalProperties").filter(|rest| **rest != Value::Bool(false));
    rest.into_iter().chain(schema["patternProperties"].as_object().into_iter().flat_map(|by| by.values()))
}
