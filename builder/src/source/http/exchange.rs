//! One request and its answer, on a thread of its own, so that cancelling does not wait for the mirror.

use super::Client;
use crate::source::fetch_error::{CHUNK, FetchError};
use crate::source::trust::certificate_fault;
use contract::content_range::ContentRange;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use ureq::http::StatusCode;
use ureq::http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) url: &'a str,
    /// From this byte on.
    pub(super) from: u64,
    /// Only of this version, when not from the start; else the whole.
    pub(super) if_range: Option<&'a str>,
    /// Only when it is of another version than this.
    pub(super) if_none_match: Option<&'a str>,
    /// Whether it may come packed; it is unpacked on the way.
    pub(super) packed: bool,
}

impl<'a> Question<'a> {
    /// All of a file, as it is.
    pub(super) fn whole(url: &'a str) -> Question<'a> {
        Question { url, from: 0, if_range: None, if_none_match: None, packed: false }
    }
}

/// What the header of an answer says.
struct Head {
    status: StatusCode,
    length: Option<u64>,
    from: Option<u64>,
    total: Option<u64>,
    validator: Option<String>,
    etag: Option<String>,
}

/// The beginning of an answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Of the body, as the mirror says.
    pub(super) length: Option<u64>,
    /// First byte of the file that the body brings, when it is a range.
    pub(super) from: Option<u64>,
    /// Length of the whole file, where a range says it.
    pub(super) total: Option<u64>,
    /// Its tag or date, where that tells single bytes apart.
    pub(super) validator: Option<String>,
    /// Its tag, weak or not.
    pub(super) etag: Option<String>,
    /// The body in pieces; an empty one is the end.
    pub(super) body: mpsc::Receiver<Result<Vec<u8>, String>>,
}

impl Client {
    /// Asks for a file. A thread of its own waits for the mirror, so that a cancel need not; it ends with the connection, or
    /// when nobody takes what it brings. What broke is told in words.
    pub(super) fn ask(&self, question: Question<'_>) -> Result<Result<Answer, String>, FetchError> {
        let Question { url, from, if_range, if_none_match, packed } = question;
        let (sender, receiver) = mpsc::sync_channel(1);
        let (chunks, body) = mpsc::sync_channel(4);
        let request = |agent: &ureq::Agent| {
            let mut request = agent.get(url);
            if !packed {
                request = request.header(ACCEPT_ENCODING, "identity");
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
                if let Some(validator) = if_range {
                    request = request.header(IF_RANGE, validator);
                }
            }
            if let Some(etag) = if_none_match {
                request = request.header(IF_NONE_MATCH, etag);
            }
            request
        };
        let requests: Vec<_> = self.agents.iter().map(request).collect();
        let believed = self.believed.clone();
        thread::spawn(move || {
            let mut response = match call(requests, &believed) {
                Ok(response) => response,
                Err(failed) => return drop(sender.send(failed.map(Err))),
            };
            let range = header_text(&response, CONTENT_RANGE.as_str()).and_then(ContentRange::parse);
            // A weak tag says nothing about single bytes.
            let etag = header_text(&response, ETAG.as_str());
            let tag = etag.filter(|tag| tag.starts_with('"'));
            let head = Head {
                status: response.status(),
                length: header_number(&response, CONTENT_LENGTH.as_str()),
                from: range.map(|range| range.first),
                total: range.map(|range| range.length),
                validator: tag.or(header_text(&response, LAST_MODIFIED.as_str())).map(str::to_owned),
                etag: etag.map(str::to_owned),
            };
            if sender.send(Ok(Ok(head))).is_err() {
                return;
            }
            let mut reader = response.body_mut().as_reader();
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = reader.read(&mut chunk).map_err(|error| error.to_string());
                let last = !matches!(read, Ok(1..));
                let chunk = read.map(|count| {
                    chunk.truncate(count);
                    chunk
                });
                if chunks.send(chunk).is_err() || last {
                    return;
                }
            }
        });
        let head = match self.next(&receiver)? {
            Ok(Ok(head)) => Ok(head),
            Ok(Err(what)) => return Err(FetchError::Certificate { url: url.to_owned(), what }),
            Err(what) => Err(what),
        };
        Ok(head.map(|Head { status, length, from, total, validator, etag }| Answer {
            status,
            length,
            from,
            total,
            validator,
            etag,
            body,
        }))
    }

    /// Waits for what the other thread has next, or for a cancel.
    pub(super) fn next<T>(
        &self,
        receiver: &mpsc::Receiver<Result<T, String>>,
    ) -> Result<Result<T, String>, FetchError> {
        loop {
            self.check_cancelled()?;
            match receiver.recv_timeout(Duration::from_millis(50)) {
                Ok(next) => return Ok(next),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(Err("the connection was lost".to_owned())),
            }
        }
    }
}

/// Asks with one set of authorities after the other, the one that was believed last first, until the server's certificate is
/// of one of them. What failed is a certificate (`Ok`) or something that may be better next time (`Err`).
fn call(
    requests: Vec<ureq::RequestBuilder<ureq::typestate::WithoutBody>>,
    believed: &AtomicUsize,
) -> Result<ureq::http::Response<ureq::Body>, Result<String, String>> {
    let mut requests: Vec<_> = requests.into_iter().enumerate().collect();
    let first = believed.load(Ordering::Relaxed);
    requests.sort_by_key(|(number, _)| *number != first);
    let mut fault = "no certificate authority is known here".to_owned();
    for (number, request) in requests {
        match request.call() {
            Ok(response) => {
                believed.store(number, Ordering::Relaxed);
                return Ok(response);
            }
            Err(error) => fault = certificate_fault(&error).ok_or_else(|| Err(error.to_string()))?,
        }
    }
    Err(Ok(fault))
}

fn header_text<'a>(response: &'a ureq::http::Response<ureq::Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn header_number(response: &ureq::http::Response<ureq::Body>, name: &str) -> Option<u64> {
    header_text(response, name)?.trim().parse().ok()
}
