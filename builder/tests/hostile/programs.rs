//! Programs that packages bring.

use super::{Case, check_all};
use microdc::tree::{Kind, Libraries, Node, Package, Tree, elf};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

/// No one has any library.
struct NoLibraries;

impl Libraries for NoLibraries {
    fn provider(&mut self, _: &str, _: &str) -> anyhow::Result<Option<(Arc<Package>, String)>> {
        Ok(None)
    }
}

#[test]
fn programs() {
    let real = fs::read("/proc/self/exe").unwrap();
    let close = |path: &str, bytes: Vec<u8>| {
        let mut tree = Tree::default();
        tree.nodes.insert(path.to_owned(), Node::of(Kind::File(bytes.into()), 0o755, "package demo"));
        match elf::close(&mut tree, &mut NoLibraries, &BTreeSet::new()) {
            Ok(_) => "it was taken".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    let mut other_machine = real[..4096.min(real.len())].to_vec();
    other_machine[18] = 0xb7;
    let mut cut = real[..100].to_vec();
    cut[18] = 0xb7;
    let mut offsets = real[..64].to_vec();
    offsets[18] = 0xb7;
    offsets[32..40].fill(0xff);
    let cases: Vec<Case> = vec![
        ("a program of this machine", close("usr/bin/x86", real.clone()), "usr/bin/x86"),
        ("a program cut off", close("usr/bin/cut", cut), "usr/bin/cut"),
        ("tables that are not there", close("usr/bin/short", other_machine), "usr/bin/short"),
        ("tables behind the end of everything", close("usr/bin/far", offsets), "usr/bin/far"),
    ];
    check_all("program", cases, 4);
}
