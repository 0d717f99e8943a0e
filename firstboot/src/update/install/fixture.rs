//! Small bundles for tests, fuzzing and benchmarks, written from the format's documentation alone; every part can be
//! corrupted.

use super::{Order, Pair};
use contract::bundle::{FRAME_BLOCKS, Head, SHORT, short};
use contract::hash::Digest;
use contract::keys::PrivateKey;
use contract::layout::{BLOCK, Slot, TRAILER_SIZE};
use contract::manifest::{BlockImage, FORMAT, Manifest};
use contract::names::BOARD;
use contract::plain_name::PlainName;
use contract::role::{Compatible, ProfileName, Role};
use contract::trailer::Trailer;
use contract::tree::{self, HashTree};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The parts of a bundle, in their order in the file; `[boot, root]`.
#[derive(Clone, Debug)]
pub struct Parts {
    pub head: Head,
    pub upper: [Vec<u8>; 2],
    pub leaves: [Vec<u8>; 2],
    pub shorts: [Vec<u8>; 2],
    /// As they are stored.
    pub frames: [Vec<Vec<u8>>; 2],
    /// Whether the head says the length that comes of the parts; else what is there.
    pub true_length: bool,
}

const ROUTER: Role = Role::literal("router");

/// A slot's content and how it is described.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub boot: Vec<u8>,
    pub root: Vec<u8>,
    pub manifest: Manifest,
    /// Seed of the key that signs.
    pub key: u8,
    pub frame_blocks: u32,
    /// How frames are packed; what does not become shorter is stored as it is.
    pub pack: fn(&[u8]) -> Vec<u8>,
}

impl Recipe {
    /// Of images that are complete, non-empty numbers of blocks; frames are not packed.
    #[must_use]
    pub fn new(boot: Vec<u8>, root: Vec<u8>) -> Recipe {
        let image = |data: &[u8]| BlockImage { length: data.len() as u64, root_hash: over(data).root_hash };
        let manifest = Manifest {
            format: FORMAT,
            role: ROUTER,
            compatible: None,
            board: BOARD.to_owned(),
            version: PlainName::literal("2.0"),
            built: 1_790_000_000,
            rollback_index: 5,
            kernel: PlainName::literal("6.12.1-arm64"),
            boot: image(&boot),
            root: image(&root),
            supplied: Vec::new(),
        };
        Recipe { boot, root, manifest, key: 1, frame_blocks: FRAME_BLOCKS, pack: <[u8]>::to_vec }
    }

    /// The order for a node that trusts the key of seed 1.
    #[must_use]
    pub fn order(&self) -> Order {
        Order {
            slot: Slot::B,
            urls: Vec::new(),
            keys: vec![PrivateKey::from_seed(&[1; 32]).public()],
            node_is: Compatible { role: ROUTER, profile: ProfileName::from(&ROUTER) },
            rollback_index: 5,
            running: None,
            runs: None,
            refused: Vec::new(),
            force: false,
            dry_run: false,
            node: "r1".to_owned(),
        }
    }

    /// The root partition's content up to the end of its tree.
    #[must_use]
    pub fn root_with_tree(&self) -> Vec<u8> {
        [self.root.as_slice(), &over(&self.root).bytes].concat()
    }

    #[must_use]
    pub fn trailer(&self) -> Trailer {
        let manifest = self.manifest.to_bytes().unwrap_or_default();
        Trailer { signature: PrivateKey::from_seed(&[self.key; 32]).sign(&manifest), manifest }
    }

    #[must_use]
    pub fn parts(&self) -> Parts {
        let both = [&self.boot, &self.root];
        let split = both.map(|data| {
            let mut upper = over(data).bytes;
            let lowest = tree::levels(data.len() as u64).ok().and_then(|levels| levels.first().copied()).unwrap_or(0);
            let leaves = upper.split_off(upper.len().saturating_sub((lowest * BLOCK) as usize));
            (upper, leaves)
        });
        let frame = self.frame_blocks as usize * BLOCK as usize;
        let frames = both.map(|data| {
            let stored = data.chunks(frame).map(|blocks| {
                let packed = (self.pack)(blocks);
                if packed.len() < blocks.len() { packed } else { blocks.to_vec() }
            });
            stored.collect()
        });
        let shorts = both.map(|data| tree::hash_blocks(data).iter().flat_map(short).collect::<Vec<u8>>());
        debug_assert_eq!(shorts.first().map(Vec::len), Some(self.boot.len() / BLOCK as usize * SHORT));
        let [(boot_upper, boot_leaves), (root_upper, root_leaves)] = split;
        let head = Head { frame_blocks: self.frame_blocks, length: 0, checksum: 0, trailer: self.trailer() };
        Parts {
            head,
            upper: [boot_upper, root_upper],
            leaves: [boot_leaves, root_leaves],
            shorts,
            frames,
            true_length: true,
        }
    }

    #[must_use]
    pub fn bundle(&self) -> Vec<u8> {
        self.parts().bytes()
    }
}

impl Parts {
    /// The index, as the frames' lengths give it.
    #[must_use]
    pub fn index(&self) -> [Vec<u8>; 2] {
        [0, 1].map(|image| {
            let lengths = self.frames.get(image).into_iter().flatten().map(Vec::len);
            lengths.flat_map(|length| (length.saturating_sub(1) as u16).to_le_bytes()).collect()
        })
    }

    /// Where each section ends, by name, and the bytes.
    #[must_use]
    pub fn sections(&self) -> Vec<(&'static str, Vec<u8>)> {
        let frames = self.frames.each_ref().map(|frames| frames.concat());
        let bodies = [
            ("upper levels", self.upper.concat()),
            ("leaves", self.leaves.concat()),
            ("shorts", self.shorts.concat()),
            ("index", self.index().concat()),
            ("frames", frames.concat()),
        ];
        let mut head = self.head.clone();
        if self.true_length {
            let front = head.to_bytes().map_or(0, |head| head.len());
            head.length = (front + bodies.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()) as u64;
        }
        let head = ("head", head.to_bytes().unwrap_or_default());
        std::iter::once(head).chain(bodies).collect()
    }

    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.sections().into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}

/// An empty slot in memory, as large as a release needs.
///
/// # Errors
/// When there is no memory.
pub fn in_memory(recipe: &Recipe) -> io::Result<Pair> {
    let make = |length: usize| -> io::Result<File> {
        let file = File::from(rustix::fs::memfd_create("partition", rustix::fs::MemfdFlags::CLOEXEC)?);
        file.set_len(length as u64)?;
        Ok(file)
    };
    let root = recipe.root_with_tree().len() + TRAILER_SIZE as usize;
    Ok(Pair { boot: make(recipe.boot.len())?, root: make(root)? })
}

/// Whether a slot made by [`in_memory`] holds exactly this release.
#[must_use]
pub fn holds(slot: &Pair, recipe: &Recipe) -> bool {
    let same = |file: &File, at: u64, wanted: &[u8]| {
        let mut found = vec![0; wanted.len()];
        file.read_exact_at(&mut found, at).is_ok() && found == wanted
    };
    let root = recipe.root_with_tree();
    same(&slot.boot, 0, &recipe.boot)
        && same(&slot.root, 0, &root)
        && recipe.trailer().to_bytes().is_ok_and(|trailer| same(&slot.root, root.len() as u64, &trailer))
}

fn over(data: &[u8]) -> HashTree {
    HashTree::over(data).unwrap_or(HashTree { root_hash: Digest([0; 32]), bytes: Vec::new() })
}
