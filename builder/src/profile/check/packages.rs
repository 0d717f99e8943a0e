//! What is taken from packages.

use super::super::diagnostic::Diagnostic;
use super::super::merge::Profile;

/// A package from which nothing is taken would be pinned and downloaded, and nothing of it installed. One for which only
/// a suite or a component is chosen may be another's dependency.
pub(super) fn take_something(profile: &Profile) -> Vec<Diagnostic> {
    let empty = profile.packages.iter().filter(|(_, (_, package))| {
        package.patterns.is_empty() && package.suite.is_none() && package.component.is_none()
    });
    let mistake = |(name, (place, _)): (&String, &(_, _))| {
        let message = format!("nothing is taken from the package {name}, so nothing of it would be in the image");
        let help = "name its files: `take = [\"usr/bin/program\"]`; libraries that they need are added automatically"
            .to_owned();
        Diagnostic::new(&profile.sources, message, place, "here", None, Some(help))
    };
    empty.map(mistake).collect()
}

#[cfg(test)]
mod tests {
    use crate::profile::load;

    fn said(packages: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        let text = format!(
            "role = \"router\"\nsummary = \"s\"\nexample = \"n\"\nkernel = {{ package = \"k\" }}\n\
             firmware = {{ package = \"f\" }}\n{packages}"
        );
        std::fs::write(&path, text).unwrap();
        load(&path).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_package_of_which_nothing_is_taken_is_a_mistake_at_its_line() {
        for nothing in ["[packages.tcpdump]", "[packages.tcpdump]\ntake = []"] {
            let said = said(nothing);
            for part in ["p.toml:6:11", "nothing is taken from the package tcpdump", "take = [\"usr/bin/program\"]"] {
                assert!(said.contains(part), "no {part:?} in:\n{said}");
            }
        }
        assert_eq!(said("[packages.tcpdump]\ntake = [\"usr/bin/tcpdump\"]"), "");
        assert_eq!(said("[packages.libpcap0-8]\nsuite = \"sid\""), "", "from where a dependency comes is chosen");
    }

    #[test]
    fn a_name_with_dots_and_no_quotes_is_answered_with_the_quotes() {
        for (text, line, help) in [
            ("[packages.docker.io]\ntake = [\"x\"]", 6, "[packages.\"docker.io\"]"),
            ("[service.a.b.c]\nrun = [\"/x\"]", 6, "[service.\"a.b.c\"]"),
            ("[sysctl]\nnet.ipv4.ip_forward = \"1\"", 7, "\"net.ipv4.ip_forward\" = ..."),
        ] {
            let said = said(text);
            let place = format!("p.toml:{line}:");
            assert!(said.contains(help) && said.contains(&place), "{text}: {said}");
        }
        assert_eq!(said("[packages.\"docker.io\"]\ntake = [\"x\"]"), "");
        // A key that is misspelt is still taken for one.
        assert!(said("[service.a.limts]\n").contains("did you mean `limits`?"));
    }
}
