//! Ranges and conditional requests (RFC 9110, sections 13 and 14).

use super::request::Request;

/// What becomes of a request for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Whole,
    /// These bytes: the first, and the one behind the last. At least one.
    Part(u64, u64),
    /// The range begins behind the file's end.
    Unsatisfiable,
    /// The client has the file already.
    NotModified,
    /// The file is another one than the client began with.
    Changed,
}

/// What becomes of a request for a file of `length` bytes with this entity tag.
pub(super) fn share(request: &Request, length: u64, tag: &str) -> Share {
    if request.if_match.as_deref().is_some_and(|wanted| !names(wanted, tag, false)) {
        return Share::Changed;
    }
    if request.if_none_match.as_deref().is_some_and(|known| names(known, tag, true)) {
        return Share::NotModified;
    }
    // A date here is never trusted: two files of one second would be one.
    let same = request.if_range.as_deref().is_none_or(|wanted| wanted == tag);
    match request.range.as_deref().filter(|_| same && !request.head_only).and_then(|range| part(range, length)) {
        None => Share::Whole,
        Some(Some((first, end))) => Share::Part(first, end),
        Some(None) => Share::Unsatisfiable,
    }
}

/// Whether a list of entity tags names this one.
fn names(list: &str, tag: &str, weak_too: bool) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|one| one == "*" || one == tag || (weak_too && one.strip_prefix("W/") == Some(tag)))
}

/// The bytes of `bytes=first-last`, `bytes=first-` or `bytes=-count`; the inner `None` when there are no such bytes.
/// More than one range, another unit and what makes no sense are passed over, as the standard allows: the whole file then comes.
fn part(range: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let count = number(last).filter(|_| !last.is_empty())?.min(length);
        return Some((count > 0).then_some((length - count, length)));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < length).then(|| (first, last.saturating_add(1).min(length))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAG: &str = "\"1-2\"";

    fn with(range: &str) -> Request {
        Request { range: Some(range.to_owned()), ..Request::default() }
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        for (range, wanted) in [
            ("bytes=0-0", Share::Part(0, 1)),
            ("bytes=10-19", Share::Part(10, 20)),
            ("bytes=90-", Share::Part(90, 100)),
            ("bytes=90-1000", Share::Part(90, 100)),
            ("bytes=-10", Share::Part(90, 100)),
            ("bytes=-1000", Share::Part(0, 100)),
            ("bytes=99-99999999999999999999999", Share::Part(99, 100)),
            ("bytes=100-", Share::Unsatisfiable),
            ("bytes=99999999999999999999999-", Share::Unsatisfiable),
            ("bytes=-0", Share::Unsatisfiable),
            ("bytes=5-4", Share::Whole),
            ("bytes=-", Share::Whole),
            ("bytes=0-1,5-6", Share::Whole),
            ("bytes=+1-2", Share::Whole),
            ("bytes=a-b", Share::Whole),
            ("lines=1-2", Share::Whole),
            ("", Share::Whole),
        ] {
            assert_eq!(share(&with(range), 100, TAG), wanted, "{range}");
        }
        assert_eq!(share(&with("bytes=0-"), 0, TAG), Share::Unsatisfiable);
    }

    #[test]
    fn a_range_holds_only_for_the_file_that_it_was_meant_for() {
        let mut request = with("bytes=1-2");
        for (if_range, wanted) in [
            (TAG, Share::Part(1, 3)),
            ("\"other\"", Share::Whole),
            ("W/\"1-2\"", Share::Whole),
            ("Sat, 12 Sep 2026 07:55:41 GMT", Share::Whole),
        ] {
            request.if_range = Some(if_range.to_owned());
            assert_eq!(share(&request, 100, TAG), wanted, "{if_range}");
        }
    }

    #[test]
    fn a_known_file_is_not_sent_and_a_changed_one_is_noticed() {
        for (known, wanted) in [
            (TAG, Share::NotModified),
            ("\"x\", W/\"1-2\"", Share::NotModified),
            ("*", Share::NotModified),
            ("\"x\"", Share::Whole),
        ] {
            let request = Request { if_none_match: Some(known.to_owned()), ..Request::default() };
            assert_eq!(share(&request, 100, TAG), wanted, "{known}");
        }
        for (wanted, found) in
            [(TAG, Share::Whole), ("*", Share::Whole), ("\"x\"", Share::Changed), ("W/\"1-2\"", Share::Changed)]
        {
            let request = Request { if_match: Some(wanted.to_owned()), ..Request::default() };
            assert_eq!(share(&request, 100, TAG), found, "{wanted}");
        }
    }

    proptest! {
        #[test]
        fn no_range_reaches_beyond_the_file(range in "(bytes=)?[0-9-]{0,30}", length: u64) {
            if let Share::Part(first, end) = share(&with(&range), length, TAG) {
                prop_assert!(first < end && end <= length);
            }
        }
    }
}
