//! The version of an image: the profile's own or the day of its newest input, and a digest of all that goes into it. Two
//! different images never have the same one.

use crate::boot::files::config_txt;
use crate::cache::{Key, KeyBuilder};
use crate::slot::SlotSpec;
use crate::tree::{Kind, Node, Owner};
use contract::calendar::show_time;
use contract::hash::Digest;
use contract::layout::ImageLayout;
use contract::plain_name::{PlainName, PlainNameError};

/// Hexadecimal digits of the digest that a version has.
const DIGITS: usize = 8;

/// `2026.11.19-0b9c2ad1`, or `1.2-0b9c2ad1` where the profile's own version is 1.2. The slot's own version and who signs it
/// make no difference; whom it trusts does, being in its initramfs.
///
/// # Errors
/// When the profile's own version is too long for a digest behind it.
pub(super) fn of(
    slot: &SlotSpec<'_>,
    layout: ImageLayout,
    own: Option<&PlainName>,
) -> Result<PlainName, PlainNameError> {
    version(slot.built, own, digest(slot, layout)).parse()
}

fn version(built: u64, own: Option<&PlainName>, digest: Digest) -> String {
    let day = || show_time(built).split(' ').next().unwrap_or_default().replace('-', ".");
    let first = own.map_or_else(day, ToString::to_string);
    let digest = digest.to_string();
    format!("{first}-{}", digest.get(..DIGITS).unwrap_or(&digest))
}

fn digest(slot: &SlotSpec<'_>, layout: ImageLayout) -> Digest {
    // Whoever adds a field here decides whether it makes another image.
    let SlotSpec {
        compatible,
        version: _,
        built,
        rollback_index,
        kernel,
        seed,
        root,
        boot,
        kernel_options,
        config,
        supplied,
        key: _,
    } = slot;
    let mut key = Key::of_stage("version", 1).with("microdc", env!("CARGO_PKG_VERSION"));
    key.add("role", compatible.role.name());
    key.add("profile", compatible.profile.as_str());
    for number in [*built, *rollback_index, layout.root_size()] {
        key.add("number", number.to_le_bytes());
    }
    key.add("kernel", kernel.as_str());
    key.add("seed", seed.uuid("version").as_bytes());
    kernel_options.iter().for_each(|option| key.add("option", option));
    key.add("config", config_txt(config));
    supplied.iter().for_each(|name| key.add("supplied", name.as_str()));
    for file in *boot {
        key.add("boot", &file.path);
        key.add("bytes", Digest::of(&file.bytes).0);
    }
    for (path, node) in &root.nodes {
        key.add("path", path);
        add_node(&mut key, node);
    }
    key.finish().0
}

fn add_node(key: &mut KeyBuilder, node: &Node) {
    // Why it is there stands in the inventory, which is a file of the tree.
    let Node { kind, owner: Owner { uid, gid }, mode, xattrs, origin: _ } = node;
    key.add("rights", [*uid, *gid, *mode].map(u32::to_le_bytes).concat());
    for (name, value) in xattrs {
        key.add("attribute", name);
        key.add("value", value);
    }
    let numbers = |major: &u32, minor: &u32| [*major, *minor].map(u32::to_le_bytes).concat();
    match kind {
        Kind::Directory => key.add("folder", ""),
        Kind::File(content) => key.add("file", content.digest().0),
        Kind::Symlink(target) => key.add("symlink", target),
        Kind::Hardlink(first) => key.add("hardlink", first),
        Kind::CharDevice { major, minor } => key.add("character device", numbers(major, minor)),
        Kind::BlockDevice { major, minor } => key.add("block device", numbers(major, minor)),
        Kind::Fifo => key.add("pipe", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::fat::FatFile;
    use crate::image;
    use crate::tree::{Content, Tree};
    use contract::keys::PrivateKey;
    use contract::role::{Compatible, Role};
    use std::collections::BTreeSet;

    #[test]
    fn a_version_begins_with_the_profile_s_own_or_the_day_of_the_newest_input() {
        let none = Digest([0xab; 32]);
        assert_eq!(version(0, None, none), "1970.01.01-abababab");
        assert_eq!(version(951_782_400, None, none), "2000.02.29-abababab");
        assert_eq!(version(1_795_046_400, None, none), "2026.11.19-abababab");
        assert_eq!(version(0, Some(&"1.2".parse().unwrap()), none), "1.2-abababab");
    }

    fn tree() -> Tree {
        let file = |bytes: &[u8]| Node::of(Kind::File(Content::from(bytes.to_vec())), 0o644, "overlay x, -");
        let mut tree = Tree::default();
        tree.nodes.insert("etc".into(), Node::directory("microdc, -"));
        tree.nodes.insert("etc/a".into(), file(b"one"));
        tree.nodes.insert("etc/b".into(), file(b"two"));
        tree
    }

    /// The version of a slot that differs from the plain one by what `tree`, `boot` and `slot` do.
    fn of_changed(
        tree_change: &dyn Fn(&mut Tree),
        boot_change: &dyn Fn(&mut FatFile),
        slot_change: &dyn Fn(&mut SlotSpec<'_>),
        root_mib: u64,
    ) -> String {
        let mut root = tree();
        tree_change(&mut root);
        let mut boot = [FatFile { path: "kernel".into(), bytes: b"kernel".to_vec().into() }];
        boot_change(&mut boot[0]);
        let role: Role = "router".parse().unwrap();
        let key = PrivateKey::from_seed(&[1; 32]);
        let mut slot = SlotSpec {
            compatible: Compatible { role: role.clone(), profile: (&role).into() },
            version: "1".parse().unwrap(),
            built: 1_795_046_400,
            rollback_index: 1,
            kernel: "6.12".parse().unwrap(),
            seed: image::seed(&role),
            root: &root,
            boot: &boot,
            kernel_options: vec!["panic=10".into()],
            config: Vec::new(),
            supplied: Vec::new(),
            key: &key,
        };
        slot_change(&mut slot);
        of(&slot, ImageLayout::new(root_mib << 20).unwrap(), None).unwrap().to_string()
    }

    #[test]
    fn whatever_differs_in_an_image_differs_in_its_version() {
        fn plain<T>(_: &mut T) {}
        let tree = |change: &dyn Fn(&mut Tree)| of_changed(change, &plain, &|_| (), 64);
        let node = |change: &dyn Fn(&mut Node)| tree(&|tree| change(tree.nodes.get_mut("etc/a").unwrap()));
        let boot = |change: &dyn Fn(&mut FatFile)| of_changed(&plain, change, &|_| (), 64);
        let slot = |change: &dyn Fn(&mut SlotSpec<'_>)| of_changed(&plain, &plain, change, 64);
        let versions = [
            tree(&plain),
            node(&|node| node.kind = Kind::File(Content::from(b"onE".to_vec()))),
            node(&|node| node.kind = Kind::Symlink("one".into())),
            node(&|node| node.kind = Kind::Hardlink("one".into())),
            node(&|node| node.mode = 0o600),
            node(&|node| node.owner.gid = 7),
            node(&|node| drop(node.xattrs.insert("security.capability".into(), vec![1]))),
            tree(&|tree| drop(tree.nodes.remove("etc/b"))),
            tree(&|tree| {
                let node = tree.nodes.remove("etc/b").unwrap();
                tree.nodes.insert("etc/c".into(), node);
            }),
            boot(&|file| file.bytes = b"kernel2".to_vec().into()),
            boot(&|file| file.path = "kernel2".into()),
            slot(&|slot| slot.built += 1),
            slot(&|slot| slot.rollback_index += 1),
            slot(&|slot| slot.kernel_options.push("quiet".into())),
            slot(&|slot| slot.config.push("quiet".into())),
            slot(&|slot| slot.supplied.push("quiet".parse().unwrap())),
            slot(&|slot| slot.kernel = "6.13".parse().unwrap()),
            slot(&|slot| slot.compatible.profile = "edge".parse().unwrap()),
            of_changed(&plain, &plain, &|_| (), 65),
        ];
        assert_eq!(versions.iter().collect::<BTreeSet<_>>().len(), versions.len(), "{versions:?}");
    }

    #[test]
    fn neither_the_key_nor_the_reason_of_a_file_nor_the_version_itself_is_part_of_it() {
        let plain = of_changed(&|_| (), &|_| (), &|_| (), 64);
        let other =
            of_changed(&|tree| tree.nodes.get_mut("etc/a").unwrap().origin = "x".into(), &|_| (), &|_| (), 64);
        assert_eq!(plain, other);
        assert_eq!(plain, of_changed(&|_| (), &|_| (), &|slot| slot.version = "9".parse().unwrap(), 64));
    }
}
