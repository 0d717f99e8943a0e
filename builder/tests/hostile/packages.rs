//! Package files.

use super::{Case, check_all, everything};
use crate::source_kit::deb::{TarEntry, ar, control, deb, file, gz, locked, other, tar, tar_without_end, xz, zst};
use microdc::cache::Cache;
use microdc::source::deb::{self as package, Effort};
use std::fs;

/// What is said to a package file, when nothing of it was unpacked and nothing else changed.
fn package_file(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    // What a path that climbs out would meet.
    fs::write(folder.path().join("passwd"), "mine").unwrap();
    let cache = Cache::open(folder.path().join("cache")).unwrap();
    cache.add_blob(bytes).unwrap();
    let before = everything(folder.path());
    let said = match package::open(&cache, &locked("demo", "1.0", bytes), Effort::default()) {
        Ok(_) => "it was taken".to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(everything(folder.path()), before, "{said}");
    said
}

fn data(entries: &[TarEntry]) -> String {
    package_file(&deb("demo", "1.0", "", entries))
}

/// A package whose data is given as it stands.
fn raw(name: &str, data: &[u8]) -> String {
    package_file(&ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", &xz(&control("demo", "1.0", ""))),
        (name, data),
    ]))
}

/// One record of a pax header, its length counted rightly.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let length = (1..).find(|length| format!("{length}").len() + body.len() == *length).unwrap();
    [length.to_string().as_bytes(), &body].concat()
}

fn pax(records: &[Vec<u8>]) -> TarEntry {
    TarEntry { kind: b'x', ..file("./PaxHeader", &records.concat()) }
}

/// Sets the sum of a tar's first header right.
fn sum_up(tar: &mut [u8]) {
    tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A tar whose first header has other bytes at a place, with its sum set right.
fn altered_header(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar(&[file("./a", b"content")]);
    tar[at..at + bytes.len()].copy_from_slice(bytes);
    sum_up(&mut tar);
    tar
}

#[test]
fn packages() {
    let whole = deb("demo", "1.0", "", &[file("./a", b"1")]);
    let header_of = |name: &[u8]| whole.windows(name.len()).position(|bytes| bytes == name).unwrap();
    let altered = |at: usize, bytes: &[u8]| {
        let mut bad = whole.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        package_file(&bad)
    };
    let many: Vec<TarEntry> = (0..400_001).map(|number| other(&format!("./{number}"), b'5', "")).collect();
    let long_name = format!("./{}", "n".repeat(300));
    let long = |kind, content: &[u8]| TarEntry { kind, ..file("././@LongLink", content) };
    let plain = tar(&[file("./a", b"1")]);
    let mut flipped = xz(&plain);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let two = ("debian-binary", &b"2.0\n"[..]);
    let good_control = xz(&control("demo", "1.0", ""));
    let packed = xz(&plain);
    let control_only =
        |entries: &[TarEntry]| package_file(&ar(&[two, ("control.tar", &tar(entries)), ("data.tar.xz", &packed)]));
    let cases: Vec<Case> = vec![
        // Paths.
        ("climbs out", data(&[file("../passwd", b"x")]), "\"../passwd\" points outside the package"),
        ("climbs out from below", data(&[file("./a/../../passwd", b"x")]), "\"./a/../../passwd\" points outside"),
        ("an absolute path", data(&[file("/etc/passwd", b"x")]), "\"/etc/passwd\" points outside"),
        ("a path with a line break", data(&[file("a\nb", b"x")]), "control characters"),
        ("a path that is not text", raw("data.tar", &altered_header(0, b"\xff\xfe")), "it is not UTF-8"),
        ("a path that is not plain", data(&[file("./a//b", b"x")]), "not in its normal form"),
        (
            "a name of 300 letters",
            data(&[long(b'L', long_name.as_bytes()), file("x", b"")]),
            "a name in it is too long",
        ),
        (
            "a path of 5,000 letters",
            data(&[long(b'L', "d/".repeat(2500).as_bytes()), file("x", b"")]),
            "it is too long",
        ),
        (
            "a name of 32 MiB",
            data(&[long(b'L', &vec![b'a'; 32 << 20]), file("x", b"")]),
            "an extended header of 33554432 bytes",
        ),
        (
            "an extended header of 2 MiB",
            data(&[pax(&[record("comment", &vec![b'c'; 2 << 20])]), file("x", b"")]),
            "an extended header of 20971",
        ),
        (
            "a pax path that climbs out",
            data(&[pax(&[record("path", b"../../etc/x")]), file("./x", b"")]),
            "../../etc/x",
        ),
        // Links.
        (
            "below a link",
            data(&[other("./etc", b'2', "/etc"), file("./etc/passwd", b"x")]),
            "below /etc, which is no",
        ),
        ("below a file", data(&[file("./a", b""), file("./a/b/c", b"")]), "below /a, which is no"),
        (
            "a hard link outside",
            data(&[other("./a", b'1', "../../etc/shadow")]),
            "\"../../etc/shadow\" points outside",
        ),
        (
            "a hard link to an absolute path",
            data(&[other("./a", b'1', "/etc/shadow")]),
            "\"/etc/shadow\" points outside",
        ),
        ("a hard link forward", data(&[other("./a", b'1', "b"), file("./b", b"")]), "hard link to \"b\""),
        ("a hard link to a folder", data(&[other("./d/", b'5', ""), other("./a", b'1', "d")]), "hard link to \"d\""),
        ("a link to nothing", data(&[other("./a", b'2', "")]), "its target is damaged"),
        (
            "a link's target of 5,000 letters",
            data(&[long(b'K', "t/".repeat(2500).as_bytes()), other("./far", b'2', "x")]),
            "/far: its target is damaged",
        ),
        (
            "a link with content",
            data(&[TarEntry { content: b"x".to_vec(), ..other("./a", b'2', "b") }]),
            "but has content",
        ),
        // Kinds and fields.
        ("an old sparse file", data(&[other("./s", b'S', "")]), "cannot be unpacked"),
        (
            "a pax sparse file",
            data(&[pax(&[record("GNU.sparse.major", b"1"), record("GNU.sparse.minor", b"0")]), file("./x", b"")]),
            "sparse files are not allowed in a package",
        ),
        ("a volume's label", data(&[other("./v", b'V', "")]), "type 'V'"),
        ("a dumped folder", data(&[other("./dump", b'D', "")]), "type 'D'"),
        (
            "an owner that is not a valid number",
            raw("data.tar", &altered_header(108, b"zzzzzzz")),
            "its owner is damaged",
        ),
        (
            "an owner behind 32 bits",
            raw("data.tar", &altered_header(116, b"\x80\x01\0\0\0\0\0\0")),
            "its group is damaged",
        ),
        (
            "a mode that is not a valid number",
            raw("data.tar", &altered_header(100, b"rwxr-xr")),
            "its mode is damaged",
        ),
        (
            "a time before all time",
            raw("data.tar", &altered_header(136, b"-1\0\0\0\0\0\0\0\0\0\0")),
            "its time is damaged",
        ),
        (
            "a device without numbers",
            {
                let mut tar = altered_header(156, b"3");
                tar[124..136].copy_from_slice(b"00000000000\0");
                tar[329..337].copy_from_slice(b"xxxxxxx\0");
                tar.drain(512..1024);
                sum_up(&mut tar);
                raw("data.tar", &tar)
            },
            "its device is damaged",
        ),
        (
            "a header whose sum is wrong",
            {
                let mut tar = plain.clone();
                tar[148] = b'7';
                raw("data.tar", &tar)
            },
            "cannot be unpacked",
        ),
        (
            "a size that is not a valid number",
            raw("data.tar", &altered_header(124, b"zzzzzzzzzzz\0")),
            "cannot be unpacked",
        ),
        (
            "a size of 2^63",
            raw("data.tar", &altered_header(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")),
            "data.tar",
        ),
        (
            "an attribute that is too large",
            {
                let value = vec![b'v'; 70_000];
                data(&[pax(&[record("SCHILY.xattr.user.a", &value)]), file("./x", b"")])
            },
            "\"user.a\" is too large",
        ),
        (
            "an attribute twice",
            data(&[
                pax(&[record("SCHILY.xattr.user.b", b"1"), record("SCHILY.xattr.user.b", b"2")]),
                file("./x", b""),
            ]),
            "\"user.b\" is listed twice",
        ),
        (
            "a pax header that is none",
            data(&[pax(&[b"999 path=x\n".to_vec()]), file("./pax", b"")]),
            "extended header",
        ),
        ("two entries at one path", data(&[file("./a", b"1"), file("a", b"2")]), "/a is in it twice"),
        ("400,001 entries", raw("data.tar", &tar(&many)), "more than 400000 entries"),
        // Sizes, ends and compression.
        ("80 MB of zeros in a few bytes", data(&[file("./zeros", &vec![0; 80 << 20])]), "more than 67108864 bytes"),
        (
            "a control archive as a bomb",
            {
                let bomb = xz(&tar(&[file("./control", &vec![b'\n'; 40 << 20])]));
                package_file(&ar(&[two, ("control.tar.xz", &bomb), ("data.tar.xz", &packed)]))
            },
            "more than 33554432 bytes",
        ),
        ("no end mark", raw("data.tar.gz", &gz(&tar_without_end(&[file("./a", b"1")]))), "ends before its end mark"),
        (
            "a tar behind the tar",
            raw("data.tar", &[tar(&[file("./a", b"1")]), tar(&[file("./b", b"2")])].concat()),
            "follows its end",
        ),
        (
            "bytes behind xz",
            raw("data.tar.xz", &[&packed[..], b"more"].concat()),
            "its data.tar.xz: something follows",
        ),
        (
            "bytes behind gzip",
            raw("data.tar.gz", &[&gz(&plain)[..], b"more"].concat()),
            "its data.tar.gz: something follows",
        ),
        (
            "bytes behind zstd",
            raw("data.tar.zst", &[&zst(&plain)[..], b"more"].concat()),
            "its data.tar.zst: something follows",
        ),
        ("xz cut off", raw("data.tar.xz", &packed[..packed.len() / 2]), "data.tar.xz"),
        ("gzip cut off", raw("data.tar.gz", &gz(&plain)[..40]), "data.tar.gz"),
        ("zstd cut off", raw("data.tar.zst", &zst(&plain)[..20]), "data.tar.zst"),
        ("xz with a flipped bit", raw("data.tar.xz", &flipped), "cannot be unpacked"),
        ("gzip that calls itself xz", raw("data.tar.xz", &gz(&plain)), "data.tar.xz: it cannot be unpacked"),
        ("a compression nobody knows", raw("data.tar.lzma", b""), "not supported"),
        // The outer archive.
        ("an empty file", package_file(b""), "not an ar archive"),
        ("a header cut off", package_file(b"!<arch>\nshort"), "header at byte 8 is damaged"),
        ("a member past the end", package_file(&whole[..whole.len() - 40]), "past the end of the file"),
        ("a member of 10 digits", altered(header_of(b"control.tar") + 48, b"9999999999"), "past the end"),
        ("a negative size", altered(header_of(b"data.tar") + 48, b"-1        "), "is damaged"),
        ("a member's name with a path", altered(header_of(b"control.tar"), b"../a.tar"), "is damaged"),
        (
            "members in another order",
            package_file(&ar(&[two, ("data.tar.xz", &packed), ("control.tar.xz", &good_control)])),
            "order",
        ),
        ("two members", package_file(&ar(&[two, ("control.tar.xz", &good_control)])), "three members"),
        ("20 members", package_file(&ar(&[("_x", &b""[..])].repeat(20))), "more than 16 members"),
        (
            "format 3",
            package_file(&ar(&[
                ("debian-binary", b"3.0\n"),
                ("control.tar.xz", &good_control),
                ("data.tar.xz", &packed),
            ])),
            "format 2",
        ),
        // The control archive.
        ("no control file", control_only(&[file("./conffiles", b"")]), "/control: it is missing"),
        ("a control file that is not text", control_only(&[file("./control", b"Package: \xff\n")]), "not UTF-8"),
        ("a control file without form", control_only(&[file("./control", b"no colon here\n")]), "cannot be parsed"),
        ("an empty control file", control_only(&[file("./control", b"")]), "/control: it is empty"),
        (
            "a control file of 2 MB",
            control_only(&[file("./control", &vec![b'#'; 2 << 20])]),
            "/control: it is too large",
        ),
        ("another package's name", package_file(&deb("other", "1.0", "", &[])), "calls itself other 1.0"),
        ("another version", package_file(&deb("demo", "6.6", "", &[])), "calls itself demo 6.6"),
    ];
    check_all("package", cases, 60);
}
