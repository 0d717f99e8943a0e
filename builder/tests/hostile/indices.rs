//! A mirror's indices, the keys that sign them, and locks.

use super::{Case, check_all};
use crate::source_kit::archive::{Archive, NOW, armored, new_key, sign};
use crate::source_kit::deb::xz;
use contract::hash::Digest;
use microdc::lock::Lock;
use microdc::source::keyring::Keyring;
use pgp::crypto::hash::HashAlgorithm;
use std::fs;
use std::path::Path;

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
    attempt("not signed", "not text with an OpenPGP signature", &|archive| {
        let text = release(archive);
        archive.put_release("trixie", text);
    });
    attempt("signed in the time to come", "is in the future", &|archive| {
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
    attempt("an index without hashes", "cannot be parsed", &|archive| {
        let text = release(archive);
        let text = &text[..text.find("SHA256:").unwrap()];
        archive.put_release("trixie", signed(archive, text));
    });
    attempt("an index of 9 MB", "larger than the limit of 8388608 bytes", &|archive| {
        archive.put_release("trixie", vec![b'x'; 9 << 20]);
    });
    let list_of = |archive: &Archive, size: &str| {
        let text = release(archive);
        let line = text.lines().find(|line| line.ends_with("main/binary-arm64/Packages.xz")).unwrap().to_owned();
        let fields: Vec<&str> = line.split_whitespace().collect();
        (text.replace(&line, &format!(" {} {size} {}", fields[0], fields[2])), fields[0].to_owned())
    };
    attempt("a list of 600 GB", "expected 600000000000", &|archive| {
        let (text, _) = list_of(archive, "600000000000");
        archive.put_release("trixie", signed(archive, &text));
    });
    attempt("a list whose size is not a valid number", "cannot be parsed", &|archive| {
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
    attempt("a list that is not xz", "format not recognized", &|archive| with_list(archive, b"no xz at all"));
    let stanza = |fields: &str| xz(format!("Package: frr\nVersion: 99\nArchitecture: arm64\n{fields}\n").as_bytes());
    let hash = Digest::of(b"x");
    let fields = move |path: &str, size: &str| format!("Filename: {path}\nSize: {size}\nSHA256: {hash}\n");
    attempt("a package whose path climbs out", "../../etc/passwd", &|archive| {
        with_list(archive, &stanza(&fields("../../etc/passwd", "10")));
    });
    attempt("a package at another host", "http://x/frr.deb", &|archive| {
        with_list(archive, &stanza(&fields("http://x/frr.deb", "10")));
    });
    attempt("a package of a size that is not a valid number", "frr", &|archive| {
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
        ("a path that climbs out", with("path = ", "\"../../frr.deb\""), "\"../../frr.deb\" is not a valid path"),
        (
            "a path at another host",
            with("path = ", "\"http://x/frr.deb\""),
            "\"http://x/frr.deb\" is not a valid path",
        ),
        ("an absolute path", with("path = ", "\"/etc/passwd\""), "\"/etc/passwd\" is not a valid path"),
        ("a hash that is short", with("sha256 = ", "\"abcd\""), "cannot be read"),
        ("a negative size", with("size = ", "-1"), "cannot be read"),
        ("an unknown field", parse(&good.replace(&line("size = "), "sise = 1")), "sise"),
        ("a package twice", parse(&format!("{good}{block}")), "twice"),
    ];
    check_all("lock", cases, 8);
}
