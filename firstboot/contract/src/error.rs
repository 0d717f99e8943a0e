//! Errors in words.

use std::error::Error;

/// An error and its causes as one line: `what: why: why`. A cause that the line already contains is not repeated.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !line.ends_with(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("reading the disk")]
        Plain(#[source] std::io::Error),
        #[error("reading the disk: {0}")]
        Inlined(#[source] std::io::Error),
        #[error(transparent)]
        Transparent(std::io::Error),
    }

    #[test]
    fn every_cause_is_told_once() {
        let cause = || std::io::Error::other("it is gone");
        assert_eq!(chain(&Failure::Plain(cause())), "reading the disk: it is gone");
        assert_eq!(chain(&Failure::Inlined(cause())), "reading the disk: it is gone");
        assert_eq!(chain(&Failure::Transparent(cause())), "it is gone");
    }
}
