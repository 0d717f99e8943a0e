//! The head of an HTTP/1.1 request (RFC 9112). Whatever is not supported is rejected with a status code.

use super::nodes::Report;
use contract::names::{HTTP_FAILED, HTTP_NODE, HTTP_PROGRESS};

/// Longest head of a request, in bytes, and most of its fields.
pub(super) const HEAD_MAX: usize = 16 * 1024;
const FIELDS: usize = 64;

/// A request for a file, or for the list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// HEAD: the answer without its body.
    pub(super) head_only: bool,
    /// As it is in the request, without what follows a question mark.
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    /// Whether the list of files is wanted as JSON.
    pub(super) json: bool,
    /// Whether the client goes on with the same connection.
    pub(super) keep: bool,
    pub(super) report: Option<Report>,
}

/// What the bytes that have come so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The head is damaged yet.
    More,
    /// A request, and the length of its head in bytes.
    For(Box<Request>, usize),
    /// The answer is this status code, and the connection ends. With the method and the path, as far as they are known.
    Refused(u16, String, String),
}

/// Reads the head of a request.
pub(super) fn parse(bytes: &[u8]) -> Asked {
    let refused = |status| Asked::Refused(status, String::new(), String::new());
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Err(httparse::Error::TooManyHeaders) => return refused(431),
        Err(_) => return refused(400),
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_MAX => return refused(431),
        Ok(httparse::Status::Partial) => return Asked::More,
        Ok(httparse::Status::Complete(length)) => length,
    };
    let method = head.method.unwrap_or_default();
    let path = path(head.path.unwrap_or_default());
    let refused = |status| Asked::Refused(status, method.to_owned(), path.to_owned());
    let mut request = Request {
        head_only: method == "HEAD",
        path: path.to_owned(),
        keep: head.version == Some(1),
        ..Request::default()
    };
    if !matches!(method, "GET" | "HEAD") {
        return refused(405);
    }
    let (mut hosts, mut node, mut progress, mut failed) = (0, None, None, None);
    for field in head.headers.iter() {
        let name = field.name;
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        let Ok(value) = std::str::from_utf8(field.value) else { return refused(400) };
        let value = value.trim();
        // A field that must not be there twice.
        let once = |place: &mut Option<String>| place.replace(value.to_owned()).is_none();
        let fine = match () {
            () if is("host") => {
                hosts += 1;
                hosts == 1
            }
            // There is nothing that a body could say; to pass over it is what smuggled requests hope for.
            () if is("transfer-encoding") => false,
            () if is("content-length") => value == "0",
            () if is("connection") => {
                let says = |word: &str| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(word));
                request.keep = (request.keep || says("keep-alive")) && !says("close");
                true
            }
            () if is("accept") => {
                request.json |= value.contains("application/json");
                true
            }
            () if is("range") => once(&mut request.range),
            () if is("if-range") => once(&mut request.if_range),
            () if is("if-match") => once(&mut request.if_match),
            () if is("if-none-match") => once(&mut request.if_none_match),
            () if is(HTTP_NODE) => once(&mut node),
            () if is(HTTP_PROGRESS) => once(&mut progress),
            () if is(HTTP_FAILED) => once(&mut failed),
            () => true,
        };
        if !fine {
            return refused(400);
        }
    }
    if hosts == 0 && head.version == Some(1) {
        return refused(400);
    }
    request.report = Report::parse(node.as_deref(), progress.as_deref(), failed.as_deref());
    Asked::For(Box::new(request), length)
}

/// The path of a request's target: in the usual form `/path?query`, or as a whole URL (RFC 9112, section 3.2.2).
fn path(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some(("http", rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    target.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(lines: &str) -> Asked {
        parse(format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).as_bytes())
    }

    fn request(lines: &str) -> Request {
        match asked(lines) {
            Asked::For(request, _) => *request,
            other => panic!("{lines}: {other:?}"),
        }
    }

    #[test]
    fn a_request_is_understood_in_pieces_and_as_a_whole() {
        let text = b"GET /a.bundle?x=1 HTTP/1.1\r\nHost: r1\r\nrange: bytes=1-2\r\nX-Microdc-Node: r1\r\n\
                     X-Microdc-Progress: 3/9\r\n\r\nGET";
        let head = text.len() - 3;
        for length in 0..head {
            assert_eq!(parse(&text[..length]), Asked::More, "{length}");
        }
        let Asked::For(request, length) = parse(text) else { panic!("refused") };
        assert_eq!((length, request.path.as_str()), (head, "/a.bundle"));
        assert_eq!(request.range.as_deref(), Some("bytes=1-2"));
        assert!(request.keep && !request.head_only);
        assert_eq!(request.report, Report::parse(Some("r1"), Some("3/9"), None));
    }

    #[test]
    fn connections_stay_open_as_both_versions_of_http_say() {
        assert!(!request("GET / HTTP/1.0").keep);
        assert!(request("GET / HTTP/1.0\nConnection: Keep-Alive").keep);
        assert!(!request("HEAD / HTTP/1.1\nHost: a\nConnection: foo, close").keep);
        assert_eq!(request("GET http://other/a HTTP/1.1\nHost: a").path, "/a");
        assert_eq!(request("GET http://other HTTP/1.1\nHost: a").path, "/");
    }

    #[test]
    fn everything_else_gets_its_status_code() {
        let many = format!("GET / HTTP/1.1{}", "\nA: b".repeat(FIELDS + 1));
        for (lines, status) in [
            ("POST / HTTP/1.1\nHost: a\nContent-Length: 5", 405),
            ("PUT /a.bundle HTTP/1.1\nHost: a", 405),
            ("GET / HTTP/1.1", 400),
            ("GET / HTTP/1.1\nHost: a\nHost: b", 400),
            ("GET / HTTP/1.1\nHost: a\nContent-Length: 5", 400),
            ("GET / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked", 400),
            ("GET / HTTP/1.1\nHost: a\nRange: bytes=0-1\nRange: bytes=2-3", 400),
            ("GET / HTTP/2.0", 400),
            ("GET /\nHost: a", 400),
            ("\u{16}\u{3}\u{1}", 400),
            (&many, 431),
        ] {
            assert!(matches!(asked(lines), Asked::Refused(found, ..) if found == status), "{lines}");
        }
        let long = format!("GET /{}", "x".repeat(HEAD_MAX));
        assert!(matches!(parse(long.as_bytes()), Asked::Refused(431, ..)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), ours: bool) {
            let bytes = if ours { [b"GET / HTTP/1.1\r\nHost: a\r\n", &bytes[..]].concat() } else { bytes };
            let _ = parse(&bytes);
        }
    }
}
