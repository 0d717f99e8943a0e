//! Text from outside on its way to a terminal, a console or a log: what neighbours, servers, disks, bundles and people call
//! things. Here is decided what of it may stand there.
//!
//! A control character could move the cursor, change the title, or end the line and begin one that looks like ours
//! (C0 and C1: ECMA-48). A bidirectional control shows words in another order than they have (Unicode Standard Annex 9); a
//! line or paragraph separator is an end of line to some programs; a character without a shape of its own makes two names
//! look like one. Each of them becomes [`SUBSTITUTE`].

use std::borrow::Cow;

/// What stands in place of a character that may not: U+FFFD, the replacement character.
pub const SUBSTITUTE: char = '\u{fffd}';

/// Whether a character has a shape, or is a blank, and does nothing else to a terminal.
#[must_use]
pub fn is_plain(c: char) -> bool {
    // The standard library escapes what is not printable by its tables of Unicode: controls, formats, separators, surrogates,
    // and what is private or not assigned. A letter before it, since a mark that combines is fine behind one.
    let is_shown = |c: char| ['a', c].iter().collect::<String>().escape_debug().nth(2).is_none();
    if c.is_ascii() { c == ' ' || c.is_ascii_graphic() } else { is_shown(c) }
}

/// Text that stays on its line: ends of lines and tabs become blanks.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { plain(c) }).collect())
}

/// Text of several lines: their ends and tabs stay.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let may_stand = |c| is_plain(c) || c == '\n' || c == '\t';
    if text.chars().all(may_stand) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if may_stand(c) { c } else { SUBSTITUTE }).collect())
}

/// JSON in which what is not plain is escaped: the same to a program, and harmless on a terminal. Such a character can stand
/// in strings alone.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| is_plain(c) || c == '\n') {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) || c == '\n' {
            escaped.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Cow::Owned(escaped)
}

fn plain(c: char) -> char {
    if is_plain(c) { c } else { SUBSTITUTE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the standard names: Unicode's Bidi_Control, Zl, Zp, and C0 and C1.
    fn is_harmful(c: char) -> bool {
        let bidi = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        c.is_control() || bidi.contains(c) || matches!(c, '\u{2028}' | '\u{2029}')
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in
            ["", "r1: 10.0.0.1/24", "Bücher – 5 °C", "e\u{301}té", "日本語 हिन्दी العربية", "a\\b \"c\" 'd'", "→ ✓"]
        {
            assert_eq!(line(text), text);
            assert_eq!(json(text), text);
        }
        assert_eq!(lines("one\ttwo\nthree\n"), "one\ttwo\nthree\n");
    }

    #[test]
    fn what_acts_on_a_terminal_or_hides_is_replaced() {
        assert_eq!(
            line("a\u{1b}[31mRED\nmicrodc: [ 0.01s] committed"),
            "a\u{fffd}[31mRED microdc: [ 0.01s] committed"
        );
        for c in [
            '\0',
            '\u{7}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{2028}',
            '\u{202e}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            assert_eq!(line(&format!("x{c}y")), "x\u{fffd}y", "{c:?}");
            assert_eq!(lines(&format!("x{c}y\n")), "x\u{fffd}y\n", "{c:?}");
        }
    }

    #[test]
    fn every_control_of_unicode_is_replaced() {
        for c in '\0'..=char::MAX {
            assert!(!(is_harmful(c) && is_plain(c)), "{c:?}");
        }
    }

    #[test]
    fn json_says_the_same_in_other_words() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{1b}\u{9b}\u{2028}", "\u{e0041}x"] });
        let text = json(&serde_json::to_string_pretty(&value).unwrap()).into_owned();
        assert!(text.chars().all(|c| is_plain(c) || c == '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    proptest! {
        #[test]
        fn nothing_harmful_passes_and_a_line_is_one(text in any::<String>()) {
            let line = line(&text);
            prop_assert!(!line.chars().any(is_harmful) && line.lines().count() <= 1);
            prop_assert_eq!(line.chars().count(), text.chars().count());
            prop_assert_eq!(super::line(&line), line.as_ref());
            prop_assert!(!lines(&text).chars().any(|c| is_harmful(c) && c != '\n' && c != '\t'));
        }

        #[test]
        fn any_json_is_read_as_it_was(text in any::<String>()) {
            let json = super::json(&serde_json::to_string(&text).unwrap()).into_owned();
            prop_assert!(!json.chars().any(is_harmful));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
