//! The control socket with real clients.

use super::*;
use crate::service::Places;
use contract::update::UpdateEvent;
use rustix::event::{PollFd, Timespec, poll};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};

const SECOND: Moment = Moment::from_secs(1);

struct Host {
    control: Control,
    supervisor: Supervisor,
    folder: tempfile::TempDir,
    now: Moment,
    /// Requests that came, each answered by its words.
    asked: Vec<Request>,
}

impl Host {
    fn new() -> Host {
        let folder = tempfile::tempdir().unwrap();
        let mut control = Control::default();
        control.open(&folder.path().join("control"), Rank::Operator, Visitors::default()).unwrap();
        control.open(&folder.path().join("facts"), Rank::Reader, Visitors::default()).unwrap();
        let places = Places { notify: folder.path().to_owned(), ..Places::default() };
        let supervisor = Supervisor::new(BTreeMap::new(), &serde_json::Value::Null, places);
        Host { control, supervisor, folder, now: SECOND, asked: Vec::new() }
    }

    fn client(&self) -> UnixStream {
        self.at("control")
    }

    fn at(&self, socket: &str) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join(socket)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// Turns of the loop until someone asks.
    fn asked_by(&mut self) -> u64 {
        for _ in 0..2000 {
            let sources: Vec<_> = self.control.sources().into_iter().map(|(source, _, _)| source).collect();
            for source in sources {
                if let Some((client, _)) = self.control.ready(source, self.now) {
                    return client;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nobody asks");
    }

    /// Turns of the loop until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..2000 {
            let sources = self.control.sources();
            let mut fds: Vec<_> =
                sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
            if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 })).unwrap() == 0 {
                return;
            }
            let ready: Vec<_> = sources
                .iter()
                .zip(&fds)
                .filter(|(_, fd)| !fd.revents().is_empty())
                .map(|((source, _, _), _)| *source)
                .collect();
            for source in ready {
                if let Some((client, request)) = self.control.ready(source, self.now) {
                    self.control.reply(client, &Reply::Done(format!("{request:?}")), self.now);
                    self.asked.push(request);
                }
            }
            self.control.pump(&self.supervisor, self.now);
        }
        panic!("the loop does not come to rest");
    }
}

fn ask(stream: &mut UnixStream, request: Request) {
    let mut line = serde_json::to_vec(&Call::new(request)).unwrap();
    line.push(b'\n');
    stream.write_all(&line).unwrap();
}

fn answer(stream: UnixStream) -> Option<Reply> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

#[test]
fn a_request_gets_its_answer_also_when_it_comes_in_pieces() {
    let mut host = Host::new();
    let mut client = host.client();
    for piece in [&b"{\"version\":1,"[..], b"\"request\":{\"verb\":\"status\"}", b"}\n"] {
        client.write_all(piece).unwrap();
        host.settle();
    }
    assert_eq!(answer(client), Some(Reply::Done("Status".to_owned())));
    assert_eq!(host.asked, [Request::Status]);
    assert!(host.control.clients.is_empty());
}

#[test]
fn nonsense_and_too_much_are_refused_and_others_still_served() {
    let mut host = Host::new();
    let (mut nonsense, mut endless, mut fine) = (host.client(), host.client(), host.client());
    nonsense.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    endless.set_nonblocking(true).unwrap();
    let _ = endless.write_all(&[b'x'; 1 << 20]);
    endless.set_nonblocking(false).unwrap();
    ask(&mut fine, Request::Services);
    host.settle();
    assert!(matches!(answer(nonsense), Some(Reply::Refused(_))));
    assert_eq!(host.asked, [Request::Services]);
    assert_eq!(answer(fine), Some(Reply::Done("Services".to_owned())));
    assert!(host.control.clients.is_empty());
    let mut rest = Vec::new();
    let _ = endless.read_to_end(&mut rest);
    assert!(rest.len() < 1000);
}

#[test]
fn more_clients_than_there_is_room_for_wait_and_slow_ones_are_dropped() {
    let mut host = Host::new();
    let silent: Vec<_> = (0..MOST_CLIENTS + 5).map(|_| host.client()).collect();
    host.settle();
    assert_eq!(host.control.clients.len(), MOST_CLIENTS);
    host.now += PATIENCE;
    host.control.pump(&host.supervisor, host.now);
    assert!(host.control.clients.is_empty(), "their time was over");
    host.settle();
    assert_eq!(host.control.clients.len(), 5, "those that waited are let in");
    drop(silent);
    host.settle();
    assert!(host.control.clients.is_empty(), "who hangs up is gone");
    let mut client = host.client();
    ask(&mut client, Request::Network);
    host.settle();
    assert_eq!(answer(client), Some(Reply::Done("Network".to_owned())));
}

#[test]
fn a_client_that_does_not_take_its_answer_is_dropped() {
    let mut host = Host::new();
    let _client = host.client();
    host.settle();
    let number = host.control.clients[0].number;
    host.control.reply(number, &Reply::Done("x".repeat(4 << 20)), host.now);
    host.settle();
    assert_eq!(host.control.deadline(), Some(host.now + PATIENCE));
    host.now += PATIENCE;
    host.control.pump(&host.supervisor, host.now);
    assert!(host.control.clients.is_empty());
}

#[test]
fn a_follower_may_stay_and_is_gone_when_it_hangs_up() {
    let mut host = Host::new();
    let client = host.client();
    host.settle();
    let number = host.control.clients[0].number;
    let line = LogLine { service: "bgpd".to_owned(), line: "hello".to_owned() };
    host.control.follow(number, vec![line.clone()], BTreeMap::new(), host.now);
    host.now += PATIENCE * 10;
    host.control.pump(&host.supervisor, host.now);
    host.settle();
    assert_eq!((host.control.clients.len(), host.control.deadline()), (1, None));
    assert_eq!(answer(client), Some(Reply::Logs(vec![line])));
    host.settle();
    assert!(host.control.clients.is_empty());
}

#[test]
fn a_bundle_behind_its_request_is_left_for_who_reads_it_and_the_client_is_told_how_it_goes() {
    let mut host = Host::new();
    let mut client = host.client();
    let update = Request::Update { urls: Vec::new(), dry_run: false, force: false };
    let mut sent = serde_json::to_vec(&Call::new(update)).unwrap();
    sent.extend(b"\nthe whole bundle");
    client.write_all(&sent).unwrap();
    let number = host.asked_by();
    let mut bundle = std::fs::File::from(host.control.connection(number).unwrap());
    host.control.watch(number);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut read = String::new();
    bundle.read_to_string(&mut read).unwrap();
    assert_eq!(read, "the whole bundle");
    // Who has sent all it had still listens, for as long as it takes.
    host.settle();
    host.now += Duration::from_secs(3600);
    host.control.pump(&host.supervisor, host.now);
    let progress = |done| Reply::Update(UpdateEvent::Progress { done, blocks: 9, fetched_bytes: 0 });
    host.control.tell(number, &progress(1), true, host.now);
    host.control.reply(number, &progress(9), host.now);
    drop(bundle);
    let lines: Vec<String> = BufReader::new(client).lines().map(Result::unwrap).collect();
    assert_eq!(lines, [progress(1), progress(9)].map(|reply| serde_json::to_string(&reply).unwrap()));
}

#[test]
fn a_watching_client_that_does_not_keep_up_loses_progress_and_one_that_is_gone_is_forgotten() {
    let mut host = Host::new();
    let mut clients = [host.client(), host.client()];
    let mut numbers = Vec::new();
    for client in &mut clients {
        ask(client, Request::Update { urls: vec!["http://a/b".to_owned()], dry_run: false, force: false });
        let number = host.asked_by();
        host.control.watch(number);
        numbers.push(number);
    }
    let event = UpdateEvent::Progress { done: 1, blocks: 9, fetched_bytes: 0 };
    for _ in 0..100_000 {
        host.control.tell(numbers[0], &Reply::Update(event.clone()), true, host.now);
    }
    let owed: usize = host.control.clients.iter().map(|client| client.output.len()).sum();
    assert!(owed < 4096, "{owed} bytes wait for a client that takes none");
    let [_slow, gone] = clients;
    drop(gone);
    host.settle();
    assert_eq!(host.control.clients.iter().map(|client| client.number).collect::<Vec<_>>(), [numbers[0]]);
    host.control.tell(numbers[1], &Reply::Update(event), false, host.now);
}

#[test]
fn where_facts_are_read_nothing_else_can_be_asked_and_operators_keep_their_room() {
    let mut host = Host::new();
    let silent: Vec<_> = (0..MOST_READERS + 1).map(|_| host.at("facts")).collect();
    host.settle();
    assert_eq!(host.control.clients.len(), MOST_READERS);
    let mut operator = host.client();
    ask(&mut operator, Request::Status);
    host.settle();
    assert_eq!(answer(operator), Some(Reply::Done("Status".to_owned())));
    drop(silent);
    host.settle();
    for request in [Request::Reboot, Request::Config, Request::Restart { service: "sshd".to_owned() }] {
        let mut reader = host.at("facts");
        ask(&mut reader, request);
        host.settle();
        assert!(matches!(answer(reader), Some(Reply::Refused(_))));
    }
    let mut reader = host.at("facts");
    ask(&mut reader, Request::Metrics);
    host.settle();
    assert_eq!(host.asked, [Request::Status, Request::Metrics]);
}

#[test]
fn a_group_is_found_by_its_whole_name() {
    let text = "root:x:0:\noperators:x:7:\noperator:x:1000:\n";
    assert_eq!(group_number(text, "operator"), Some(1000));
    assert_eq!(group_number(text, "oper"), None);
    assert_eq!(group_number("operator", "operator"), None);
}
