//! The conversation with DHCPv6 servers (RFC 8415, section 18.2), a question at a time. It knows neither sockets nor
//! interfaces, so that it is tested with servers of every kind.

use super::super::random::unguessable;
use super::message::{Asked, Kind, Question, Reply};
use super::pace::{self, Chance, Pace};
use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Where messages come and go: contents of UDP packets. What comes is told with its sender.
pub trait Wire {
    async fn send(&self, message: &[u8]) -> io::Result<()>;
    async fn receive(&self) -> io::Result<(Vec<u8>, Ipv6Addr)>;
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    pub own_id: &'c [u8],
    pub association: u32,
    pub host_name: &'c str,
    /// What [`Pace`] counts in: a second.
    pub unit: Duration,
}

/// What an answer is worth.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It is what was waited for.
    Take(T),
    /// Another one may be better, for as long as others are waited for: the higher number wins.
    Keep(u32, T),
    /// It is useless.
    Pass,
}

/// An answer and its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub reply: Reply,
    pub from: Ipv6Addr,
}

impl Client<'_> {
    /// Asks every server for what is wanted, until one offers it, or gives it at once (section 18.2.1). Answers are collected for a
    /// second, and the best one is taken; `rank` says how good one is: `None` for useless, `u32::MAX` for the best there can be.
    /// A server may also say how long is to be waited between two questions.
    ///
    /// # Errors
    /// When the wire breaks.
    pub async fn solicit<W: Wire>(
        &self,
        wire: &W,
        asked: &Asked,
        longest_s: &mut Option<u32>,
        rank: impl Fn(&Reply) -> Option<u32>,
    ) -> io::Result<Heard> {
        loop {
            let pace = pace::SOLICIT.with_longest(*longest_s);
            let heard = self
                .ask(wire, Kind::Solicit, None, asked, pace, |heard: &Heard| {
                    let reply = &heard.reply;
                    // Also an answer without anything to give may say this (section 18.2.9).
                    if let Some(said) = reply.longest_solicit_s {
                        *longest_s = Some(said);
                    }
                    match (reply.kind, rank(reply)) {
                        (Kind::Advertise, Some(u32::MAX)) => Verdict::Take(heard.clone()),
                        (Kind::Advertise, Some(rank)) => Verdict::Keep(rank, heard.clone()),
                        (Kind::Reply, Some(_)) if reply.rapid_commit => Verdict::Take(heard.clone()),
                        _ => Verdict::Pass,
                    }
                })
                .await?;
            if let Some(heard) = heard {
                return Ok(heard);
            }
        }
    }

    /// Asks one thing of one server, or of every one, as often as its pace says. `None` when there was no answer that counts.
    ///
    /// # Errors
    /// When the wire breaks.
    pub async fn ask<W: Wire, T>(
        &self,
        wire: &W,
        kind: Kind,
        server_id: Option<&[u8]>,
        asked: &Asked,
        pace: Pace,
        mut judge: impl FnMut(&Heard) -> Verdict<T>,
    ) -> io::Result<Option<T>> {
        let number = unguessable() & 0xff_ffff;
        let Client { own_id, association, host_name, unit } = *self;
        let question = Question { kind, number, own_id, server_id, association, asked, host_name };
        let begin = Instant::now();
        let end = pace.within.map(|within| begin + within);
        let mut wait = None;
        for turn in 1_u32.. {
            let elapsed = if turn == 1 { 0 } else { begin.elapsed().as_millis() / 10 };
            wire.send(&question.to_bytes(u16::try_from(elapsed).unwrap_or(u16::MAX))).await?;
            let time = pace.next(wait, unit, chance());
            wait = Some(time);
            let until = end.map_or(Instant::now() + time, |end| end.min(Instant::now() + time));
            if let Some(found) = self.hear(wire, number, turn == 1, until, &mut judge).await? {
                return Ok(Some(found));
            }
            if end.is_some_and(|end| Instant::now() >= end) || pace.times.is_some_and(|times| turn >= times) {
                break;
            }
        }
        Ok(None)
    }

    /// Hears answers to one question until one of them counts, or time is over. While others are waited for, the best is kept.
    async fn hear<W: Wire, T>(
        &self,
        wire: &W,
        number: u32,
        collect: bool,
        end: Instant,
        judge: &mut impl FnMut(&Heard) -> Verdict<T>,
    ) -> io::Result<Option<T>> {
        let mut best: Option<(u32, T)> = None;
        loop {
            let Ok(received) = timeout_at(end, wire.receive()).await else { return Ok(best.map(|(_, kept)| kept)) };
            let (bytes, from) = received?;
            let Some(reply) = Reply::parse(&bytes) else { continue };
            // Only to this question, and only to this node (sections 16.3 and 16.10).
            if reply.number != number || reply.own_id.as_deref() != Some(self.own_id) {
                continue;
            }
            match judge(&Heard { reply, from }) {
                Verdict::Take(found) => return Ok(Some(found)),
                Verdict::Keep(_, found) if !collect => return Ok(Some(found)),
                Verdict::Keep(rank, found) if best.as_ref().is_none_or(|(before, _)| rank > *before) => {
                    best = Some((rank, found));
                }
                Verdict::Keep(..) | Verdict::Pass => {}
            }
        }
    }
}

#[must_use]
pub fn chance() -> Chance {
    Chance(unguessable())
}

#[cfg(test)]
#[path = "client_tests.rs"]
pub mod tests;
