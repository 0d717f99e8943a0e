//! Questions to servers that are functions.

use super::super::message::tests::{OWN, SERVER_ID, ia, ia_address, message, opt, options};
use super::*;
use std::cell::RefCell;
use std::collections::VecDeque;

pub const UNIT: Duration = Duration::from_millis(10);
const CLIENT: Client<'static> =
    Client { own_id: OWN, association: super::super::message::tests::ASSOCIATION, host_name: "r1", unit: UNIT };

/// What a server was asked: the kind of message, and its options.
pub type Question = (u8, Vec<(u16, Vec<u8>)>);

/// A server as a function from the questions so far to answers, whose numbers are made those of the question.
pub struct Server<F> {
    answers: F,
    waiting: RefCell<VecDeque<Vec<u8>>>,
    pub asked: RefCell<Vec<Question>>,
}

impl<F: Fn(&[Question]) -> Vec<Vec<u8>>> Server<F> {
    pub fn new(answers: F) -> Server<F> {
        Server { answers, waiting: RefCell::default(), asked: RefCell::default() }
    }

    pub fn kinds(&self) -> Vec<u8> {
        self.asked.borrow().iter().map(|(kind, _)| *kind).collect()
    }
}

impl<F: Fn(&[Question]) -> Vec<Vec<u8>>> Wire for Server<F> {
    async fn send(&self, message: &[u8]) -> io::Result<()> {
        self.asked.borrow_mut().push((message[0], options(message)));
        for mut answer in (self.answers)(&self.asked.borrow()) {
            // One that has a number already keeps it.
            if answer.get(1..4) == Some(&[0, 0, 0]) {
                answer[1..4].copy_from_slice(&message[1..4]);
            }
            self.waiting.borrow_mut().push_back(answer);
        }
        Ok(())
    }

    async fn receive(&self) -> io::Result<(Vec<u8>, Ipv6Addr)> {
        loop {
            if let Some(message) = self.waiting.borrow_mut().pop_front() {
                return Ok((message, "fe80::1".parse().unwrap()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    let future = async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("it comes to an end") };
    crate::net::runtime().unwrap().block_on(future)
}

/// An offer, or an answer, of one address.
pub fn gives(kind: u8, address: &str, more: &[Vec<u8>]) -> Vec<u8> {
    message(kind, 0, &[&[ia(3, [0, 0], &[ia_address(address, 100, 200)])][..], more].concat())
}

/// The last 16 bits of the first address.
fn rank(reply: &Reply) -> Option<u32> {
    let last = reply.addresses.first()?.given.first()?.value.segments()[7];
    (last != 0xbad).then_some(if last == 0xffff { u32::MAX } else { u32::from(last) })
}

fn solicited<F: Fn(&[Question]) -> Vec<Vec<u8>>>(server: &Server<F>) -> (u16, Option<u32>) {
    let mut longest = None;
    let asked = Asked { addresses: Some(Vec::new()), prefixes: None };
    let heard = run(CLIENT.solicit(server, &asked, &mut longest, rank)).unwrap();
    (heard.reply.addresses[0].given[0].value.segments()[7], longest)
}

#[test]
fn of_several_offers_the_best_is_taken_when_all_had_time_to_come() {
    let server = Server::new(|_| {
        vec![
            gives(2, "2001:db8::5", &[]),
            gives(2, "2001:db8::bad", &[]),
            gives(2, "2001:db8::9", &[]),
            gives(2, "2001:db8::7", &[]),
        ]
    });
    let begin = Instant::now();
    assert_eq!(solicited(&server).0, 9);
    assert!(begin.elapsed() > UNIT, "it did not wait for others");
    assert_eq!(server.kinds(), [1]);
    let best = Server::new(|_| {
        vec![gives(2, "2001:db8::5", &[]), gives(2, "2001:db8::ffff", &[]), gives(2, "2001:db8::7", &[])]
    });
    assert_eq!(solicited(&best).0, 0xffff);
}

#[test]
fn answers_to_others_and_to_other_questions_do_not_count() {
    let server = Server::new(|asked| {
        let mut to_another = gives(2, "2001:db8::1", &[]);
        // The last byte of this node's identifier.
        to_another[17] ^= 1;
        let mut number = gives(2, "2001:db8::2", &[]);
        number[1..4].copy_from_slice(&[1, 1, 1]);
        let without =
            [vec![2, 0, 0, 0], opt(2, SERVER_ID), ia(3, [0, 0], &[ia_address("2001:db8::3", 1, 2)])].concat();
        // An answer that commits at once must say so.
        let reply = gives(7, "2001:db8::4", &[]);
        let odd = vec![to_another, number, without, reply, vec![2; 3], Vec::from([9; 40])];
        if asked.len() < 3 { odd } else { [odd, vec![gives(2, "2001:db8::5", &[])]].concat() }
    });
    assert_eq!(solicited(&server).0, 5);
    assert_eq!(server.kinds(), [1, 1, 1]);
    // How long it has asked is told: 0 first, and more each time.
    let elapsed: Vec<u8> = server.asked.borrow().iter().map(|(_, options)| options[1].1[1]).collect();
    assert!(elapsed[0] == 0 && elapsed[1] <= elapsed[2], "{elapsed:?}");
}

#[test]
fn a_server_may_commit_at_once_and_set_the_longest_time() {
    let server = Server::new(|_| {
        vec![message(2, 0, &[opt(82, &90_u32.to_be_bytes())]), gives(7, "2001:db8::5", &[opt(14, &[])])]
    });
    assert_eq!(solicited(&server), (5, Some(90)));
}

#[test]
fn a_question_is_sent_as_often_as_its_pace_says() {
    let silent = Server::new(|_| Vec::new());
    let ask = |pace: Pace| {
        silent.asked.borrow_mut().clear();
        let found =
            run(CLIENT.ask(&silent, Kind::Request, Some(SERVER_ID), &Asked::default(), pace, |_| Verdict::Take(())));
        (found.unwrap(), silent.kinds().len())
    };
    assert_eq!(ask(Pace { longest: 1, ..pace::REQUEST }), (None, 10));
    let within = Pace { within: Some(UNIT * 4), ..pace::INFORMATION };
    let (found, times) = ask(within);
    assert!(found.is_none() && (2..=4).contains(&times), "{times}");
    assert_eq!(ask(Pace { within: Some(Duration::ZERO), ..pace::RENEW }), (None, 1));
}
