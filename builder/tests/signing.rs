//! Signing on another machine: what comes back is the image that a build with the key would have made, openssl agrees
//! with both halves, and what does not belong together is refused with the image as it was.

use crate::end_to_end::project::{Project, Warmth};
use crate::end_to_end::{MICRODC, router, said, sha256sum};
use crate::format_support::*;
use contract::hash::Digest;
use contract::keys::PrivateKey;
use contract::layout::DEFAULT_ROOT_SIZE;
use contract::role::{Compatible, ProfileName, Role};
use microdc::boot::initramfs;
use microdc::format::fat::FatFile;
use microdc::image::{self, ImageSpec, ImageSummary};
use microdc::release_key::Signer;
use microdc::signing::{self, SigningError};
use microdc::slot::Sign;
use microdc::verify::VerifyError;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUTER: Role = Role::literal("router");

/// A boot partition whose initramfs trusts the keys 1 and 2.
fn boot_that_trusts() -> Vec<FatFile> {
    let keys = [public(1), public(2)];
    let inputs = initramfs::Inputs {
        firstboot: b"program",
        compatible: &Compatible { role: ROUTER, profile: ProfileName::from(&ROUTER) },
        root_size: DEFAULT_ROOT_SIZE,
        bootsel: b"bootsel",
        modules: &[],
        keys: &keys,
        disk_timeout_s: 5,
    };
    let made = initramfs::make(&inputs).unwrap();
    boot_files().into_iter().map(|file| if file.path == made.path { made.clone() } else { file }).collect()
}

fn image_by(path: &Path, signer: &dyn Sign) -> ImageSummary {
    let (tree, boot, key) = (tree(), boot_that_trusts(), key(1));
    let mut slot = slot_spec(&tree, &boot, &key);
    slot.key = signer;
    image::write(&ImageSpec { slot, layout: layout(), node_config: None }, path, &|_| Ok(())).unwrap()
}

/// An image that key 1 is to sign, with its manifest beside it.
struct Scene {
    folder: tempfile::TempDir,
    image: PathBuf,
    request: PathBuf,
    digest: Digest,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("router.img");
        let made = image_by(&image, &Signer::Elsewhere(public(1)));
        let request = signing::write_request(&image, &made.slot.manifest).unwrap();
        Scene { folder, image, request, digest: made.digest }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The manifest's signature by one of the test's keys.
    fn signature_by(&self, seed: u8) -> PathBuf {
        let (_, manifest) = signing::read_request(&self.request).unwrap();
        let path = self.path(&format!("{seed}.sig"));
        signing::sign(&manifest, &key(seed), &path).unwrap();
        path
    }

    fn assert_untouched(&self) {
        assert_eq!(digest_of(&self.image), self.digest);
    }
}

fn digest_of(path: &Path) -> Digest {
    sha256sum(path).parse().unwrap()
}

/// The private key as others store it: PKCS #8 (RFC 8410, section 7).
fn der(key: &PrivateKey) -> Vec<u8> {
    let seed = key.to_text().trim().rsplit(' ').next().map(|text| hex::decode(text).unwrap()).unwrap();
    [&hex::decode("302e020100300506032b657004220420").unwrap()[..], &seed].concat()
}

#[test]
fn an_image_signed_elsewhere_is_bit_for_bit_the_one_signed_by_the_build() {
    let scene = Scene::new();
    let here = image_by(&scene.path("here.img"), &key(1));
    assert_ne!(here.digest, scene.digest, "nobody has signed the other one yet");
    let attached = signing::attach(&scene.signature_by(1), &scene.image).unwrap();
    assert_eq!((attached.digest, attached.manifest), (here.digest, here.slot.manifest));
    assert_eq!(digest_of(&scene.image), here.digest);
}

#[test]
fn openssl_verifies_the_signature_and_its_own_is_as_good() {
    let scene = Scene::new();
    let signature = scene.signature_by(1);
    let private = scene.path("private.der");
    std::fs::write(&private, der(&key(1))).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let public = scene.path("public.pem");
    tool_ok("openssl", &["pkey", "-inform", "DER", "-in", &text(&private), "-pubout", "-out", &text(&public)]);
    let said = tool_ok(
        "openssl",
        &[
            "pkeyutl",
            "-verify",
            "-rawin",
            "-pubin",
            "-inkey",
            &text(&public),
            "-in",
            &text(&scene.request),
            "-sigfile",
            &text(&signature),
        ],
    );
    assert!(said.contains("Verified Successfully"), "{said}");

    let by_openssl = scene.path("openssl.sig");
    tool_ok(
        "openssl",
        &[
            "pkeyutl",
            "-sign",
            "-rawin",
            "-keyform",
            "DER",
            "-inkey",
            &text(&private),
            "-in",
            &text(&scene.request),
            "-out",
            &text(&by_openssl),
        ],
    );
    assert_eq!(std::fs::read(&by_openssl).unwrap(), std::fs::read(&signature).unwrap());
    assert_eq!(signing::attach(&by_openssl, &scene.image).unwrap().key, crate::format_support::public(1));
}

#[test]
fn the_other_trusted_key_may_sign_and_no_third() {
    let scene = Scene::new();
    let refused = signing::attach(&scene.signature_by(3), &scene.image).unwrap_err();
    assert!(matches!(refused, SigningError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains(&public(2).id().to_string()), "{refused}");
    scene.assert_untouched();
    assert_eq!(signing::attach(&scene.signature_by(2), &scene.image).unwrap().key, public(2));
}

#[test]
fn what_does_not_belong_together_is_refused_and_the_image_stays_as_it_was() {
    let scene = Scene::new();
    // A signature of another build's manifest, by the right key.
    let other = scene.path("other.img");
    let made = image_by(&other, &Signer::Elsewhere(public(1)));
    let mut manifest = made.slot.manifest;
    manifest.version = "1.2.4".parse().unwrap();
    let request = signing::write_request(&other, &manifest).unwrap();
    let signature = signing::signature_of(&request);
    let (_, bytes) = signing::read_request(&request).unwrap();
    signing::sign(&bytes, &key(1), &signature).unwrap();
    let refused = signing::attach(&signature, &scene.image).unwrap_err();
    assert!(matches!(refused, SigningError::Foreign { .. }), "{refused}");

    // No signature at all.
    for bytes in [&[1u8; 0][..], &[1; 63], &[1; 65], &[0; 64]] {
        std::fs::write(&signature, bytes).unwrap();
        assert!(signing::attach(&signature, &scene.image).is_err(), "{} bytes", bytes.len());
    }
    scene.assert_untouched();

    // A bit of the image that changed after its build: in the root, in the boot partition, in the table.
    let good = scene.signature_by(1);
    let file = File::options().read(true).write(true).open(&scene.image).unwrap();
    let at = |partition| layout().extent(partition).unwrap().offset + 40_000;
    use contract::layout::Partition::{BootA, RootA, RootB};
    for offset in [at(RootA), at(BootA), at(RootB), 520] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
        let refused = signing::attach(&good, &scene.image).unwrap_err();
        assert!(matches!(refused, SigningError::Image { .. }), "{offset}: {refused}");
        file.write_all_at(&byte, offset).unwrap();
        scene.assert_untouched();
    }

    // Once is enough.
    signing::attach(&good, &scene.image).unwrap();
    let refused = signing::attach(&good, &scene.image).unwrap_err();
    assert!(matches!(refused, SigningError::Signed(_)), "{refused}");
}

#[test]
fn nothing_but_a_manifest_is_ever_signed() {
    let scene = Scene::new();
    let path = scene.path("text");
    let manifest = std::fs::read(&scene.request).unwrap();
    let without_head = manifest.splitn(2, |byte| *byte == b'\n').nth(1).unwrap();
    for bytes in [b"pay 100".as_slice(), b"", without_head, &manifest[..manifest.len() - 1]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(signing::read_request(&path).is_err());
    }
}

#[test]
fn an_image_without_its_signature_is_taken_by_nobody_and_verify_says_what_to_do() {
    let scene = Scene::new();
    let expect =
        microdc::verify::Expect { trusted: &[public(1)], role: None, bootsel: microdc::verify::Bootsel::AsBuilt };
    let found = microdc::verify::verify(&scene.image, &expect).unwrap_err();
    assert!(matches!(found, VerifyError::Trailer { .. }), "{found}");
    let key = scene.path("one.pub");
    std::fs::write(&key, public(1).to_text()).unwrap();
    let mut verify = Command::new(MICRODC);
    verify.arg("verify").arg(&scene.image).arg("--key").arg(&key);
    let text = said(&verify.output().unwrap(), 1);
    for part in ["is not signed yet", &public(1).id().to_string(), "router.manifest", "microdc sign --attach"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn three_commands_on_two_machines_make_the_router_that_one_makes() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::new(folder.path(), Warmth::Warm);
    // The machine with the key: it never sees the image.
    let safe = folder.path().join("safe");
    said(&project.microdc(&["keys", "new", "--folder", safe.to_str().unwrap()]).output().unwrap(), 0);
    let direct = project.built(&["--key", safe.join("release.key").to_str().unwrap(), "-o", "out/direct.img"]);

    let text = said(&project.build(&["--unsigned"]).output().unwrap(), 1);
    assert!(text.contains("keys/release.pub") && text.contains("--public"), "{text}");
    std::fs::copy(safe.join("release.pub"), project.folder.join("keys/release.pub")).unwrap();
    let text = said(&project.build(&["--unsigned"]).output().unwrap(), 0);
    assert!(text.contains("not signed yet") && text.contains("microdc sign"), "{text}");
    let again = said(&project.build(&["--unsigned"]).output().unwrap(), 0);
    assert!(again.contains("nothing changed"), "{again}");
    assert_ne!(sha256sum(&project.image()), direct);

    let manifest = safe.join("router.manifest");
    std::fs::copy(project.folder.join("out/router.manifest"), &manifest).unwrap();
    let mut sign = project.microdc(&["sign", "router.manifest", "--key", "release.key"]);
    let text = said(&sign.current_dir(&safe).output().unwrap(), 0);
    assert!(text.contains("router.manifest.sig"), "{text}");
    std::fs::copy(safe.join("router.manifest.sig"), project.folder.join("out/router.manifest.sig")).unwrap();
    let attach = ["sign", "--attach", "out/router.manifest.sig", "out/router.img", "--json"];
    let report: serde_json::Value =
        serde_json::from_str(&said(&project.microdc(&attach).output().unwrap(), 0)).unwrap();
    assert_eq!(report["image_digest"], direct.as_str());
    assert_eq!(sha256sum(&project.image()), direct);
    said(&project.microdc(&["verify", "out/router.img", "--key", "keys/release.pub"]).output().unwrap(), 0);

    // A key that others could read is not used, as for a build.
    std::fs::set_permissions(safe.join("release.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let mut sign = project.microdc(&["sign", "router.manifest", "--key", "release.key"]);
    assert!(said(&sign.current_dir(&safe).output().unwrap(), 1).contains("chmod 600"));
    assert!(router().image.is_file());
}
