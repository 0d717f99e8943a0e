//! Package files, well formed and hostile.

use std::collections::BTreeSet;
use std::fs;

use crate::source_kit::deb::{TarEntry, ar, control, deb, file, gz, locked, other, tar, tar_without_end, xz, zst};
use contract::hash::Digest;
use microdc::cache::Cache;
use microdc::lock::LockedPackage;
use microdc::source::deb::{self as package, DebError, Effort};
use microdc::source::tarball::TarError;
use microdc::source::unpacked::{Index, Item, ItemKind, Unpacked};
use microdc::tree::Kind;
use proptest::prelude::*;

/// Puts a package into an empty cache and opens it.
fn open(bytes: &[u8]) -> Result<(tempfile::TempDir, Unpacked), DebError> {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    cache.add_blob(bytes).unwrap();
    let result = package::open(&cache, &locked("demo", "1.0", bytes), Effort::default());
    assert_eq!(fs::read_dir(folder.path().join("temp")).unwrap().count(), 0, "nothing is left behind");
    if result.is_err() {
        let unpacked = fs::read_dir(folder.path().join("unpacked")).map_or(0, Iterator::count);
        assert_eq!(unpacked, 0, "nothing bad is kept");
    }
    result.map(|unpacked| (folder, unpacked))
}

fn data(entries: &[TarEntry]) -> Result<(tempfile::TempDir, Unpacked), DebError> {
    open(&deb("demo", "1.0", "", entries))
}

/// Why a package with this data is refused.
fn refused(entries: &[TarEntry]) -> String {
    data(entries).map(|_| ()).unwrap_err().to_string()
}

fn refused_file(bytes: &[u8]) -> String {
    open(bytes).map(|_| ()).unwrap_err().to_string()
}

fn good() -> Vec<TarEntry> {
    vec![
        other("./", b'5', ""),
        other("./usr/", b'5', ""),
        TarEntry { mode: 0o4755, ..file("./usr/su", b"content of su") },
        other("./usr/also", b'1', "./usr/su"),
        other("./usr/link", b'2', "../etc/x"),
        other("./null", b'3', ""),
        other("./pipe", b'6', ""),
    ]
}

#[test]
fn a_package_unpacks_to_what_its_archive_says() {
    let fields = "Pre-Depends: libc6 (>= 2)\nDepends: aa | bb:any, cc\nProvides: xx (= 1), yy\n";
    let (_folder, unpacked) = open(&deb("demo", "1.0", fields, &good())).unwrap();
    assert_eq!(unpacked.depends, [vec!["libc6"], vec!["aa", "bb"], vec!["cc"]]);
    assert_eq!(unpacked.provides, ["xx", "yy"]);
    assert_eq!(unpacked.conffiles, ["etc/demo.conf"]);
    let entries = &unpacked.package.entries;
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["", "null", "pipe", "usr", "usr/also", "usr/link", "usr/su"]);
    let su = &entries["usr/su"];
    assert_eq!((su.mode, su.uname.as_str(), su.gname.as_str()), (0o4755, "root", "root"));
    let Kind::File(content) = &su.kind else { panic!("{:?}", su.kind) };
    assert_eq!(&*content.to_bytes().unwrap(), b"content of su");
    assert!(matches!(&entries["usr/also"].kind, Kind::Hardlink(target) if target == "usr/su"));
    assert!(matches!(&entries["usr/link"].kind, Kind::Symlink(target) if target == "../etc/x"));
    assert!(matches!(entries["null"].kind, Kind::CharDevice { major: 1, minor: 2 }));
    assert!(matches!(entries["pipe"].kind, Kind::Fifo));
    unpacked.verify_all().unwrap();
}

#[test]
fn every_compression_of_debian_is_read() {
    let (control, plain) = (control("demo", "1.0", ""), tar(&good()));
    let packed = [("", plain.clone()), (".gz", gz(&plain)), (".xz", xz(&plain)), (".zst", zst(&plain))];
    for (suffix, bytes) in packed {
        let data = format!("data.tar{suffix}");
        let file = ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &gz(&control)), (&data, &bytes)]);
        let (_folder, unpacked) = open(&file).unwrap();
        assert_eq!(unpacked.package.entries.len(), 7, "{suffix}");
    }
    let file = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.lzma", b"")]);
    assert!(refused_file(&file).contains("not supported"));
}

#[test]
fn extended_attributes_and_long_paths_come_with_extended_headers() {
    let long = format!("usr/{}/name", "d".repeat(200));
    let record = |key: &str, value: &[u8]| {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let length = (1..).find(|length| format!("{length}").len() + body.len() == *length).unwrap();
        [length.to_string().as_bytes(), &body].concat()
    };
    let extended = [record("path", long.as_bytes()), record("SCHILY.xattr.security.capability", b"\x01\0\0\x02=")];
    let entries = [TarEntry { kind: b'x', ..file("./x", &extended.concat()) }, file("./short", b"ping")];
    let (_folder, unpacked) = data(&entries).unwrap();
    let entry = &unpacked.package.entries[&long];
    assert_eq!(entry.xattrs["security.capability"], b"\x01\0\0\x02=");
    unpacked.verify(&long).unwrap();
    // A line break in a value is refused, and not taken for its end.
    let broken = record("SCHILY.xattr.security.capability", b"\x01\n\x02");
    let what = refused(&[TarEntry { kind: b'x', ..file("./x", &broken) }, file("./short", b"ping")]);
    assert!(what.contains("extended header"), "{what}");
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    for path in ["../x", "./a/../../x", "/etc/passwd", "a/..", ".."] {
        assert!(refused(&[file(path, b"x")]).contains("points outside the package"), "{path}");
    }
    for path in ["./a//b", "././x", "a/./b", "a\nb"] {
        assert!(refused(&[file(path, b"x")]).contains("not a valid path"), "{path}");
    }
    let long = TarEntry { kind: b'L', ..file("././@LongLink", format!("a/{}", "n".repeat(300)).as_bytes()) };
    assert!(refused(&[long, file("x", b"")]).contains("too long"));
}

#[test]
fn two_entries_at_one_path_are_refused() {
    assert!(refused(&[file("./a", b"1"), file("a", b"2")]).contains("twice"));
}

#[test]
fn an_entry_below_a_link_or_file_is_refused() {
    let link = [other("./etc", b'2', "/etc"), file("./etc/passwd", b"root")];
    assert!(refused(&link).contains("not a directory"));
    let deep = [file("./a", b""), file("./a/b/c", b"")];
    assert!(refused(&deep).contains("not a directory"));
}

#[test]
fn a_hard_link_to_what_is_not_a_file_before_it_is_refused() {
    assert!(refused(&[other("./a", b'1', "../../etc/shadow")]).contains("points outside"));
    assert!(refused(&[other("./a", b'1', "b"), file("./b", b"")]).contains("hard link"));
    assert!(refused(&[other("./d/", b'5', ""), other("./a", b'1', "d")]).contains("hard link"));
}

#[test]
fn entries_of_kinds_that_no_package_has_are_refused() {
    for kind in *b"SDVMN8" {
        let what = refused(&[other("./a", kind, "")]);
        assert!(what.contains("/a: ") || what.contains("cannot be unpacked"), "{}: {what}", kind as char);
    }
    let with_content = TarEntry { content: b"x".to_vec(), ..other("./a", b'2', "b") };
    assert!(refused(&[with_content]).contains("but has content"));
    assert!(refused(&[other("./a", b'2', "")]).contains("target is damaged"));
}

#[test]
fn an_archive_that_grows_without_end_is_refused() {
    let zeros = vec![0; 80 << 20];
    let bytes = deb("demo", "1.0", "", &[file("./zeros", &zeros)]);
    assert!(bytes.len() < 1 << 20);
    let what = refused_file(&bytes);
    assert!(what.contains("more than 67108864 bytes"), "{what}");
}

#[test]
fn a_full_disk_is_told_as_such() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = microdc::source::tarball::unpack(&tar(&good())[..], full, 1 << 20).unwrap_err();
    let TarError::Write(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn an_archive_that_is_cut_or_longer_than_its_end_is_refused() {
    let control = xz(&control("demo", "1.0", ""));
    let with = |name: &str, data: &[u8]| {
        refused_file(&ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", &control), (name, data)]))
    };
    let plain = tar(&good());
    for (suffix, packed) in [("", plain.clone()), (".gz", gz(&plain)), (".xz", xz(&plain)), (".zst", zst(&plain))] {
        let name = format!("data.tar{suffix}");
        for cut in [1, packed.len() / 2, packed.len() - 1] {
            let what = with(&name, &packed[..cut]);
            assert!(what.contains("data.tar"), "{suffix} cut to {cut}: {what}");
        }
        let what = with(&name, &[&packed[..], b"more"].concat());
        assert!(what.contains("follows its end"), "{suffix}: {what}");
    }
    assert!(with("data.tar", &tar_without_end(&good())).contains("before its end mark"));
    assert!(with("data.tar", &[tar(&good()), tar(&good())].concat()).contains("follows its end"));
    let mut flipped = xz(&plain);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    assert!(with("data.tar.xz", &flipped).contains("cannot be unpacked"));
}

#[test]
fn a_bad_outer_archive_is_refused() {
    let whole = deb("demo", "1.0", "", &good());
    assert!(refused_file(b"").contains("not an ar archive"));
    assert!(refused_file(b"!<arch>\nshort").contains("header at byte 8"));
    assert!(refused_file(&[&whole[..], b"\n\n"].concat()).contains("header at byte"));
    assert!(refused_file(&whole[..whole.len() - 40]).contains("past the end"));
    let at = whole.windows(8).position(|bytes| bytes == b"data.tar").unwrap();
    let mut bad = whole.clone();
    bad[at + 48..at + 58].copy_from_slice(b"9999999999");
    assert!(refused_file(&bad).contains("past the end"));
    bad[at + 48..at + 58].copy_from_slice(b"-1        ");
    assert!(refused_file(&bad).contains("header"));
    bad[at..at + 8].copy_from_slice(b"../a.tar");
    assert!(refused_file(&bad).contains("header"));

    let (control, data) = (xz(&control("demo", "1.0", "")), xz(&tar(&good())));
    let two = ("debian-binary", &b"2.0\n"[..]);
    let (control, data) = (("control.tar.xz", &control[..]), ("data.tar.xz", &data[..]));
    assert!(refused_file(&ar(&[two, data, control])).contains("order"));
    assert!(refused_file(&ar(&[two, control])).contains("three members"));
    assert!(refused_file(&ar(&[two, control, data, ("more.tar", b"")])).contains("three members"));
    assert!(refused_file(&ar(&[("debian-binary", b"3.0\n"), control, data])).contains("format 2"));
    assert!(refused_file(&ar(&[("_x", &b""[..])].repeat(20))).contains("more than 16"));
    assert!(open(&ar(&[two, ("_note", b"odd"), control, data])).is_ok(), "deb(5) tells to pass over these");
}

#[test]
fn a_package_that_calls_itself_otherwise_is_refused() {
    for (name, version) in [("other", "1.0"), ("demo", "2.0")] {
        let bytes = deb(name, version, "", &good());
        assert!(refused_file(&bytes).contains("disagree"));
    }
}

#[test]
fn a_package_altered_in_the_cache_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let bytes = deb("demo", "1.0", "", &good());
    let locked = locked("demo", "1.0", &bytes);
    let (_, path) = cache.add_blob(&bytes).unwrap();
    let mut wrong = bytes.clone();
    wrong[200] ^= 1;
    fs::write(&path, wrong).unwrap();
    let error = package::open(&cache, &locked, Effort::default()).unwrap_err();
    assert!(matches!(error, DebError::Missing { .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_damaged_unpacked_package_is_unpacked_anew() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let bytes = deb("demo", "1.0", "", &good());
    let locked: LockedPackage = locked("demo", "1.0", &bytes);
    cache.add_blob(&bytes).unwrap();
    let unpacked = package::open(&cache, &locked, Effort::default()).unwrap();
    let (tar, index) = (unpacked.folder.join("data.tar"), unpacked.folder.join("index"));

    let good_index = fs::read(&index).unwrap();
    for damage in [0, good_index.len() / 2, good_index.len() - 1] {
        let mut bad = good_index.clone();
        bad[damage] ^= 1;
        fs::write(&index, bad).unwrap();
        assert!(package::cached(&cache, &locked).is_none());
        package::open(&cache, &locked, Effort::default()).unwrap().verify_all().unwrap();
    }
    // As a power cut may leave it: the name is there, the bytes are not.
    for half in [&tar, &index] {
        fs::write(half, b"").unwrap();
        assert!(package::cached(&cache, &locked).is_none());
        package::open(&cache, &locked, Effort::default()).unwrap().verify_all().unwrap();
    }
    // Altered content is not seen on opening, and is on verifying.
    let mut bad = fs::read(&tar).unwrap();
    let at = bad.windows(13).position(|bytes| bytes == b"content of su").unwrap();
    bad[at] ^= 1;
    fs::write(&tar, bad).unwrap();
    let error = package::cached(&cache, &locked).unwrap().verify("usr/su").unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("usr/su"), "{error}");
}

#[test]
fn what_a_killed_build_left_is_never_taken() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let bytes = deb("demo", "1.0", "", &good());
    let locked = locked("demo", "1.0", &bytes);
    fs::create_dir_all(folder.path().join("temp/.tmpKILLED")).unwrap();
    fs::write(folder.path().join("temp/.tmpKILLED/index"), b"half").unwrap();
    fs::create_dir_all(cache.blob_path(locked.sha256).parent().unwrap()).unwrap();
    fs::write(cache.partial_path(locked.sha256), &bytes).unwrap();
    let error = package::open(&cache, &locked, Effort::default()).unwrap_err();
    assert!(matches!(error, DebError::Missing { .. }), "{error}");
}

#[test]
fn several_builds_may_unpack_the_same_package_at_once_in_place_of_none_and_of_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let bytes = deb("demo", "1.0", "", &good());
    let locked = locked("demo", "1.0", &bytes);
    cache.add_blob(&bytes).unwrap();
    let place = package::open(&cache, &locked, Effort::default()).unwrap().folder;
    let start = std::sync::Barrier::new(8);
    for round in 0..100 {
        match round % 2 {
            0 => fs::remove_dir_all(&place).unwrap(),
            _ => fs::write(place.join("index"), b"half").unwrap(),
        }
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    package::open(&cache, &locked, Effort::default()).unwrap().verify_all().unwrap();
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path().join("temp")).unwrap().count(), 0, "round {round}");
    }
}

fn item() -> impl Strategy<Value = Item> {
    let numbers = (any::<u32>(), any::<u32>(), 0..0o10000_u32, any::<u64>());
    let kind = prop_oneof![
        Just(ItemKind::Directory),
        (0..500_u64, 0..500_u64, any::<[u8; 32]>()).prop_map(|(offset, length, digest)| ItemKind::File {
            offset,
            length,
            sha256: Digest(digest)
        }),
        "[a-z/.]{1,20}".prop_map(ItemKind::Symlink),
        "[a-z/]{1,20}".prop_map(ItemKind::Hardlink),
        any::<(u32, u32)>().prop_map(|(major, minor)| ItemKind::CharDevice { major, minor }),
        any::<(u32, u32)>().prop_map(|(major, minor)| ItemKind::BlockDevice { major, minor }),
        Just(ItemKind::Fifo),
    ];
    let xattrs = proptest::collection::btree_map("[a-z.]{1,8}", any::<Vec<u8>>(), 0..3);
    (numbers, "[a-z]{0,8}", "[a-z]{0,8}", kind, xattrs).prop_map(
        |((uid, gid, mode, mtime), uname, gname, kind, xattrs)| Item {
            kind,
            uid,
            gid,
            uname,
            gname,
            mode,
            mtime,
            xattrs,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_comes_back_as_it_was_written(
        items in proptest::collection::btree_map("[a-z/]{0,12}", item(), 0..20),
        flip in any::<prop::sample::Index>(),
    ) {
        let index = Index { name: "demo".into(), version: "1".into(), tar_length: 1_000, items, ..Index::default() };
        let mut bytes = index.to_bytes();
        prop_assert_eq!(Index::from_bytes(&bytes), Some(index));
        let at = flip.index(bytes.len());
        bytes[at] ^= 0x20;
        prop_assert_eq!(Index::from_bytes(&bytes), None);
    }

    #[test]
    fn an_index_of_any_bytes_never_panics(body in any::<Vec<u8>>()) {
        // With the right digest, so that the reader behind it is reached.
        let bytes = [b"microPKG", &body[..]].concat();
        let digest = Digest::of(&bytes);
        let _ = Index::from_bytes(&[&bytes[..], &digest.0].concat());
    }

    #[test]
    fn a_package_altered_anywhere_is_read_safely_or_refused(
        at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(), plain in any::<bool>(),
    ) {
        let data = tar(&good());
        let (name, data) = if plain { ("data.tar", data) } else { ("data.tar.xz", xz(&data)) };
        let mut bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control("demo", "1.0", "")), (name, &data)]);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let whole = open(&bytes);
        if let Ok((_folder, unpacked)) = &whole {
            let escape = |path: &String| path.starts_with('/') || path.split('/').any(|name| name == "..");
            prop_assert!(!unpacked.package.entries.keys().any(escape));
            prop_assert!(unpacked.verify_all().is_ok());
        }
        bytes.truncate(cut.index(bytes.len()));
        let paths: BTreeSet<String> =
            open(&bytes).map(|(_folder, unpacked)| unpacked.package.entries.keys().cloned().collect()).unwrap_or_default();
        prop_assert!(paths.is_empty(), "a cut package is never taken");
    }
}
