//! Stage: kernel settings of the role.

use super::events::Warnings;
use std::collections::BTreeMap;
use std::path::Path;

pub fn run(settings: &BTreeMap<String, String>, warnings: &mut Warnings) {
    for (name, value) in settings {
        for name in expand(name) {
            if let Err(error) = std::fs::write(Path::new("/proc/sys").join(&name), value) {
                warnings.add(format_args!("cannot set {name} = {value}: {error}"));
            }
        }
    }
}

/// `*` in place of an interface stands for all present ones and those to come.
fn expand(name: &str) -> Vec<String> {
    if name.split('/').any(|part| part == "*") {
        ["all", "default"].iter().map(|interface| name.replace('*', interface)).collect()
    } else {
        vec![name.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_star_stands_for_all_interfaces_now_and_later() {
        assert_eq!(super::expand("net/ipv4/ip_forward"), ["net/ipv4/ip_forward"]);
        assert_eq!(
            super::expand("net/ipv6/conf/*/accept_ra"),
            ["net/ipv6/conf/all/accept_ra", "net/ipv6/conf/default/accept_ra"]
        );
    }
}
