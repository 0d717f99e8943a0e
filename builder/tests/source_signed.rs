//! Release files that their upstream signed, by GnuPG and by minisign: what counts, and what does not.

use crate::source_kit::RecordedProgress;
use crate::source_kit::server::Server;
use contract::hash::Digest;
use microdc::cache::Cache;
use microdc::clock;
use microdc::source::http::{Client, Fetched, Patience};
use microdc::source::signer::Signer;
use microdc::source::url::{Known, Signed, UrlError, UrlSource};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const FILE: &str = "v1/tool-arm64";
const SUMS: &str = "v1/SHA256SUMS";
const SIGNATURE: &str = "v1/SHA256SUMS.sig";
const DAY: u64 = 86_400;

/// An upstream's release on a server, and who signs for it.
struct Bench {
    server: Server,
    folder: tempfile::TempDir,
    cache: Cache,
    told: RecordedProgress,
    content: Vec<u8>,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let content = vec![7; 300_000];
    let server = Server::start();
    server.put(FILE, content.clone());
    server.put(SUMS, format!("{}  tool-arm64\n", Digest::of(&content)));
    Bench {
        server,
        cache: Cache::open(folder.path().join("cache")).unwrap(),
        folder,
        told: RecordedProgress::default(),
        content,
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Someone with a key of GnuPG.
struct Gpg {
    home: PathBuf,
}

impl Gpg {
    /// A key that signs by a subkey; both end after `life`, such as `1y`, and were made `age` days ago.
    fn new(folder: &Path, name: &str, life: &str, age: u64) -> Gpg {
        let gpg = Gpg { home: folder.join(name) };
        fs::create_dir(&gpg.home).unwrap();
        fs::set_permissions(&gpg.home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let time = format!("--faked-system-time={}", clock::now() - age * DAY);
        let user = format!("{name} <{name}@example.org>");
        run(gpg.command().args([&time, "--quick-generate-key", &user, "ed25519", "cert", life]));
        let fingerprint = gpg.fingerprint();
        run(gpg.command().args([&time, "--quick-add-key", &fingerprint, "ed25519", "sign", life]));
        gpg
    }

    fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", &self.home).args(["--batch", "--yes", "--pinentry-mode=loopback", "--passphrase="]);
        command
    }

    fn fingerprint(&self) -> String {
        let listed = run(self.command().args(["--with-colons", "--list-keys"]));
        let listed = String::from_utf8(listed).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn certificate(&self, armoured: bool) -> Vec<u8> {
        run(self.command().args(if armoured { &["--export", "--armor"][..] } else { &["--export"] }))
    }

    fn sign(&self, content: &[u8], arguments: &[&str]) -> Vec<u8> {
        let file = self.home.join("signed");
        fs::write(&file, content).unwrap();
        run(self.command().args(arguments).args(["--detach-sign", "--output", "-"]).arg(&file))
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // Its agent goes with it.
        let _ = Command::new("gpgconf").env("GNUPGHOME", &self.home).args(["--kill", "all"]).status();
    }
}

/// Someone with a key of minisign.
struct Minisign(PathBuf);

impl Minisign {
    fn new(folder: &Path, name: &str) -> Minisign {
        let minisign = Minisign(folder.join(name));
        fs::create_dir(&minisign.0).unwrap();
        run(minisign.command("-G").arg("-W").arg("-p").arg(minisign.0.join("key.pub")));
        minisign
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new("minisign");
        command.arg(action).arg("-s").arg(self.0.join("secret"));
        command
    }

    fn public(&self) -> Vec<u8> {
        fs::read(self.0.join("key.pub")).unwrap()
    }

    fn sign(&self, content: &[u8], arguments: &[&str]) -> Vec<u8> {
        let file = self.0.join("signed");
        fs::write(&file, content).unwrap();
        run(self.command("-S").args(arguments).arg("-m").arg(&file));
        fs::read(self.0.join("signed.minisig")).unwrap()
    }
}

impl Bench {
    fn with<T>(&self, key: &[u8], known: impl FnOnce(Signed<'_>, &UrlSource<'_>) -> T) -> T {
        let path = self.folder.path().join("key");
        fs::write(&path, key).unwrap();
        let signer = Signer::read(&path).unwrap();
        let client = Client::new(Patience { attempts: 1, ..Patience::default() }, Arc::default());
        let source = UrlSource {
            cache: &self.cache,
            client: &client,
            mirrors: &[],
            offline: false,
            now: clock::now(),
            progress: &self.told,
        };
        known(Signed { signature: &self.server.url(SIGNATURE), signer: &signer }, &source)
    }

    /// With a signature of the list of sums.
    fn by_list(&self, key: &[u8], signature: Vec<u8>) -> Result<Fetched, UrlError> {
        self.server.put(SIGNATURE, signature);
        let list = self.server.url(SUMS);
        self.with(key, |signed, source| source.bring(&self.server.url(FILE), Known::Checksums(&list, Some(signed))))
    }

    /// With a signature of the file itself.
    fn by_itself(&self, key: &[u8], signature: Vec<u8>) -> Result<Fetched, UrlError> {
        self.server.put(SIGNATURE, signature);
        self.with(key, |signed, source| source.bring(&self.server.url(FILE), Known::Signed(signed)))
    }

    fn list(&self) -> Vec<u8> {
        format!("{}  tool-arm64\n", Digest::of(&self.content)).into_bytes()
    }

    fn good(&self, result: Result<Fetched, UrlError>) {
        let Fetched { path, .. } = result.unwrap_or_else(|error| panic!("{error}"));
        assert!(fs::read(path).unwrap() == self.content);
    }

    fn refused(&self, result: Result<Fetched, UrlError>, parts: &[&str]) {
        let text = result.unwrap_err().to_string();
        for part in parts {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
    }
}

#[test]
fn what_gnupg_signs_is_taken_the_list_or_the_file_armoured_or_not() {
    let bench = bench();
    let gpg = Gpg::new(bench.folder.path(), "upstream", "1y", 0);
    bench.good(bench.by_list(&gpg.certificate(true), gpg.sign(&bench.list(), &["--armor"])));
    assert!(bench.told.text().contains("SHA256SUMS: signed by the OpenPGP key "), "{}", bench.told.text());
    bench.good(bench.by_list(&gpg.certificate(false), gpg.sign(&bench.list(), &[])));
    bench.good(bench.by_list(&gpg.certificate(true), gpg.sign(&bench.list(), &["--textmode"])));
    bench.good(bench.by_itself(&gpg.certificate(true), gpg.sign(&bench.content, &[])));
    // One of two keys, and one of two signatures, is enough.
    let other = Gpg::new(bench.folder.path(), "other", "1y", 0);
    let both = [other.certificate(false), gpg.certificate(false)].concat();
    bench.good(bench.by_itself(&both, gpg.sign(&bench.content, &[])));
    let both = [other.sign(&bench.content, &[]), gpg.sign(&bench.content, &[])].concat();
    bench.good(bench.by_itself(&gpg.certificate(false), both));
}

#[test]
fn what_gnupg_signs_otherwise_is_refused_with_its_reason() {
    let bench = bench();
    let gpg = Gpg::new(bench.folder.path(), "upstream", "1y", 0);
    let key = gpg.certificate(true);
    let other = Gpg::new(bench.folder.path(), "other", "1y", 0);
    let (list, file) = (bench.list(), &bench.content);
    bench.refused(
        bench.by_list(&key, other.sign(&list, &[])),
        &["SHA256SUMS.sig", "SHA256SUMS", "the key is not trusted", "`key`"],
    );
    bench.refused(bench.by_list(&key, gpg.sign(b"another list\n", &[])), &["it does not verify"]);
    bench.refused(bench.by_itself(&key, gpg.sign(&[&file[..], b"1"].concat(), &[])), &["it does not verify"]);
    bench.refused(bench.by_itself(&key, gpg.sign(file, &["--digest-algo", "SHA1"])), &["SHA-1, is too weak"]);
    let ended = gpg.sign(file, &["--faked-system-time", &format!("{}!", clock::now() + 30 * DAY)]);
    bench.refused(bench.by_itself(&key, ended), &["is in the future"]);
    let old = Gpg::new(bench.folder.path(), "old", "10d", 30);
    let signed = old.sign(file, &["--faked-system-time", &format!("{}!", clock::now() - 29 * DAY)]);
    bench.refused(bench.by_itself(&old.certificate(true), signed), &["the key has expired on"]);
    bench.refused(bench.by_itself(&key, Vec::new()), &["OpenPGP signature"]);
    bench.refused(bench.by_itself(&key, b"<html>not found</html>".to_vec()), &["OpenPGP signature"]);
    bench.refused(bench.by_itself(&key, key.clone()), &["OpenPGP signature"]);
    bench.refused(bench.by_itself(&key, vec![0; 70_000]), &["larger than the limit of 65536 bytes"]);
    bench.server.remove(SIGNATURE);
    let missing = bench.with(&key, |signed, source| source.bring(&bench.server.url(FILE), Known::Signed(signed)));
    bench.refused(missing, &["SHA256SUMS.sig", "not there (HTTP 404)"]);

    // A revoked one, with the certificate that GnuPG makes with each key.
    let revocation = gpg.home.join(format!("openpgp-revocs.d/{}.rev", gpg.fingerprint()));
    let text = fs::read_to_string(&revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    fs::write(&revocation, text).unwrap();
    let signed = gpg.sign(file, &[]);
    run(gpg.command().arg("--import").arg(&revocation));
    bench.refused(bench.by_itself(&gpg.certificate(true), signed), &["the key is revoked"]);
}

#[test]
fn what_minisign_signs_is_taken_and_anything_else_refused() {
    let bench = bench();
    let upstream = Minisign::new(bench.folder.path(), "upstream");
    let key = upstream.public();
    let (list, file) = (bench.list(), &bench.content);
    bench.good(bench.by_list(&key, upstream.sign(&list, &[])));
    assert!(bench.told.text().contains("signed by the minisign key with"), "{}", bench.told.text());
    bench.good(bench.by_itself(&key, upstream.sign(file, &["-t", "release 1"])));

    let other = Minisign::new(bench.folder.path(), "other");
    bench.refused(bench.by_itself(&key, other.sign(file, &[])), &["it was made by another key"]);
    bench.refused(bench.by_itself(&key, upstream.sign(&list, &[])), &["it does not verify"]);
    bench.refused(bench.by_itself(&key, upstream.sign(file, &["-l"])), &["a legacy minisign signature"]);
    // The comment is signed too.
    let signed = String::from_utf8(upstream.sign(file, &["-t", "release 1"])).unwrap();
    let renamed = signed.replace("release 1", "release 2").into_bytes();
    bench.refused(bench.by_itself(&key, renamed), &["it does not verify"]);
    bench.refused(bench.by_itself(&key, key.clone()), &["it is not a minisign signature"]);
    bench.refused(bench.by_itself(&key, vec![0xff; 100]), &["it is not a minisign signature"]);
    // Each kind of key with the other's signature.
    let gpg = Gpg::new(bench.folder.path(), "gpg", "1y", 0);
    bench.refused(bench.by_itself(&key, gpg.sign(file, &[])), &["it is not a minisign signature"]);
    bench.refused(bench.by_itself(&gpg.certificate(true), signed.into_bytes()), &["OpenPGP signature"]);
}

#[test]
fn a_file_that_is_no_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let error = Signer::read(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("gpg --export --armor"), "{error}");
        error
    };
    assert!(read("missing.asc", None).contains("No such file"));
    read("empty.asc", Some(b""));
    read("page.asc", Some(b"<html>"));
    let gpg = Gpg::new(folder.path(), "gpg", "1y", 0);
    read("signature.asc", Some(&gpg.sign(b"x", &["--armor"])));
    let certificate = gpg.certificate(true);
    read("half.asc", Some(&certificate[..certificate.len() / 2]));
    assert!(read("large.asc", Some(&vec![b'\n'; 5 << 20])).contains("longer than"));
}
