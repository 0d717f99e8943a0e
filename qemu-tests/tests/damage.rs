//! Damage and forgery: each is refused by name on the console, and never leads to a hang, a shell or a running role.

use contract::keys::PrivateKey;
use contract::layout::{BLOCK, Extent, Partition, TRAILER_SIZE, trailer_offset};
use contract::manifest::Manifest;
use contract::role::Role;
use contract::trailer::Trailer;
use emulator::{Disk, Network, Reset};
use qemu_tests::images;
use qemu_tests::router::{Router, STEP};

const R1: Router = Router { number: 1 };

fn root(disk: &Disk) -> Extent {
    disk.extent(Partition::RootA).unwrap()
}

fn trailer_at(disk: &Disk) -> u64 {
    trailer_offset(root(disk).length).unwrap()
}

fn trailer(disk: &Disk) -> Trailer {
    Trailer::parse(&disk.read(Partition::RootA, trailer_at(disk), TRAILER_SIZE as usize).unwrap()).unwrap()
}

fn manifest(disk: &Disk) -> Manifest {
    Manifest::parse(&trailer(disk).manifest).unwrap()
}

/// Boots router 1 after `damage` and waits for one of `refusals` on the console and for the reset after it. Gives the
/// line.
fn refused(damage: impl FnOnce(&Disk), refusals: &[&str]) -> String {
    let mut node = R1.machine(images::router(), &[]).network(&Network::new()).prepare().unwrap();
    damage(node.disk());
    node.power_on().unwrap();
    let texts: Vec<&str> = refusals.iter().copied().chain(["is up:"]).collect();
    let (index, line) = node.expect_any(&texts, STEP).unwrap();
    assert!(index < refusals.len(), "the damage went unnoticed: {line}");
    assert_eq!(node.wait_reset(1, STEP).unwrap(), Reset::Guest);
    assert!(!node.console().contains("is up:"), "a damaged node came up");
    line
}

const FAILED: &str = "microdc: FAILED in ";
const CORRUPTED: &str = "is corrupted";

/// A refusal by firstboot, which names the slot and the disk.
fn refused_by_name(damage: impl FnOnce(&Disk), reason: &str) {
    let line = refused(damage, &[FAILED]);
    assert!(line.contains("for slot A on nvme0n1: "), "{line}");
    assert!(line.contains(reason), "{reason:?} is not the reason: {line}");
}

#[test]
fn a_flipped_bit_in_the_root_data_is_refused() {
    // The superblock of ext4: whoever mounts reads it.
    let line = refused(|disk| disk.flip_bit(Partition::RootA, 1024 + 0x60, 2).unwrap(), &[FAILED, CORRUPTED]);
    println!("refused: {line}");
}

#[test]
fn a_flipped_bit_in_a_file_of_the_root_is_refused() {
    let damage = |disk: &Disk| {
        // The role spec begins a block of its own; PID 1 reads it.
        let length = usize::try_from(manifest(disk).root.length).unwrap();
        let root = disk.read(Partition::RootA, 0, length).unwrap();
        let has = |block: &[u8], word: &[u8]| block.windows(word.len()).any(|bytes| bytes == word);
        let spec = |block: &[u8]| block.starts_with(b"{") && has(block, b"\"role\"") && has(block, b"\"summary\"");
        let at = root.chunks(BLOCK as usize).position(spec).expect("the role spec is in the root");
        disk.flip_bit(Partition::RootA, at as u64 * BLOCK + 7, 4).unwrap();
    };
    let line = refused(damage, &[FAILED, CORRUPTED]);
    println!("refused: {line}");
}

#[test]
fn a_flipped_bit_at_the_top_of_the_hash_tree_is_refused() {
    let damage = |disk: &Disk| disk.flip_bit(Partition::RootA, manifest(disk).root.length + 5, 0).unwrap();
    let line = refused(damage, &[FAILED, CORRUPTED]);
    println!("refused: {line}");
}

#[test]
fn a_flipped_bit_in_a_leaf_of_the_hash_tree_is_refused() {
    // The leaf of the first data block stands first in the last level, which ends the tree.
    let damage = |disk: &Disk| {
        let manifest = manifest(disk);
        let leaves = contract::tree::levels(manifest.root.length).unwrap()[0] * BLOCK;
        let end = manifest.root.length + contract::tree::tree_length(manifest.root.length).unwrap();
        disk.flip_bit(Partition::RootA, end - leaves + 3, 7).unwrap();
    };
    let line = refused(damage, &[FAILED, CORRUPTED]);
    println!("refused: {line}");
}

#[test]
fn a_flipped_bit_in_the_manifest_is_refused() {
    refused_by_name(|disk| disk.flip_bit(Partition::RootA, trailer_at(disk) + 88 + 40, 1).unwrap(), "signature");
}

#[test]
fn a_flipped_bit_in_the_signature_is_refused() {
    refused_by_name(|disk| disk.flip_bit(Partition::RootA, trailer_at(disk) + 24 + 10, 4).unwrap(), "signature");
}

#[test]
fn a_flipped_bit_in_the_trailers_padding_is_refused() {
    refused_by_name(
        |disk| disk.flip_bit(Partition::RootA, trailer_at(disk) + TRAILER_SIZE - 1, 0).unwrap(),
        "trailer",
    );
}

#[test]
fn a_slot_without_a_trailer_is_refused_as_half_written() {
    let damage = |disk: &Disk| {
        disk.write(Partition::RootA, trailer_at(disk), &vec![0; TRAILER_SIZE as usize]).unwrap();
    };
    refused_by_name(damage, "half written");
}

#[test]
fn a_manifest_signed_by_an_unknown_key_is_refused() {
    let damage = |disk: &Disk| {
        let manifest = trailer(disk).manifest;
        let signature = PrivateKey::from_seed(&[7; 32]).sign(&manifest);
        let forged = Trailer { manifest, signature }.to_bytes().unwrap();
        disk.write(Partition::RootA, trailer_at(disk), &forged).unwrap();
    };
    refused_by_name(damage, "key");
}

/// Signs a changed manifest with the key that the image trusts, as its owner could.
fn signed_anew(change: impl FnOnce(&mut Manifest)) -> impl FnOnce(&Disk) {
    |disk: &Disk| {
        let mut changed = manifest(disk);
        change(&mut changed);
        let manifest = changed.to_bytes().unwrap();
        let signature = images::signing_key().sign(&manifest);
        let bytes = Trailer { manifest, signature }.to_bytes().unwrap();
        disk.write(Partition::RootA, trailer_at(disk), &bytes).unwrap();
    }
}

#[test]
fn a_rightly_signed_manifest_of_another_role_is_refused() {
    refused_by_name(signed_anew(|manifest| manifest.role = Role::Minio), "minio");
}

#[test]
fn a_rightly_signed_manifest_of_another_root_is_refused() {
    let another = |manifest: &mut Manifest| manifest.root.root_hash = contract::hash::Digest::of(b"another root");
    let line = refused(signed_anew(another), &[FAILED, CORRUPTED]);
    println!("refused: {line}");
}
