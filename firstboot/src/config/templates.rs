//! Files in `/run` rendered from the node config, before the services that read them start.

use super::store::{Access, write_atomic};
use contract::node::NodeConfig;
use contract::role::{Service, Template};
use std::path::Path;

/// A template whose file could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Path of the file that is not there.
    pub to: String,
    pub reason: String,
}

/// Renders `templates` from the folder `source`; `root` stands before every target path (`/` on a node). Returns those
/// that could not be made.
#[must_use]
pub fn render_all(templates: &[Template], source: &Path, root: &Path, config: &NodeConfig) -> Vec<Missing> {
    templates
        .iter()
        .filter_map(|template| {
            let reason = render_one(template, source, root, config).err()?;
            Some(Missing { to: template.to.clone(), reason })
        })
        .collect()
}

fn render_one(template: &Template, source: &Path, root: &Path, config: &NodeConfig) -> Result<(), String> {
    let path = source.join(&template.from);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let rendered = contract::template::render(&template.from, &text, config).map_err(|error| error.to_string())?;
    let to = root.join(template.to.trim_start_matches('/'));
    let Template { owner, mode, .. } = template;
    let access = Access { uid: owner.uid, gid: owner.gid, mode: *mode };
    to.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| write_atomic(&to, rendered.as_bytes(), access))
        .map_err(|error| format!("cannot write {}: {error}", to.display()))
}

/// Whether a service names the file in its command line or environment, or takes variables from it.
#[must_use]
pub fn needs(service: &Service, file: &str) -> bool {
    let variables = service.environment_files.iter().any(|variables| variables.path == file && !variables.optional);
    variables || service.run.iter().chain(service.environment.values()).any(|text| text.contains(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::role::Identity;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn one_template_that_cannot_be_rendered_does_not_hold_up_the_others() {
        let (source, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(source.path().join("bgp.j2"), "router bgp {{ router.asn }}\n").unwrap();
        std::fs::write(source.path().join("name.j2"), "{{ name }}\n").unwrap();
        let template = |from: &str, to: &str| Template {
            from: from.to_owned(),
            to: to.to_owned(),
            owner: Identity { uid: 65_534, gid: 65_533, groups: Vec::new() },
            mode: 0o640,
        };
        let templates = [
            template("bgp.j2", "/run/frr/bgp.conf"),
            template("name.j2", "/run/deep/name"),
            template("none.j2", "/run/none"),
        ];
        let config = NodeConfig::parse(b"name = \"r1\"").unwrap();
        let missing = render_all(&templates, source.path(), root.path(), &config);
        let names: Vec<_> = missing.iter().map(|missing| missing.to.as_str()).collect();
        assert_eq!(names, ["/run/frr/bgp.conf", "/run/none"], "{missing:?}");
        assert!(missing.iter().any(|missing| missing.reason.contains("bgp.j2, line 1")), "{missing:?}");
        let written = root.path().join("run/deep/name");
        assert_eq!(std::fs::read_to_string(&written).unwrap(), "r1\n");
        let metadata = std::fs::metadata(&written).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (65_534, 65_533, 0o640));
        assert!(!root.path().join("run/frr/bgp.conf").exists());
    }
}
