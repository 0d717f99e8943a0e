//! The exposition format as a strict grammar, for tests: what Prometheus specifies, without what it merely tolerates.

/// The samples of a text, each with its labels as written, and its value.
pub fn samples(text: &str) -> Result<Vec<(String, f64)>, String> {
    let mut found: Vec<(String, f64)> = Vec::new();
    let mut families: Vec<String> = Vec::new();
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut lines = text.split_terminator('\n').peekable();
    while let Some(line) = lines.next() {
        let wrong = |why: &str| format!("{why}: {line:?}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').ok_or_else(|| wrong("help without words"))?;
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name));
            if !matches!(kind, Some(" gauge" | " counter")) {
                return Err(wrong("no type after the help"));
            }
            if families.iter().any(|family| family == name) {
                return Err(wrong("a family that appears twice"));
            }
            if (kind == Some(" counter")) != name.ends_with("_total") {
                return Err(wrong("counters, and nothing else, end in _total"));
            }
            families.push(name.to_owned());
            continue;
        }
        let name_end = line.find(['{', ' ']).ok_or_else(|| wrong("no value"))?;
        let (name, rest) = line.split_at(name_end);
        if !is_name(name) || families.last().map(String::as_str) != Some(name) {
            return Err(wrong("a sample outside its family"));
        }
        let rest = match rest.strip_prefix('{') {
            Some(labels) => after_labels(labels).ok_or_else(|| wrong("invalid labels"))?,
            None => rest,
        };
        let value = rest.strip_prefix(' ').and_then(|value| value.parse::<f64>().ok());
        let value = value.ok_or_else(|| wrong("no number after one space"))?;
        let sample = line.get(..line.len() - rest.len()).unwrap_or_default().to_owned();
        if found.iter().any(|(other, _)| *other == sample) {
            return Err(wrong("a sample that appears twice"));
        }
        found.push((sample, value));
    }
    Ok(found)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What comes behind the closing brace.
fn after_labels(mut text: &str) -> Option<&str> {
    loop {
        let (name, rest) = text.split_once("=\"")?;
        if !is_name(name) {
            return None;
        }
        let mut escaped = false;
        let end = rest.char_indices().find_map(|(at, c)| match (escaped, c) {
            (true, '\\' | '"' | 'n') => {
                escaped = false;
                None
            }
            (true, _) => Some(None),
            (false, '\\') => {
                escaped = true;
                None
            }
            (false, '"') => Some(Some(at)),
            _ => None,
        })??;
        let rest = rest.get(end + 1..)?;
        match rest.strip_prefix(',') {
            Some(more) => text = more,
            None => return rest.strip_prefix('}'),
        }
    }
}

#[test]
fn the_grammar_takes_what_the_specification_shows_and_refuses_the_rest() {
    let fine =
        "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\\\\\\"\\n\"} 3\na_total 1.5e3\n";
    assert_eq!(samples(fine).unwrap().len(), 2);
    for wrong in [
        "a 1\n",
        "# HELP a A.\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
        "# HELP a A.\n# TYPE a gauge\na  1\n",
        "# HELP a A.\n# TYPE a gauge\nb 1\n",
        "# HELP a A.\n# TYPE a gauge\na{x=\"\\y\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na{x=\"y} 1\n",
        "# HELP a A.\n# TYPE a gauge\na{1=\"y\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a A.\n# TYPE a counter\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na one\n",
    ] {
        assert!(samples(wrong).is_err(), "{wrong:?}");
    }
}
