//! What the task of an interface does: from an order to a lease, its renewals, and back (RFC 8415, section 18.2).

use super::client::{Client, Heard, Verdict, Wire, chance};
use super::lease::{Judge, Lease, Names, Outcome, Wanted, confirms};
use super::leases::Order;
use super::message::{Asked, Kind, Reply, Status};
use super::pace::{self, Pace};
use super::socket::Link;
use super::task::Task;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Units between two tries after a refusal, at first and at most.
const AGAIN: u32 = 2;
const LONGEST_AGAIN: u32 = 120;
/// When information is asked for anew, unless its server says otherwise, and at the earliest, in seconds (section 7.6).
const REFRESH: u32 = 86_400;
const EARLIEST_REFRESH: u32 = 600;
/// How often information is asked for before a prefix is, which may bring it too.
const INFORMATION_FIRST: u32 = 3;

/// Does for ever what is ordered.
pub async fn keep(task: Task) {
    let mut order_rx = task.order.clone();
    loop {
        let Ok(order) = order_rx.wait_for(Option::is_some).await.map(|order| order.clone()) else { return };
        let Some(order) = order else { continue };
        let other = order.clone();
        tokio::select! {
            () = follow(&task, &order) => {}
            changed = order_rx.wait_for(|now| now.as_ref() != Some(&other)) => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Follows one order, on one link, for ever.
async fn follow(task: &Task, order: &Order) {
    loop {
        match Link::open(order.index, order.local).await {
            Ok(link) => converse(task, &link, order).await,
            Err(error) => task.say(format!("no socket on {}: {error}; trying again", order.local)),
        }
        sleep(task.unit * AGAIN).await;
    }
}

/// Talks with servers until the wire breaks.
async fn converse(task: &Task, link: &impl Wire, order: &Order) {
    let client = task.client();
    // Nodes that were switched on together do not ask together (sections 18.2.1, 18.2.3 and 18.2.6).
    sleep(chance().within(task.unit)).await;
    let lease_wanted = order.wanted != Wanted::default();
    let mut again = AGAIN;
    loop {
        let done = async {
            if order.information {
                inform(task, &client, link, lease_wanted.then_some(INFORMATION_FIRST)).await?;
            }
            if lease_wanted { hold(task, &client, link, order, &mut again).await } else { Ok(()) }
        };
        if let Err(error) = done.await {
            // A link that goes away is told to every socket; with the link the order goes too.
            return task.say(format!("{error}; trying again"));
        }
        sleep(task.unit * again).await;
        again = (again * 2).min(LONGEST_AGAIN);
    }
}

/// Asks for names, and again when it is time; or only as often as is said, until there is an answer.
async fn inform(task: &Task, client: &Client<'_>, link: &impl Wire, times: Option<u32>) -> std::io::Result<()> {
    let mut longest_s = None;
    loop {
        let pace = Pace { times, ..pace::INFORMATION.with_longest(longest_s) };
        let answer = |heard: &Heard| match heard.reply.kind {
            Kind::Reply => Verdict::Take(heard.reply.clone()),
            _ => Verdict::Pass,
        };
        let reply = client.ask(link, Kind::InformationRequest, None, &Asked::default(), pace, answer).await?;
        if let Some(reply) = &reply {
            longest_s = reply.longest_information_s;
            task.informed(Names::of(reply));
        }
        if times.is_some() {
            return Ok(());
        }
        let refresh = reply.and_then(|reply| reply.refresh_s).unwrap_or(REFRESH).max(EARLIEST_REFRESH);
        // By chance a little later, as the first time (section 21.23).
        sleep(Duration::from_secs(refresh.into()) + chance().within(task.unit)).await;
    }
}

/// Gets a lease and keeps it, until it is lost. `again` is set back when a server has given something.
async fn hold(
    task: &Task,
    client: &Client<'_>,
    link: &impl Wire,
    order: &Order,
    again: &mut u32,
) -> std::io::Result<()> {
    if !resume(task, client, link, order).await? {
        if !acquire(task, client, link, order).await? {
            return Ok(());
        }
        *again = AGAIN;
    }
    while let Some(lease) = task.held(order) {
        match lease.renew.or(lease.rebind).or(lease.end()) {
            Some(renew) => sleep_until(renew).await,
            // For good: only another order ends this.
            None => std::future::pending().await,
        }
        let until = |end: Option<Instant>| end.map(|end| end.saturating_duration_since(Instant::now()));
        let renew = Pace { within: until(lease.rebind.or(lease.end())), ..pace::RENEW };
        let mut renewed = prolong(task, client, link, order, (&lease, Kind::Renew), renew).await?;
        if renewed.is_none() {
            println!("{}: DHCPv6: {} does not renew the lease; asking every server", task.name, lease.server);
            let rebind = Pace { within: until(lease.end()), ..pace::RENEW };
            renewed = prolong(task, client, link, order, (&lease, Kind::Rebind), rebind).await?;
        }
        if renewed != Some(true) {
            return Ok(());
        }
        *again = AGAIN;
    }
    Ok(())
}

/// Goes on with a lease from before the link was lost: addresses are confirmed, prefixes asked for again (section 18.2.12).
/// Returns whether it is still held. What somebody else has is declined (section 18.2.8).
async fn resume(task: &Task, client: &Client<'_>, link: &impl Wire, order: &Order) -> std::io::Result<bool> {
    let Some(lease) = task.held(order) else { return Ok(false) };
    if !order.duplicates.is_empty() {
        let declined = Asked { addresses: Some(order.duplicates.iter().copied().collect()), prefixes: None };
        for address in &order.duplicates {
            println!("{}: DHCPv6: {address} is in use by another host on the link; declining it", task.name);
        }
        let answer = |heard: &Heard| match heard.reply.kind {
            Kind::Reply => Verdict::Take(()),
            _ => Verdict::Pass,
        };
        client.ask(link, Kind::Decline, Some(&lease.server_id), &declined, pace::DECLINE, answer).await?;
        task.drop_addresses(&order.duplicates);
        return Ok(false);
    }
    let asked = lease.asked(order.wanted, Instant::now());
    // What is wanted now and was not before is asked for.
    let complete = asked.addresses.as_ref().is_none_or(|list| !list.is_empty())
        && asked.prefixes.as_ref().is_none_or(|list| list.iter().any(|net| !net.network().is_unspecified()));
    if !complete {
        return Ok(false);
    }
    if asked.prefixes.is_some() {
        let answered = prolong(task, client, link, order, (&lease, Kind::Rebind), pace::CONFIRM).await?;
        return Ok(answered.unwrap_or(true));
    }
    let confirmed = client
        .ask(link, Kind::Confirm, None, &asked, pace::CONFIRM, |heard| match confirms(&heard.reply) {
            Some(fits) => Verdict::Take(fits),
            None => Verdict::Pass,
        })
        .await?;
    if confirmed == Some(false) {
        println!("{}: DHCPv6: the link is another one; asking for a new lease", task.name);
        task.lose();
    }
    Ok(confirmed.unwrap_or(true))
}

/// Asks until a server has an offer, and takes it. Returns whether there is a lease.
async fn acquire(task: &Task, client: &Client<'_>, link: &impl Wire, order: &Order) -> std::io::Result<bool> {
    let taken = |address| task.taken(address);
    let judge = Judge { association: client.association, wanted: order.wanted, taken: &taken };
    let now = Instant::now();
    // What was held before is asked for first.
    let asked = task.held(order).map_or_else(|| order.wanted.asked(), |lease| lease.asked(order.wanted, now));
    let rank = |reply: &Reply| judge.rank(reply);
    let heard = client.solicit(link, &asked, &mut None, rank).await?;
    if heard.reply.kind == Kind::Reply {
        return Ok(task.accept(&judge, &heard, None) == Some(true));
    }
    let offered = judge.outcome(&heard.reply, heard.from, None, Instant::now(), &mut Vec::new());
    let Outcome::Holds(offered) = offered else { return Ok(false) };
    let asked = offered.asked(order.wanted, Instant::now());
    request(task, client, link, &judge, &offered.server_id, &asked).await
}

/// Asks one server for what it has offered, or has given before (section 18.2.2).
async fn request(
    task: &Task,
    client: &Client<'_>,
    link: &impl Wire,
    judge: &Judge<'_>,
    server_id: &[u8],
    asked: &Asked,
) -> std::io::Result<bool> {
    let answer = |heard: &Heard| match heard.reply.kind {
        Kind::Reply if heard.reply.server_id == server_id => Verdict::Take(heard.clone()),
        _ => Verdict::Pass,
    };
    let heard = client.ask(link, Kind::Request, Some(server_id), asked, pace::REQUEST, answer).await?;
    Ok(heard.is_some_and(|heard| task.accept(judge, &heard, None) == Some(true)))
}

/// Asks for more time. `None`: nobody answered; otherwise whether there is a lease.
async fn prolong(
    task: &Task,
    client: &Client<'_>,
    link: &impl Wire,
    order: &Order,
    (lease, kind): (&Lease, Kind),
    pace: Pace,
) -> std::io::Result<Option<bool>> {
    let taken = |address| task.taken(address);
    let judge = Judge { association: client.association, wanted: order.wanted, taken: &taken };
    let server_id = (kind == Kind::Renew).then_some(&lease.server_id[..]);
    let asked = lease.asked(order.wanted, Instant::now());
    let answer = |heard: &Heard| {
        let reply = &heard.reply;
        let meant = reply.kind == Kind::Reply && server_id.is_none_or(|id| id == reply.server_id);
        // A server that cannot do it now is asked again (section 18.2.10).
        if meant && reply.status != Status::Failed { Verdict::Take(heard.clone()) } else { Verdict::Pass }
    };
    let Some(heard) = client.ask(link, kind, server_id, &asked, pace, answer).await? else { return Ok(None) };
    match task.accept(&judge, &heard, Some(lease)) {
        Some(held) => Ok(Some(held)),
        None => request(task, client, link, &judge, &heard.reply.server_id, &asked).await.map(Some),
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
