//! From names to packages: whom to trust, what the lock is worth, and what is done without network.

use std::fs;

use crate::source_kit::archive::{Archive, NOW, SUITES, armored, keyring, new_key, new_key_of, sign};
use crate::source_kit::deb::file;
use crate::source_kit::server::Fault;
use microdc::lock::Lock;
use microdc::resolve::{LockMode, ResolveError};
use microdc::source::keyring::Keyring;
use pgp::composed::KeyType;
use pgp::crypto::hash::HashAlgorithm;

/// The error of a run that requires `frr` from the indices.
fn error_of(archive: &Archive) -> ResolveError {
    archive.resolve(&["frr"], None, |resolver| resolver.require("frr").map(drop).unwrap_err())
}

/// What changes from one lock to another, without sizes.
fn changes(old: &Lock, new: &Lock) -> Vec<String> {
    let lines = old.differences(new).into_iter().map(|change| change.to_string());
    lines.map(|line| line.split(',').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn names_become_locked_fetched_and_unpacked_packages() {
    let archive = Archive::usual();
    let lock = archive.lock(&["frr", "raspi-firmware"]);
    assert_eq!(lock.packages.keys().collect::<Vec<_>>(), ["frr", "raspi-firmware"]);
    assert_eq!(lock.packages["raspi-firmware"].suite, "sid");
    assert_eq!(lock.packages["raspi-firmware"].component, "non-free-firmware");
    assert_eq!(lock.index.keys().collect::<Vec<_>>(), ["sid", "trixie", "trixie-security", "trixie-updates"]);
    assert_eq!(lock.built(), NOW - 3_600);
    assert!(!lock.to_text().contains("127.0.0.1") && !lock.to_text().contains("http"));
    let (total, done) = (*archive.told.total.lock().unwrap(), *archive.told.done.lock().unwrap());
    assert_eq!(total, done, "progress reaches its end");
}

#[test]
fn the_highest_version_among_the_suites_is_taken() {
    let mut archive = Archive::usual();
    archive.add("trixie-security", "main", "frr", "10.3-3+deb13u1", "", &[file("./f", b"s")]);
    archive.add("trixie-updates", "main", "frr", "10.3-3+deb13u1~", "", &[file("./f", b"u")]);
    archive.publish();
    let lock = archive.lock(&["frr"]);
    assert_eq!(
        (lock.packages["frr"].version.as_str(), lock.packages["frr"].suite.as_str()),
        ("10.3-3+deb13u1", "trixie-security")
    );
}

#[test]
fn candidates_for_a_library_follow_from_the_packages_dependencies() {
    let archive = Archive::usual();
    archive.resolve(&["frr"], None, |resolver| {
        assert!(matches!(resolver.candidates("frr", "libyang.so.3"), Err(ResolveError::NotRequired { .. })));
        resolver.require("frr").unwrap();
        assert_eq!(resolver.candidates("frr", "libyang.so.3").unwrap(), ["libyang3", "libc6", "default-awk"]);
        assert_eq!(resolver.candidates("frr", "libm.so.6").unwrap()[0], "libc6");
        assert_eq!(resolver.candidates("frr", "libother.so.1").unwrap(), ["libc6", "libyang3", "default-awk"]);
        resolver.require("libyang3").unwrap();
        assert_eq!(resolver.candidates("libyang3", "libc.so.6").unwrap(), ["libc6"]);
        assert_eq!(resolver.require("awk").unwrap().package.name, "mawk");
        assert_eq!(resolver.candidates("frr", "libx.so.1").unwrap().last().unwrap(), "mawk", "the awk that is here");
        assert_eq!(resolver.lock().packages.keys().collect::<Vec<_>>(), ["frr", "libyang3", "mawk"]);
    });
}

#[test]
fn an_unknown_package_is_answered_with_the_names_like_it() {
    let archive = Archive::usual();
    let text =
        archive.resolve(&["frrr"], None, |resolver| resolver.require("frrr").map(drop).unwrap_err().to_string());
    assert!(text.contains("no package \"frrr\" in trixie/main") && text.contains("did you mean frr?"), "{text}");
    let text =
        archive.resolve(&["x"], None, |resolver| resolver.require("quite-other").map(drop).unwrap_err().to_string());
    assert!(!text.contains("did you mean"), "{text}");
}

#[test]
fn an_index_signed_by_an_unknown_key_is_refused() {
    let mut archive = Archive::usual();
    archive.keyring = keyring(&new_key(true));
    let text = error_of(&archive).to_string();
    assert!(text.contains("is not trusted") && text.contains("InRelease"), "{text}");
    assert!(
        archive.server.requests().iter().all(|request| request.path.ends_with("InRelease")),
        "nothing more is fetched"
    );
}

#[test]
fn an_index_altered_after_signing_is_refused() {
    let archive = Archive::usual();
    let text = archive.release_text("trixie", "trixie", NOW, None);
    let good = sign(&archive.key, &text, NOW, HashAlgorithm::Sha256, true);
    for bad in [good.replacen("Origin: Test", "Origin: Tess", 1), good.replacen(" main/", "  main/", 1)] {
        assert_ne!(bad, good);
        archive.put_release("trixie", bad);
        let text = error_of(&archive).to_string();
        assert!(text.contains("does not verify"), "{text}");
    }
    for bad in [
        text.clone(),
        String::new(),
        "-----BEGIN PGP SIGNED MESSAGE-----\n".to_owned(),
        good[..good.len() / 2].to_owned(),
    ] {
        archive.put_release("trixie", bad);
        let text = error_of(&archive).to_string();
        assert!(text.contains("not text with an OpenPGP signature"), "{text}");
    }
    // Text before or behind what is signed is not part of it, and no way to slip something in.
    for bad in [format!("Suite: trixie\n{good}"), format!("{good}\nSuite: trixie\n")] {
        archive.put_release("trixie", bad);
        error_of(&archive);
    }
    archive.put_release("trixie", good);
    archive.lock(&["frr"]);
}

#[test]
fn only_keys_that_may_sign_and_strong_hashes_count() {
    let mut archive = Archive::usual();
    let text = archive.release_text("trixie", "trixie", NOW, None);
    let try_with = |archive: &Archive, message: String| {
        archive.put_release("trixie", message);
        error_of(archive).to_string()
    };
    // Debian's own keys are RSA, which signs any hash.
    archive.key = new_key_of(KeyType::Rsa(2048), true);
    archive.keyring = keyring(&archive.key);
    archive.publish();
    for hash in [HashAlgorithm::Sha1, HashAlgorithm::Sha224] {
        let what = try_with(&archive, sign(&archive.key, &text, NOW, hash, true));
        assert!(what.contains("too weak"), "{what}");
    }
    let what = try_with(&archive, sign(&archive.key, &text, NOW + 2 * 86_400, HashAlgorithm::Sha256, true));
    assert!(what.contains("is in the future"), "{what}");
    archive.put_release("trixie", sign(&archive.key, &text, NOW, HashAlgorithm::Sha256, false));
    archive.lock(&["frr"]);

    let mut mute = Archive::usual();
    mute.key = new_key(false);
    mute.keyring = keyring(&mute.key);
    for subkey in [true, false] {
        let what = try_with(&mute, sign(&mute.key, &text, NOW, HashAlgorithm::Sha256, subkey));
        assert!(what.contains("not allowed to sign"), "{what}");
    }
    let fingerprint = "00".repeat(20);
    assert!(Keyring::new(&[(&fingerprint, &armored(&mute.key))]).is_err(), "only the pinned key is taken");
}

#[test]
fn an_expired_index_is_refused_with_dates_unless_the_operator_takes_it_for_that_suite() {
    let mut archive = Archive::usual();
    archive.publish_as("trixie-security", "trixie-security", NOW - 9 * 86_400, Some(NOW - 2 * 86_400));
    let text = error_of(&archive).to_string();
    for part in ["2026-11-19", "2026-11-21", "stale", "--accept-expired trixie-security"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    archive.options.accept_expired = vec!["sid".into()];
    error_of(&archive);
    archive.options.accept_expired = vec!["trixie-security".into()];
    archive.lock(&["frr"]);
    assert!(archive.told.text().contains("has expired and is used anyway"), "{}", archive.told.text());
}

#[test]
fn an_index_of_a_time_to_come_or_another_suite_is_refused() {
    let archive = Archive::usual();
    archive.publish_as("trixie", "trixie", NOW + 2 * 86_400, None);
    assert!(error_of(&archive).to_string().contains("check the clock"));
    archive.publish_as("trixie", "bookworm", NOW, None);
    let text = error_of(&archive).to_string();
    assert!(text.contains("bookworm") && text.contains("index of trixie"), "{text}");
    archive.server.remove("debian/dists/trixie/InRelease");
    assert!(error_of(&archive).to_string().contains("no suite trixie"));
}

#[test]
fn a_list_of_packages_with_a_wrong_hash_is_refused() {
    let archive = Archive::usual();
    let is_list = |path: &&String| path.contains("/trixie/main/") && path.contains("by-hash");
    let path = archive.server.paths().iter().find(is_list).unwrap().clone();
    let list = archive.server.requests_of(&path);
    assert!(list.is_empty());
    let size = {
        archive.resolve(&["frr"], None, |resolver| resolver.require("frr").map(drop).unwrap());
        archive.server.requests_of(&path)[0].sent
    };
    fs::remove_dir_all(archive.folder.path().join("stage")).unwrap();
    fs::remove_dir_all(archive.folder.path().join("sha256")).unwrap();
    archive.server.put(&path, vec![b'x'; size]);
    let text = error_of(&archive).to_string();
    assert!(text.contains("SHA-256") && text.contains("trixie"), "{text}");
}

#[test]
fn a_package_that_is_truncated_or_has_a_wrong_hash_is_refused() {
    let archive = Archive::usual();
    let package = archive.packages[0].clone();
    let path = format!("debian/{}", package.path);
    archive.server.put(&path, vec![b'x'; usize::try_from(package.size).unwrap()]);
    let text = error_of(&archive).to_string();
    assert!(text.contains("package frr") && text.contains("SHA-256"), "{text}");
    archive.server.put(&path, vec![b'x'; 100]);
    let text = error_of(&archive).to_string();
    assert!(text.contains("has 100 bytes"), "{text}");
}

#[test]
fn with_a_lock_no_index_is_asked() {
    let archive = Archive::usual();
    let lock = archive.lock(&["frr", "libyang3", "raspi-firmware"]);
    fs::remove_dir_all(archive.folder.path()).unwrap();
    archive.server.forget_requests();
    let again = archive.resolve(&["frr", "libyang3", "raspi-firmware"], Some(&lock), |resolver| {
        resolver.prefetch().unwrap();
        resolver.require_all(&["frr", "libyang3", "raspi-firmware"]).unwrap();
        resolver.lock()
    });
    assert_eq!(again, lock);
    assert_eq!(archive.server.requests().len(), 3);
    assert!(archive.server.requests().iter().all(|request| request.path.contains("pool/")));
}

#[test]
fn without_network_a_full_cache_is_enough_and_an_empty_one_says_what_is_missing() {
    let archive = Archive::usual();
    let lock = archive.lock(&["frr", "libyang3"]);
    let archive = archive.with(LockMode::Reuse, true);
    archive.server.forget_requests();
    let run = |names: &[&str], lock: Option<&Lock>| {
        archive.resolve(names, lock, |resolver| {
            resolver.prefetch()?;
            resolver.require_all(names).map(drop)
        })
    };
    run(&["frr", "libyang3"], Some(&lock)).unwrap();
    let text = run(&["frr", "mawk"], Some(&lock)).unwrap_err().to_string();
    assert!(text.contains("mawk is not in the lock") && text.contains("--offline"), "{text}");

    fs::remove_dir_all(archive.folder.path()).unwrap();
    let text = run(&["frr", "libyang3"], Some(&lock)).unwrap_err().to_string();
    assert!(text.contains("frr 10.3-3") && text.contains("libyang3 3.12") && text.contains("--offline"), "{text}");
    let text = run(&["frr"], None).unwrap_err().to_string();
    assert!(text.contains("not in the lock"), "{text}");
    assert_eq!(archive.server.requests(), [], "nothing was fetched");
}

#[test]
fn a_mirror_that_cannot_be_reached_is_named() {
    let archive = Archive::usual();
    for suite in SUITES {
        archive.server.fail(
            &format!("{}/dists/{suite}/InRelease", crate::source_kit::archive::base(suite)),
            vec![Fault::Status(503); 3],
        );
    }
    let text = error_of(&archive).to_string();
    assert!(text.contains("cannot fetch the index of trixie") && text.contains("127.0.0.1"), "{text}");
}

/// An archive in which the locked frr has gone, and a newer one is there.
fn vanished() -> (Archive, Lock) {
    let mut archive = Archive::usual();
    let lock = archive.lock(&["frr", "libyang3"]);
    archive.server.remove(&format!("debian/{}", lock.packages["frr"].path));
    archive.server.remove(&format!("debian/{}", lock.packages["libyang3"].path));
    archive.add("trixie", "main", "frr", "10.3-4", "Depends: libyang3\n", &[file("./f", b"new")]);
    archive.publish();
    // libyang3 stays in the cache: that it has gone from the mirror does not matter.
    let cache = archive.cache();
    let frr = &lock.packages["frr"];
    fs::remove_file(cache.blob(frr.sha256, frr.size).unwrap()).unwrap();
    let hex = frr.sha256.to_string();
    let folder = format!("unpacked/{}/{hex}-v{}", &hex[..2], microdc::source::unpacked::FORMAT);
    fs::remove_dir_all(archive.folder.path().join(folder)).unwrap();
    (archive, lock)
}

#[test]
fn a_package_gone_from_the_mirror_is_resolved_anew_alone_and_the_change_is_told() {
    let (archive, lock) = vanished();
    let newer = archive.resolve(&["frr", "libyang3"], Some(&lock), |resolver| {
        resolver.prefetch().unwrap();
        let frr = resolver.require("frr").unwrap();
        assert_eq!(frr.package.version, "10.3-4");
        resolver.require("libyang3").unwrap();
        resolver.lock()
    });
    assert_eq!(changes(&lock, &newer), ["~ frr 10.3-3 → 10.3-4"]);
    assert!(
        archive.told.text().contains("frr 10.3-3 → 10.3-4: the locked version is no longer on the mirror"),
        "{}",
        archive.told.text()
    );
    // The new lock holds without any index.
    archive.server.forget_requests();
    let again = archive.with(LockMode::Locked, true);
    again.resolve(&["frr", "libyang3"], Some(&newer), |resolver| {
        resolver.require_all(&["frr", "libyang3"]).map(drop).unwrap()
    });
}

#[test]
fn a_package_gone_from_the_mirror_is_an_error_with_a_locked_lock() {
    let (archive, lock) = vanished();
    let archive = archive.with(LockMode::Locked, false);
    let error = archive.resolve(&["frr", "libyang3"], Some(&lock), |resolver| resolver.prefetch().unwrap_err());
    assert!(matches!(&error, ResolveError::Vanished { name, .. } if name == "frr"), "{error}");
    assert!(error.to_string().contains("--locked"), "{error}");
    let error = archive.resolve(&["mawk"], Some(&lock), |resolver| resolver.require("mawk").map(drop).unwrap_err());
    assert!(matches!(error, ResolveError::NotLocked { .. }), "{error}");
}

#[test]
fn a_lock_made_anew_takes_the_newest_and_drops_what_is_not_used() {
    let mut archive = Archive::usual();
    let lock = archive.lock(&["frr", "mawk"]);
    archive.add("trixie", "main", "frr", "10.3-4", "", &[file("./f", b"new")]);
    archive.publish();
    let reuse =
        archive.resolve(&["frr"], Some(&lock), |resolver| resolver.require("frr").unwrap().package.version.clone());
    assert_eq!(reuse, "10.3-3", "the lock holds although there is something newer");
    let archive = archive.with(LockMode::Update, false);
    let newer = archive.resolve(&["frr"], Some(&lock), |resolver| {
        resolver.prefetch().unwrap();
        resolver.require("frr").unwrap();
        resolver.lock()
    });
    assert_eq!(changes(&lock, &newer), ["~ frr 10.3-3 → 10.3-4", "- mawk 1.3"]);
}

#[test]
fn a_package_that_the_profile_now_takes_from_another_suite_is_resolved_anew() {
    let archive = Archive::usual();
    let mut lock = archive.lock(&["frr", "raspi-firmware"]);
    lock.packages.get_mut("raspi-firmware").unwrap().suite = "trixie".into();
    let newer = archive.resolve(&["frr", "raspi-firmware"], Some(&lock), |resolver| {
        resolver.require_all(&["frr", "raspi-firmware"]).unwrap();
        resolver.lock()
    });
    assert_eq!(newer.packages["raspi-firmware"].suite, "sid");
}

#[test]
fn what_was_fetched_ahead_is_not_taken_for_another_version_of_it() {
    let mut archive = Archive::usual();
    let old = [file("./start4.elf", b"old")];
    let old = archive.add("trixie", "non-free-firmware", "raspi-firmware", "1.2024", "", &old);
    archive.publish();
    // The lock has the old one; the profile takes it from sid.
    let mut lock = archive.lock(&["frr", "raspi-firmware"]);
    lock.packages.insert(old.name.clone(), old);
    archive.resolve(&["frr", "raspi-firmware"], Some(&lock), |resolver| {
        resolver.prefetch().unwrap();
        let taken = resolver.require("raspi-firmware").unwrap();
        assert_eq!(taken.package.version, "1.2026");
        assert_eq!(taken.sha256, resolver.lock().packages["raspi-firmware"].sha256);
    });
}

#[test]
fn a_stop_while_resolving_says_so_and_the_next_run_goes_on() {
    let archive = Archive::usual();
    archive.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = error_of(&archive);
    assert!(error.is_cancelled(), "{error}");
    archive.cancel.store(false, std::sync::atomic::Ordering::Relaxed);
    archive.lock(&["frr"]);
}

#[test]
fn a_package_damaged_in_the_cache_is_fetched_again() {
    let archive = Archive::usual();
    let lock = archive.lock(&["frr"]);
    let frr = &lock.packages["frr"];
    let cache = archive.cache();
    fs::remove_dir_all(archive.folder.path().join("unpacked")).unwrap();
    let path = cache.blob(frr.sha256, frr.size).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    archive.resolve(&["frr"], Some(&lock), |resolver| resolver.require("frr").map(drop).unwrap());
    assert!(archive.told.text().contains("damaged in the cache"), "{}", archive.told.text());
}
