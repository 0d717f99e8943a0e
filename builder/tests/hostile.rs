//! Hostile bytes at every door of the builder, one line each: what is tried, and what is said to it. Each is refused with
//! a message of its own, and nothing of it is written: not into the cache, not beside it, not into the project. Locks and
//! programs are read in memory, where there is nothing to write to.

mod source_kit;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use contract::hash::Digest;
use microdc::cache::Cache;
use microdc::lock::Lock;
use microdc::profile::{self, check};
use microdc::source::deb::{self as package, Effort};
use microdc::source::keyring::Keyring;
use microdc::tree::{Accounts, Kind, Libraries, Node, Package, Tree, elf, overlay};
use pgp::crypto::hash::HashAlgorithm;
use source_kit::archive::{Archive, NOW, armored, new_key, sign};
use source_kit::deb::{TarEntry, ar, control, deb, file, gz, locked, other, tar, tar_without_end, xz, zst};

/// One attempt: what it is, what was said, and what the message must hold.
type Case = (&'static str, String, &'static str);

/// Every message must hold its part, and no two cases may be answered alike.
fn check_all(door: &str, cases: Vec<Case>, at_least: usize) {
    let mut wrong = Vec::new();
    let mut messages = BTreeSet::new();
    for (name, said, part) in &cases {
        println!("{door}: {name}: {}", said.lines().next().unwrap_or_default());
        if !said.contains(part) {
            wrong.push(format!("{name}: no {part:?} in: {said}"));
        }
        if !messages.insert(said) {
            wrong.push(format!("{name}: said of another case too: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= at_least, "{} cases", cases.len());
}

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

/// Every file and link below a folder, by path, with what is in it.
fn everything(folder: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let mut all = BTreeSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                waiting.push(path);
            } else {
                all.insert((path.display().to_string(), fs::read(&path).unwrap_or_default()));
            }
        }
    }
    all
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

/// A tar whose first header has other bytes at a place, with its sum set right.
fn altered_header(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar(&[file("./a", b"content")]);
    tar[at..at + bytes.len()].copy_from_slice(bytes);
    tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
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
        ("climbs out", data(&[file("../passwd", b"x")]), "\"../passwd\" leaves the package's tree"),
        ("climbs out from below", data(&[file("./a/../../passwd", b"x")]), "\"./a/../../passwd\" leaves"),
        ("an absolute path", data(&[file("/etc/passwd", b"x")]), "\"/etc/passwd\" leaves"),
        ("a path with a line break", data(&[file("a\nb", b"x")]), "control characters"),
        ("a path that is no text", raw("data.tar", &altered_header(0, b"\xff\xfe")), "it is not UTF-8"),
        ("a path that is not plain", data(&[file("./a//b", b"x")]), "not in its plain form"),
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
        ("a hard link outside", data(&[other("./a", b'1', "../../etc/shadow")]), "\"../../etc/shadow\" leaves"),
        ("a hard link to an absolute path", data(&[other("./a", b'1', "/etc/shadow")]), "\"/etc/shadow\" leaves"),
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
            "yet has content",
        ),
        // Kinds and fields.
        ("an old sparse file", data(&[other("./s", b'S', "")]), "cannot be unpacked"),
        (
            "a pax sparse file",
            data(&[pax(&[record("GNU.sparse.major", b"1"), record("GNU.sparse.minor", b"0")]), file("./x", b"")]),
            "sparse files are in no package",
        ),
        ("a volume's label", data(&[other("./v", b'V', "")]), "type 'V'"),
        ("a dumped folder", data(&[other("./dump", b'D', "")]), "type 'D'"),
        ("an owner that is no number", raw("data.tar", &altered_header(108, b"zzzzzzz")), "its owner is damaged"),
        (
            "an owner behind 32 bits",
            raw("data.tar", &altered_header(116, b"\x80\x01\0\0\0\0\0\0")),
            "its group is damaged",
        ),
        ("a mode that is no number", raw("data.tar", &altered_header(100, b"rwxr-xr")), "its mode is damaged"),
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
                tar[148..156].copy_from_slice(b"        ");
                let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
                tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
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
        ("a size that is no number", raw("data.tar", &altered_header(124, b"zzzzzzzzzzz\0")), "cannot be unpacked"),
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
            "\"user.b\" stands there twice",
        ),
        (
            "a pax header that is none",
            data(&[pax(&[b"999 path=x\n".to_vec()]), file("./pax", b"")]),
            "extended header",
        ),
        ("two entries at one path", data(&[file("./a", b"1"), file("a", b"2")]), "/a stands in it twice"),
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
        ("a compression nobody knows", raw("data.tar.lzma", b""), "not known"),
        // The outer archive.
        ("an empty file", package_file(b""), "no ar archive"),
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
        ("a control file that is no text", control_only(&[file("./control", b"Package: \xff\n")]), "not UTF-8"),
        (
            "a control file without form",
            control_only(&[file("./control", b"no colon here\n")]),
            "cannot be understood",
        ),
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

#[test]
fn indices_and_keys() {
    let mut cases: Vec<Case> = Vec::new();
    let mut attempt = |name: &'static str, part: &'static str, spoil: &dyn Fn(&mut Archive)| {
        let mut archive = Archive::usual();
        spoil(&mut archive);
        let said = archive.resolve(&["frr"], None, |resolver| match resolver.require("frr") {
            Ok(_) => "it was taken".to_owned(),
            Err(error) => error.to_string(),
        });
        let cache = archive.folder.path();
        for place in ["unpacked", "temp"] {
            let left = fs::read_dir(cache.join(place)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{name}: something was left in {place}");
        }
        // The server's port differs from one case to the next and is not what tells them apart.
        let port = archive.server.url("").replace("http://127.0.0.1:", "");
        cases.push((name, said.replace(port.trim_matches('/'), "PORT"), part));
    };
    let signed = |archive: &Archive, text: &str| sign(&archive.key, text, NOW, HashAlgorithm::Sha256, true);
    let release = |archive: &Archive| archive.release_text("trixie", "trixie", NOW, None);
    attempt("signed by a stranger", "no signature on it is by a key that microdc trusts", &|archive| {
        let text = release(archive);
        let message = sign(&new_key(true), &text, NOW, HashAlgorithm::Sha256, true);
        archive.put_release("trixie", message);
    });
    attempt("altered after signing", "does not verify", &|archive| {
        let message = signed(archive, &release(archive)).replacen("Origin: Test", "Origin: Tess", 1);
        archive.put_release("trixie", message);
    });
    attempt("not signed", "no text with an OpenPGP signature", &|archive| {
        let text = release(archive);
        archive.put_release("trixie", text);
    });
    attempt("signed in the time to come", "is to come", &|archive| {
        let text = release(archive);
        archive.put_release("trixie", sign(&archive.key, &text, NOW + 2 * 86_400, HashAlgorithm::Sha256, true));
    });
    attempt("expired", "stale", &|archive| {
        archive.publish_as("trixie", "trixie", NOW - 9 * 86_400, Some(NOW - 2 * 86_400));
    });
    attempt("dated in the time to come", "check the clock", &|archive| {
        archive.publish_as("trixie", "trixie", NOW + 2 * 86_400, None);
    });
    attempt("another suite's index", "bookworm", &|archive| archive.publish_as("trixie", "bookworm", NOW, None));
    attempt("an index without hashes", "cannot be understood", &|archive| {
        let text = release(archive);
        let text = &text[..text.find("SHA256:").unwrap()];
        archive.put_release("trixie", signed(archive, text));
    });
    attempt("an index of 9 MB", "larger than the 8388608 bytes", &|archive| {
        archive.put_release("trixie", vec![b'x'; 9 << 20]);
    });
    let list_of = |archive: &Archive, size: &str| {
        let text = release(archive);
        let line = text.lines().find(|line| line.ends_with("main/binary-arm64/Packages.xz")).unwrap().to_owned();
        let fields: Vec<&str> = line.split_whitespace().collect();
        (text.replace(&line, &format!(" {} {size} {}", fields[0], fields[2])), fields[0].to_owned())
    };
    attempt("a list of 600 GB", "600000000000 were expected", &|archive| {
        let (text, _) = list_of(archive, "600000000000");
        archive.put_release("trixie", signed(archive, &text));
    });
    attempt("a list whose size is no number", "cannot be understood", &|archive| {
        let (text, _) = list_of(archive, "many");
        archive.put_release("trixie", signed(archive, &text));
    });
    let with_list = |archive: &Archive, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        let text = format!(
            "Origin: Test\nSuite: stable\nCodename: trixie\nDate: Sat, 21 Nov 2026 07:00:00 UTC\nAcquire-By-Hash: yes\n\
             SHA256:\n {digest} {} main/binary-arm64/Packages.xz\n",
            bytes.len()
        );
        let path = format!("debian/dists/trixie/main/binary-arm64/by-hash/SHA256/{digest}");
        archive.server.put(&path, bytes.to_vec());
        archive.put_release("trixie", signed(archive, &text));
    };
    attempt("a list that is no xz", "format not recognized", &|archive| with_list(archive, b"no xz at all"));
    let stanza = |fields: &str| xz(format!("Package: frr\nVersion: 99\nArchitecture: arm64\n{fields}\n").as_bytes());
    let hash = Digest::of(b"x");
    let fields = move |path: &str, size: &str| format!("Filename: {path}\nSize: {size}\nSHA256: {hash}\n");
    attempt("a package whose path climbs out", "../../etc/passwd", &|archive| {
        with_list(archive, &stanza(&fields("../../etc/passwd", "10")));
    });
    attempt("a package at another host", "http://x/frr.deb", &|archive| {
        with_list(archive, &stanza(&fields("http://x/frr.deb", "10")));
    });
    attempt("a package of a size that is no number", "frr", &|archive| {
        with_list(archive, &stanza(&fields("pool/frr.deb", "1e9")));
    });
    attempt("a package without hash", "frr", &|archive| {
        with_list(archive, &stanza("Filename: pool/f.deb\nSize: 10\n"));
    });
    attempt("a package with other bytes", "SHA-256", &|archive| {
        let package = archive.packages[0].clone();
        archive.server.put(&format!("debian/{}", package.path), vec![b'x'; package.size as usize]);
    });
    attempt("a package that is too short", "has 100 bytes", &|archive| {
        let path = archive.packages[0].path.clone();
        archive.server.put(&format!("debian/{path}"), vec![b'x'; 100]);
    });
    attempt("a package that is too long", "bytes", &|archive| {
        let package = archive.packages[0].clone();
        archive.server.put(&format!("debian/{}", package.path), vec![b'x'; package.size as usize + 1]);
    });
    let key = armored(&new_key(true));
    let pin = "00".repeat(20);
    let keyring = |text: &str| Keyring::new(&[(&pin, text)]).map(|_| ()).unwrap_err().to_string();
    cases.push(("a certificate that is not the pinned one", keyring(&key), "is pinned"));
    cases.push(("a certificate that is none", keyring("no certificate"), "cannot be read"));
    check_all("index", cases, 20);
}

#[test]
fn locks() {
    let good = Archive::usual().lock(&["frr"]).to_text();
    let path = Path::new("router.lock");
    let parse = |text: &str| match Lock::parse(text, path) {
        Ok(_) => "it was taken".to_owned(),
        Err(error) => error.to_string(),
    };
    let line = |key: &str| good.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    let with = |key: &str, value: &str| parse(&good.replace(&line(key), &format!("{key}{value}")));
    let block = &good[good.find("\n[[package]]").unwrap()..];
    let cases: Vec<Case> = vec![
        ("no TOML", parse("format = \n"), "cannot be read"),
        ("a later format", parse("format = 99\n"), "format 99"),
        ("a path that climbs out", with("path = ", "\"../../frr.deb\""), "\"../../frr.deb\" is no path"),
        ("a path at another host", with("path = ", "\"http://x/frr.deb\""), "\"http://x/frr.deb\" is no path"),
        ("an absolute path", with("path = ", "\"/etc/passwd\""), "\"/etc/passwd\" is no path"),
        ("a hash that is short", with("sha256 = ", "\"abcd\""), "cannot be read"),
        ("a negative size", with("size = ", "-1"), "cannot be read"),
        ("an unknown field", parse(&good.replace(&line("size = "), "sise = 1")), "sise"),
        ("a package twice", parse(&format!("{good}{block}")), "twice"),
    ];
    check_all("lock", cases, 8);
}

#[test]
fn profiles() {
    const WHOLE: &str = "role = \"router\"\nsummary = \"a test\"\nexample = \"node.toml\"\n\
        kernel = { package = \"linux-image-arm64\" }\nfirmware = { package = \"raspi-firmware\" }\nuser = { root = { id = 0 } }\n";
    let said = |files: &[(&str, String)]| {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("profiles/parts")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join("profiles").join(name), text).unwrap();
        }
        let before = everything(folder.path());
        let said = match profile::load(&folder.path().join("profiles/t.toml")) {
            Err(error) => error.to_string(),
            Ok(profile) => match check::role_spec(&profile, "1", Vec::new()) {
                Ok(_) => "it was taken".to_owned(),
                Err(mistakes) => mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            },
        };
        assert_eq!(everything(folder.path()), before);
        said
    };
    let with = |text: &str| said(&[("t.toml", format!("{WHOLE}{text}"))]);
    let deep = format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<Case> = vec![
        ("no TOML", with("[["), "t.toml:"),
        ("a key that nobody knows", with("rollback = 1\n"), "rollback"),
        ("brackets without end", said(&[("t.toml", deep)]), "t.toml"),
        (
            "includes itself",
            said(&[
                ("t.toml", format!("include = [\"a\"]\n{WHOLE}")),
                ("parts/a.toml", "include = [\"a\"]\n".to_owned()),
            ]),
            "includes itself",
        ),
        (
            "two that include each other",
            said(&[
                ("t.toml", format!("include = [\"one\"]\n{WHOLE}")),
                ("parts/one.toml", "include = [\"two\"]\n".to_owned()),
                ("parts/two.toml", "include = [\"one\"]\n".to_owned()),
            ]),
            "one.toml includes itself",
        ),
        (
            "a part that is not there",
            said(&[("t.toml", format!("include = [\"/etc/passwd\"]\n{WHOLE}"))]),
            "there is no part",
        ),
        ("a folder that climbs out", with("[directory.\"/run/../etc\"]\n"), "without `..`"),
        (
            "a template outside of /run",
            with("[[template]]\nfrom = \"a.j2\"\nto = \"/etc/passwd\"\n"),
            "not to \"/etc/passwd\"",
        ),
        ("a sysctl that climbs out", with("[sysctl]\n\"../../etc/x\" = \"1\"\n"), "no kernel setting"),
        (
            "a user that does not exist",
            with("[service.a]\nrun = [\"/bin/a\"]\nuser = \"ghost\"\n"),
            "no user \"ghost\"",
        ),
        (
            "a capability that does not exist",
            with("[service.a]\nrun = [\"/bin/a\"]\ncapabilities = [\"EVERYTHING\"]\n"),
            "EVERYTHING",
        ),
        (
            "services that wait for each other",
            with("[service.a]\nrun = [\"/a\"]\nafter = [\"b\"]\n[service.b]\nrun = [\"/b\"]\nafter = [\"a\"]\n"),
            "a",
        ),
        ("a mode that is no mode", with("[directory.\"/run/x\"]\nmode = \"99999\"\n"), "99999"),
        (
            "a size behind 64 bits",
            with("[service.a]\nrun = [\"/a\"]\nlimits = { memory = \"99999999999GiB\" }\n"),
            "99999999999GiB",
        ),
        ("a key of a kind it has not", with("[service.a]\nrun = \"/bin/a\"\n"), "t.toml"),
    ];
    check_all("profile", cases, 14);
}

#[test]
fn overlays() {
    let lay = |make: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("overlay");
        fs::create_dir_all(at.join("etc")).unwrap();
        make(&at);
        let mut tree = Tree::default();
        tree.nodes.insert("etc".to_owned(), Node::directory("base"));
        tree.nodes.insert("etc/passwd".to_owned(), Node::of(Kind::File(vec![1].into()), 0o644, "base"));
        let before = everything(folder.path());
        let result = overlay::lay(&mut tree, &at, "t", &Accounts::default());
        assert_eq!(everything(folder.path()), before);
        let said = result.map_or_else(|error| error.to_string(), |()| "it was taken".to_owned());
        said.replace(&folder.path().display().to_string(), "")
    };
    let rules = |text: &'static str| lay(&|at| fs::write(at.join("overlay.toml"), text).unwrap());
    let socket = std::cell::RefCell::new(None);
    let cases: Vec<Case> = vec![
        (
            "a pipe",
            lay(&|at| {
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mknodat(rustix::fs::CWD, at.join("etc/pipe"), rustix::fs::FileType::Fifo, mode, 0)
                    .unwrap();
            }),
            "etc/pipe is neither file",
        ),
        (
            "a socket",
            lay(&|at| *socket.borrow_mut() = Some(UnixListener::bind(at.join("etc/sock")).unwrap())),
            "etc/sock is neither file",
        ),
        (
            "a name that is no text",
            lay(&|at| fs::write(at.join(std::ffi::OsStr::from_bytes(b"etc/\xff")), "").unwrap()),
            "a name that is not UTF-8",
        ),
        (
            "a link to what is no text",
            lay(&|at| {
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(b"\xff"), at.join("etc/link")).unwrap();
            }),
            "etc/link: a name that is not UTF-8",
        ),
        ("a folder over a file", lay(&|at| fs::create_dir_all(at.join("etc/passwd/x")).unwrap()), "is a folder, but"),
        (
            "an overlay.toml that is a folder",
            lay(&|at| fs::create_dir(at.join("overlay.toml")).unwrap()),
            "cannot read",
        ),
        ("a rule for what is not there", rules("[path.\"../../etc/shadow\"]\nmode = \"0777\"\n"), "is no pattern"),
        ("a rule for another's file", rules("[path.\"etc/passwd\"]\nmode = \"0777\"\n"), "nothing at \"etc/passwd\""),
        ("a rule with a number for an owner", rules("[path.\"etc\"]\nowner = 0\n"), "overlay.toml:2"),
    ];
    check_all("overlay", cases, 9);
}

/// Nobody has any library.
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
        match elf::close(&mut tree, &mut NoLibraries) {
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
