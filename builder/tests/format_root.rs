//! The root file system and its hash tree: independent tools read back what the tree says.

use crate::format_support::*;
use contract::tree::{HashTree, SALT};
use ext4_view::{Ext4, FileType};
use microdc::format::derive::Seed;
use microdc::format::{ext4, verity};
use microdc::tree::{Kind, Node, Tree};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const OFFSET: u64 = 8192;

/// Writes the file system at an offset, as into an image, and gives it back alone with its tree's root hash.
fn written(tree: &Tree, folder: &Path) -> (PathBuf, String) {
    let file = File::options().read(true).write(true).create_new(true).open(folder.join("whole")).unwrap();
    let plan = ext4::plan(tree, &Seed::of(&["test"]), "router", BUILT).unwrap();
    file.set_len(OFFSET + plan.length()).unwrap();
    let leaves = plan.write(&file, OFFSET, &|_| Ok(())).unwrap();
    let mut bytes = vec![0; plan.length() as usize];
    file.read_exact_at(&mut bytes, OFFSET).unwrap();
    assert_eq!(leaves, contract::tree::hash_blocks(&bytes), "blocks were hashed as written");
    let path = folder.join("root.ext4");
    std::fs::write(&path, bytes).unwrap();
    (path, HashTree::from_leaves(&leaves).unwrap().root_hash.to_string())
}

#[test]
fn e2fsck_finds_nothing_and_another_reader_finds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree();
    let (path, _) = written(&tree, folder.path());
    tool_ok("e2fsck", &["-fn", path.to_str().unwrap()]);

    let fs = Ext4::load(Box::new(std::fs::read(&path).unwrap())).unwrap();
    let mut links: BTreeMap<String, u64> = BTreeMap::new();
    for (path, node) in &tree.nodes {
        let full = format!("/{path}");
        let first = match &node.kind {
            Kind::Hardlink(first) => {
                *links.entry(first.clone()).or_insert(1) += 1;
                first
            }
            _ => path,
        };
        let node = &tree.nodes[first];
        let metadata = fs.symlink_metadata(full.as_str()).unwrap();
        assert_eq!(u32::from(metadata.mode()) & 0o7777, node.mode, "{full}");
        assert_eq!((metadata.uid(), metadata.gid()), (node.owner.uid, node.owner.gid), "{full}");
        let kind = match &node.kind {
            Kind::Directory => FileType::Directory,
            Kind::File(content) => {
                assert_eq!(fs.read(full.as_str()).unwrap(), *content.to_bytes().unwrap(), "{full}");
                FileType::Regular
            }
            Kind::Symlink(target) => {
                let found = fs.read_link(full.as_str()).unwrap();
                assert_eq!(found.as_ref(), target.as_bytes(), "{full}");
                FileType::Symlink
            }
            Kind::CharDevice { .. } => FileType::CharacterDevice,
            Kind::BlockDevice { .. } => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Hardlink(_) => unreachable!("a link to a link"),
        };
        assert_eq!(metadata.file_type(), kind, "{full}");
    }

    // Nothing else is there, not even lost+found: nothing will ever be found in a file system that is never written.
    let mut found = 0;
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        for entry in fs.read_dir(if folder.is_empty() { "/" } else { &folder }).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().as_str().unwrap().to_owned();
            let path = format!("{folder}/{name}");
            if name == "." || name == ".." {
                continue;
            }
            assert!(tree.nodes.contains_key(&path[1..]), "{path} is in no tree");
            found += 1;
            if entry.file_type().unwrap() == FileType::Directory {
                waiting.push(path);
            }
        }
    }
    assert_eq!(found, tree.nodes.len() - 1, "the tree's root has no entry");
    assert_eq!(links.len(), 1);
}

#[test]
fn debugfs_sees_links_devices_attributes_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree();
    let (path, _) = written(&tree, folder.path());
    let path = path.to_str().unwrap();
    let ask = |request: &str| tool_ok("debugfs", &["-R", request, path]);
    let inode = |name: &str| {
        let said = ask(&format!("stat {name}"));
        let at = said.find("Inode: ").unwrap_or_else(|| panic!("{said}"));
        said[at + 7..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(inode("/usr/bin/first-name"), inode("/usr/bin/a-second-name"));
    assert_eq!(inode("/usr/bin/first-name"), inode("/usr/lib/third-name"));
    assert!(ask("stat /usr/bin/first-name").contains("Links: 3"));
    assert!(ask("stat /dev/console").contains("05:01"), "{}", ask("stat /dev/console"));
    assert!(ask("stat /dev/sda").contains("08:00"), "{}", ask("stat /dev/sda"));
    let wide = ask("stat /dev/wide");
    assert!(wide.contains("511:70000") || wide.contains("1ff:11170"), "{wide}");
    for (name, node) in &tree.nodes {
        for (attribute, value) in &node.xattrs {
            let out = folder.path().join("value");
            ask(&format!("ea_get -f {} /{name} {attribute}", out.display()));
            assert_eq!(&std::fs::read(&out).unwrap(), value, "/{name} {attribute}");
        }
    }
    let built = format!("{BUILT:#010x}");
    for name in ["/", "/usr/bin/set-uid", "/usr"] {
        let said = ask(&format!("stat {name}"));
        assert_eq!(said.matches(&built).count(), 4, "{name}: {said}");
    }
}

#[test]
fn it_is_just_big_enough() {
    let folder = tempfile::tempdir().unwrap();
    let mut tree = tree();
    // More than one block group.
    tree.insert("usr/share/big", file(noise(150 << 20, 9), 0o644, (0, 0))).unwrap();
    let (path, _) = written(&tree, folder.path());
    tool_ok("e2fsck", &["-fn", path.to_str().unwrap()]);
    let said = tool_ok("dumpe2fs", &["-h", path.to_str().unwrap()]);
    let free = said.lines().find_map(|line| line.strip_prefix("Free blocks:")).unwrap();
    assert!(free.trim().parse::<u64>().unwrap() < 64, "{said}");
    assert!(said.contains("Reserved block count:     0") && !said.contains("has_journal"), "{said}");
}

#[test]
fn blocks_of_zeros_take_no_room_and_read_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let mut tree = microdc::tree::base::skeleton();
    let mut holes = noise(3 << 20, 5);
    holes[4096..2 << 20].fill(0);
    // So many holes that the extents need blocks of their own.
    let mut sieve = noise(4 << 20, 6);
    for (number, block) in sieve.chunks_mut(4096).enumerate() {
        if number % 5 != 0 {
            block.fill(0);
        }
    }
    let contents = [("holes", holes), ("sieve", sieve), ("all", vec![0; 9 << 20]), ("end", vec![0; 5000])];
    for (name, bytes) in &contents {
        tree.insert(name, file(bytes.clone(), 0o644, (0, 0))).unwrap();
    }
    let (path, _) = written(&tree, folder.path());
    tool_ok("e2fsck", &["-fn", path.to_str().unwrap()]);
    assert!(std::fs::metadata(&path).unwrap().len() < 3 << 20);
    let fs = Ext4::load(Box::new(std::fs::read(&path).unwrap())).unwrap();
    let read_by_debugfs = folder.path().join("read");
    for (name, bytes) in contents {
        assert!(fs.read(format!("/{name}").as_str()).unwrap() == bytes, "{name}");
        let request = format!("dump /{name} {}", read_by_debugfs.display());
        tool_ok("debugfs", &["-R", &request, path.to_str().unwrap()]);
        assert!(std::fs::read(&read_by_debugfs).unwrap() == bytes, "{name} by debugfs");
    }
}

#[test]
fn very_many_files_in_several_groups_of_inodes_stand() {
    let folder = tempfile::tempdir().unwrap();
    let mut tree = microdc::tree::base::skeleton();
    for number in 0..70_000 {
        let path = format!("usr/share/many/{}/{number}", number % 3);
        tree.insert_parents(&path);
        tree.nodes.insert(path, file(Vec::new(), 0o644, (0, 0)));
    }
    let mut rich = file(vec![1; 10], 0o755, (70_000, 80_000));
    rich.xattrs.insert("user.long".to_owned(), vec![7; 3000]);
    rich.xattrs.insert("security.capability".to_owned(), vec![1; 20]);
    tree.insert("usr/share/rich", rich).unwrap();
    let (path, _) = written(&tree, folder.path());
    tool_ok("e2fsck", &["-fn", path.to_str().unwrap()]);
    let fs = Ext4::load(Box::new(std::fs::read(&path).unwrap())).unwrap();
    assert_eq!(fs.read_dir("/usr/share/many/1").unwrap().count(), 23_333 + 2);
    assert_eq!(fs.metadata("/usr/share/rich").unwrap().uid(), 70_000);
}

#[test]
fn the_same_tree_makes_the_same_bytes_and_another_seed_others() {
    let [a, b] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (first, second) = (written(&tree(), a.path()), written(&tree(), b.path()));
    assert!(std::fs::read(first.0).unwrap() == std::fs::read(second.0).unwrap());
    assert_eq!(first.1, second.1);
    let file = tempfile::tempfile().unwrap();
    let plan = ext4::plan(&tree(), &Seed::of(&["other"]), "router", BUILT).unwrap();
    let leaves = plan.write(&file, 0, &|_| Ok(())).unwrap();
    assert_ne!(HashTree::from_leaves(&leaves).unwrap().root_hash.to_string(), first.1);
}

#[test]
fn trees_that_cannot_stand_are_refused_by_path() {
    let bad = [
        ("no/parent", Kind::Directory, "no"),
        ("etc/link", Kind::Hardlink("etc/nowhere".to_owned()), "etc/nowhere"),
        ("etc/file/below", Kind::Fifo, "etc/file"),
        ("etc/..", Kind::Fifo, "etc/.."),
        ("etc/empty-link", Kind::Symlink(String::new()), "etc/empty-link"),
    ];
    for (path, kind, named) in bad {
        let mut tree = microdc::tree::base::skeleton();
        tree.nodes.insert("etc/file".to_owned(), file(vec![1], 0o644, (0, 0)));
        tree.nodes.insert(path.to_owned(), Node::of(kind, 0o644, "test"));
        let error = ext4::plan(&tree, &Seed::of(&["test"]), "router", BUILT).err().expect(path);
        assert!(error.to_string().contains(named), "{path}: {error}");
    }
}

#[test]
fn the_tree_is_the_one_veritysetup_makes() {
    let folder = tempfile::tempdir().unwrap();
    let [data, hashes, ours] = ["data", "hashes", "ours"].map(|name| folder.path().join(name));
    // Over one block dm-verity has no tree at all; no file system here is that small.
    for blocks in [2, 127, 128, 129, 1000, 16_384, 16_385] {
        let bytes = noise(blocks * 4096, blocks as u64);
        std::fs::write(&data, &bytes).unwrap();
        let _ = std::fs::remove_file(&hashes);
        let (data, hashes) = (data.to_str().unwrap(), hashes.to_str().unwrap());
        let salt = hex::encode(SALT);
        let said = tool_ok("veritysetup", &["format", "--no-superblock", "--salt", &salt, data, hashes]);
        let target = File::create(&ours).unwrap();
        let (image, length) = verity::write(&contract::tree::hash_blocks(&bytes), &target, 0).unwrap();
        assert_eq!(image.length, bytes.len() as u64);
        assert!(said.contains(&image.root_hash.to_string()), "{blocks} blocks: {said}");
        let theirs = std::fs::read(hashes).unwrap();
        assert_eq!(length, theirs.len() as u64);
        assert!(std::fs::read(&ours).unwrap() == theirs, "{blocks} blocks");
    }
}
