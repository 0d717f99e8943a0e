//! Every parser of untrusted bytes that the builder has: bytes from a mirror, a package, a disk, or an operator's file.
//! Each must neither panic nor use unbounded memory, whatever it is given; its result is ignored here. The fuzz targets
//! in `builder/fuzz` have the same names, one for each; ordinary tests try them all with random bytes.

use crate::audit::subjects::Subjects;
use crate::audit::tracker;
use crate::boot::kconfig::{KernelConfig, WantedOption};
use crate::boot::{eeprom, firmware, modules};
use crate::flash::bmap::Bmap;
use crate::flash::old_table;
use crate::format::fat_read;
use crate::inventory::{Inventory, licences};
use crate::lock::Lock;
use crate::profile::schema::ProfileFile;
use crate::sbom::{crates, dep5, go, licence};
use crate::scripts;
use crate::serve;
use crate::source::keyring::Keyring;
use crate::source::packages::{self, PackageList};
use crate::source::release::{Expect, Release};
use crate::source::signer::Signer;
use crate::source::unpacked::Index;
use crate::source::{ar, checksums, depends, tarball};
use crate::tree::rules::Rules;
use crate::tree::{Accounts, Content, Package, SourcePackage, elf};
use contract::hash::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

/// A parser, and what it reads.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// As the fuzz target is called.
    pub name: &'static str,
    /// Whose bytes they are.
    pub reads: &'static str,
    pub run: fn(&[u8]),
}

/// All of them.
pub const PARSERS: &[Parser] = &[
    Parser { name: "ar", reads: "the outer archive of a package", run: outer_archive },
    Parser { name: "bill", reads: "a bill of materials", run: bill_of_materials },
    Parser { name: "bmap", reads: "the map of an image's blocks", run: map_of_an_image },
    Parser { name: "certificate", reads: "a certificate of a keyring", run: certificate },
    Parser { name: "checksums", reads: "a list of checksums beside a release file", run: checksums_of_a_release },
    Parser { name: "command_line", reads: "cmdline.txt of a boot partition", run: command_line },
    Parser { name: "copyright", reads: "the copyright file of a package", run: copyright_file },
    Parser { name: "crates", reads: "what a Rust program says it is made of", run: crates_of_a_program },
    Parser { name: "elf", reads: "a program or library of a package", run: program },
    Parser { name: "fat", reads: "a FAT volume of an image", run: fat },
    Parser { name: "firmware", reads: "the firmware's own date", run: firmware_date },
    Parser { name: "go_buildinfo", reads: "what a Go program says it is made of", run: go_program },
    Parser { name: "in_release", reads: "a suite's signed index", run: in_release },
    Parser { name: "inventory", reads: "what an image says it is made of", run: inventory_of_an_image },
    Parser { name: "kernel_config", reads: "the config of a kernel's package", run: kernel_config },
    Parser { name: "licences", reads: "an image's archive of licences", run: licences_of_an_image },
    Parser { name: "lock", reads: "a lock", run: lock },
    Parser { name: "module", reads: "a kernel module", run: module },
    Parser { name: "old_table", reads: "the partition table of a disk to flash", run: table_of_a_disk },
    Parser { name: "overlay_toml", reads: "an overlay's owners and modes", run: overlay_toml },
    Parser { name: "package_index", reads: "what the cache knows of an unpacked package", run: package_index },
    Parser { name: "packages", reads: "a suite's list of packages", run: list_of_packages },
    Parser { name: "profile", reads: "a profile", run: profile },
    Parser { name: "relations", reads: "what a package depends on", run: relations },
    Parser { name: "release", reads: "a suite's index whose signature holds", run: release },
    Parser { name: "script", reads: "a maintainer script of a package", run: maintainer_script },
    Parser { name: "serve_request", reads: "what a client asks of the server of bundles", run: serve_request },
    Parser {
        name: "signature",
        reads: "the signature of a release file, and the key of who made it",
        run: signature,
    },
    Parser { name: "tracker", reads: "the data of Debian's security tracker", run: security_tracker },
    Parser { name: "tar", reads: "the file tree of a package", run: tar },
];

/// Runs the parser called `name`; nothing happens when there is none.
pub fn run(name: &str, bytes: &[u8]) {
    if let Some(parser) = PARSERS.iter().find(|parser| parser.name == name) {
        (parser.run)(bytes);
    }
}

/// Bytes that a tar may unpack to here.
const LARGEST_TAR: u64 = 1 << 20;
const EXPECT: Expect<'_> = Expect { suite: "trixie", url: "http://a/b", now: 1_795_248_000, accept_expired: false };

fn bill_of_materials(bytes: &[u8]) {
    let _ = Subjects::of_bill(bytes);
}

fn security_tracker(bytes: &[u8]) {
    let _ = tracker::read(bytes, &|_| true, &mut |_, id, _| assert!(tracker::is_id(id)));
}

fn map_of_an_image(bytes: &[u8]) {
    let _ = Bmap::parse(&text(bytes));
}

fn table_of_a_disk(bytes: &[u8]) {
    let size = bytes.len() as u64;
    let old = old_table::read(size, &mut |at, buffer| {
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(rest.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    });
    assert!(old.unwrap_or_default().iter().all(|old| old.extent.end() <= size), "they lie on the disk");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn copyright_file(bytes: &[u8]) {
    for expression in dep5::parse(&text(bytes)).unwrap_or_default().expressions {
        assert!(!licence::expression(&expression).is_empty());
    }
}

fn crates_of_a_program(bytes: &[u8]) {
    let _ = crates::parse(bytes);
}

fn go_program(bytes: &[u8]) {
    let _ = go::parse(bytes);
}

fn inventory_of_an_image(bytes: &[u8]) {
    let _ = Inventory::parse(bytes);
}

fn licences_of_an_image(bytes: &[u8]) {
    let _ = licences::read(bytes);
}

fn outer_archive(bytes: &[u8]) {
    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(bytes).is_err() {
        return;
    }
    for member in ar::members(&file, bytes.len() as u64).unwrap_or_default() {
        assert!(member.offset.checked_add(member.size).is_some_and(|end| end <= bytes.len() as u64));
    }
}

/// A minisign key of no one.
const MINISIGN: &str = "untrusted comment: -\nRWQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";

fn signature(bytes: &[u8]) {
    let _ = Signer::parse(bytes);
    static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
        Keyring::debian().map(Signer::OpenPgp).into_iter().chain(Signer::parse(MINISIGN.as_bytes())).collect()
    });
    for signer in SIGNERS.iter() {
        let _ = signer.check(bytes, || Ok(&b"content"[..]), EXPECT.now);
    }
}

fn checksums_of_a_release(bytes: &[u8]) {
    let name = text(bytes).split_whitespace().nth(1).unwrap_or("k3s-arm64").to_owned();
    let _ = checksums::find(bytes, &name);
}

fn kernel_config(bytes: &[u8]) {
    let text = text(bytes);
    let config = KernelConfig::parse(&text);
    for wanted in text.lines().take(8).filter_map(|line| line.parse::<WantedOption>().ok()) {
        let _ = config.lacks(&wanted);
    }
}

fn relations(bytes: &[u8]) {
    let all = depends::parse(&text(bytes));
    assert!(all.iter().flatten().all(|name| depends::is_package_name(name)));
}

fn serve_request(bytes: &[u8]) {
    for length in [0, 1, 1000] {
        if let Some((first, end)) = serve::part_of(bytes, length, "\"tag\"") {
            assert!(first <= end && end <= length, "no byte outside of the file");
        }
    }
}

fn certificate(bytes: &[u8]) {
    let _ = Keyring::new(&[("00", &text(bytes))]);
}

fn command_line(bytes: &[u8]) {
    let _ = eeprom::check_cmdline(bytes);
    let _ = eeprom::check_autoboot(bytes);
}

fn program(bytes: &[u8]) {
    let _ = elf::needs(&Content::from(bytes.to_vec()));
}

fn fat(bytes: &[u8]) {
    let Ok(reader) = fat_read::Reader::open(bytes) else { return };
    for path in reader.list().unwrap_or_default().keys().take(8) {
        let _ = reader.read(path);
    }
}

fn firmware_date(bytes: &[u8]) {
    let _ = firmware::check_date(bytes);
}

fn in_release(bytes: &[u8]) {
    static KEYRING: LazyLock<Option<Keyring>> = LazyLock::new(|| Keyring::debian().ok());
    if let Some(keyring) = &*KEYRING {
        let _ = Release::believe(bytes, keyring, EXPECT);
    }
}

fn lock(bytes: &[u8]) {
    let path = Path::new("fuzzed.lock");
    if let Ok(lock) = Lock::parse(&text(bytes), path) {
        assert_eq!(Lock::parse(&lock.to_text(), path).ok().as_ref(), Some(&lock), "it comes back as it was written");
    }
}

fn module(bytes: &[u8]) {
    let _ = modules::needs(bytes);
}

fn overlay_toml(bytes: &[u8]) {
    let _ = Rules::parse(Path::new("overlay.toml"), &text(bytes), &Accounts::default());
}

/// With the right digest behind it, so that the reader is reached.
fn package_index(bytes: &[u8]) {
    let body = [b"microPKG", bytes].concat();
    let digest = Digest::of(&body);
    let _ = Index::from_bytes(&[&body[..], &digest.0].concat());
}

fn list_of_packages(bytes: &[u8]) {
    let Ok(reduced) = packages::reduce(bytes, "arm64") else { return };
    let list = PackageList::new("trixie", "main", 0, reduced);
    for name in list.names().take(8) {
        assert!(list.find(name).is_some(), "{name} is in the list");
        let _ = list.providers(name);
    }
}

fn profile(bytes: &[u8]) {
    let _ = toml::from_str::<ProfileFile>(&text(bytes));
}

fn maintainer_script(bytes: &[u8]) {
    let text = text(bytes);
    let package = Package {
        name: "p".into(),
        version: "1".into(),
        source: SourcePackage::of("", "p", "1"),
        entries: BTreeMap::new(),
    };
    let lines = scripts::to_toml(&scripts::read_script(&text), &package);
    assert!(toml::from_str::<toml::Table>(&lines).is_ok(), "what is shown can be read: {lines}");
}

fn release(bytes: &[u8]) {
    let _ = Release::understand(&text(bytes), EXPECT);
}

fn tar(bytes: &[u8]) {
    let Ok(copy) = File::options().write(true).open("/dev/null") else { return };
    if let Ok((items, _)) = tarball::unpack(bytes, copy, LARGEST_TAR) {
        let leaves = |path: &String| path.starts_with('/') || path.split('/').any(|name| name == "..");
        assert!(!items.keys().any(leaves), "nothing leaves the tree");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Manifest of the fuzz targets, beside this crate.
    const TARGETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml");

    #[test]
    fn every_parser_of_foreign_bytes_has_its_fuzz_target() {
        let manifest = std::fs::read_to_string(TARGETS).unwrap();
        let targets: BTreeSet<&str> = manifest
            .lines()
            .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
            .collect();
        let parsers: BTreeSet<&str> = PARSERS.iter().map(|parser| parser.name).collect();
        assert_eq!(parsers.len(), PARSERS.len(), "two parsers have one name");
        assert_eq!(targets, parsers);
        for name in parsers {
            let path = Path::new(TARGETS).with_file_name(format!("fuzz_targets/{name}.rs"));
            let source = std::fs::read_to_string(&path).unwrap();
            assert!(source.contains(&format!("run({name:?}, bytes)")), "{} runs another parser", path.display());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_make_any_of_them_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            for parser in PARSERS {
                (parser.run)(&bytes);
            }
        }

        #[test]
        fn no_text_makes_any_of_them_panic(text in "[ -~\n\\[\\]{}\"=:,0-9]{0,300}") {
            for parser in PARSERS {
                (parser.run)(text.as_bytes());
            }
        }
    }
}
