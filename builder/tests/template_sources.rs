//! Every setting that the templates of k3s, Tinkerbell and keepalived write is documented somewhere, and profiles/SOURCES.md says where.

use std::collections::BTreeSet;
use std::path::Path;

/// The keys of a template: `key:` of YAML, `KEY=` of an environment file.
fn keys_of(template: &str) -> Vec<String> {
    let text = template.lines().map(|line| line.trim_start().trim_start_matches("- "));
    let lines = text.filter(|line| !line.starts_with(['#', '{', '"']));
    let key = |line: &str| {
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))?;
        let (key, rest) = line.split_at(end);
        (rest.starts_with(':') || rest.starts_with('=')).then(|| key.to_owned())
    };
    lines.filter_map(key).filter(|key| !key.is_empty()).collect()
}

/// The keys of keepalived's template: the first word of each line, but for the name of the file that it tracks.
fn words_of(template: &str) -> Vec<String> {
    let lines =
        template.lines().map(str::trim_start).filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let words = lines.filter_map(|line| line.split_whitespace().next());
    words.filter(|word| *word != "api").map(str::to_owned).collect()
}

#[test]
fn every_key_of_the_templates_of_k3s_tinkerbell_and_keepalived_has_its_source_and_no_source_is_without_its_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = std::fs::read_to_string(root.join("profiles/SOURCES.md")).unwrap();
    let rows: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .inspect(|(key, rest)| assert!(rest.split('|').nth(1).is_some_and(|source| source.trim().len() > 8), "{key}"))
        .map(|(key, _)| key.to_owned())
        .collect();
    let templates = ["k3s", "k3s-server", "k3s-agent", "k3s-cilium", "tinkerbell"].map(|overlay| {
        let folder = root.join("overlays").join(overlay).join("usr/lib/microdc/templates");
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        files.map(|entry| entry.unwrap().path()).filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.contains(".yaml") || name.contains(".environment")
        })
    });
    let mut keys: BTreeSet<String> =
        templates.into_iter().flatten().flat_map(|path| keys_of(&std::fs::read_to_string(path).unwrap())).collect();
    let keepalived = root.join("overlays/vip/usr/lib/microdc/templates/keepalived.conf.j2");
    keys.extend(words_of(&std::fs::read_to_string(keepalived).unwrap()));
    assert!(keys.len() > 40, "{keys:?}");
    assert_eq!(keys, rows);
}
