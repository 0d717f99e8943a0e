//! The conversation with DHCP servers (RFC 2131, 4.4): from nothing to a lease, and from a lease to its renewal. It knows
//! neither sockets nor interfaces, so that it is tested with servers of every kind.

use super::message::{Kind, Question, Reply};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Where messages come and go: contents of UDP packets.
pub trait Wire {
    async fn send(&self, message: &[u8]) -> io::Result<()>;
    async fn receive(&self) -> io::Result<Vec<u8>>;
}

/// How long answers are waited for: longer with each question that stays without one.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub first: Duration,
    pub longest: Duration,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    pub mac: [u8; 6],
    pub host_name: &'c str,
    pub pace: Pace,
}

/// What came of a renewal.
#[derive(Debug, PartialEq, Eq)]
pub enum Renewal<T> {
    Renewed(T),
    /// The server takes the lease back.
    Refused,
    Unanswered,
}

impl Client<'_> {
    fn question(&self, kind: Kind, number: u32) -> Question<'_> {
        Question { kind, number, mac: self.mac, host_name: self.host_name, own: None, asked: None }
    }

    /// Asks until there is a lease. `judge` looks at each answer and says what it gives, or that it is useless; an offer
    /// that is useless is passed over, and another server's may come.
    ///
    /// # Errors
    /// When the wire breaks.
    pub async fn acquire<W: Wire, T>(
        &self,
        wire: &W,
        number: impl Fn() -> u32,
        judge: &mut impl FnMut(&Reply) -> Option<(T, Ipv4Addr)>,
    ) -> io::Result<T> {
        let mut wait = self.pace.first;
        loop {
            let number = number();
            let discover = self.question(Kind::Discover, number);
            wire.send(&discover.to_bytes()).await?;
            let end = Instant::now() + wait;
            let offer = self.hear(wire, number, end, |reply| match reply.kind {
                Kind::Offer => judge(reply).map(|(_, server)| (reply.address, server)),
                _ => None,
            });
            if let Some(asked) = offer.await? {
                let request = Question { asked: Some(asked), ..self.question(Kind::Request, number) };
                match self.confirm(wire, &request, wait, judge).await? {
                    Renewal::Renewed(given) => return Ok(given),
                    // The next discovery must not come at once: a server that offers and refuses would never rest.
                    Renewal::Refused => sleep_until(end).await,
                    Renewal::Unanswered => {}
                }
            }
            wait = (wait * 2).min(self.pace.longest);
        }
    }

    /// Asks the server that gave `own` for more time, twice.
    ///
    /// # Errors
    /// When the wire breaks.
    pub async fn renew<W: Wire, T>(
        &self,
        wire: &W,
        number: u32,
        own: Ipv4Addr,
        judge: &mut impl FnMut(&Reply) -> Option<(T, Ipv4Addr)>,
    ) -> io::Result<Renewal<T>> {
        // RFC 2131, 4.3.2: neither the server nor the address as options.
        let question = Question { own: Some(own), ..self.question(Kind::Request, number) };
        self.confirm(wire, &question, self.pace.first, judge).await
    }

    /// Sends a request, twice when it has to, and waits for a server's yes or no.
    async fn confirm<W: Wire, T>(
        &self,
        wire: &W,
        request: &Question<'_>,
        wait: Duration,
        judge: &mut impl FnMut(&Reply) -> Option<(T, Ipv4Addr)>,
    ) -> io::Result<Renewal<T>> {
        for _ in 0..2 {
            wire.send(&request.to_bytes()).await?;
            let heard = self.hear(wire, request.number, Instant::now() + wait, |reply| match reply.kind {
                Kind::Ack => judge(reply).map(|(given, _)| Renewal::Renewed(given)),
                Kind::Nak => Some(Renewal::Refused),
                _ => None,
            });
            if let Some(found) = heard.await? {
                return Ok(found);
            }
        }
        Ok(Renewal::Unanswered)
    }

    /// Hears answers to one question until one of them counts, or time is over.
    async fn hear<W: Wire, T>(
        &self,
        wire: &W,
        number: u32,
        end: Instant,
        mut counts: impl FnMut(&Reply) -> Option<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let Ok(message) = timeout_at(end, wire.receive()).await else { return Ok(None) };
            let reply = Reply::parse(&message?);
            let found = reply.filter(|reply| reply.number == number && reply.mac == self.mac);
            if let Some(found) = found.as_ref().and_then(&mut counts) {
                return Ok(Some(found));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::message;
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    const MS: Duration = Duration::from_millis(1);
    const CLIENT: Client<'static> = Client {
        mac: [2, 0, 0, 0, 0, 1],
        host_name: "r1",
        pace: Pace { first: Duration::from_millis(20), longest: Duration::from_millis(40) },
    };

    /// A server as a function: what it was asked (kind, and the address), and what it answers.
    struct Server<F>(F, RefCell<VecDeque<Vec<u8>>>, RefCell<Vec<(u8, u8)>>);

    impl<F: Fn(u8, usize) -> Vec<Vec<u8>>> Server<F> {
        fn new(answers: F) -> Server<F> {
            Server(answers, RefCell::default(), RefCell::default())
        }

        fn asked(&self) -> Vec<u8> {
            self.2.borrow().iter().map(|(kind, _)| *kind).collect()
        }
    }

    impl<F: Fn(u8, usize) -> Vec<Vec<u8>>> Wire for Server<F> {
        async fn send(&self, message: &[u8]) -> io::Result<()> {
            let at = message.windows(2).skip(240).position(|two| two == [53, 1]).unwrap() + 242;
            self.2.borrow_mut().push((message[at], message[15]));
            let count = self.2.borrow().len();
            let number = &message[4..8];
            for mut answer in (self.0)(message[at], count) {
                answer[4..8].copy_from_slice(number);
                self.1.borrow_mut().push_back(answer);
            }
            Ok(())
        }

        async fn receive(&self) -> io::Result<Vec<u8>> {
            loop {
                if let Some(message) = self.1.borrow_mut().pop_front() {
                    return Ok(message);
                }
                tokio::time::sleep(MS).await;
            }
        }
    }

    fn answer(kind: u8, last: u8) -> Vec<u8> {
        message(kind, [10, 0, 0, last], &[54, 4, 10, 0, 0, 1, 255], b"", b"")
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        crate::net::runtime().unwrap().block_on(future)
    }

    /// Takes every address but those that end in 13.
    fn judge(reply: &Reply) -> Option<(u8, Ipv4Addr)> {
        let last = reply.address.octets()[3];
        (last != 13).then_some((last, Ipv4Addr::new(10, 0, 0, 1)))
    }

    fn acquired<F: Fn(u8, usize) -> Vec<Vec<u8>>>(server: &Server<F>) -> u8 {
        let number = Cell::new(0);
        let next = || {
            number.set(number.get() + 1);
            number.get()
        };
        let both = async { tokio::time::timeout(MS * 2000, CLIENT.acquire(server, next, &mut judge)).await };
        run(both).expect("there is a lease in time").unwrap()
    }

    #[test]
    fn an_offer_that_is_useless_is_passed_over_and_another_server_s_is_taken() {
        let server = Server::new(|kind, _| match kind {
            1 => vec![answer(2, 13), vec![1; 9], answer(5, 9), answer(2, 5)],
            _ => vec![answer(2, 7), answer(5, 5)],
        });
        assert_eq!(acquired(&server), 5);
        assert_eq!(server.asked(), [1, 3]);
    }

    #[test]
    fn silence_and_refusals_are_outlasted() {
        let server = Server::new(|kind, count| match (kind, count) {
            (1, 3..) => vec![answer(2, 5)],
            (3, 4) => vec![answer(6, 0)],
            (3, 8..) => vec![answer(5, 5)],
            _ => vec![],
        });
        assert_eq!(acquired(&server), 5);
        // Two discoveries in vain; one refused; two requests unanswered; then all of it.
        assert_eq!(server.asked(), [1, 1, 1, 3, 1, 3, 3, 1, 3]);
    }

    #[test]
    fn answers_for_others_or_to_another_question_do_not_count() {
        let server = Server::new(|kind, count| {
            let mut other = answer(if kind == 1 { 2 } else { 5 }, 9);
            other[33] = 7;
            let own = if kind == 1 { vec![answer(2, 5)] } else { vec![answer(5, 5)] };
            if count == 1 { vec![other] } else { [vec![other], own].concat() }
        });
        assert_eq!(acquired(&server), 5);
    }

    #[test]
    fn a_renewal_is_given_refused_or_not_answered() {
        let own = Ipv4Addr::new(10, 0, 0, 5);
        let renew = |answers: fn(u8, usize) -> Vec<Vec<u8>>| {
            let server = Server::new(answers);
            let renewal = run(CLIENT.renew(&server, 7, own, &mut judge)).unwrap();
            assert!(server.2.borrow().iter().all(|asked| *asked == (3, 5)), "it names the address that it has");
            (renewal, server.2.borrow().len())
        };
        assert_eq!(renew(|_, _| vec![answer(5, 5)]), (Renewal::Renewed(5), 1));
        assert_eq!(renew(|_, _| vec![answer(6, 0)]), (Renewal::Refused, 1));
        assert_eq!(renew(|_, _| vec![]), (Renewal::Unanswered, 2));
        assert_eq!(renew(|_, count| if count == 2 { vec![answer(5, 5)] } else { vec![] }), (Renewal::Renewed(5), 2));
    }
}
