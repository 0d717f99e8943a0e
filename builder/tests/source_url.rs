//! Release files by URL: lists of sums, mirrors, and servers that misbehave.

use crate::source_kit::RecordedProgress;
use crate::source_kit::server::{Fault, Server};
use contract::hash::Digest;
use microdc::cache::Cache;
use microdc::clock;
use microdc::source::http::{Client, FetchError, Fetched, FileRequest, Patience};
use microdc::source::url::{Known, UrlError, UrlMirror, UrlSource};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const FILE: &str = "releases/v1%2B2/tool-arm64";
const SUMS: &str = "releases/v1%2B2/sha256sum-arm64.txt";

struct Bench {
    server: Server,
    folder: tempfile::TempDir,
    cache: Cache,
    client: Client,
    told: RecordedProgress,
    content: Vec<u8>,
    sha256: Digest,
    mirrors: Vec<UrlMirror>,
    offline: bool,
}

/// A release with its list of sums on a server.
fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..600_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let sha256 = Digest::of(&content);
    let server = Server::start();
    server.put(FILE, content.clone());
    server.put(SUMS, format!("{}  other-arm64\n{sha256}  tool-arm64\n", Digest::of(b"other")));
    let patience = Patience { stall: Duration::from_secs(10), attempts: 3, first_wait: Duration::from_millis(5) };
    Bench {
        server,
        cache: Cache::open(folder.path().join("cache")).unwrap(),
        folder,
        client: Client::new(patience, Arc::default()),
        told: RecordedProgress::default(),
        content,
        sha256,
        mirrors: Vec::new(),
        offline: false,
    }
}

impl Bench {
    fn bring(&self, known: Known<'_>) -> Result<Fetched, UrlError> {
        let source = UrlSource {
            cache: &self.cache,
            client: &self.client,
            mirrors: &self.mirrors,
            offline: self.offline,
            now: clock::now(),
            progress: &self.told,
        };
        source.bring(&self.server.url(FILE), known)
    }

    fn locked(&self) -> Known<'static> {
        Known::Locked(self.content.len() as u64, self.sha256)
    }

    fn by_sums(&self) -> Result<Fetched, UrlError> {
        self.bring(Known::Checksums(&self.server.url(SUMS), None))
    }

    /// The right bytes came.
    fn good(&self, result: Result<Fetched, UrlError>) {
        let Fetched { path, size, sha256 } = result.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((size, sha256), (self.content.len() as u64, self.sha256));
        assert!(fs::read(path).unwrap() == self.content);
    }

    fn refused(&self, result: Result<Fetched, UrlError>, parts: &[&str]) {
        let text = result.unwrap_err().to_string();
        for part in parts {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
        assert!(!self.cache.blob_path(self.sha256).exists());
    }

    /// A folder that has a file where a mirror would have the one of `url`.
    fn folder_mirror(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let folder = self.folder.path().join(name);
        let host = self.server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
        let path = folder.join(host).join("releases/v1+2/tool-arm64");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        folder
    }

    fn asked(&self, path: &str) -> Vec<Option<usize>> {
        self.server.requests_of(path).iter().map(|request| request.from).collect()
    }
}

#[test]
fn a_list_of_sums_vouches_for_a_file_whose_size_nobody_told() {
    let bench = bench();
    bench.good(bench.by_sums());
    assert_eq!(*bench.told.done.lock().unwrap(), bench.content.len() as u64);
    bench.good(bench.by_sums());
    assert_eq!(bench.asked(FILE).len(), 1, "the second time it is in the cache");
    bench.good(bench.bring(bench.locked()));
    assert_eq!(bench.asked(SUMS).len(), 2, "what is locked needs no list");
}

#[test]
fn a_cut_connection_is_gone_on_from_and_a_redirect_followed() {
    let bench = bench();
    bench.server.put("elsewhere/file", bench.content.clone());
    bench.server.fail(FILE, [Fault::Cut(200_000), Fault::Redirect("elsewhere/file".to_owned())]);
    bench.good(bench.by_sums());
    assert_eq!(bench.asked(FILE), [None, Some(200_000)]);
    assert_eq!(bench.asked("elsewhere/file"), [Some(200_000)], "the range goes with the redirect");
}

#[test]
fn what_came_before_a_server_gave_up_is_kept_for_the_next_run() {
    let bench = bench();
    bench.server.fail(FILE, [Fault::Cut(200_000), Fault::Status(503), Fault::Status(503), Fault::Status(503)]);
    bench.refused(bench.by_sums(), &["gave up after 4 attempts", "200000 bytes, which are kept", "--supply"]);
    bench.server.forget_requests();
    bench.good(bench.by_sums());
    assert_eq!(bench.asked(FILE), [Some(200_000)]);
}

#[test]
fn a_wrong_checksum_is_refused_and_nothing_is_kept() {
    let bench = bench();
    let mut altered = bench.content.clone();
    altered[1000] ^= 1;
    bench.server.put(FILE, altered);
    let expected = bench.sha256.to_string();
    bench.refused(bench.by_sums(), &["tool-arm64", "its SHA-256 is", &expected, "it was discarded"]);
    bench.refused(bench.bring(bench.locked()), &["its SHA-256 is", &expected]);
    assert!(!bench.cache.partial_path(bench.sha256).exists());
}

#[test]
fn a_list_without_the_file_says_what_it_has_and_a_large_one_is_not_read() {
    let bench = bench();
    bench.server.put(SUMS, format!("{}  tool-amd64\n", bench.sha256));
    bench.refused(
        bench.by_sums(),
        &["sha256sum-arm64.txt", "no SHA-256 of \"tool-arm64\"", "tool-amd64", "`checksums`"],
    );
    bench.server.put(SUMS, vec![b'\n'; 2 << 20]);
    bench.refused(bench.by_sums(), &["larger than the limit of 1048576 bytes"]);
    bench.server.remove(SUMS);
    bench.refused(bench.by_sums(), &["not there (HTTP 404)"]);
    assert!(bench.asked(FILE).is_empty());
}

#[test]
fn a_file_larger_than_it_may_be_is_cut_off_before_it_is_here() {
    let bench = bench();
    bench.refused(bench.bring(Known::Locked(500_000, bench.sha256)), &["has 600000 bytes, expected 500000"]);
    let wanted = FileRequest { url: bench.server.url(FILE), limit: 500_000, sha256: None };
    let error = bench.client.file(&bench.cache, &wanted, &bench.told).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { limit: 500_000, .. }), "{error}");
    assert!(bench.server.requests_of(FILE).len() == 2);
}

#[test]
fn without_any_sum_a_half_file_is_never_glued_to_another_version() {
    let bench = bench();
    bench.server.fail(FILE, [Fault::Cut(200_000)]);
    bench.good(bench.bring(Known::Nothing));
    assert_eq!(bench.asked(FILE), [None, None], "nothing says that the rest is of the same version");
}

#[test]
fn mirrors_are_asked_in_order_and_the_origin_last() {
    let mut bench = bench();
    let mirror = Server::start();
    let template =
        |server: &Server, part: &str| UrlMirror::Template(format!("{}{{host}}/{{path}}", server.url(part)));
    let host = bench.server.url("").trim_start_matches("http://").to_owned();
    let altered = vec![1; bench.content.len()];
    let folder = bench.folder_mirror("altered", &altered);
    bench.mirrors = vec![UrlMirror::Folder(folder), template(&mirror, "a/"), template(&mirror, "b/")];
    bench.good(bench.bring(bench.locked()));
    assert_eq!(mirror.requests().len(), 2, "the mirror was asked in both places");
    assert_eq!(bench.asked(FILE).len(), 1);
    assert!(bench.told.text().contains("its SHA-256 is"), "the altered one was told: {}", bench.told.text());

    fs::remove_file(bench.cache.blob_path(bench.sha256)).unwrap();
    mirror.put(&format!("b/{host}{FILE}"), bench.content.clone());
    bench.server.forget_requests();
    bench.good(bench.bring(bench.locked()));
    assert!(bench.server.requests().is_empty(), "the mirror had it");
}

#[test]
fn without_network_a_folder_is_enough_and_none_is_told() {
    let mut bench = bench();
    bench.offline = true;
    bench.mirrors = vec![UrlMirror::Template("http://127.0.0.1:9/{host}/{path}".to_owned())];
    bench.refused(bench.bring(bench.locked()), &["cannot be fetched", "--offline", "`mirrors`", "--supply"]);
    let content = bench.content.clone();
    let folder = bench.folder_mirror("mirror", &content);
    bench.mirrors.push(UrlMirror::Folder(folder));
    bench.good(bench.bring(bench.locked()));
    assert!(bench.server.requests().is_empty());
}
