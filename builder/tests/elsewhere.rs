//! A path that a package does not have is found where it is: in a script, a dependency, or another package of its source.

use crate::source_kit::archive::Archive;
use crate::source_kit::deb;
use microdc::resolve::Elsewhere;
use std::fs;

/// A package whose script makes a link and whose dependency has a program; another of the same source has a file; one that
/// is none of these has it too.
fn archive() -> Archive {
    let mut archive = Archive::new();
    let script = "update-alternatives --install /usr/sbin/fw fw /usr/sbin/fw-nft 20\n";
    let own = [deb::other("./usr/", b'5', ""), deb::file("./usr/fw-nft", b"f")];
    let bytes = deb::deb_with_script("fw", "1", "Depends: fw-base\n", script, &own);
    archive.add_bytes("trixie", "main", "fw", "1", "Depends: fw-base\n", bytes);
    let program = |path: &str| [deb::other("./usr/", b'5', ""), deb::file(path, b"p")];
    archive.add("trixie", "main", "fw-base", "1", "", &program("./usr/fwd"));
    archive.add("trixie", "main", "fw-legacy", "1", "", &program("./usr/old"));
    archive.add("trixie", "main", "fw-dev", "1", "", &program("./usr/header"));
    archive.publish();
    archive
}

fn who(archive: &Archive, pattern: &str, far: bool) -> Option<String> {
    archive.resolve(&["fw"], None, |resolver| {
        resolver.elsewhere("fw", pattern, far).map(|found| match found {
            Elsewhere::Scripts { package, acts } => {
                format!("script of {}, {} links", package.name, acts.alternatives.len())
            }
            Elsewhere::Package { package, pattern } => format!("{pattern} of {}", package.name),
        })
    })
}

#[test]
fn scripts_dependencies_and_packages_of_the_same_source_are_asked_in_this_order() {
    let archive = archive();
    assert_eq!(who(&archive, "/usr/sbin/fw", false).unwrap(), "script of fw, 1 links");
    assert_eq!(who(&archive, "usr/fwd", true).unwrap(), "usr/fwd of fw-base");
    assert_eq!(who(&archive, "usr/ol?", true).unwrap(), "usr/ol? of fw-legacy");
    assert_eq!(who(&archive, "usr/bin/fwd", true).unwrap(), "usr/fwd of fw-base", "the same name in another folder");
    assert_eq!(who(&archive, "usr/header", true), None, "what compiles programs is not for a node");
    assert_eq!(who(&archive, "usr/fwd", false), None, "a near miss in the package itself asks no other");
}

#[test]
fn scripts_are_read_when_the_package_is_unpacked_already_and_its_file_gone() {
    let archive = archive();
    let lock = archive.lock(&["fw"]);
    let (package, cache) = (&lock.packages["fw"], archive.cache());
    fs::remove_file(cache.blob(package.sha256, package.size).unwrap()).unwrap();
    let links = archive.resolve(&["fw"], Some(&lock), |resolver| resolver.acts("fw").unwrap().1.alternatives.len());
    assert_eq!(links, 1);
    // Without a network nothing is fetched, and nothing is said of where it is.
    fs::remove_file(cache.blob(package.sha256, package.size).unwrap()).unwrap();
    let offline = archive.with(microdc::resolve::LockMode::Reuse, true);
    let found =
        offline.resolve(&["fw"], Some(&lock), |resolver| resolver.elsewhere("fw", "usr/sbin/fw", true).is_some());
    assert!(!found);
}
