//! Taking files out of packages, the libraries they need, users, and kernel modules in load order.

use crate::format_support::elf::{Elf, module};
use crate::format_support::*;
use microdc::boot::modules::{ModuleError, Modules, needs as module_needs};
use microdc::tree::elf::{ElfError, Libraries, close, needs};
use microdc::tree::take::{TakeError, dangling, take};
use microdc::tree::users::{AccountError, Accounts, NO_LOGIN, User};
use microdc::tree::{Entry, Kind, Package, Tree, base};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn bytes(text: &str) -> Kind {
    content(text.as_bytes().to_vec())
}

fn link(target: &str) -> Kind {
    Kind::Symlink(target.to_owned())
}

fn made(name: &str, entries: Vec<(&str, Kind, u32)>) -> Package {
    let entries = entries.into_iter().map(|(path, kind, mode)| (path.to_owned(), entry(kind, mode)));
    package(name, entries)
}

fn frr() -> Package {
    made(
        "frr",
        vec![
            ("usr", Kind::Directory, 0o755),
            ("usr/lib", Kind::Directory, 0o755),
            ("usr/lib/frr", Kind::Directory, 0o750),
            ("usr/lib/frr/zebra", bytes("zebra"), 0o755),
            ("usr/lib/frr/bgpd", bytes("bgpd"), 0o4755),
            ("usr/lib/frr/bfdd", bytes("bfdd"), 0o755),
            ("usr/lib/frr/bgpd.so", bytes("so"), 0o644),
            ("usr/share/yang", Kind::Directory, 0o755),
            ("usr/share/yang/a.yang", bytes("a"), 0o644),
            ("usr/share/yang/deep/b.yang", bytes("b"), 0o644),
            ("lib/old-place", bytes("old"), 0o644),
            ("usr/bin/name-1", bytes("shared"), 0o755),
            ("usr/bin/name-2", Kind::Hardlink("usr/bin/name-1".to_owned()), 0o755),
            ("usr/bin/name-3", Kind::Hardlink("usr/bin/name-1".to_owned()), 0o755),
            ("usr/bin/link", link("../lib/frr/zebra"), 0o777),
            ("usr/bin/absolute", link("/usr/lib/frr/bfdd"), 0o777),
        ],
    )
}

fn taken(patterns: &[&str]) -> Result<(Tree, Vec<String>), TakeError> {
    let mut tree = base::skeleton();
    let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    let paths = take(&mut tree, &frr(), &patterns, "profile router")?;
    Ok((tree, paths))
}

#[test]
fn patterns_mean_what_they_say() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["usr/lib/frr/{zebra,bgpd}"], &["usr/lib/frr/bgpd", "usr/lib/frr/zebra"]),
        (&["/usr/lib/frr/b*d"], &["usr/lib/frr/bfdd", "usr/lib/frr/bgpd"]),
        (&["usr/share/yang"], &["usr/share/yang", "usr/share/yang/a.yang", "usr/share/yang/deep/b.yang"]),
        (&["usr/share/*/*.yang"], &["usr/share/yang/a.yang"]),
        (&["usr/share/**/*.yang"], &["usr/share/yang/a.yang", "usr/share/yang/deep/b.yang"]),
        (&["lib/old-place"], &["usr/lib/old-place"]),
        (&["usr/lib/frr/bgpd", "usr/lib/frr/bg?d"], &["usr/lib/frr/bgpd"]),
    ];
    for (patterns, wanted) in cases {
        assert_eq!(taken(patterns).unwrap().1, wanted, "{patterns:?}");
    }
}

#[test]
fn owners_and_modes_come_along_and_parents_too() {
    let (tree, _) = taken(&["usr/lib/frr/bgpd"]).unwrap();
    assert_eq!(tree.nodes["usr/lib/frr/bgpd"].mode, 0o4755);
    assert_eq!(tree.nodes["usr/lib/frr"].mode, 0o750);
    assert_eq!(&*tree.nodes["usr/lib/frr/bgpd"].origin, "package frr 1.0-1, profile router");
    let (tree, _) = taken(&["usr/share/yang/deep/b.yang"]).unwrap();
    assert!(matches!(tree.nodes["usr/share/yang/deep"].kind, Kind::Directory));
}

#[test]
fn a_pattern_that_means_nothing_is_an_error_with_a_suggestion() {
    for (pattern, hint) in [
        ("usr/lib/frr/bgdp", "usr/lib/frr/bgpd"),
        ("usr/sbin/zebra", "usr/lib/frr/zebra"),
        ("usr/share/yangs", "usr/share/yang"),
    ] {
        let error = taken(&[pattern]).map(|(_, paths)| paths).expect_err(pattern).to_string();
        assert!(error.contains(pattern) && error.contains(&format!("did you mean {hint:?}")), "{error}");
    }
    assert!(matches!(taken(&["usr/{lib"]), Err(TakeError::Pattern { .. })));
}

#[test]
fn hard_links_stay_together_even_when_the_first_name_stays_behind() {
    let (tree, _) = taken(&["usr/bin/name-*"]).unwrap();
    assert!(matches!(tree.nodes["usr/bin/name-1"].kind, Kind::File(_)));
    assert!(matches!(&tree.nodes["usr/bin/name-3"].kind, Kind::Hardlink(first) if first == "usr/bin/name-1"));
    let (tree, paths) = taken(&["usr/bin/name-{2,3}"]).unwrap();
    assert_eq!(paths, ["usr/bin/name-2", "usr/bin/name-3"]);
    let Kind::File(content) = &tree.nodes["usr/bin/name-2"].kind else { panic!("no content") };
    assert_eq!(content.to_bytes().unwrap()[..], b"shared"[..]);
    assert!(matches!(&tree.nodes["usr/bin/name-3"].kind, Kind::Hardlink(first) if first == "usr/bin/name-2"));
}

#[test]
fn symbolic_links_bring_what_they_lead_to() {
    assert_eq!(taken(&["usr/bin/link"]).unwrap().1, ["usr/bin/link", "usr/lib/frr/zebra"]);
    let (tree, _) = taken(&["usr/bin/absolute"]).unwrap();
    assert_eq!(tree.resolve("usr/bin/absolute").as_deref(), Some("usr/lib/frr/bfdd"));
    assert!(dangling(&tree).is_empty(), "{:?}", dangling(&tree));
    let mut tree = base::skeleton();
    tree.insert("etc/lost", microdc::tree::Node::of(link("nowhere"), 0o777, "test")).unwrap();
    assert_eq!(dangling(&tree), [("etc/lost".to_owned(), "nowhere".to_owned())]);
}

#[test]
fn one_path_with_two_contents_names_both_sides() {
    let mut tree = base::skeleton();
    let one = |text: &str| made(text, vec![("etc/motd", bytes(text), 0o644)]);
    take(&mut tree, &one("first"), &["etc/motd".to_owned()], "part a").unwrap();
    take(&mut tree, &one("first"), &["etc/motd".to_owned()], "part b").unwrap();
    let error = take(&mut tree, &one("second"), &["etc/motd".to_owned()], "part c").unwrap_err().to_string();
    assert!(
        error.contains("/etc/motd") && error.contains("package first") && error.contains("package second"),
        "{error}"
    );
}

/// Packages by name, with what they depend on.
#[derive(Default)]
struct Archive {
    packages: BTreeMap<&'static str, (Arc<Package>, Vec<&'static str>)>,
    asked: Vec<(String, String)>,
}

impl Archive {
    fn with(mut self, package: Package, depends: &[&'static str]) -> Archive {
        let name = String::leak(package.name.clone());
        self.packages.insert(name, (Arc::new(package), depends.to_vec()));
        self
    }
}

impl Libraries for Archive {
    fn provider(&mut self, needed_by: &str, soname: &str) -> anyhow::Result<Option<(Arc<Package>, String)>> {
        self.asked.push((needed_by.to_owned(), soname.to_owned()));
        let Some((_, depends)) = self.packages.get(needed_by) else { return Ok(None) };
        let found = depends.iter().find_map(|name| {
            let (package, _) = self.packages.get(name)?;
            let path = package.entries.keys().find(|path| path.rsplit('/').next() == Some(soname))?;
            Some((package.clone(), path.clone()))
        });
        Ok(found)
    }
}

const LOADER: &str = "/lib/ld-linux-aarch64.so.1";
const MULTIARCH: &str = "usr/lib/aarch64-linux-gnu";

fn program(libraries: &[&str], run_path: Option<&str>) -> Kind {
    content(Elf { interpreter: Some(LOADER), libraries, run_path, ..Elf::default() }.bytes())
}

fn library(libraries: &[&str]) -> Kind {
    content(Elf { libraries, ..Elf::default() }.bytes())
}

fn libc() -> Package {
    let at = |name: &str| format!("{MULTIARCH}/{name}");
    let entries = [
        (at("libc.so.6"), entry(library(&["ld-linux-aarch64.so.1"]), 0o755)),
        (at("ld-linux-aarch64.so.1"), entry(library(&[]), 0o755)),
        ("usr/lib/ld-linux-aarch64.so.1".to_owned(), entry(link("aarch64-linux-gnu/ld-linux-aarch64.so.1"), 0o777)),
    ];
    package("libc6", entries)
}

fn closed(daemon: Kind, mut archive: Archive) -> (Result<usize, ElfError>, Tree, Vec<(String, String)>) {
    let package = made("daemon", vec![("usr/sbin/daemon", daemon, 0o755)]);
    let mut tree = base::skeleton();
    take(&mut tree, &package, &["usr/sbin/daemon".to_owned()], "profile").unwrap();
    let brought = close(&mut tree, &mut archive, &BTreeSet::new());
    (brought, tree, archive.asked)
}

fn daemon_package(depends: &[&'static str]) -> Archive {
    Archive::default().with(made("daemon", Vec::new()), depends)
}

#[test]
fn a_program_brings_its_loader_its_libraries_and_theirs() {
    let json = made(
        "libjson",
        vec![
            ("usr/lib/aarch64-linux-gnu/libjson.so.5", link("libjson.so.5.3"), 0o777),
            ("usr/lib/aarch64-linux-gnu/libjson.so.5.3", library(&["libc.so.6", "libm.so.6"]), 0o644),
        ],
    );
    let math = made("libm", vec![("lib/aarch64-linux-gnu/libm.so.6", library(&["libc.so.6"]), 0o644)]);
    let archive =
        daemon_package(&["libjson", "libc6"]).with(libc(), &[]).with(json, &["libm", "libc6"]).with(math, &["libc6"]);
    let (brought, tree, _) = closed(program(&["libjson.so.5", "libc.so.6"], None), archive);
    assert_eq!(brought.unwrap(), 6);
    for name in ["libjson.so.5", "libjson.so.5.3", "libm.so.6", "libc.so.6", "ld-linux-aarch64.so.1"] {
        assert!(tree.nodes.contains_key(&format!("{MULTIARCH}/{name}")), "{name}");
    }
    assert_eq!(tree.resolve(LOADER), Some(format!("{MULTIARCH}/ld-linux-aarch64.so.1")));
    let origin = &tree.nodes[&format!("{MULTIARCH}/libm.so.6")].origin;
    assert_eq!(&**origin, "package libm 1.0-1, needed by /usr/lib/aarch64-linux-gnu/libjson.so.5.3 as libm.so.6");
    assert!(dangling(&tree).is_empty());
}

#[test]
fn a_static_program_and_a_script_need_nothing() {
    for kind in [
        content(Elf::default().bytes()),
        content(Elf { dynamic: false, ..Elf::default() }.bytes()),
        bytes("#!/bin/x"),
    ] {
        let (brought, _, asked) = closed(kind, Archive::default());
        assert_eq!((brought.unwrap(), asked.len()), (0, 0));
    }
}

#[test]
fn a_run_path_and_its_origin_are_followed() {
    for (run_path, place) in [("/usr/lib/daemon", "usr/lib/daemon"), ("$ORIGIN/../lib/private", "usr/lib/private")] {
        let path = format!("{place}/libown.so");
        let own = package("own", [(path.clone(), entry(library(&[]), 0o644))]);
        let archive = daemon_package(&["own", "libc6"]).with(own, &[]).with(libc(), &[]);
        let (brought, tree, _) = closed(program(&["libown.so"], Some(run_path)), archive);
        brought.unwrap();
        assert!(tree.nodes.contains_key(&path), "{run_path}");
    }
}

#[test]
fn a_library_where_the_loader_does_not_look_is_an_error() {
    let own = made("own", vec![("opt/libown.so", library(&[]), 0o644)]);
    let archive = daemon_package(&["own", "libc6"]).with(own, &[]).with(libc(), &[]);
    let error = closed(program(&["libown.so"], None), archive).0.unwrap_err().to_string();
    for part in ["/usr/sbin/daemon", "libown.so", "/opt/libown.so", "/usr/lib/aarch64-linux-gnu"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_missing_library_is_named_with_who_needs_it() {
    let archive = daemon_package(&["libc6"]).with(libc(), &[]);
    let error = closed(program(&["libgone.so.1"], None), archive).0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "/usr/sbin/daemon (package daemon 1.0-1, profile) needs libgone.so.1, which is neither in the image nor in what daemon depends on; take the library from a package that has it, or take less, so that /usr/sbin/daemon stays out, or, if it runs without, name it in `missing_libraries`"
    );
}

/// Closes a tree of these files, with everything of libc.
fn closed_tree(files: &[(&str, Elf<'_>)], accepted: &[&str]) -> Result<Tree, String> {
    let mut tree = base::skeleton();
    let files: Vec<_> = files.iter().map(|(path, elf)| (*path, content(elf.bytes()), 0o755)).collect();
    let paths: Vec<String> = files.iter().map(|(path, ..)| (*path).to_owned()).collect();
    take(&mut tree, &made("samba", files), &paths, "profile").unwrap();
    let mut archive = Archive::default().with(made("samba", Vec::new()), &["libc6"]).with(libc(), &[]);
    let accepted = accepted.iter().map(|name| (*name).to_owned()).collect();
    close(&mut tree, &mut archive, &accepted).map_err(|error| error.to_string())?;
    Ok(tree)
}

const PRIVATE: &str = "/usr/lib/private";

#[test]
fn what_a_program_has_loaded_by_name_is_not_looked_for_again() {
    let daemon = Elf { interpreter: Some(LOADER), run_path: Some(PRIVATE), ..Elf::default() };
    let a = ("usr/lib/private/liba.so", Elf { libraries: &["libb.so"], ..Elf::default() });
    let b = ("usr/lib/private/libb.so", Elf::default());
    // liba.so has no path of its own: libb.so is there when the program names it too.
    let both = ("usr/sbin/smbd", Elf { libraries: &["liba.so", "libb.so"], ..daemon });
    closed_tree(&[both, a, b], &[]).unwrap();
    let one = ("usr/sbin/smbd", Elf { libraries: &["liba.so"], ..daemon });
    let error = closed_tree(&[one, a, b], &[]).unwrap_err();
    assert!(error.starts_with("/usr/lib/private/liba.so (package samba 1.0-1, profile) needs libb.so,"), "{error}");
    closed_tree(&[one, a, b], &["libb.so"]).unwrap();
    // A library under another file name is known by its soname.
    let renamed = ("usr/lib/private/b.so", Elf { soname: Some("libb.so"), ..Elf::default() });
    let first = ("usr/sbin/smbd", Elf { libraries: &["b.so", "liba.so"], ..daemon });
    closed_tree(&[first, a, renamed], &[]).unwrap();
}

#[test]
fn the_older_run_path_passes_to_what_an_object_leads_to_and_the_newer_does_not() {
    let a = ("usr/lib/private/liba.so", Elf { libraries: &["libb.so"], ..Elf::default() });
    let b = ("usr/lib/private/libb.so", Elf::default());
    let daemon = Elf { interpreter: Some(LOADER), libraries: &["liba.so"], ..Elf::default() };
    closed_tree(&[("usr/sbin/d", Elf { r_path: Some(PRIVATE), ..daemon }), a, b], &[]).unwrap();
    closed_tree(&[("usr/sbin/d", Elf { run_path: Some(PRIVATE), ..daemon }), a, b], &[]).unwrap_err();
    // An object with a newer one of its own has nothing of the older ones.
    let own = ("usr/lib/private/liba.so", Elf { run_path: Some("/opt"), ..a.1 });
    closed_tree(&[("usr/sbin/d", Elf { r_path: Some(PRIVATE), ..daemon }), own, b], &[]).unwrap_err();
}

#[test]
fn a_plug_in_finds_what_its_program_has_loaded() {
    let plug_in = ("usr/lib/jvm/lib/libattach.so", Elf { libraries: &["libjvm.so"], ..Elf::default() });
    let machine = ("usr/lib/jvm/lib/server/libjvm.so", Elf::default());
    closed_tree(&[plug_in, machine], &[]).unwrap();
    let error = closed_tree(&[plug_in], &[]).unwrap_err();
    assert!(error.contains("libattach.so") && error.contains("libjvm.so"), "{error}");
}

#[test]
fn a_program_for_another_machine_is_refused() {
    for (machine, big) in [(62, false), (183, true)] {
        let kind = content(Elf { machine, big_endian: big, ..Elf::default() }.bytes());
        let error = closed(kind, Archive::default()).0.unwrap_err();
        assert!(matches!(error, ElfError::Foreign { .. }), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_damage_makes_the_elf_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        kernel: bool,
    ) {
        let mut bytes = match kernel {
            true => module(&["depends=a,b", "softdep=pre: c post: d"]),
            false => Elf { interpreter: Some(LOADER), libraries: &["libc.so.6"], run_path: Some("/x"), ..Elf::default() }.bytes(),
        };
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if value_of(&bytes).is_multiple_of(3) {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = module_needs(&bytes);
        let _ = needs(&bytes.into());
    }
}

fn value_of(bytes: &[u8]) -> u32 {
    bytes.iter().map(|&byte| u32::from(byte)).sum()
}

fn kernel_package() -> Package {
    let at = |name: &str| format!("usr/lib/modules/6.12/kernel/{name}");
    let plain = |fields: &[&str]| content(module(fields));
    let packed = |fields: &[&str]| {
        let mut out = Vec::new();
        let plain = module(fields);
        let mut packer = liblzma::read::XzEncoder::new(&plain[..], 6);
        std::io::Read::read_to_end(&mut packer, &mut out).unwrap();
        content(out)
    };
    let entries: Vec<(String, Entry)> = vec![
        (at("drivers/nvme/nvme.ko.xz"), entry(packed(&["license=GPL", "depends=nvme-core"]), 0o644)),
        (at("drivers/nvme/nvme-core.ko.xz"), entry(packed(&["depends=nvme-auth,nvme_keyring"]), 0o644)),
        (at("drivers/nvme/nvme-auth.ko.xz"), entry(packed(&["depends="]), 0o644)),
        (at("drivers/nvme/nvme-keyring.ko"), entry(plain(&["depends="]), 0o644)),
        (
            at("drivers/net/genet.ko.xz"),
            entry(packed(&["depends=", "softdep=pre: mdio-bcm-unimac crc32c post: gone"]), 0o644),
        ),
        (at("drivers/net/mdio-bcm-unimac.ko.xz"), entry(packed(&["depends=built-in"]), 0o644)),
        (at("loop/one.ko.xz"), entry(packed(&["depends=two"]), 0o644)),
        (at("loop/two.ko.xz"), entry(packed(&["depends=one"]), 0o644)),
        (at("loop/broken.ko.xz"), entry(bytes("no xz"), 0o644)),
        (
            "usr/lib/modules/6.12/modules.builtin".to_owned(),
            entry(bytes("kernel/lib/built-in.ko\nkernel/fs/ext2.ko\n"), 0o644),
        ),
    ];
    package("linux-image-6.12", entries)
}

fn order(wanted: &[&str]) -> Result<Vec<String>, ModuleError> {
    let package = kernel_package();
    let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
    let modules = Modules::find(&package, "6.12")?.in_order(&wanted)?;
    Ok(modules.into_iter().map(|module| module.name).collect())
}

#[test]
fn modules_come_after_what_they_need_and_once() {
    assert_eq!(order(&["nvme"]).unwrap(), ["nvme_auth", "nvme_keyring", "nvme_core", "nvme"]);
    assert_eq!(order(&["nvme-keyring", "nvme", "nvme"]).unwrap(), ["nvme_keyring", "nvme_auth", "nvme_core", "nvme"]);
    assert_eq!(order(&["genet"]).unwrap(), ["mdio_bcm_unimac", "genet"]);
    assert!(order(&["ext2", "built_in"]).unwrap().is_empty());
}

#[test]
fn unknown_circular_and_damaged_modules_are_errors() {
    let error = order(&["nvme_cor"]).unwrap_err().to_string();
    assert!(error.contains("no module \"nvme_cor\"; did you mean \"nvme_core\"?"), "{error}");
    assert!(order(&["one"]).unwrap_err().to_string().contains("one → two → one"));
    assert!(matches!(order(&["broken"]), Err(ModuleError::Read { .. })));
    assert!(matches!(Modules::find(&frr(), "6.12"), Err(ModuleError::None { .. })));
}

fn user(name: &str, uid: u32, gid: u32, groups: &[&str]) -> User {
    let groups = groups.iter().map(|&group| group.to_owned()).collect();
    User { name: name.to_owned(), uid, gid, groups, home: "/nonexistent".to_owned(), shell: NO_LOGIN.to_owned() }
}

#[test]
fn accounts_are_written_as_debian_writes_them() {
    let mut accounts = Accounts::default();
    accounts.add_group("frr", 300).unwrap();
    accounts.add_group("frrvty", 301).unwrap();
    accounts.add_user(user("frr", 300, 300, &["frrvty"])).unwrap();
    let operator = User { shell: "/usr/bin/nodectl".to_owned(), ..user("operator", 1000, 100, &["adm", "frrvty"]) };
    accounts.add_user(operator).unwrap();
    let mut tree = base::skeleton();
    accounts.insert(&mut tree, "users").unwrap();
    let text = |path: &str| {
        let Kind::File(content) = &tree.nodes[path].kind else { panic!("{path}") };
        String::from_utf8(content.to_bytes().unwrap().to_vec()).unwrap()
    };
    assert!(text("etc/passwd").starts_with("root:x:0:0:root:/root:/usr/sbin/nologin\n"));
    assert!(text("etc/passwd").contains("\nfrr:x:300:300::/nonexistent:/usr/sbin/nologin\n"));
    assert!(text("etc/group").contains("\nfrrvty:x:301:frr,operator\n"));
    assert!(text("etc/group").ends_with("\nnogroup:x:65534:\n"));
    assert!(text("etc/shadow").contains("\nfrr:!*:::::::\noperator:*:::::::\n"));
    let shadow = &tree.nodes["etc/shadow"];
    assert_eq!((shadow.mode, shadow.owner.gid), (0o640, 42));
    assert_eq!(accounts.user("frr").unwrap().uid, 300);
}

#[test]
fn accounts_that_contradict_each_other_are_refused() {
    let mut accounts = Accounts::default();
    accounts.add_group("frr", 300).unwrap();
    let failures = [
        accounts.clone().add_group("frr", 302),
        accounts.clone().add_group("other", 300),
        accounts.clone().add_group("Bad Name", 302),
        accounts.clone().add_user(user("frr", 300, 999, &[])),
        accounts.clone().add_user(user("frr", 300, 300, &["nowhere"])),
        accounts.clone().add_user(user("other", 0, 300, &[])),
        accounts.clone().add_user(user("nobody", 300, 300, &[])),
        accounts.clone().add_user(user("x:y", 300, 300, &[])),
        accounts.clone().add_user(User { home: "a:b".to_owned(), ..user("frr", 300, 300, &[]) }),
    ];
    for failure in failures {
        assert!(
            matches!(
                failure,
                Err(AccountError::Twice { .. }
                    | AccountError::Number { .. }
                    | AccountError::Name { .. }
                    | AccountError::NoGroup { .. }
                    | AccountError::Field { .. })
            ),
            "{failure:?}"
        );
    }
}
