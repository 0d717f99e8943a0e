//! `/etc/os-release` (os-release(5)), by which programs such as kubelet and Prometheus's node exporter tell what they run on.

use crate::tree::{Content, Kind, Node, Tree, origin};
use anyhow::Result;

const PATH: &str = "usr/lib/os-release";
const LINK: &str = "etc/os-release";

/// Makes it, but for the version, unless an overlay or a package has brought one.
pub(super) fn insert(tree: &mut Tree, profile: &str) -> Result<()> {
    let why = origin::made("what programs tell the system by");
    if tree.resolve(PATH).is_none() {
        tree.insert_parents(PATH);
        tree.insert(PATH, Node::of(Kind::File(Content::from(text(profile, "").into_bytes())), 0o644, &why))?;
    }
    if tree.resolve(LINK).is_none() {
        tree.insert_parents(LINK);
        tree.insert(LINK, Node::of(Kind::Symlink("../usr/lib/os-release".to_owned()), 0o777, &why))?;
    }
    Ok(())
}

/// Writes the version into it, which follows from the tree, and so comes last.
pub(super) fn tell_version(tree: &mut Tree, profile: &str, version: &str) -> Result<()> {
    let Some(node) = tree.nodes.get_mut(PATH) else { return Ok(()) };
    if let Kind::File(content) = &node.kind
        && *content.to_bytes()? == *text(profile, "").as_bytes()
    {
        node.kind = Kind::File(Content::from(text(profile, version).into_bytes()));
    }
    Ok(())
}

/// Names of profiles and versions have no quotes (they are checked names).
fn text(profile: &str, version: &str) -> String {
    format!(
        "NAME=\"microdc\"\nID=microdc\nID_LIKE=debian\nPRETTY_NAME=\"microdc {profile} {version}\"\nVARIANT_ID={profile}\n\
         IMAGE_ID={profile}\nIMAGE_VERSION=\"{version}\"\nVERSION_ID=\"{version}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tree: &Tree, path: &str) -> String {
        let node = &tree.nodes[&tree.resolve(path).unwrap()];
        let Kind::File(content) = &node.kind else { panic!("{path} is not a file") };
        String::from_utf8(content.to_bytes().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn it_names_profile_and_version_at_both_places() {
        let mut tree = Tree::default();
        insert(&mut tree, "router").unwrap();
        tell_version(&mut tree, "router", "2026.11.29-0b9c2ad1").unwrap();
        let text = read(&tree, "etc/os-release");
        for line in ["ID=microdc", "ID_LIKE=debian", "IMAGE_VERSION=\"2026.11.29-0b9c2ad1\"", "VARIANT_ID=router"] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn what_an_overlay_brings_stays_as_it_is() {
        let mut tree = Tree::default();
        tree.insert_parents(PATH);
        tree.insert(PATH, Node::of(Kind::File(Content::from(b"ID=mine\n".to_vec())), 0o644, "overlay mine")).unwrap();
        insert(&mut tree, "router").unwrap();
        tell_version(&mut tree, "router", "1").unwrap();
        assert_eq!(read(&tree, LINK), "ID=mine\n");
    }
}
