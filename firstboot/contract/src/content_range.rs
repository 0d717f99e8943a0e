//! Which part of a file an HTTP server sends. The builder's downloads and the node's updates read it alike.

/// `Content-Range` (RFC 9110, 14.4): first byte, last byte, length of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    pub first: u64,
    pub last: u64,
    pub length: u64,
}

impl ContentRange {
    /// `None` for anything but `bytes FIRST-LAST/LENGTH` that makes sense.
    #[must_use]
    pub fn parse(text: &str) -> Option<ContentRange> {
        let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let found = ContentRange { first: number(first)?, last: number(last)?, length: number(length)? };
        (found.first <= found.last && found.last < found.length).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_whole_and_sensible_range_counts() {
        let found = ContentRange::parse("bytes 5-9/100");
        assert_eq!(found, Some(ContentRange { first: 5, last: 9, length: 100 }));
        for text in [
            "",
            "bytes 5-9/*",
            "bytes */100",
            "bytes 9-5/100",
            "bytes 5-100/100",
            "octets 5-9/100",
            "bytes 5-9",
            "bytes +5-9/100",
            "bytes 5-99999999999999999999/100",
            "bytes 5 - 9/100",
        ] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_that_makes_sense_or_none(text in ".{0,40}", numbers in "bytes [0-9]{1,21}-[0-9]{1,21}/[0-9]{1,21}") {
            for text in [text, numbers] {
                if let Some(range) = ContentRange::parse(&text) {
                    prop_assert!(range.first <= range.last && range.last < range.length);
                }
            }
        }
    }
}
