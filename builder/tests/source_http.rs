//! Downloads from a mirror that misbehaves.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::source_kit::RecordedProgress;
use crate::source_kit::server::{Fault, Server};
use contract::hash::Digest;
use microdc::cache::Cache;
use microdc::source::http::{Client, FetchError, Patience, Wanted};
use microdc::source::{Progress, Quiet};

struct Bench {
    server: Server,
    _folder: tempfile::TempDir,
    cache: Cache,
    cancel: Arc<AtomicBool>,
    client: Client,
    told: RecordedProgress,
    content: Vec<u8>,
    wanted: Wanted,
}

fn bench() -> Bench {
    // Long enough for a machine that stands still for a while.
    bench_with(Duration::from_secs(10))
}

/// For servers that fall silent.
fn impatient() -> Bench {
    bench_with(Duration::from_secs(1))
}

fn bench_with(stall: Duration) -> Bench {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let cancel = Arc::new(AtomicBool::new(false));
    let patience = Patience { stall, attempts: 3, first_wait: Duration::from_millis(5) };
    let client = Client::new(patience, cancel.clone());
    let content: Vec<u8> = (0..700_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    server.put("f", content.clone());
    let wanted = Wanted { url: server.url("f"), size: content.len() as u64, sha256: Digest::of(&content) };
    Bench { server, _folder: folder, cache, cancel, client, told: RecordedProgress::default(), content, wanted }
}

impl Bench {
    fn fetch(&self) -> Result<(), FetchError> {
        let path = self.client.blob(&self.cache, &self.wanted, &self.told)?;
        assert_eq!(fs::read(path).unwrap(), self.content);
        assert!(!self.cache.partial_path(self.wanted.sha256).exists());
        Ok(())
    }

    fn has_nothing(&self) -> bool {
        self.cache.blob(self.wanted.sha256, self.wanted.size).is_none()
    }
}

#[test]
fn a_file_is_fetched_once() {
    let bench = bench();
    bench.fetch().unwrap();
    bench.fetch().unwrap();
    assert_eq!(bench.server.requests().len(), 1);
    assert_eq!(*bench.told.done.lock().unwrap(), 2 * bench.wanted.size);
}

#[test]
fn a_mirror_that_stops_midway_is_retried_then_resumed() {
    let bench = impatient();
    bench.server.fail("f", [Fault::Stall(300_000), Fault::Cut(100_000)]);
    bench.fetch().unwrap();
    let requests = bench.server.requests();
    let from: Vec<_> = requests.iter().map(|request| request.from).collect();
    assert_eq!(from, [None, Some(300_000), Some(400_000)]);
    let sent: usize = requests.iter().map(|request| request.sent).sum();
    assert_eq!(sent, bench.content.len(), "no byte is fetched twice");
    assert_eq!(*bench.told.done.lock().unwrap(), bench.wanted.size);
    assert!(bench.told.text().contains("trying again"), "{}", bench.told.text());
}

#[test]
fn a_mirror_that_is_down_for_a_moment_is_tried_again() {
    let bench = bench();
    bench.server.fail("f", [Fault::Status(503), Fault::Status(500)]);
    bench.fetch().unwrap();
    assert_eq!(bench.server.requests().len(), 3);
}

#[test]
fn a_mirror_that_stays_down_is_given_up_on_and_what_came_is_kept_for_the_next_run() {
    let bench = bench();
    bench.server.fail("f", [Fault::Cut(500_000), Fault::Status(503), Fault::Status(503), Fault::Status(503)]);
    let error = bench.fetch().unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { attempts: 4, have: 500_000, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("500000 bytes of 700000") && text.contains("503") && text.contains("--mirror"), "{text}");
    assert!(bench.has_nothing());

    bench.server.forget_requests();
    bench.fetch().unwrap();
    let requests = bench.server.requests();
    assert_eq!((requests.len(), requests[0].from, requests[0].sent), (1, Some(500_000), 200_000));
}

#[test]
fn a_mirror_without_ranges_is_fetched_from_the_start() {
    let bench = bench();
    bench.server.fail("f", [Fault::Cut(300_000), Fault::IgnoreRange]);
    bench.fetch().unwrap();
    assert_eq!(bench.server.requests()[1].sent, bench.content.len());
    assert_eq!(*bench.told.done.lock().unwrap(), bench.wanted.size, "progress does not go beyond the whole");
}

#[test]
fn an_answer_with_another_range_is_not_glued_on() {
    let bench = bench();
    bench.server.fail("f", [Fault::Cut(300_000), Fault::OtherRange]);
    bench.fetch().unwrap();
    assert_eq!(bench.server.requests()[2].from, None);
}

#[test]
fn a_redirect_is_followed_and_the_range_goes_with_it() {
    let bench = bench();
    bench.server.put("elsewhere", bench.content.clone());
    bench.server.fail("f", [Fault::Cut(300_000), Fault::Redirect("elsewhere".into())]);
    bench.fetch().unwrap();
    assert_eq!(bench.server.requests_of("elsewhere")[0].from, Some(300_000));
}

#[test]
fn what_is_not_there_is_an_error_of_its_own_and_not_retried() {
    let bench = bench();
    for (status, gone) in [(404, true), (410, true), (403, false)] {
        bench.server.forget_requests();
        bench.server.fail("f", [Fault::Status(status)]);
        let error = bench.fetch().unwrap_err();
        assert_eq!(error.is_gone(), gone, "{error}");
        assert!(error.to_string().contains(&bench.wanted.url), "{error}");
        assert_eq!(bench.server.requests().len(), 1);
    }
    assert!(bench.has_nothing());
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let bench = bench();
    let mut wrong = bench.content.clone();
    wrong[650_000] ^= 1;
    bench.server.put("f", wrong);
    let error = bench.fetch().unwrap_err();
    assert!(matches!(error, FetchError::Digest { .. }), "{error}");
    assert!(error.to_string().contains(&bench.wanted.sha256.to_string()), "{error}");
    assert!(bench.has_nothing());
    assert!(!bench.cache.partial_path(bench.wanted.sha256).exists());
    bench.server.put("f", bench.content.clone());
    bench.fetch().unwrap();
}

#[test]
fn a_damaged_rest_of_an_earlier_run_is_fetched_again() {
    let bench = bench();
    let part = bench.cache.partial_path(bench.wanted.sha256);
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, vec![7; 350_000]).unwrap();
    bench.fetch().unwrap();
    assert!(bench.told.text().contains("damaged"), "{}", bench.told.text());
    // As is one that is longer than the file can be.
    fs::remove_file(bench.cache.blob_path(bench.wanted.sha256)).unwrap();
    fs::write(&part, vec![7; 900_000]).unwrap();
    bench.fetch().unwrap();
}

#[test]
fn a_file_of_another_size_is_refused() {
    for size in [699_999, 700_001] {
        let mut bench = bench();
        bench.wanted.size = size;
        let error = bench.fetch().unwrap_err();
        assert!(matches!(error, FetchError::Size { found: 700_000, .. }), "{error}");
        assert!(bench.has_nothing());
    }
}

#[test]
fn a_small_file_is_bounded_and_must_be_whole() {
    let bench = impatient();
    let url = bench.server.url("f");
    assert_eq!(bench.client.small(&url, 700_000, &Quiet).unwrap(), bench.content);
    let error = bench.client.small(&url, 699_999, &Quiet).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { limit: 699_999, .. }), "{error}");
    bench.server.fail("f", [Fault::Cut(10), Fault::Stall(20)]);
    assert_eq!(bench.client.small(&url, 700_000, &Quiet).unwrap(), bench.content);
}

#[test]
fn a_stop_leaves_the_cache_intact_and_what_came_is_gone_on_from() {
    struct StopsAfter<'a>(&'a AtomicBool);
    impl Progress for StopsAfter<'_> {
        fn add_total(&self, _bytes: u64) {}
        fn advance(&self, _bytes: u64) {
            self.0.store(true, Ordering::Relaxed);
        }
        fn note(&self, _line: &str) {}
    }
    let bench = bench();
    bench.server.put("g", b"other".to_vec());
    let other = Wanted { url: bench.server.url("g"), size: 5, sha256: Digest::of(b"other") };
    let wanted = [bench.wanted.clone(), other.clone()];
    let error = bench.client.blobs(&bench.cache, &wanted, 1, &StopsAfter(&bench.cancel)).unwrap_err();
    assert!(matches!(error, FetchError::Cancelled), "{error}");
    assert!(bench.has_nothing() && bench.cache.blob(other.sha256, 5).is_none());
    let have = fs::metadata(bench.cache.partial_path(bench.wanted.sha256)).unwrap().len();
    assert!(have > 0 && have < bench.wanted.size);

    bench.cancel.store(false, Ordering::Relaxed);
    bench.server.forget_requests();
    bench.client.blobs(&bench.cache, &wanted, 2, &bench.told).unwrap();
    assert_eq!(bench.server.requests_of("f")[0].from, Some(usize::try_from(have).unwrap()));
    bench.fetch().unwrap();
}

#[test]
fn a_stop_is_heeded_while_waiting_for_the_next_attempt() {
    let bench = bench();
    let patience = Patience { first_wait: Duration::from_secs(60), ..Patience::default() };
    let client = Client::new(patience, bench.cancel.clone());
    bench.server.fail("f", [Fault::Status(503)]);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| client.blob(&bench.cache, &bench.wanted, &Quiet));
        std::thread::sleep(Duration::from_millis(200));
        bench.cancel.store(true, Ordering::Relaxed);
        assert!(matches!(fetch.join().unwrap(), Err(FetchError::Cancelled)));
    });
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn two_builds_that_want_the_same_file_fetch_it_once() {
    let bench = bench();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| bench.fetch().unwrap());
        }
    });
    assert_eq!(bench.server.requests().len(), 1);
}
