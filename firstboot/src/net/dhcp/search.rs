//! Domains in a DHCP answer: option 119 (RFC 3397), names as in DNS with its compression (RFC 1035, 4.1.4), and option 15,
//! in which servers put several with spaces between them.

use contract::node::is_domain;

/// Most domains that are taken from one answer.
pub const MOST: usize = 16;
/// Longest name in its form on the wire, in bytes (RFC 1035, 2.3.4).
const LONGEST: usize = 255;

/// A list that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("a name ends in the middle")]
    Cut,
    #[error("a name has a pointer that does not lead back")]
    Pointer,
    #[error("a label has the unknown type {0:#04x}")]
    Label(u8),
    #[error("a name is longer than {LONGEST} bytes")]
    Long,
}

/// The names of option 119, in their order, as text without a final dot. What they are made of is not looked at yet.
///
/// # Errors
/// What is wrong; a pointer must lead to a place before the name that it stands in, so that there is no loop.
pub fn names(list: &[u8]) -> Result<Vec<String>, ListError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let (name, next) = name(list, at)?;
        if !name.is_empty() && found.len() < MOST {
            found.push(name);
        }
        at = next;
    }
    Ok(found)
}

/// As [`names`], without those that are not valid domains; none where the list is not one.
#[must_use]
pub fn valid(list: &[u8]) -> Vec<String> {
    names(list).map(|names| sort(names.iter().map(String::as_str)).0).unwrap_or_default()
}

/// The name that begins at a place, and where the next one begins.
fn name(list: &[u8], begin: usize) -> Result<(String, usize), ListError> {
    let (mut at, mut next) = (begin, None);
    // Each pointer leads before everything that was read: it can go back only so often.
    let mut earliest = begin;
    let (mut text, mut length) = (String::new(), 1);
    loop {
        let first = *list.get(at).ok_or(ListError::Cut)?;
        match first {
            0 => return Ok((text, next.unwrap_or(at + 1))),
            1..=63 => {
                let label = list.get(at + 1..at + 1 + usize::from(first)).ok_or(ListError::Cut)?;
                length += label.len() + 1;
                if length > LONGEST {
                    return Err(ListError::Long);
                }
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&String::from_utf8_lossy(label));
                at += 1 + label.len();
            }
            0xc0.. => {
                let low = *list.get(at + 1).ok_or(ListError::Cut)?;
                let to = usize::from(first & 0x3f) << 8 | usize::from(low);
                if to >= earliest {
                    return Err(ListError::Pointer);
                }
                next.get_or_insert(at + 2);
                (at, earliest) = (to, to);
            }
            other => return Err(ListError::Label(other)),
        }
    }
}

/// Names as servers write them, taken apart at spaces and without final dots: valid ones, and the others.
pub fn sort<'t>(texts: impl Iterator<Item = &'t str>) -> (Vec<String>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for text in texts.map(|text| text.trim_matches('\0')) {
        // What has a line end in it is not meant to be a list of names.
        let words = if text.contains(char::is_control) { vec![text] } else { text.split(' ').collect() };
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            let name = word.strip_suffix('.').unwrap_or(word);
            let list = if is_name(name) { &mut good } else { &mut bad };
            if list.len() < MOST && !list.iter().any(|known: &String| known.eq_ignore_ascii_case(name)) {
                list.push(name.to_owned());
            }
        }
    }
    (good, bad)
}

/// Whether it is a domain; an address is none.
fn is_name(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    is_domain(text) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names {
            for label in name.split('.') {
                bytes.push(label.len() as u8);
                bytes.extend(label.as_bytes());
            }
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        // RFC 3397, section 2: eng.apple.com. and marketing.apple.com., the second one compressed.
        let list = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        assert_eq!(names(list).unwrap(), ["eng.apple.com", "marketing.apple.com"]);
        let chain = b"\x01c\x00\x01b\xc0\x00\x01a\xc0\x03\x01z\xc0\x07";
        assert_eq!(names(chain).unwrap(), ["c", "b.c", "a.b.c", "z.a.b.c"]);
        assert_eq!(names(b"\x00").unwrap(), Vec::<String>::new(), "the root is no domain to search");
        assert_eq!(names(b"").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn hostile_pointers_lengths_and_labels_are_refused() {
        for (list, error) in [
            (&b"\xc0\x00"[..], ListError::Pointer),
            (b"\x01a\xc0\x00", ListError::Pointer),
            (b"\x01a\xc0\x02", ListError::Pointer),
            (b"\x01a\x00\x01b\xc0\x05", ListError::Pointer),
            (b"\x01a\xc0\x50", ListError::Pointer),
            (b"\x01a\xc0", ListError::Cut),
            (b"\x05abc", ListError::Cut),
            (b"\x01a", ListError::Cut),
            (b"\x41a\x00", ListError::Label(0x41)),
            (b"\x80a\x00", ListError::Label(0x80)),
        ] {
            assert_eq!(names(list), Err(error), "{list:?}");
        }
        let long = encoded(&[&["a".repeat(63).as_str(); 5].join(".")]);
        assert_eq!(names(&long), Err(ListError::Long));
    }

    #[test]
    fn names_are_taken_apart_at_spaces_and_lose_their_final_dot() {
        let (good, bad) =
            sort(["a.example b.example.", "A.example\0", "a\nnameserver 6.6.6.6", "-x", ""].into_iter());
        assert_eq!(good, ["a.example", "b.example"]);
        assert_eq!(bad, ["a\nnameserver 6.6.6.6", "-x"]);
        assert_eq!(sort(["10.0.0.1 lan"].into_iter()), (vec!["lan".to_owned()], vec!["10.0.0.1".to_owned()]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_loop(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(names) = names(&bytes) {
                prop_assert!(names.len() <= MOST);
                // A byte that is no text becomes three.
                prop_assert!(names.iter().all(|name| name.len() <= 3 * LONGEST));
            }
        }

        #[test]
        fn pointers_everywhere_end(bytes in prop::collection::vec(prop_oneof![Just(0xc0_u8), Just(0), 0..8_u8], 0..600)) {
            let _ = names(&bytes);
        }

        #[test]
        fn what_is_written_is_read(names_in in prop::collection::vec("[a-z]{1,20}(\\.[a-z]{1,20}){0,4}", 0..MOST)) {
            let texts: Vec<&str> = names_in.iter().map(String::as_str).collect();
            prop_assert_eq!(names(&encoded(&texts)).unwrap(), names_in);
        }

        #[test]
        fn whatever_is_good_fits_the_resolvers_file(text in "\\PC{0,60}|[a-z. \\n\\t]{0,60}") {
            let (good, _) = sort(std::iter::once(text.as_str()));
            prop_assert!(good.iter().all(|name| !name.contains(char::is_whitespace) && is_domain(name)));
        }
    }
}
