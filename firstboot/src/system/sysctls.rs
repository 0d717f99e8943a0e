//! Stage: kernel settings of the role.

use super::events::Warnings;
use std::collections::BTreeMap;
use std::path::Path;

/// Where the kernel shows its settings (Documentation/admin-guide/sysctl).
const SETTINGS: &str = "/proc/sys";

pub fn run(settings: &BTreeMap<String, String>, warnings: &mut Warnings) {
    for (name, value) in settings {
        for name in expand(Path::new(SETTINGS), name) {
            if let Err(error) = std::fs::write(Path::new(SETTINGS).join(&name), value) {
                warnings.add(format_args!("cannot set {name} = {value}: {error}"));
            }
        }
    }
}

/// `*` in place of an interface stands for all: those that are there, and by `default` those that come later. `all` alone
/// would not do: what it means is each setting's own affair (Documentation/networking/ip-sysctl.rst), and most settings
/// of IPv6 do not heed it. `all` and `default` come first, since writing to them can change the others.
fn expand(root: &Path, name: &str) -> Vec<String> {
    let Some((before, behind)) = name.split_once('*') else { return vec![name.to_owned()] };
    let entries = std::fs::read_dir(root.join(before)).into_iter().flatten().flatten();
    let mut there: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|entry| entry != "all" && entry != "default")
        .collect();
    there.sort();
    let first = ["all", "default"].into_iter().map(str::to_owned);
    first.chain(there).map(|interface| format!("{before}{interface}{behind}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_all_interfaces_now_and_later() {
        let root = tempfile::tempdir().unwrap();
        for interface in ["lo", "eth0", "all", "default", "eth0.20"] {
            std::fs::create_dir_all(root.path().join("net/ipv6/conf").join(interface)).unwrap();
        }
        assert_eq!(expand(root.path(), "net/ipv4/ip_forward"), ["net/ipv4/ip_forward"]);
        let names = ["all", "default", "eth0", "eth0.20", "lo"].map(|name| format!("net/ipv6/conf/{name}/accept_ra"));
        assert_eq!(expand(root.path(), "net/ipv6/conf/*/accept_ra"), names);
    }

    #[test]
    fn where_the_kernel_has_no_such_settings_it_is_told() {
        let root = tempfile::tempdir().unwrap();
        let names = ["net/ipv6/conf/all/accept_ra", "net/ipv6/conf/default/accept_ra"];
        assert_eq!(expand(root.path(), "net/ipv6/conf/*/accept_ra"), names);
    }
}
