//! Damage and forgery: each is refused by name on the console, and never leads to a hang, a shell or a running role.
//!
//! Three are booted: what the kernel finds when a block is read, what the signature shows, and what neither shows. The others
//! are put through the same code on the host, by the steps of the initramfs (firstboot/src/initramfs/{disks,verity}.rs): the
//! trailer is read and its signature checked, then the tree to the last hash and the superblock. `trial.rs` boots two of these
//! in slot B.

use contract::keys::PrivateKey;
use contract::layout::{BLOCK, Extent, Partition, TRAILER_SIZE, trailer_offset};
use contract::manifest::Manifest;
use contract::role::Role;
use contract::trailer::Trailer;
use contract::tree::{checked_leaves, leaf, levels, tree_length};
use emulator::{Disk, Network, Reset};
use qemu_tests::forge::trailer;
use qemu_tests::images;
use qemu_tests::router::{Router, STEP};

const R1: Router = Router { number: 1 };

fn root(disk: &Disk) -> Extent {
    disk.extent(Partition::RootA).unwrap()
}

fn trailer_at(disk: &Disk) -> u64 {
    trailer_offset(root(disk).length).unwrap()
}

fn manifest(disk: &Disk) -> Manifest {
    Manifest::parse(&trailer(disk).manifest).unwrap()
}

/// What the initramfs says of slot A, by its own steps.
fn refusal(disk: &Disk) -> Option<String> {
    let check = || -> anyhow::Result<()> {
        let bytes = disk.read(Partition::RootA, trailer_at(disk), TRAILER_SIZE as usize)?;
        let manifest = Trailer::parse(&bytes)?.verify(&[images::signing_key().public()])?;
        let length = tree_length(manifest.root.length)? as usize;
        let tree = disk.read(Partition::RootA, manifest.root.length, length)?;
        let leaves = checked_leaves(&tree, manifest.root.length, manifest.root.root_hash)?;
        let first = disk.read(Partition::RootA, 0, BLOCK as usize)?;
        anyhow::ensure!(leaves.first() == Some(&leaf(&first)), "the superblock does not match the tree");
        Ok(())
    };
    check().err().map(|error| format!("{error:#}"))
}

type Damage = fn(&Disk);

/// Where the first leaf is in the root: the leaves are the last level, which ends the tree.
fn first_leaf(disk: &Disk) -> u64 {
    let root = manifest(disk).root;
    root.length + tree_length(root.length).unwrap() - levels(root.length).unwrap()[0] * BLOCK
}

/// Each by its name, with what it does to a disk, and a word of the refusal.
const DAMAGES: [(&str, Damage, &str); 9] = [
    ("a bit of the superblock", |disk| flip(disk, 1024 + 0x60, 2), "superblock"),
    ("a bit at the top of the tree", |disk| flip(disk, manifest(disk).root.length + 5, 0), "tree"),
    ("a bit in a leaf of the tree", |disk| flip(disk, first_leaf(disk) + 3, 7), "tree"),
    ("a bit of the manifest", |disk| flip(disk, trailer_at(disk) + 88 + 40, 1), "signature"),
    ("a bit of the signature", |disk| flip(disk, trailer_at(disk) + 24 + 10, 4), "signature"),
    ("a bit of the trailer's padding", |disk| flip(disk, trailer_at(disk) + TRAILER_SIZE - 1, 0), "trailer"),
    (
        "no trailer",
        |disk| disk.write(Partition::RootA, trailer_at(disk), &vec![0; TRAILER_SIZE as usize]).unwrap(),
        "half written",
    ),
    ("an unknown key", signed_by_a_stranger, "key"),
    ("another root, rightly signed", of_another_root, "tree"),
];

fn flip(disk: &Disk, at: u64, bit: u8) {
    disk.flip_bit(Partition::RootA, at, bit).unwrap();
}

fn signed_by_a_stranger(disk: &Disk) {
    let manifest = trailer(disk).manifest;
    let signature = PrivateKey::from_seed(&[7; 32]).sign(&manifest);
    let forged = Trailer { manifest, signature }.to_bytes().unwrap();
    disk.write(Partition::RootA, trailer_at(disk), &forged).unwrap();
}

fn of_another_root(disk: &Disk) {
    signed_anew(|manifest| manifest.root.root_hash = contract::hash::Digest::of(b"another root"))(disk);
}

#[test]
fn every_damage_to_a_slot_and_every_forgery_is_refused_by_the_nodes_own_code() {
    let whole = Disk::copy_of(&images::router(), 0).unwrap();
    assert_eq!(refusal(&whole), None, "the image under test is whole");
    let mut failed = Vec::new();
    for (what, damage, word) in DAMAGES {
        let disk = Disk::copy_of(whole.path(), 0).unwrap();
        damage(&disk);
        match refusal(&disk) {
            Some(said) if said.contains(word) => println!("{what}: {said}"),
            other => failed.push(format!("{what}: {word:?} is not the reason: {other:?}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
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
fn a_flipped_bit_in_the_manifest_is_refused() {
    refused_by_name(|disk| disk.flip_bit(Partition::RootA, trailer_at(disk) + 88 + 40, 1).unwrap(), "signature");
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
    refused_by_name(signed_anew(|manifest| manifest.role = Role::literal("minio")), "minio");
}
