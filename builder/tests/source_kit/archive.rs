//! An archive with a key of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use contract::hash::Digest;
use microdc::cache::Cache;
use microdc::lock::{Lock, LockedPackage};
use microdc::resolve::{LockMode, Options, Places, Request, Resolver, Wanted, client};
use microdc::source::http::{Client, Patience};
use microdc::source::keyring::Keyring;
use microdc::source::mirror::Mirror;
use pgp::composed::{
    CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails as _, Password, Timestamp};

use super::RecordedProgress;
use super::deb::{self, TarEntry};
use super::server::Server;

/// The clock of the tests: 2026-11-21 08:00 UTC.
pub const NOW: u64 = 1_795_248_000;
pub const SUITES: [&str; 3] = ["trixie", "trixie-security", "trixie-updates"];

/// A key pair with a signing subkey, made at `NOW` less a year.
pub fn new_key(sign: bool) -> SignedSecretKey {
    new_key_of(KeyType::Ed25519Legacy, sign)
}

pub fn new_key_of(kind: KeyType, sign: bool) -> SignedSecretKey {
    let created = Timestamp::from_secs(u32::try_from(NOW - 365 * 86_400).unwrap());
    let mut subkey = SubkeyParamsBuilder::default();
    subkey.key_type(kind.clone()).can_sign(sign).can_encrypt(EncryptionCaps::None).created_at(created);
    let mut key = SecretKeyParamsBuilder::default();
    key.key_type(kind)
        .can_certify(true)
        .can_sign(sign)
        .can_encrypt(EncryptionCaps::None)
        .created_at(created)
        .primary_user_id("Archive of the tests".into())
        .subkeys(vec![subkey.build().unwrap()]);
    key.build().unwrap().generate(rand::thread_rng()).unwrap()
}

pub fn armored(key: &SignedSecretKey) -> String {
    SignedPublicKey::from(key.clone()).to_armored_string(Default::default()).unwrap()
}

pub fn keyring(key: &SignedSecretKey) -> Keyring {
    let fingerprint = format!("{:x}", key.primary_key.fingerprint());
    Keyring::new(&[(&fingerprint, &armored(key))]).unwrap()
}

/// Signs as Debian does, with the subkey or the primary key, at a time.
pub fn sign(key: &SignedSecretKey, text: &str, at: u64, hash: HashAlgorithm, subkey: bool) -> String {
    let time = Timestamp::from_secs(u32::try_from(at).unwrap());
    let password = Password::empty();
    let config = |fingerprint, algorithm| {
        let mut config = SignatureConfig::v4(SignatureType::Text, algorithm, hash);
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(time)).unwrap(),
            Subpacket::regular(SubpacketData::IssuerFingerprint(fingerprint)).unwrap(),
        ];
        config
    };
    let message = if subkey {
        let key = &key.secret_subkeys[0].key;
        CleartextSignedMessage::new(text, config(key.fingerprint(), key.algorithm()), key, &password)
    } else {
        let key = &key.primary_key;
        CleartextSignedMessage::new(text, config(key.fingerprint(), key.algorithm()), key, &password)
    };
    message.unwrap().to_armored_string(Default::default()).unwrap()
}

/// A package of the archive.
struct Stanza {
    suite: String,
    component: String,
    text: String,
}

/// An archive on a server of its own, a cache, and what a run needs.
pub struct Archive {
    pub server: Server,
    pub key: SignedSecretKey,
    pub keyring: Keyring,
    pub folder: tempfile::TempDir,
    pub told: RecordedProgress,
    pub cancel: Arc<AtomicBool>,
    pub options: Options,
    stanzas: Vec<Stanza>,
    pub packages: Vec<LockedPackage>,
}

impl Archive {
    /// An archive without packages.
    pub fn new() -> Archive {
        let key = new_key(true);
        let patience = Patience { stall: Duration::from_secs(10), attempts: 3, first_wait: Duration::from_millis(5) };
        Archive {
            server: Server::start(),
            keyring: keyring(&key),
            key,
            folder: tempfile::tempdir().unwrap(),
            told: RecordedProgress::default(),
            cancel: Arc::default(),
            options: Options { now: NOW, patience, ..Options::usual() },
            stanzas: Vec::new(),
            packages: Vec::new(),
        }
    }

    /// With `frr`, which depends on `libyang3` and an `awk`, `mawk`, and firmware in sid.
    pub fn usual() -> Archive {
        let mut archive = Archive::new();
        let big: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let bgpd = [deb::other("./usr/", b'5', ""), deb::file("./usr/bgpd", &big)];
        archive.add("trixie", "main", "frr", "10.3-3", "Depends: libc6, libyang3 (>= 3), default-awk | awk\n", &bgpd);
        archive.add("trixie", "main", "libyang3", "3.12", "Depends: libc6\n", &[deb::file("./libyang.so.3", b"y")]);
        archive.add("trixie", "main", "libc6", "2.41", "", &[deb::file("./libc.so.6", b"c")]);
        archive.add("trixie", "main", "mawk", "1.3", "Provides: awk\n", &[deb::file("./mawk", b"m")]);
        archive.add("sid", "non-free-firmware", "raspi-firmware", "1.2026", "", &[deb::file("./start4.elf", b"s")]);
        archive.publish();
        archive
    }

    /// Adds a package to the pool and to a suite's list; [`Archive::publish`] makes it known.
    pub fn add(
        &mut self,
        suite: &str,
        component: &str,
        name: &str,
        version: &str,
        fields: &str,
        entries: &[TarEntry],
    ) -> LockedPackage {
        let bytes = deb::deb(name, version, fields, entries);
        self.add_bytes(suite, component, name, version, fields, bytes)
    }

    /// Adds the bytes of a package.
    pub fn add_bytes(
        &mut self,
        suite: &str,
        component: &str,
        name: &str,
        version: &str,
        fields: &str,
        bytes: Vec<u8>,
    ) -> LockedPackage {
        let mut package = deb::locked(name, version, &bytes);
        (package.suite, package.component) = (suite.into(), component.into());
        self.server.put(&format!("{}/{}", base(suite), package.path), bytes);
        let text = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\n{fields}Filename: {}\nSize: {}\nSHA256: {}\n\
             Description: for a test\n\n",
            package.path, package.size, package.sha256
        );
        self.stanzas.push(Stanza { suite: suite.into(), component: component.into(), text });
        self.packages.push(package.clone());
        package
    }

    /// Writes and signs the indices of all suites.
    pub fn publish(&self) {
        for suite in SUITES.iter().chain(&["sid"]) {
            self.publish_as(suite, suite, NOW - 3_600, Some(NOW + 86_400));
        }
    }

    /// Writes and signs one suite's indices, under the name of another, with these times.
    pub fn publish_as(&self, suite: &str, codename: &str, date: u64, valid_until: Option<u64>) {
        let text = self.release_text(suite, codename, date, valid_until);
        self.put_release(suite, sign(&self.key, &text, NOW - 3_600, HashAlgorithm::Sha512, true));
    }

    pub fn put_release(&self, suite: &str, message: impl Into<Vec<u8>>) {
        self.server.put(&format!("{}/dists/{suite}/InRelease", base(suite)), message);
    }

    /// The text of a suite's `Release`; its lists are put on the server.
    pub fn release_text(&self, suite: &str, codename: &str, date: u64, valid_until: Option<u64>) -> String {
        let mut text = format!("Origin: Test\nSuite: stable\nCodename: {codename}\nDate: {}\n", rfc822(date));
        if let Some(until) = valid_until {
            text.push_str(&format!("Valid-Until: {}\n", rfc822(until)));
        }
        text.push_str("Acquire-By-Hash: yes\nSHA256:\n");
        for component in ["main", "non-free-firmware"] {
            let of = |stanza: &&Stanza| stanza.suite == suite && stanza.component == component;
            let list: String = self.stanzas.iter().filter(of).map(|stanza| stanza.text.as_str()).collect();
            let list = deb::xz(list.as_bytes());
            let digest = Digest::of(&list);
            let folder = format!("{component}/binary-arm64");
            text.push_str(&format!(" {digest} {} {folder}/Packages.xz\n", list.len()));
            self.server.put(&format!("{}/dists/{suite}/{folder}/by-hash/SHA256/{digest}", base(suite)), list);
        }
        text
    }

    pub fn mirror(&self) -> Mirror {
        Mirror::told(&self.server.url("debian"), None).unwrap()
    }

    pub fn cache(&self) -> Cache {
        Cache::open(self.folder.path()).unwrap()
    }

    pub fn client(&self) -> Client {
        client(&self.options, &microdc::source::trust::Trust::default(), self.cancel.clone())
    }

    /// Runs `work` with a resolver of a request for `names`, with this run's options and that lock.
    pub fn resolve<T>(&self, names: &[&str], lock: Option<&Lock>, work: impl FnOnce(&Resolver<'_>) -> T) -> T {
        let request = Request::of(names.iter().map(|name| wanted(name)).collect());
        let (cache, mirror, client) = (self.cache(), self.mirror(), self.client());
        let places = Places { cache: &cache, mirror: &mirror, keyring: &self.keyring, progress: &self.told };
        work(&Resolver::new(&request, lock, &self.options, places, &client))
    }

    /// The lock of a run that requires `names`.
    pub fn lock(&self, names: &[&str]) -> Lock {
        self.resolve(names, None, |resolver| {
            resolver.require_all(names).unwrap();
            resolver.lock()
        })
    }

    pub fn with(mut self, mode: LockMode, offline: bool) -> Archive {
        (self.options.mode, self.options.offline) = (mode, offline);
        self
    }
}

fn wanted(name: &str) -> Wanted {
    let mut wanted = Wanted::named(name);
    if name == "raspi-firmware" {
        (wanted.suite, wanted.component) = (Some("sid".into()), Some("non-free-firmware".into()));
    }
    wanted
}

pub fn base(suite: &str) -> &'static str {
    if suite.ends_with("-security") { "debian-security" } else { "debian" }
}

/// A time as the archive writes it.
pub fn rfc822(seconds: u64) -> String {
    contract::calendar::http_time(seconds).replace("GMT", "UTC")
}
