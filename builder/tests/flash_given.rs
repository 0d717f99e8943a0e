//! Where an image comes from: packed, by the network, through a pipe; what is cut off, damaged, not an image or not the one
//! that its map describes never reaches the disk.

use crate::end_to_end::said;
use crate::flash_kit::*;
use crate::source_kit::server::{Fault, Server};
use microdc::flash::Request;
use microdc::flash::bmap::{self, Bmap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The shared image, packed.
fn packed() -> Vec<u8> {
    let file = std::fs::File::open(&SHARED.image).unwrap();
    zstd::encode_all(file, 1).unwrap()
}

fn flash(folder: &Path, image: &str, to: &Path, more: &[&str]) -> Output {
    run(microdc_flash(folder, &[&[image, "--to", to.to_str().unwrap()], more].concat()))
}

fn is_image(disk: &Path) {
    crate::format_support::tool_ok("cmp", &[SHARED.image.to_str().unwrap(), disk.to_str().unwrap()]);
}

fn piped(mut command: Command, bytes: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

#[test]
fn packed_images_come_as_files_through_pipes_and_by_http() {
    let folder = folder();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let zst = packed();
    // The name does not matter.
    std::fs::write(at("image.bin"), &zst).unwrap();
    let output = flash(folder.path(), "image.bin", &at("by-file"), &["--json"]);
    said(&output, 0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["written"], SHARED.map.length());
    assert_eq!((&report["resumed"], &report["kept_state"]), (&false.into(), &false.into()));
    assert_eq!(report["slots"][0]["version"], "1.2.3");
    is_image(&at("by-file"));

    let to = at("by-pipe");
    let output = piped(microdc_flash(folder.path(), &["-", "--to", to.to_str().unwrap()]), &zst);
    let text = said(&output, 0);
    assert!(text.contains("standard input, written and read back"), "{text}");
    is_image(&to);

    let server = Server::start();
    server.put("router.img.zst", zst.clone());
    // The connection breaks once, and the rest is fetched.
    server.fail("router.img.zst", [Fault::Cut(zst.len() / 3)]);
    server.tag("router.img.zst", "\"v1\"", false);
    said(&flash(folder.path(), &server.url("router.img.zst"), &at("by-http"), &[]), 0);
    is_image(&at("by-http"));
    assert!(!leftovers(folder.path()), "the unpacked image is removed");
}

/// Whether anything is left of unpacked images.
fn leftovers(folder: &Path) -> bool {
    std::fs::read_dir(folder.join("cache/temp")).is_ok_and(|mut entries| entries.next().is_some())
}

#[test]
fn what_is_cut_off_or_damaged_or_something_else_never_reaches_the_disk() {
    let folder = folder();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let zst = packed();
    let refused = |output: Output, words: &str| {
        let text = said(&output, 1);
        assert!(text.contains(words), "{words:?} is not in: {text}");
        assert!(!at("disk").exists(), "the disk was made: {text}");
    };
    std::fs::write(at("cut.zst"), &zst[..zst.len() / 2]).unwrap();
    refused(flash(folder.path(), "cut.zst", &at("disk"), &[]), "damaged or cut off, and nothing was written");
    let mut damaged = zst.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 100].fill(0x55);
    std::fs::write(at("damaged.zst"), damaged).unwrap();
    refused(flash(folder.path(), "damaged.zst", &at("disk"), &[]), "damaged");
    std::fs::write(at("text.img"), "this is not an image\n").unwrap();
    refused(flash(folder.path(), "text.img", &at("disk"), &[]), "truncated, or not an image");
    refused(flash(folder.path(), "missing.img", &at("disk"), &[]), "missing.img");
    refused(flash(folder.path(), ".", &at("disk"), &[]), "directory");
    let to = at("disk");
    let pipe = || microdc_flash(folder.path(), &["-", "--to", to.to_str().unwrap()]);
    refused(piped(pipe(), &zst[..1000]), "cut off");
    refused(piped(pipe(), b""), "truncated, or not an image");

    let server = Server::start();
    server.put("router.img.zst", zst);
    server.fail("router.img.zst", (0..20).map(|_| Fault::Cut(0)));
    refused(flash(folder.path(), &server.url("router.img.zst"), &at("disk"), &[]), "router.img.zst");
    refused(flash(folder.path(), &server.url("nothing"), &at("disk"), &[]), "404");

    let bundle = at("router.bundle");
    let request = microdc::bundle::Request {
        image: &SHARED.image,
        slot: None,
        trusted: &[crate::format_support::public(1)],
        frame_blocks: contract::bundle::FRAME_BLOCKS,
    };
    microdc::bundle::write(&request, Some(&bundle), &|_| Ok(())).unwrap();
    refused(flash(folder.path(), "router.bundle", &at("disk"), &[]), "is a bundle");
    std::fs::write(at("bundle.zst"), zstd::encode_all(std::fs::File::open(&bundle).unwrap(), 1).unwrap()).unwrap();
    refused(flash(folder.path(), "bundle.zst", &at("disk"), &[]), "is a bundle");
    std::fs::write(at("node.toml"), "nmae = \"r1\"\n").unwrap();
    let image = SHARED.image.to_str().unwrap();
    refused(flash(folder.path(), image, &at("disk"), &["--node", "node.toml"]), "microdc node check");
    assert!(!leftovers(folder.path()));
}

#[test]
fn the_map_that_a_build_writes_is_compared_with_the_image() {
    let folder = folder();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let text = std::fs::read_to_string(bmap::beside(&SHARED.image)).unwrap();
    let map = Bmap::parse(&text).unwrap();
    let refused = |name: &str, text: &str, words: &str| {
        std::fs::write(at(name), text).unwrap();
        let path = at(name);
        let error = flashed(&Request { bmap: Some(&path), ..request(&at("disk")) }).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{words:?} is not in: {error}");
        assert!(!at("disk").exists());
    };
    refused("damaged.bmap", &text.replacen("<Range", "<Range ", 1), "its own checksum is");
    let mut other = map.clone();
    other.ranges[1].digest = contract::hash::Digest::of(b"other");
    refused("other.bmap", &other.to_text(), "the map of another image: the bytes from ");
    let longer = Bmap { image_size: map.image_size + 4096, ..map.clone() };
    refused("longer.bmap", &longer.to_text(), "the map of an image of ");
    refused("old.bmap", &text.replace("2.0", "1.4"), "another version");
    refused("empty.bmap", "", "no <bmap>");
    // What it names is all that an image means: zeros everywhere else.
    let mapped: u64 = map.ranges.iter().map(|range| range.last - range.first + 1).sum();
    assert_eq!(mapped * 4096, SHARED.map.length());
    // One that lies beside the image is looked at by itself.
    let copy = at("router.img");
    crate::format_support::tool_ok(
        "cp",
        &["--sparse=always", SHARED.image.to_str().unwrap(), copy.to_str().unwrap()],
    );
    std::fs::write(bmap::beside(&copy), other.to_text()).unwrap();
    let said = said(&flash(folder.path(), "router.img", &at("disk"), &[]), 1);
    assert!(said.contains("router.img.bmap") && said.contains("delete the map"), "{said}");
}

#[test]
fn an_image_that_waits_for_its_signature_is_refused_unless_that_is_asked_for() {
    let folder = folder();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    struct Elsewhere;
    impl microdc::slot::Sign for Elsewhere {
        fn signature(&self, _: &[u8]) -> contract::keys::ManifestSignature {
            contract::keys::ManifestSignature::awaited(crate::format_support::public(1).id())
        }
    }
    let (tree, boot, key) =
        (crate::format_support::tree(), crate::format_support::boot_files(), crate::format_support::key(1));
    let mut slot = crate::format_support::slot_spec(&tree, &boot, &key);
    slot.key = &Elsewhere;
    let spec = microdc::image::ImageSpec { slot, layout: crate::format_support::layout(), node_config: None };
    microdc::image::write(&spec, &at("unsigned.img"), &|_| Ok(())).unwrap();
    let text = said(&flash(folder.path(), "unsigned.img", &at("disk"), &[]), 1);
    assert!(text.contains("is not signed yet") && text.contains("--allow-unsigned"), "{text}");
    assert!(!at("disk").exists());
    let mut command = Command::new(crate::end_to_end::MICRODC);
    command.args(["flash", "unsigned.img", "--to", "disk", "--allow-unsigned"]).current_dir(folder.path());
    said(&run(command), 0);
    crate::format_support::tool_ok("cmp", &[at("unsigned.img").to_str().unwrap(), at("disk").to_str().unwrap()]);
}
