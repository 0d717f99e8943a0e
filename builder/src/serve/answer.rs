//! Response heads and short bodies.

use super::folder::{Listed, Served, encode};
use super::nodes::NodeProgress;
use super::range::Share;
use crate::clock;
use contract::calendar::http_time;
use std::collections::BTreeMap;

/// An answer: what is sent first, and which bytes of a file follow.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The head; with a short body, where no file is sent.
    pub(super) bytes: Vec<u8>,
    /// The first byte of the file, and the one behind the last.
    pub(super) part: (u64, u64),
    /// Whether the connection stays open.
    pub(super) keep: bool,
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        _ => "Request Header Fields Too Large",
    }
}

fn head(status: u16, keep: bool, fields: &str) -> String {
    let connection = if keep { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 {status} {}\r\nDate: {}\r\nServer: microdc\r\n{fields}Connection: {connection}\r\n\r\n",
        reason(status),
        http_time(clock::now())
    )
}

/// A short text.
pub(super) fn text(status: u16, kind: &str, body: &str, head_only: bool, keep: bool) -> Answer {
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let fields = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n{allow}", body.len());
    let mut bytes = head(status, keep, &fields).into_bytes();
    if !head_only {
        bytes.extend(body.as_bytes());
    }
    Answer { status, bytes, part: (0, 0), keep }
}

/// What is refused.
pub(super) fn refusal(status: u16, head_only: bool, keep: bool) -> Answer {
    text(status, "text/plain; charset=utf-8", &format!("{}\n", reason(status)), head_only, keep)
}

/// A file, or as much of it as is wanted.
pub(super) fn file(served: &Served, share: Share, head_only: bool, keep: bool) -> Answer {
    let Served { length, tag, changed, .. } = served;
    let about = format!("Accept-Ranges: bytes\r\nETag: {tag}\r\nLast-Modified: {}\r\n", http_time(*changed));
    let (status, part, fields) = match share {
        Share::Whole => (200, (0, *length), format!("Content-Length: {length}\r\n")),
        Share::Part(first, end) => {
            let fields =
                format!("Content-Length: {}\r\nContent-Range: bytes {first}-{}/{length}\r\n", end - first, end - 1);
            (206, (first, end), fields)
        }
        Share::NotModified => (304, (0, 0), String::new()),
        Share::Changed => (412, (0, 0), "Content-Length: 0\r\n".to_owned()),
        Share::Unsatisfiable => (416, (0, 0), format!("Content-Length: 0\r\nContent-Range: bytes */{length}\r\n")),
    };
    let kind = if matches!(status, 200 | 206) { "Content-Type: application/octet-stream\r\n" } else { "" };
    let bytes = head(status, keep, &format!("{kind}{about}{fields}")).into_bytes();
    Answer { status, bytes, part: if head_only { (0, 0) } else { part }, keep }
}

/// The list of bundles, and where the nodes stand.
pub(super) fn index(
    bundles: &[Listed],
    nodes: &BTreeMap<String, NodeProgress>,
    json: bool,
    head_only: bool,
    keep: bool,
) -> Answer {
    if json {
        let body = serde_json::json!({ "bundles": bundles, "nodes": nodes }).to_string() + "\n";
        return text(200, "application/json", &body, head_only, keep);
    }
    let mut body = String::new();
    for Listed { name, bytes } in bundles {
        body.push_str(&format!("/{}  {bytes} bytes\n", encode(name)));
    }
    for (name, node) in nodes {
        body.push_str(&format!("{name}: {} % of {}\n", node.percent(), node.file.escape_debug()));
    }
    text(200, "text/plain; charset=utf-8", &body, head_only, keep)
}
