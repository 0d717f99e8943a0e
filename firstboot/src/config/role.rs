//! What a role takes from the node config beside its templates' files: variables with their defaults, and the environment of
//! its services.

use contract::node::NodeConfig;
use contract::role::{RoleSpec, Service};
use contract::template;
use std::collections::BTreeMap;

/// A service one of whose variables of the environment cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unset {
    pub service: String,
    pub reason: String,
}

/// A config with the role's defaults, where the role can do with its variables; `text` is the file as it was given.
///
/// # Errors
/// What is wrong.
pub fn completed(role: &RoleSpec, config: &NodeConfig, text: &str) -> Result<NodeConfig, String> {
    let mut config = config.clone();
    config.vars.complete(&role.vars).map_err(|problems| {
        problems.into_iter().map(|problem| problem.locate(text).to_string()).collect::<Vec<_>>().join("; ")
    })?;
    match environments(&mut role.services.clone(), &config).first() {
        Some(Unset { service, reason }) => Err(format!("service {service}: {reason}")),
        None => Ok(config),
    }
}

/// Puts the values of the node config into the environment of services. Returns those that cannot have theirs.
#[must_use]
pub fn environments(services: &mut BTreeMap<String, Service>, config: &NodeConfig) -> Vec<Unset> {
    let mut unset = Vec::new();
    for (name, service) in services {
        for (key, text) in service.environment.iter_mut().filter(|(_, text)| template::is_template(text)) {
            match template::render(key, text, config) {
                Ok(value) if value.contains('\0') => {
                    unset.push(Unset { service: name.clone(), reason: format!("its variable {key} has a NUL byte") });
                }
                Ok(value) => *text = value,
                Err(error) => {
                    let reason = format!("its variable {key}: {}", error.message);
                    unset.push(Unset { service: name.clone(), reason });
                }
            }
        }
    }
    unset
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::var::{Var, VarKind, VarValue};

    fn role() -> RoleSpec {
        let text = r#"{"format":1,"role":"edge","summary":"s","version":"1","modules":[],"sysctls":{},"directories":[],
            "templates":[],"health":[],"services":{"web":{"run":["/web"],"kind":"daemon","identity":{"uid":1,"gid":1},
            "restart":{"first_delay_ms":1,"longest_delay_ms":1,"quiet_ms":1},"stop_timeout_ms":1,"start_timeout_ms":1,
            "environment":{"TOKEN":"{{ vars.secret.token }}","NAME":"{{ name }}-{{ vars.greeting }}","PLAIN":"{}"}}}}"#;
        let mut role: RoleSpec = serde_json::from_str(text).unwrap();
        let var = |kind, default| Var { kind, default, optional: false };
        role.vars.insert("token".to_owned(), var(VarKind::Secret, None));
        role.vars.insert("greeting".to_owned(), var(VarKind::String, Some(VarValue::String("hello".to_owned()))));
        role
    }

    fn config(vars: &str) -> NodeConfig {
        NodeConfig::parse(format!("name = \"n1\"\n{vars}").as_bytes()).unwrap()
    }

    #[test]
    fn a_service_gets_variables_and_secrets_in_its_environment() {
        let role = role();
        let mut config = config("[vars.secret]\ntoken = \"hunter2\"\n");
        assert!(completed(&role, &config, "").is_ok());
        config.vars.complete(&role.vars).unwrap();
        let mut services = role.services.clone();
        assert_eq!(environments(&mut services, &config), []);
        let environment = &services["web"].environment;
        assert_eq!(
            [&environment["TOKEN"], &environment["NAME"], &environment["PLAIN"]],
            ["hunter2", "n1-hello", "{}"]
        );
    }

    #[test]
    fn a_config_without_what_the_profile_needs_is_refused_and_names_no_secret() {
        let vars = "[vars]\ntoken = \"hunter2\"\n";
        let error = completed(&role(), &config(vars), &format!("name = \"n1\"\n{vars}")).unwrap_err();
        assert!(error.starts_with("line 3, column 9: "), "{error}");
        assert!(error.contains("vars.token: this is a secret") && !error.contains("hunter2"), "{error}");
        let mut services = role().services;
        let unset = environments(&mut services, &config(""));
        let names: Vec<&str> = unset.iter().map(|unset| unset.service.as_str()).collect();
        assert_eq!(names, ["web", "web"], "{unset:?}");
        assert!(unset[1].reason.contains("its variable TOKEN: undefined value"), "{unset:?}");
    }
}
