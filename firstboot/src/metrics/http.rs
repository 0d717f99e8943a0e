//! Just enough of HTTP/1.1 (RFC 9112) for a scrape: the head of a GET or HEAD request in, one answer out, then the
//! connection closes. What is not understood gets its status code and nothing else.

/// Longest head of a request, in bytes, and most of its fields.
pub const HEAD_MAX: usize = 8 * 1024;
const FIELDS: usize = 64;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The head is damaged yet.
    More,
    Metrics {
        /// HEAD: the answer without its body.
        head_only: bool,
    },
    /// The answer is this status code.
    Refused(u16),
}

/// Reads the head of a request, as far as it has come.
#[must_use]
pub fn parse(bytes: &[u8]) -> Asked {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Err(httparse::Error::TooManyHeaders) => Asked::Refused(431),
        Err(_) => Asked::Refused(400),
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_MAX => Asked::Refused(431),
        Ok(httparse::Status::Partial) => Asked::More,
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.unwrap_or("").split('?').next().unwrap_or("");
            match (request.method.unwrap_or(""), path) {
                (_, other) if other != "/metrics" => Asked::Refused(404),
                ("GET", _) => Asked::Metrics { head_only: false },
                ("HEAD", _) => Asked::Metrics { head_only: true },
                _ => Asked::Refused(405),
            }
        }
    }
}

/// A whole answer.
#[must_use]
pub fn answer(status: u16, content_type: &str, body: &str, head_only: bool) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}Connection: \
         close\r\n\r\n",
        body.len()
    );
    let body = if head_only { "" } else { body };
    (head + body).into_bytes()
}

/// The answer to what is refused.
#[must_use]
pub fn refusal(status: u16) -> Vec<u8> {
    answer(status, "text/plain; charset=utf-8", "metrics are at /metrics\n", false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scrape_is_understood_in_pieces_and_as_a_whole() {
        let scrape = b"GET /metrics HTTP/1.1\r\nHost: r1:9100\r\nAccept: text/plain\r\n\r\n";
        for length in 0..scrape.len() {
            assert_eq!(parse(&scrape[..length]), Asked::More, "{length}");
        }
        assert_eq!(parse(scrape), Asked::Metrics { head_only: false });
        assert_eq!(parse(b"HEAD /metrics?x=1 HTTP/1.0\r\n\r\n"), Asked::Metrics { head_only: true });
    }

    #[test]
    fn everything_else_gets_its_status_code() {
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS + 1));
        let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "x".repeat(HEAD_MAX));
        for (bytes, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], 404),
            (b"GET /metrics/../../etc/shadow HTTP/1.1\r\n\r\n", 404),
            (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
            (b"DELETE /metrics HTTP/1.1\r\n\r\n", 405),
            (b"\x16\x03\x01\x02\x00\x01", 400),
            (b"GET /metrics\r\n\r\n", 400),
            (b"SSH-2.0-x\r\n\r\n", 400),
            (many.as_bytes(), 431),
            (long.as_bytes(), 431),
        ] {
            assert_eq!(parse(bytes), Asked::Refused(status), "{:?}", String::from_utf8_lossy(bytes));
        }
        let text = String::from_utf8(answer(405, "text/plain", "no\n", false)).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && text.ends_with("\r\n\r\nno\n"), "{text}");
        assert!(text.contains("Content-Length: 3\r\n") && text.contains("Allow: GET, HEAD\r\n"), "{text}");
        let head = String::from_utf8(answer(200, "text/plain", "body", true)).unwrap();
        assert!(head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
