//! Other slots made from an image under test: changed in one thing, and whole and rightly signed anyway, as a faulty
//! release would be. Slot A of the image is changed; the rest stays as it is.
//!
//! - here the manifest, both partitions and the signature · [`initramfs`] files that take another's place in the
//!   initramfs · [`programs`] the smallest kernel and the smallest program

pub mod initramfs;
pub mod programs;

use crate::images;
use contract::error::chain;
use contract::hash::Digest;
use contract::keys::PrivateKey;
use contract::layout::{BLOCK, Extent, Partition, Slot, trailer_offset};
use contract::manifest::{BlockImage, Manifest};
use contract::names::{CMDLINE_TXT, INITRAMFS, ROLE_SPEC};
use contract::trailer::Trailer;
use contract::tree::HashTree;
use emulator::Disk;
use microdc::open::{Medium, OpenSlot};
use std::path::Path;

/// A slot in the making.
#[derive(Debug)]
pub struct Forge {
    disk: Disk,
    manifest: Manifest,
    key: PrivateKey,
}

/// What came of it: an image file that goes away with this value.
#[derive(Debug)]
pub struct Forged {
    disk: Disk,
    pub manifest: Manifest,
    /// Of the manifest's bytes, by which a node remembers a release.
    pub digest: Digest,
}

impl Forged {
    /// The image file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.disk.path()
    }
}

/// The trailer of slot A.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn trailer(disk: &Disk) -> Trailer {
    let Extent { length, .. } = disk.extent(Partition::RootA).expect("an image has a root");
    let inside = Extent { offset: 0, length };
    let read = |at: Extent| disk.read(Partition::RootA, at.offset, at.length as usize);
    Trailer::of(inside, read).unwrap_or_else(|error| panic!("slot A: {}", chain(&error)))
}

fn trailer_at(disk: &Disk) -> u64 {
    let root = disk.extent(Partition::RootA).expect("an image has a root");
    trailer_offset(root.length).expect("a root has room for a trailer")
}

impl Forge {
    /// Begins with slot A of `image`, which stays as it is, and the key that signed it.
    ///
    /// # Panics
    /// When that is not a whole image.
    #[must_use]
    pub fn of(image: &Path) -> Forge {
        let disk = Disk::copy_of(image, 0).unwrap_or_else(|error| panic!("{error}"));
        let manifest = Manifest::parse(&trailer(&disk).manifest).expect("slot A has a manifest");
        Forge { disk, manifest, key: images::signing_key() }
    }

    /// Another version.
    #[must_use]
    pub fn version(self, version: &str) -> Forge {
        self.manifest(|manifest| manifest.version = version.parse().expect("a version"))
    }

    /// Another manifest: role, board, rollback index. What follows from the content is reckoned at the end.
    #[must_use]
    pub fn manifest(mut self, change: impl FnOnce(&mut Manifest)) -> Forge {
        change(&mut self.manifest);
        self
    }

    /// Signed by another key than the one that the node trusts.
    #[must_use]
    pub fn signed_by(mut self, key: PrivateKey) -> Forge {
        self.key = key;
        self
    }

    /// A file of the boot partition, in place of one of that name.
    ///
    /// # Panics
    /// When it does not fit.
    #[must_use]
    pub fn file(self, name: &str, bytes: &[u8]) -> Forge {
        self.disk.write_file(Partition::BootA, name, bytes).unwrap_or_else(|error| panic!("{error}"));
        self
    }

    /// The boot partition without this file.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn without(self, name: &str) -> Forge {
        self.disk.remove_file(Partition::BootA, name).unwrap_or_else(|error| panic!("{error}"));
        self
    }

    /// Another kernel command line.
    ///
    /// # Panics
    /// When the slot has none.
    #[must_use]
    pub fn command_line(self, change: impl FnOnce(&str) -> String) -> Forge {
        let line = String::from_utf8(self.boot_file(CMDLINE_TXT)).expect("the command line is text");
        let line = change(line.trim_end()) + "\n";
        self.file(CMDLINE_TXT, line.as_bytes())
    }

    /// One more word at the front of the kernel command line.
    #[must_use]
    pub fn option(self, word: &str) -> Forge {
        self.command_line(|line| format!("{word} {line}"))
    }

    /// A root in which the first block of the file at `path` is changed, and its hash tree with it.
    ///
    /// # Panics
    /// When the root has no such file, or has the same block twice.
    #[must_use]
    pub fn in_root(self, path: &str, change: impl FnOnce(&mut [u8])) -> Forge {
        self.changed_root(path, BLOCK as usize, change)
    }

    /// A root with another role: other services, checks or settings.
    ///
    /// # Panics
    /// When it is longer than the one before, even without spaces.
    #[must_use]
    pub fn role(self, change: impl FnOnce(&mut serde_json::Value)) -> Forge {
        self.changed_root(ROLE_SPEC.trim_start_matches('/'), usize::MAX, |file| {
            let mut role = serde_json::from_slice(file).expect("the role is JSON");
            change(&mut role);
            let role = serde_json::to_vec(&role).expect("it can be written");
            assert!(role.len() <= file.len(), "{} bytes in the place of {}", role.len(), file.len());
            file.fill(b' ');
            file[..role.len()].copy_from_slice(&role);
        })
    }

    /// A root in which the file at `path` is changed where it lies, and its hash tree with it: its first `most` bytes,
    /// which must lie in one piece.
    fn changed_root(mut self, path: &str, most: usize, change: impl FnOnce(&mut [u8])) -> Forge {
        let medium = Medium::open(self.disk.path()).unwrap_or_else(|error| panic!("{error}"));
        let root = medium.pick(Some(Slot::A)).and_then(OpenSlot::root).unwrap_or_else(|error| panic!("{error}"));
        let before = root.read(path).unwrap_or_else(|error| panic!("{error}"));
        assert!(before.len() >= BLOCK as usize, "{path} is shorter than a block");

        let length = self.manifest.root.length;
        let mut data = self.disk.read(Partition::RootA, 0, length as usize).expect("it can be read");
        let first = &before[..BLOCK as usize];
        let mut found = data.chunks_exact(BLOCK as usize).enumerate().filter(|(_, block)| *block == first);
        let (block, _) = found.next().unwrap_or_else(|| panic!("{path} does not begin with a block of the root"));
        assert!(found.next().is_none(), "the first block of {path} stands in the root twice");
        drop(found);
        let at = block * BLOCK as usize;
        let before = &before[..most.min(before.len())];
        let file = &mut data[at..at + before.len()];
        assert!(*file == *before, "{path} is not in one piece");
        change(file);
        let tree = HashTree::over(&data).expect("whole blocks have a tree");
        for (at, bytes) in [(0, &data), (length, &tree.bytes)] {
            self.disk.write(Partition::RootA, at, bytes).expect("it can be written");
        }
        // The kernel command line names the root, too.
        let [was, is] = [self.manifest.root.root_hash, tree.root_hash].map(|hash| hash.to_string());
        self.manifest.root.root_hash = tree.root_hash;
        self.command_line(|line| line.replace(&was, &is))
    }

    /// An initramfs in which these bytes are at `path`.
    #[must_use]
    pub fn in_initramfs(self, path: &str, bytes: &[u8]) -> Forge {
        let changed = initramfs::with(self.boot_file(INITRAMFS), path, bytes);
        self.file(INITRAMFS, &changed)
    }

    /// An initramfs with another spec.
    #[must_use]
    pub fn initramfs_spec(self, change: impl FnOnce(&mut contract::initramfs::InitramfsSpec)) -> Forge {
        let changed = initramfs::with_spec(self.boot_file(INITRAMFS), change);
        self.file(INITRAMFS, &changed)
    }

    fn boot_file(&self, name: &str) -> Vec<u8> {
        let file = self.disk.read_file(Partition::BootA, name).unwrap_or_else(|error| panic!("{error}"));
        file.unwrap_or_else(|| panic!("the slot has no {name}"))
    }

    /// Reckons the boot image again, and signs.
    ///
    /// # Panics
    /// When the disk of this host is full.
    #[must_use]
    pub fn finish(mut self) -> Forged {
        let length = self.disk.extent(Partition::BootA).expect("an image has a boot partition").length;
        let mut boot = self.disk.read(Partition::BootA, 0, length as usize).expect("it can be read");
        let used = boot.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        boot.truncate(used.next_multiple_of(BLOCK as usize));
        let tree = HashTree::over(&boot).expect("whole blocks have a tree");
        self.manifest.boot = BlockImage { length: boot.len() as u64, root_hash: tree.root_hash };
        let manifest = self.manifest.to_bytes().expect("a manifest can be written");
        let digest = Digest::of(&manifest);
        let trailer = Trailer { signature: self.key.sign(&manifest), manifest };
        let bytes = trailer.to_bytes().expect("the manifest fits");
        self.disk.write(Partition::RootA, trailer_at(&self.disk), &bytes).expect("it can be written");
        Forged { disk: self.disk, manifest: self.manifest, digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::initramfs::InitramfsSpec;
    use contract::names::{INITRAMFS_SPEC, KERNEL};

    /// The builder's own check of every bit takes what was forged, and finds in it what was put there.
    #[test]
    fn a_forged_slot_is_whole_and_rightly_signed() {
        let forged = Forge::of(&images::router())
            .version("forged-1")
            .manifest(|manifest| manifest.rollback_index += 3)
            .option("quiet")
            .initramfs_spec(|spec| spec.disk_timeout_s = 77)
            .file(KERNEL, &programs::hanging_kernel())
            .in_root("usr/lib/frr/bgpd", programs::for_another_machine)
            .finish();
        let trusted = [images::signing_key().public()];
        let manifest = trailer(&forged.disk).verify(&trusted).unwrap();
        assert_eq!((manifest.version.as_str(), manifest == forged.manifest), ("forged-1", true));
        let boot = forged.disk.read(Partition::BootA, 0, manifest.boot.length as usize).unwrap();
        assert_eq!(HashTree::over(&boot).unwrap().root_hash, manifest.boot.root_hash);
        let read = |name| forged.disk.read_file(Partition::BootA, name).unwrap().unwrap();
        assert!(String::from_utf8(read(CMDLINE_TXT)).unwrap().starts_with("quiet console="));
        assert_eq!(read(KERNEL), programs::hanging_kernel());
        let spec: InitramfsSpec =
            serde_json::from_slice(&initramfs::read(&read(INITRAMFS), INITRAMFS_SPEC).unwrap()).unwrap();
        assert_eq!(spec.disk_timeout_s, 77);
        let medium = Medium::open(forged.path()).unwrap();
        let mut bgpd = medium.pick(Some(Slot::A)).unwrap().root().unwrap().open("usr/lib/frr/bgpd").unwrap();
        let mut head = [0; 20];
        assert_eq!(bgpd.read_bytes(&mut head).unwrap(), head.len());
        assert_eq!((&head[..4], &head[18..]), (&b"\x7fELF"[..], &[62, 0][..]));
        let root = forged.disk.read(Partition::RootA, 0, manifest.root.length as usize).unwrap();
        let tree = HashTree::over(&root).unwrap();
        assert_eq!(tree.root_hash, manifest.root.root_hash);
        let stored = forged.disk.read(Partition::RootA, manifest.root.length, tree.bytes.len()).unwrap();
        assert!(stored == tree.bytes);
        let fsck = std::process::Command::new("/usr/sbin/fsck.fat");
        let volume = tempfile::NamedTempFile::new().unwrap();
        let mut whole = boot;
        whole.resize(forged.disk.extent(Partition::BootA).unwrap().length as usize, 0);
        std::fs::write(volume.path(), whole).unwrap();
        let mut fsck = fsck;
        let output = fsck.arg("-n").arg(volume.path()).output().expect("fsck.fat of dosfstools");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
