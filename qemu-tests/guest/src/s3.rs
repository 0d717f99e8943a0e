//! A client of S3: plain HTTP, requests signed by Signature Version 4 (Amazon S3 API Reference,
//! "Authenticating Requests: Using the Authorization Header").

use contract::hash::Digest;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The region that MinIO answers for when it is told none.
const REGION: &str = "us-east-1";
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Someone who may ask.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    pub user: &'a str,
    pub password: &'a str,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Bytes that do not repeat, from a number (Knuth's MMIX generator).
#[must_use]
pub fn object(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What is signed besides the account.
struct Request<'a> {
    method: &'a str,
    host: &'a str,
    /// Of letters, digits and `/-._` alone, so that it needs no encoding.
    path: &'a str,
    /// Already in its canonical form.
    query: &'a str,
    body: Digest,
    /// `20130524T000000Z`
    time: &'a str,
}

/// Asks the S3 server behind a port of this host's loopback; without an account, as anyone.
///
/// # Errors
/// When no one answers by HTTP.
pub fn ask(port: u16, account: Option<Account<'_>>, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
    ask_at(&format!("127.0.0.1:{port}"), account, method, path, body)
}

/// Asks the S3 server at `address:port`; without an account, as anyone.
///
/// # Errors
/// When no one answers by HTTP.
pub fn ask_at(host: &str, account: Option<Account<'_>>, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = timestamp(now);
    let digest = Digest::of(body);
    let mut fields = format!("x-amz-date: {time}\r\nx-amz-content-sha256: {digest}\r\n");
    if let Some(account) = account {
        let request = Request { method, host, path, query: "", body: digest, time: &time };
        fields += &format!("Authorization: {}\r\n", authorization(account, &request));
    }
    http_at(host, method, path, &fields, body)
}

/// Asks the HTTP server behind a port of this host's loopback; `fields` are further lines of the request's head, each with
/// its end.
///
/// # Errors
/// When no one answers by HTTP.
pub fn http(port: u16, method: &str, path: &str, fields: &str, body: &[u8]) -> io::Result<Answer> {
    http_at(&format!("127.0.0.1:{port}"), method, path, fields, body)
}

fn http_at(host: &str, method: &str, path: &str, fields: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nConnection: close\r\n{fields}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no whole answer by HTTP"))
}

/// An answer that came to its end.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(bytes.get(..end)?).ok()?, bytes.get(end + 4..)?);
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let field = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let body = match field("content-length") {
        Some(length) if length.parse() == Ok(body.len()) => body.to_vec(),
        // What is longer than the server's buffer and of unknown length comes in pieces.
        None if field("transfer-encoding") == Some("chunked") => pieces(body)?,
        None if body.is_empty() => Vec::new(),
        _ => return None,
    };
    Some(Answer { status, body })
}

/// Chunked transfer coding (RFC 9112, section 7.1).
fn pieces(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(bytes.get(..end)?).ok()?, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(end + 2..end + 2 + length)?);
        bytes = bytes.get(end + 2 + length + 2..)?;
    }
}

fn authorization(account: Account<'_>, request: &Request<'_>) -> String {
    let Request { method, host, path, query, body, time } = request;
    let day = time.get(..8).unwrap_or_default();
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let canonical = format!(
        "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{body}\nx-amz-date:{time}\n\n{signed}\n{body}"
    );
    let scope = format!("{day}/{REGION}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", Digest::of(canonical.as_bytes()));
    let first = format!("AWS4{}", account.password);
    let key = [day, REGION, "s3", "aws4_request"]
        .into_iter()
        .fold(first.into_bytes(), |key, word| hmac(&key, word.as_bytes()).0.to_vec());
    let signature = hmac(&key, text.as_bytes());
    format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={signed},Signature={signature}", account.user)
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Digest {
    let mut block = [0; 64];
    let short = if key.len() > block.len() { Digest::of(key).0.to_vec() } else { key.to_vec() };
    block[..short.len()].copy_from_slice(&short);
    let inner = Digest::of(&[&block.map(|byte| byte ^ 0x36), text].concat());
    Digest::of(&[block.map(|byte| byte ^ 0x5c).as_slice(), &inner.0].concat())
}

/// Seconds since 1970 as `20130524T000000Z`, by the days of the civil calendar.
fn timestamp(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}{month:02}{:02}T{hour:02}{minute:02}{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Amazon's own documentation.
    #[test]
    fn requests_are_signed_as_in_the_examples_of_the_documentation() {
        let account = Account { user: "AKIAIOSFODNN7EXAMPLE", password: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
        for (query, signature) in [
            ("lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let request = Request {
                method: "GET",
                host: "examplebucket.s3.amazonaws.com",
                path: "/",
                query,
                body: Digest::of(b""),
                time: "20130524T000000Z",
            };
            let found = authorization(account, &request);
            assert!(found.ends_with(&format!("Signature={signature}")), "{query}: {found}");
        }
    }

    /// Test case 6 of RFC 4231.
    #[test]
    fn a_long_key_is_hashed_first() {
        let digest = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(digest.to_string(), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn seconds_become_a_date_and_a_time() {
        for (seconds, text) in
            [(0, "19700101T000000Z"), (1_709_251_199, "20240229T235959Z"), (1_369_353_600, "20130524T000000Z")]
        {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn an_answer_that_was_cut_short_is_none() {
        let whole = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap();
        assert_eq!((whole.status, whole.body.as_slice()), (200, b"abc".as_slice()));
        let pieces =
            parse(b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n").unwrap();
        assert_eq!((pieces.status, pieces.body.as_slice()), (404, b"abcd".as_slice()));
        for cut in
            ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "HTTP/1.1 200 OK\r\n", "", "HTTP/1.1 x\r\n\r\n"]
        {
            assert!(parse(cut.as_bytes()).is_none(), "{cut:?}");
        }
    }
}
