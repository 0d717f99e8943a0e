//! `[vars]`: values of one's own. The profile declares them ([`crate::var::Var`]): a name, a type, perhaps a default.
//!
//! ```toml
//! [vars]
//! greeting = "hello"
//! workers = 4
//! [vars.secret]
//! token = "..."
//! ```
//!
//! Secrets have a table of their own, so that they are known as such by everyone who reads the file, whatever profile it is
//! for.

use super::NodeConfigError;
use super::problem::problem;
use crate::secret::Secret;
use crate::var::{SECRET, Var, VarKind, VarValue, is_var_name};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The variables of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vars {
    plain: BTreeMap<String, VarValue>,
    secret: BTreeMap<String, Secret>,
}

/// Variables that do not fit what the profile declares. Values are not repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarProblem {
    /// Keys from the top.
    path: Vec<String>,
    message: String,
}

impl VarProblem {
    fn at<'p>(path: impl IntoIterator<Item = &'p str>, message: impl Into<String>) -> VarProblem {
        VarProblem { path: path.into_iter().map(str::to_owned).collect(), message: message.into() }
    }

    /// Finds the place in the text of the node config.
    #[must_use]
    pub fn locate(self, text: &str) -> NodeConfigError {
        problem(self.path.iter().map(String::as_str), self.message).locate(text)
    }
}

impl fmt::Display for VarProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.join("."), self.message)
    }
}

impl Vars {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.secret.is_empty()
    }

    /// Puts the defaults of declared variables in place of those that are not set.
    ///
    /// # Errors
    /// What does not fit the declarations; the defaults are set all the same.
    pub fn complete(&mut self, declared: &BTreeMap<String, Var>) -> Result<(), Vec<VarProblem>> {
        let mut wrong = Vec::new();
        let known = |name: &str| {
            let near = declared.keys().map(|known| (strsim::jaro_winkler(known, name), known));
            let near = near.filter(|(likeness, _)| *likeness > 0.8).max_by(|a, b| a.0.total_cmp(&b.0));
            near.map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"))
        };
        for (name, value) in &self.plain {
            let path = ["vars", name.as_str()];
            match declared.get(name) {
                None => {
                    wrong.push(VarProblem::at(path, format!("the profile declares no such variable{}", known(name))))
                }
                Some(Var { kind: VarKind::Secret, .. }) => {
                    wrong.push(VarProblem::at(path, "this is a secret: write it under [vars.secret]"))
                }
                Some(Var { kind, .. }) if *kind != value.kind() => {
                    wrong.push(VarProblem::at(
                        path,
                        format!("the profile declares {}, not {}", kind.words(), value.kind().words()),
                    ));
                }
                Some(_) => (),
            }
        }
        for name in self.secret.keys() {
            let path = ["vars", SECRET, name.as_str()];
            match declared.get(name) {
                None => {
                    wrong.push(VarProblem::at(path, format!("the profile declares no such secret{}", known(name))))
                }
                Some(Var { kind: VarKind::Secret, .. }) => (),
                Some(Var { kind, .. }) => {
                    let message =
                        format!("the profile declares {}, not a secret: write it under [vars]", kind.words());
                    wrong.push(VarProblem::at(path, message));
                }
            }
        }
        for (name, var) in declared {
            let is_set = self.plain.contains_key(name) || self.secret.contains_key(name);
            match &var.default {
                _ if is_set => (),
                Some(default) => drop(self.plain.insert(name.clone(), default.clone())),
                None if var.optional => (),
                None => {
                    let (path, table): (&[&str], _) = match var.kind {
                        VarKind::Secret => (&["vars", SECRET, name.as_str()], "[vars.secret]"),
                        _ => (&["vars", name.as_str()], "[vars]"),
                    };
                    let message = format!("the profile needs {}: set it under {table}", var.kind.words());
                    wrong.push(VarProblem::at(path.iter().copied(), message));
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

impl Serialize for Vars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.plain {
            map.serialize_entry(name, value)?;
        }
        // A table comes behind the plain values, as TOML wants it.
        if !self.secret.is_empty() {
            map.serialize_entry(SECRET, &self.secret)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Vars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Vars, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Vars;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of variables")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vars, A::Error> {
                let named = |name: &str| {
                    let message = "is not a valid name of a variable: a lower-case letter, then up to 31 lower-case \
                                   letters, digits and underscores";
                    if is_var_name(name) { Ok(()) } else { Err(A::Error::custom(format!("{name:?} {message}"))) }
                };
                let mut vars = Vars::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == SECRET {
                        vars.secret = map.next_value()?;
                        vars.secret.keys().try_for_each(|name| named(name))?;
                    } else {
                        named(&name)?;
                        vars.plain.insert(name, map.next_value()?);
                    }
                }
                Ok(vars)
            }
        }
        deserializer.deserialize_map(Table)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Vars {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Vars".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (value, secret) = (generator.subschema_for::<VarValue>(), generator.subschema_for::<Secret>());
        let name = "^[a-z][a-z0-9_]{0,31}$";
        let secrets = schemars::json_schema!({
            "type": "object", "patternProperties": { (name): secret }, "additionalProperties": false
        });
        // The pattern is for `secret` as well: not every editor knows how to leave a word out of one.
        schemars::json_schema!({
            "type": "object",
            "properties": { "secret": secrets },
            "patternProperties": { (name): { "anyOf": [value, { "type": "object" }] } },
            "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{NodeConfig, secrets};

    fn declared() -> BTreeMap<String, Var> {
        let var = |kind| Var { kind, default: None, optional: false };
        [
            ("greeting", Var { default: Some(VarValue::String("hello".to_owned())), ..var(VarKind::String) }),
            ("workers", var(VarKind::Integer)),
            ("debug", Var { optional: true, ..var(VarKind::Boolean) }),
            ("peers", Var { default: Some(VarValue::List(Vec::new())), ..var(VarKind::List) }),
            ("token", var(VarKind::Secret)),
        ]
        .map(|(name, var)| (name.to_owned(), var))
        .into()
    }

    fn config(vars: &str) -> NodeConfig {
        NodeConfig::parse(format!("name = \"n1\"\n{vars}").as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn wrong(vars: &str) -> Vec<String> {
        let problems = config(vars).vars.complete(&declared()).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_fill_what_a_node_does_not_set_and_what_is_set_stays() {
        let mut config = config("[vars]\nworkers = 4\ngreeting = \"hi\"\n[vars.secret]\ntoken = \"hunter2\"\n");
        config.vars.complete(&declared()).unwrap();
        let text = "{{ vars.greeting }} {{ vars.workers }} {{ vars.peers|length }} {{ vars.secret.token }} \
                    {{ vars.debug is defined }}";
        assert_eq!(crate::template::render("t", text, &config).unwrap(), "hi 4 0 hunter2 False");
        let shown =
            format!("{config:?}{}", serde_json::to_string(&config).unwrap()) + &toml::to_string(&config).unwrap();
        assert!(!shown.contains("hunter2") && shown.contains("greeting"), "{shown}");
    }

    #[test]
    fn every_value_that_does_not_fit_its_declaration_is_named_and_none_is_repeated() {
        assert_eq!(wrong("[vars]\nworkers = 1\n[vars.secret]\ntoken = \"x\"\n"), [""; 0]);
        let all = wrong(
            "[vars]\nworkers = \"four\"\ntoken = \"hunter2\"\ngreetin = \"x\"\n[vars.secret]\ngreeting = \"hunter2\"\nother = \"y\"\n",
        );
        assert_eq!(
            all,
            [
                "vars.greetin: the profile declares no such variable; did you mean `greeting`?",
                "vars.token: this is a secret: write it under [vars.secret]",
                "vars.workers: the profile declares an integer, not a string",
                "vars.secret.greeting: the profile declares a string, not a secret: write it under [vars]",
                "vars.secret.other: the profile declares no such secret",
            ]
        );
        assert_eq!(
            wrong(""),
            [
                "vars.secret.token: the profile needs a secret: set it under [vars.secret]",
                "vars.workers: the profile needs an integer: set it under [vars]",
            ]
        );
    }

    #[test]
    fn a_problem_points_at_its_line() {
        let text = "name = \"n1\"\n[vars]\nworkers = true\n";
        let problems = NodeConfig::parse(text.as_bytes()).unwrap().vars.complete(&declared()).unwrap_err();
        let shown: Vec<String> = problems.into_iter().map(|problem| problem.locate(text).to_string()).collect();
        assert!(shown.iter().any(|line| line.starts_with("line 3, column 11: vars.workers: ")), "{shown:?}");
    }

    #[test]
    fn secrets_leave_bootsel_and_other_values_stay() {
        let text = "name = \"n1\"\n[vars]\npattern = \"*\"\n[vars.secret]\ntoken = \"hunter2\"\n";
        let hidden = secrets::hide(text, &NodeConfig::parse(text.as_bytes()).unwrap());
        assert_eq!(hidden, text.replace("hunter2", "*******"));
        assert_eq!(secrets::restore(&hidden, Some(text)).unwrap(), text);
    }

    #[test]
    fn names_and_types_that_no_variable_can_have_are_refused() {
        for vars in [
            "[vars]\nBig = 1",
            "[vars]\n\"a-b\" = 1",
            "[vars]\na = 1.5",
            "[vars]\na = [1]",
            "[vars]\na = { b = 1 }",
            "[vars]\nsecret = \"x\"",
            "[vars.secret]\na = 1",
            "[vars.secret]\n\"a b\" = \"x\"",
            "vars = 3",
        ] {
            let error = NodeConfig::parse(format!("name = \"n1\"\n{vars}\n").as_bytes());
            assert!(error.is_err(), "{vars}");
        }
    }
}
