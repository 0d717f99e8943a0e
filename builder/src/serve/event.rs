//! Events, as lines of the access log or as JSON objects.

use contract::calendar::show_time;
use serde::Serialize;
use std::net::IpAddr;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A request was answered.
    Request {
        /// Seconds since 1970.
        at: u64,
        client: IpAddr,
        /// The name that the client gave itself, if it did.
        node: Option<String>,
        method: String,
        path: String,
        status: u16,
        /// First byte sent, where it was asked for a part.
        from: Option<u64>,
        /// Bytes of the body that were sent.
        bytes: u64,
        /// Whether the client went away, or stood still, before all was sent.
        cut: bool,
        seconds: f64,
    },
    /// A node has come a tenth further.
    Progress { node: String, file: String, done: u64, blocks: u64, percent: u64 },
    /// An installer gave up for a while.
    Failed { node: String, reason: String },
}

impl std::fmt::Display for Event {
    /// One line; what came from outside is escaped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::Request { at, client, node, method, path, status, from, bytes, cut, seconds } => {
                let (method, path) = (method.escape_debug(), path.escape_debug());
                write!(
                    f,
                    "{} {client} {} \"{method} {path}\" {status}",
                    show_time(*at),
                    node.as_deref().unwrap_or("-")
                )?;
                if let Some(from) = from {
                    write!(f, " from byte {from}")?;
                }
                write!(f, " {bytes} bytes in {:.1} ms", seconds * 1000.0)?;
                f.write_str(if *cut { ", truncated" } else { "" })
            }
            Event::Progress { node, file, done, blocks, percent } => {
                write!(f, "{node}: {percent} % of {} ({done} of {blocks} blocks)", file.escape_debug())
            }
            Event::Failed { node, reason } => write!(f, "{node}: not installed: {}", reason.escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_whatever_stands_in_it() {
        let event = Event::Request {
            at: 1_789_199_741,
            client: [10, 0, 0, 7].into(),
            node: Some("r1".to_owned()),
            method: "GET".to_owned(),
            path: "/a\n\u{1b}[2J\"x".to_owned(),
            status: 206,
            from: Some(4096),
            bytes: 100,
            cut: true,
            seconds: 0.0012,
        };
        let line = event.to_string();
        assert_eq!(
            line,
            "2026-09-12 07:55:41 UTC 10.0.0.7 r1 \"GET /a\\n\\u{1b}[2J\\\"x\" 206 from byte 4096 100 bytes in 1.2 ms, truncated"
        );
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!((&json["event"], &json["status"]), (&"request".into(), &206.into()));
    }
}
