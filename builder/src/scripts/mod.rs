//! What a package's maintainer scripts would have done. They never run: what they do declaratively is read out of them and
//! shown as lines for a profile.
//!
//! - [`shell`] a script's text as commands · [`acts`] what the commands do · [`declared`] what `sysusers.d`, `tmpfiles.d` and
//!   `sysctl.d` declare · [`lines`] all of it as TOML
//!
//! Conditions are not evaluated: what a script does in one case only is listed as well.

mod acts;
mod declared;
mod lines;
mod shell;

pub use acts::{Account, Acts, Alternative, Rights};
pub use lines::{alternative_lines, to_toml};

use crate::tree::take::{PackageEntries, merged};
use crate::tree::{Kind, Package};

/// Scripts that prepare a package; those that remove it are of no interest here.
pub const SCRIPTS: [&str; 2] = ["preinst", "postinst"];

/// Most bytes that are read of a declaration in a package.
const LARGEST: u64 = 1 << 20;

/// Reads scripts, and what the package itself declares for systemd's tools.
#[must_use]
pub fn read(package: &Package, scripts: &[String]) -> Acts {
    let mut acts = Acts::default();
    for text in scripts {
        for command in shell::commands(text) {
            acts.command(&command);
        }
    }
    for (path, entry) in &package.entries {
        let Kind::File(content) = &entry.kind else { continue };
        let Some(declares) = declared::of_path(path).filter(|_| content.len() <= LARGEST) else { continue };
        let Ok(bytes) = content.to_bytes() else { continue };
        declares(&mut acts, &String::from_utf8_lossy(&bytes));
    }
    // Folders that the package has itself.
    let own = PackageEntries::new(package);
    for (path, rights) in &mut acts.paths {
        rights.directory |= own.get(&merged(path)).is_some_and(|entry| matches!(entry.kind, Kind::Directory));
    }
    acts
}

/// Reads a script as untrusted bytes, for tests and fuzzing.
#[must_use]
pub fn read_script(text: &str) -> Acts {
    let mut acts = Acts::default();
    shell::commands(text).iter().for_each(|command| acts.command(command));
    acts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::load;
    use crate::tree::{Content, Entry, Owner, SourcePackage};
    use std::collections::BTreeMap;

    const SCRIPT: &str = r#"#!/bin/sh
set -e
if [ "$1" = configure ]; then
    update-alternatives \
      --install /usr/sbin/fw fw /usr/sbin/fw-old 10 \
      --slave /usr/share/man/man8/fw.8.gz fw.8.gz /usr/share/man/man8/fw-old.8.gz
    update-alternatives --quiet --install /sbin/fw fw /usr/sbin/fw-new 20 \
      --slave /usr/sbin/fw-save fw-save /usr/sbin/fw-new-save
    update-alternatives --remove gone /usr/sbin/gone
    quiet=$2
    if ! getent passwd _web >/dev/null; then
        adduser --system $quiet --home /var/lib/web --no-create-home \
            --shell /bin/bash --group --gecos "Web \"server\"" _web
        adduser --quiet --system statd
        useradd --system --gid nogroup --comment dns -M dns
    fi
    addgroup --quiet --system netdev || true
    adduser $quiet _web ssl-cert
    usermod -aG netdev dns
    KEYS=/etc/web/keys
    for d in /var/lib/web /var/log/web "$KEYS"; do
        if ! dpkg-statoverride --list "$d" >/dev/null; then
            dpkg-statoverride --update --add _web _web 0750 "$d"
        fi
    done
    mkdir -p /var/lib/web "$DPKG_ROOT/var/log/web"
    install -d -m 1770 -g netdev /run/web
    chown root:_web /usr/lib/web/helper; chmod 4754 /usr/lib/web/helper
    setcap cap_net_raw,cap_net_admin+ep /usr/bin/web-ping || chmod u+s /usr/bin/web-ping
    ln -sf /usr/share/web/default /etc/web/enabled
    ucf --three-way --debconf-ok /usr/share/web/web.conf /etc/web/web.conf
    update-rc.d web defaults >/dev/null
fi
"#;

    fn package(files: &[(&str, &str)]) -> Package {
        let entry = |text: &str| Entry {
            kind: Kind::File(Content::from(text.as_bytes().to_vec())),
            owner: Owner::default(),
            uname: String::new(),
            gname: String::new(),
            mode: 0o644,
            xattrs: BTreeMap::new(),
        };
        let entries = files.iter().map(|(path, text)| ((*path).to_owned(), entry(text))).collect();
        Package { name: "web".into(), version: "1".into(), source: SourcePackage::of("", "web", "1"), entries }
    }

    #[test]
    fn what_scripts_and_declarations_do_becomes_lines_of_a_profile() {
        let package = package(&[
            (
                "usr/lib/sysusers.d/web.conf",
                "#c\nu! cache 123:netdev \"Web cache\" /var/cache/web /usr/sbin/nologin\ng spare -\n",
            ),
            (
                "usr/lib/tmpfiles.d/web.conf",
                "d /run/cache 0755 cache netdev - -\nL /var/lib/a - - - - /run/a\nd /run/%i 0 - -\n",
            ),
            ("etc/sysctl.d/9-web.conf", "; c\n-net.core.somaxconn = 512\n"),
        ]);
        let lines = to_toml(&read(&package, &[SCRIPT.to_owned()]), &package);
        for part in [
            "\"/usr/sbin/fw\" = \"/usr/sbin/fw-new\"   # or /usr/sbin/fw-old\n",
            "\"/usr/sbin/fw-save\" = \"/usr/sbin/fw-new-save\"\n",
            "[user._web]\nid = 900 ",
            "groups = [\"ssl-cert\"]\nhome = \"/var/lib/web\"\ncomment = 'Web \"server\"'\n# shell = \"/bin/bash\"",
            "[user.cache]\nid = 123\ngroup = \"netdev\"\nhome = \"/var/cache/web\"\ncomment = \"Web cache\"\n",
            "[user.dns]\nid = 901   # or any number below 1000 that is free in the profile\ngroup = \"nogroup\"\ngroups = [\"netdev\"]\n",
            "[user.statd]\nid = 902   # or any number below 1000 that is free in the profile\ngroup = \"nogroup\"\n",
            "[group.netdev]\n",
            "[group.spare]\n",
            "[directory.\"/var/lib/web\"]\nowner = \"_web\"\nmode = \"0750\"\npersistent = true\n",
            "[directory.\"/var/log/web\"]\nowner = \"_web\"\nmode = \"0750\"\n\n",
            "[directory.\"/run/web\"]\nowner = \"root:netdev\"\nmode = \"1770\"\n",
            "[directory.\"/run/cache\"]\nowner = \"cache:netdev\"\nmode = \"0755\"\n",
            "\"/etc/web/enabled\" = \"/usr/share/web/default\"\n",
            "\"/var/lib/a\" = \"/run/a\"\n",
            "\"net.core.somaxconn\" = \"512\"\n",
            "# /etc/web/keys would belong to _web with mode 0750\n",
            "# /usr/lib/web/helper would belong to root:_web with mode 4754\n",
            "capabilities = [\"NET_RAW\", \"NET_ADMIN\"]\n",
            "# /etc/web/web.conf would be a copy of /usr/share/web/web.conf: ",
        ] {
            assert!(lines.contains(part), "no {part:?} in:\n{lines}");
        }
        assert!(!lines.contains("man8") && !lines.contains("gone") && !lines.contains("%i"), "{lines}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        let head = "role = \"web\"\nsummary = \"s\"\nexample = \"n\"\nkernel = { package = \"k\" }\nfirmware = { package = \"f\" }\n";
        std::fs::write(&path, format!("{head}{lines}")).unwrap();
        let profile = load(&path).unwrap_or_else(|error| panic!("{error}\n{lines}"));
        assert_eq!((profile.users.len(), profile.links.len(), profile.directories.len()), (4, 4, 4), "{lines}");
    }

    #[test]
    fn a_package_without_scripts_says_so() {
        let package = package(&[("usr/bin/web", "")]);
        assert!(to_toml(&read(&package, &[]), &package).contains("# Nothing that a profile has to say."));
    }

    #[test]
    fn what_makes_a_path_is_found_by_pattern_under_merged_usr() {
        let acts = read_script(SCRIPT);
        let made = acts.making("usr/sbin/fw").unwrap();
        let all: Vec<&Alternative> = made.alternatives.iter().collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            alternative_lines("web", &all),
            "[packages.web]\ntake = [\"usr/sbin/fw-new\"]\n\n[link]\n\"/usr/sbin/fw\" = \"/usr/sbin/fw-new\"   # or /usr/sbin/fw-old\n"
        );
        assert_eq!(acts.making("usr/sbin/fw*").unwrap().alternatives.len(), 3);
        assert!(acts.making("usr/sbin/other").is_none() && acts.making("usr/{").is_none());
    }
}
