//! Debian's own archive, through the mirror that this machine's apt uses.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::end_to_end::machine_mirror;
use microdc::cache::Cache;
use microdc::lock::Lock;
use microdc::resolve::{LockMode, Options, Places, Request, Resolver, Wanted, client};
use microdc::source::Quiet;
use microdc::source::keyring::Keyring;
use microdc::source::mirror::Mirror;
use microdc::source::unpacked::Unpacked;
use microdc::tree::{Entry, Kind};

/// What `tar tvf` says of a package, reduced to what our index says as well.
fn listed_by_tar(deb: &Path) -> Vec<String> {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "dpkg-deb --fsys-tarfile '{}' | tar tvf - --numeric-owner --quoting-style=literal",
            deb.display()
        ))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (mode, owner, size) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let (_date, _time) = (words.next().unwrap(), words.next().unwrap());
        let path = words.collect::<Vec<_>>().join(" ");
        let size = if mode.starts_with('-') { size } else { "0" };
        format!("{mode} {owner} {size} {}", path.trim_start_matches("./").trim_end_matches('/')).trim_end().to_owned()
    };
    let mut lines: Vec<String> = text.lines().map(line).collect();
    lines.sort();
    lines
}

fn listed_by_us(unpacked: &Unpacked) -> Vec<String> {
    let line = |(path, entry): (&String, &Entry)| {
        let (letter, size, link) = match &entry.kind {
            Kind::Directory => ('d', 0, String::new()),
            Kind::File(content) => ('-', content.len(), String::new()),
            Kind::Symlink(target) => ('l', 0, format!(" -> {target}")),
            Kind::Hardlink(target) => ('h', 0, format!(" link to ./{target}")),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {
                panic!("{path}: unexpected in this test")
            }
        };
        let bit = |bit: u32, letter: char| if entry.mode & bit != 0 { letter } else { '-' };
        let execute = |bit: u32, special: u32, low: char, high: char| match (
            entry.mode & bit != 0,
            entry.mode & special != 0,
        ) {
            (true, true) => low,
            (false, true) => high,
            (true, false) => 'x',
            (false, false) => '-',
        };
        let mode: String = [
            letter,
            bit(0o400, 'r'),
            bit(0o200, 'w'),
            execute(0o100, 0o4000, 's', 'S'),
            bit(0o040, 'r'),
            bit(0o020, 'w'),
            execute(0o010, 0o2000, 's', 'S'),
            bit(0o004, 'r'),
            bit(0o002, 'w'),
            execute(0o001, 0o1000, 't', 'T'),
        ]
        .iter()
        .collect();
        format!("{mode} {}/{} {size} {path}{link}", entry.owner.uid, entry.owner.gid).trim_end().to_owned()
    };
    let mut lines: Vec<String> = unpacked.package.entries.iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn packages_of_debian_are_resolved_unpacked_and_listed_as_dpkg_does() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let mirror = machine_mirror();
    let keyring = Keyring::debian().unwrap();
    let places = Places { cache: &cache, mirror: &mirror, keyring: &keyring, progress: &Quiet };
    let options = Options::usual();
    let client = client(&options, &microdc::source::trust::Trust::default(), Arc::new(AtomicBool::new(false)));
    let names = ["frr", "util-linux", "mawk", "base-files", "iputils-ping", "libc6"];
    let request = Request::of(names.iter().map(|name| Wanted::named(name)).collect());

    let started = Instant::now();
    let resolver = Resolver::new(&request, None, &options, places, &client);
    let packages = resolver.require_all(&names).unwrap();
    println!("resolved, fetched and unpacked in {:?}", started.elapsed());
    let lock = resolver.lock();
    for unpacked in &packages {
        let package = &unpacked.package;
        let locked = &lock.packages[&package.name];
        let deb = cache.blob(locked.sha256, locked.size).unwrap();
        assert_eq!(listed_by_us(unpacked), listed_by_tar(&deb), "{}", package.name);
        unpacked.verify_all().unwrap();
        let output = Command::new("dpkg-deb").arg("-f").arg(&deb).args(["Package", "Version"]).output().unwrap();
        let fields = format!("Package: {}\nVersion: {}\n", package.name, package.version);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), fields);
    }
    assert_eq!(resolver.candidates("frr", "libyang.so.3").unwrap()[0], "libyang3");
    assert_eq!(resolver.candidates("frr", "libc.so.6").unwrap()[0], "libc6");
    assert_eq!(resolver.candidates("frr", "libjson-c.so.5").unwrap()[0], "libjson-c5");
    let awk = resolver.require("awk").unwrap();
    assert_eq!(awk.package.name, "mawk", "the profile names mawk, which provides awk");

    // With that lock and the full cache, no network is needed.
    let lock = resolver.lock();
    let nowhere = Mirror::told("http://127.0.0.1:1/debian", None).unwrap();
    let lock = Lock::parse(&lock.to_text(), Path::new("test.lock")).unwrap();
    let options = Options { mode: LockMode::Locked, offline: true, ..options };
    let started = Instant::now();
    let again = Resolver::new(&request, Some(&lock), &options, Places { mirror: &nowhere, ..places }, &client);
    again.prefetch().unwrap();
    for (name, package) in names.iter().zip(&packages) {
        assert_eq!(listed_by_us(&again.require(name).unwrap()), listed_by_us(package));
    }
    assert_eq!(again.require("awk").unwrap().package.name, "mawk");
    println!("opened from the cache in {:?}", started.elapsed());
    assert_eq!(again.lock(), lock);
}
