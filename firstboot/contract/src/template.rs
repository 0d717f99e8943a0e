//! Files rendered from the node config: on the node at boot, and at build time with the profile's example, so that a
//! mistake is found there.

use crate::node::NodeConfig;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};

/// A template that cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("template {name}, line {line}: {message}")]
pub struct TemplateError {
    pub name: String,
    /// From 1; 0 when unknown.
    pub line: usize,
    pub message: String,
}

/// Renders one template. What it may use: the fields of [`NodeConfig`]. Undefined names are errors; `is defined` may
/// be asked of anything.
///
/// # Errors
/// When the template is malformed or uses a value that the node config does not give.
pub fn render(name: &str, source: &str, config: &NodeConfig) -> Result<String, TemplateError> {
    let fail = |error: minijinja::Error| TemplateError {
        name: name.to_owned(),
        line: error.line().unwrap_or(0),
        message: match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        },
    };
    let mut environment = Environment::new();
    // Otherwise a release build does not say which value is missing.
    environment.set_debug(true);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_syntax(syntax().map_err(fail)?);
    environment.add_filter("host", |net: &str| net.split('/').next().unwrap_or("").to_owned());
    environment.add_filter("is_ipv4", |net: &str| !net.contains(':'));
    environment.add_filter("socket_address", |socket: &str| {
        socket.rsplit_once(':').map_or(socket, |(address, _)| address).trim_matches(['[', ']']).to_owned()
    });
    environment.add_filter("socket_port", |socket: &str| socket.rsplit(':').next().unwrap_or("").to_owned());
    environment.add_filter("frr", crate::frr::part);
    environment.add_template(name, source).map_err(fail)?;
    // Files are made from secrets too; their modes say who reads them.
    let render = || environment.get_template(name).and_then(|template| template.render(values(config)?));
    crate::secret::revealed(render).map_err(fail)
}

/// Whether a text is to be rendered: it has one of the marks of templates.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// How templates are written: with the usual marks; a line that is nothing but a block leaves no empty line behind.
///
/// # Errors
/// None: only marks of your own can contradict each other.
pub fn syntax() -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()
}

/// What templates may use. The tables `vars` and `vars.secret` are there on every node, so that it can be asked what is in
/// them.
fn values(config: &NodeConfig) -> Result<Value, minijinja::Error> {
    let whole = Value::from(Serde(config));
    let table = |of: &Value, name: &str| {
        of.get_attr(name).map(|found| {
            if found.is_undefined() {
                context! {}
            } else {
                found
            }
        })
    };
    let vars = table(&whole, "vars")?;
    let secret = table(&vars, "secret")?;
    Ok(context! { vars => context! { secret, ..vars }, ..whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NodeConfig {
        NodeConfig::parse(b"name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n").unwrap()
    }

    #[test]
    fn a_template_sees_the_node_config() {
        let text = "{% for name, net in network|items %}{{ name }} {{ net.addresses[0]|host }}\n{% endfor %}";
        assert_eq!(render("t", text, &config()).unwrap(), "eth0 10.0.0.1\n");
    }

    #[test]
    fn whether_a_node_sets_a_value_of_its_own_can_be_asked_on_every_node() {
        let text = "{% if vars.size is defined %}{{ vars.size }}{% endif %}\
                    {% if vars.secret.key is defined %}{{ vars.secret.key }}{% endif %}|{{ name }}";
        assert_eq!(render("t", text, &config()).unwrap(), "|r1");
        let config = |vars: &str| NodeConfig::parse(format!("name = \"r1\"\n{vars}").as_bytes()).unwrap();
        assert_eq!(render("t", text, &config("[vars]\nsize = 4\n")).unwrap(), "4|r1");
        assert_eq!(render("t", text, &config("[vars.secret]\nkey = \"k\"\n")).unwrap(), "k|r1");
        assert!(render("t", "{{ vars.size }}", &config("")).is_err());
    }

    #[test]
    fn a_missing_value_is_an_error_that_names_template_and_line() {
        let error =
            render("frr.conf.j2", "hostname {{ name }}\nrouter bgp {{ router.asn }}\n", &config()).unwrap_err();
        assert_eq!((error.name.as_str(), error.line), ("frr.conf.j2", 2), "{error}");
        assert!(error.message.contains("`router` is undefined"), "{error}");
    }
}
