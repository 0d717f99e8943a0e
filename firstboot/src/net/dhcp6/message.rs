//! DHCPv6 messages as bytes (RFC 8415, sections 8, 9 and 21): questions are written, answers are read. What comes is hostile
//! until it is proven otherwise: no length in it is believed.

use super::super::dhcp::valid_names;
use ipnet::Ipv6Net;
use std::net::Ipv6Addr;

/// Ports of servers and clients (section 7.2).
pub const SERVER: u16 = 547;
pub const CLIENT: u16 = 546;
/// All servers and relays of a link (section 7.1).
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Longest message that is read, in bytes.
pub const LONGEST: usize = 8192;
/// A lifetime without end (section 7.7).
pub const FOR_GOOD: u32 = u32::MAX;
/// Most of each kind that is taken from one answer.
const MOST: usize = 16;
/// Longest identifier of a server or a client, in bytes (section 11.1).
const LONGEST_ID: usize = 130;

/// Options, by their numbers in RFC 8415 and others.
mod option {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const ADDRESSES: u16 = 3;
    pub const ADDRESS: u16 = 5;
    pub const WANTED: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const ELAPSED: u16 = 8;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    /// RFC 3646.
    pub const RESOLVERS: u16 = 23;
    pub const SEARCH: u16 = 24;
    pub const PREFIXES: u16 = 25;
    pub const PREFIX: u16 = 26;
    /// RFC 4075, and RFC 5908 with its suboption for an address.
    pub const SIMPLE_TIME_SERVERS: u16 = 31;
    pub const TIME_SERVERS: u16 = 56;
    pub const TIME_SERVER_ADDRESS: u16 = 1;
    pub const REFRESH: u16 = 32;
    /// RFC 4704.
    pub const HOST_NAME: u16 = 39;
    pub const LONGEST_SOLICIT: u16 = 82;
    pub const LONGEST_INFORMATION: u16 = 83;
}

/// What a server is asked for besides addresses and prefixes.
const WANTED: [u16; 5] =
    [option::RESOLVERS, option::SEARCH, option::TIME_SERVERS, option::SIMPLE_TIME_SERVERS, option::LONGEST_SOLICIT];

/// What a message is (section 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Solicit = 1,
    Advertise = 2,
    Request = 3,
    Confirm = 4,
    Renew = 5,
    Rebind = 6,
    Reply = 7,
    Decline = 9,
    InformationRequest = 11,
}

/// What is asked for, under the one number of the interface: addresses and a prefix, each with those that are known already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub addresses: Option<Vec<Ipv6Addr>>,
    pub prefixes: Option<Vec<Ipv6Net>>,
}

/// A message of this node.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    pub kind: Kind,
    /// By which the answer is known; 24 bits.
    pub number: u32,
    pub own_id: &'q [u8],
    /// The server that is meant; `None`: every one.
    pub server_id: Option<&'q [u8]>,
    /// Number of the interface's addresses and of its prefixes (section 12).
    pub association: u32,
    pub asked: &'q Asked,
    pub host_name: &'q str,
}

impl Question<'_> {
    /// The message, as the content of a UDP packet. `elapsed` is the time since the first of its kind, in hundredths of a second.
    #[must_use]
    pub fn to_bytes(self, elapsed: u16) -> Vec<u8> {
        use Kind::{Confirm, Decline, InformationRequest, Solicit};
        let mut bytes = vec![self.kind as u8];
        bytes.extend(self.number.to_be_bytes().get(1..).unwrap_or_default());
        put(&mut bytes, option::CLIENT_ID, self.own_id);
        if let Some(server) = self.server_id {
            put(&mut bytes, option::SERVER_ID, server);
        }
        put(&mut bytes, option::ELAPSED, &elapsed.to_be_bytes());
        if self.kind == Solicit {
            put(&mut bytes, option::RAPID_COMMIT, &[]);
        }
        if !matches!(self.kind, Confirm | Decline) {
            let mut wanted = WANTED.to_vec();
            if self.kind == InformationRequest {
                wanted.extend([option::REFRESH, option::LONGEST_INFORMATION]);
            }
            let wanted: Vec<u8> = wanted.into_iter().flat_map(u16::to_be_bytes).collect();
            put(&mut bytes, option::WANTED, &wanted);
        }
        if !self.host_name.is_empty() && !matches!(self.kind, Confirm | Decline | InformationRequest) {
            // The server may enter the name; a name without its domain has no final label (RFC 4704, section 4).
            let label = self.host_name.as_bytes().get(..63).unwrap_or(self.host_name.as_bytes());
            put(&mut bytes, option::HOST_NAME, &[&[1, label.len() as u8], label].concat());
        }
        // No times are asked for: the server knows best (section 21.4).
        let head = [&self.association.to_be_bytes()[..], &[0; 8]].concat();
        if let Some(addresses) = &self.asked.addresses {
            let mut value = head.clone();
            for address in addresses {
                put(&mut value, option::ADDRESS, &[&address.octets()[..], &[0; 8]].concat());
            }
            put(&mut bytes, option::ADDRESSES, &value);
        }
        if let Some(prefixes) = &self.asked.prefixes {
            let mut value = head;
            for prefix in prefixes {
                let inner = [&[0; 8][..], &[prefix.prefix_len()], &prefix.network().octets()].concat();
                put(&mut value, option::PREFIX, &inner);
            }
            put(&mut bytes, option::PREFIXES, &value);
        }
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend(code.to_be_bytes());
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
}

/// What a server says of how it went (section 21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Success,
    Failed,
    NoAddresses,
    NoBinding,
    NotOnLink,
    NoPrefixes,
    Other(u16),
}

impl From<u16> for Status {
    fn from(number: u16) -> Status {
        match number {
            0 => Status::Success,
            1 => Status::Failed,
            2 => Status::NoAddresses,
            3 => Status::NoBinding,
            4 => Status::NotOnLink,
            6 => Status::NoPrefixes,
            other => Status::Other(other),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Success => "the server gives nothing of use",
            Status::Failed => "the server cannot do it now",
            Status::NoAddresses => "the server has no address left",
            Status::NoBinding => "the server does not know of it",
            Status::NotOnLink => "the addresses do not belong to this link",
            Status::NoPrefixes => "the server has no prefix left",
            Status::Other(number) => return write!(f, "the server gives the status code {number}"),
        })
    }
}

/// Something that is given, with its lifetimes in seconds; [`FOR_GOOD`]: without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<T> {
    pub value: T,
    pub preferred_s: u32,
    pub valid_s: u32,
}

/// What is given under one number (sections 21.4 and 21.21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association<T> {
    pub number: u32,
    /// Seconds after which the server that gave it, or any server, is to be asked for more time; 0: as the client likes.
    pub t1_s: u32,
    pub t2_s: u32,
    pub status: Status,
    pub given: Vec<Given<T>>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub kind: Kind,
    pub number: u32,
    pub own_id: Option<Vec<u8>>,
    pub server_id: Vec<u8>,
    pub preference: u8,
    pub status: Status,
    pub rapid_commit: bool,
    pub addresses: Vec<Association<Ipv6Addr>>,
    pub prefixes: Vec<Association<Ipv6Net>>,
    pub resolvers: Vec<Ipv6Addr>,
    pub search: Vec<String>,
    pub time_servers: Vec<Ipv6Addr>,
    /// Seconds after which information is to be asked for anew.
    pub refresh_s: Option<u32>,
    /// Longest seconds between two questions.
    pub longest_solicit_s: Option<u32>,
    pub longest_information_s: Option<u32>,
}

impl Reply {
    /// Reads a message. `None` for what is no answer of a server that says who it is, or is damaged.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Reply> {
        let (head, mut rest) = bytes.split_first_chunk::<4>()?;
        let [kind, a, b, c] = *head;
        let kind = match kind {
            2 => Kind::Advertise,
            7 => Kind::Reply,
            _ => return None,
        };
        let mut reply = Reply::empty(kind, u32::from_be_bytes([0, a, b, c]));
        while let Some((code, value, after)) = next(rest)? {
            reply.take(code, value)?;
            rest = after;
        }
        (!reply.server_id.is_empty()).then_some(reply)
    }

    pub(super) fn empty(kind: Kind, number: u32) -> Reply {
        Reply {
            kind,
            number,
            own_id: None,
            server_id: Vec::new(),
            preference: 0,
            status: Status::Success,
            rapid_commit: false,
            addresses: Vec::new(),
            prefixes: Vec::new(),
            resolvers: Vec::new(),
            search: Vec::new(),
            time_servers: Vec::new(),
            refresh_s: None,
            longest_solicit_s: None,
            longest_information_s: None,
        }
    }

    /// Takes an option. `None` when the message is not to be believed with it; one that only says nothing of use is passed over.
    fn take(&mut self, code: u16, value: &[u8]) -> Option<()> {
        match code {
            option::CLIENT_ID => self.own_id = Some(identifier(value)?),
            option::SERVER_ID => self.server_id = identifier(value)?,
            option::PREFERENCE => self.preference = *value.first()?,
            option::STATUS => self.status = status(value)?,
            option::RAPID_COMMIT => self.rapid_commit = true,
            option::ADDRESSES => few(&mut self.addresses, association(value, option::ADDRESS, address)?),
            option::PREFIXES => few(&mut self.prefixes, association(value, option::PREFIX, prefix)?),
            option::RESOLVERS => hosts(&mut self.resolvers, value),
            option::SIMPLE_TIME_SERVERS => hosts(&mut self.time_servers, value),
            option::SEARCH => self.search = valid_names(value),
            option::TIME_SERVERS => {
                let mut rest = value;
                while let Some(Some((code, value, after))) = next(rest) {
                    if code == option::TIME_SERVER_ADDRESS {
                        hosts(&mut self.time_servers, value);
                    }
                    rest = after;
                }
            }
            option::REFRESH => self.refresh_s = number(value),
            option::LONGEST_SOLICIT => self.longest_solicit_s = number(value),
            option::LONGEST_INFORMATION => self.longest_information_s = number(value),
            _ => {}
        }
        Some(())
    }
}

/// An option's number, its value, and what is behind it.
type Next<'b> = (u16, &'b [u8], &'b [u8]);

/// The next option; an inner `None` at the end, and none at all where one is cut off.
fn next(bytes: &[u8]) -> Option<Option<Next<'_>>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let [a, b, c, d] = *head;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
    Some(Some((u16::from_be_bytes([a, b]), value, rest)))
}

fn few<T>(list: &mut Vec<T>, one: T) {
    if list.len() < MOST {
        list.push(one);
    }
}

fn identifier(value: &[u8]) -> Option<Vec<u8>> {
    (1..=LONGEST_ID).contains(&value.len()).then(|| value.to_vec())
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn status(value: &[u8]) -> Option<Status> {
    value.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes).into())
}

/// Addresses that a host may have; a list of another length is passed over.
fn hosts(list: &mut Vec<Ipv6Addr>, value: &[u8]) {
    let (found, rest) = value.as_chunks::<16>();
    if !rest.is_empty() {
        return;
    }
    for address in found.iter().map(|bytes| Ipv6Addr::from(*bytes)) {
        let usable = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
        if usable && list.len() < MOST && !list.contains(&address) {
            list.push(address);
        }
    }
}

/// Reads what is given under one number; `one` reads a value with its lifetimes, and gives the options behind it.
fn association<T>(
    value: &[u8],
    code: u16,
    one: impl Fn(&[u8]) -> Option<(Given<T>, &[u8])>,
) -> Option<Association<T>> {
    let (head, mut rest) = value.split_first_chunk::<12>()?;
    let word = |at: usize| head.get(at..at + 4).and_then(number);
    let mut found =
        Association { number: word(0)?, t1_s: word(4)?, t2_s: word(8)?, status: Status::Success, given: Vec::new() };
    while let Some((inner, value, after)) = next(rest)? {
        if inner == option::STATUS {
            found.status = status(value)?;
        } else if inner == code {
            let (given, options) = one(value)?;
            // What is given with another status than success is not given.
            if inner_status(options)? == Status::Success {
                few(&mut found.given, given);
            }
        }
        rest = after;
    }
    Some(found)
}

fn inner_status(mut options: &[u8]) -> Option<Status> {
    let mut found = Status::Success;
    while let Some((code, value, after)) = next(options)? {
        if code == option::STATUS {
            found = status(value)?;
        }
        options = after;
    }
    Some(found)
}

/// Section 21.6: the address, its preferred and its valid lifetime.
fn address(value: &[u8]) -> Option<(Given<Ipv6Addr>, &[u8])> {
    let (address, rest) = value.split_first_chunk::<16>()?;
    let (preferred, rest) = rest.split_first_chunk::<4>()?;
    let (valid, rest) = rest.split_first_chunk::<4>()?;
    let (preferred_s, valid_s) = (u32::from_be_bytes(*preferred), u32::from_be_bytes(*valid));
    Some((Given { value: Ipv6Addr::from(*address), preferred_s, valid_s }, rest))
}

/// Section 21.22: preferred and valid lifetime, length and prefix.
fn prefix(value: &[u8]) -> Option<(Given<Ipv6Net>, &[u8])> {
    let (preferred, rest) = value.split_first_chunk::<4>()?;
    let (valid, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first()?;
    let (address, rest) = rest.split_first_chunk::<16>()?;
    let net = Ipv6Net::new(Ipv6Addr::from(*address), *length).ok()?.trunc();
    let (preferred_s, valid_s) = (u32::from_be_bytes(*preferred), u32::from_be_bytes(*valid));
    Some((Given { value: net, preferred_s, valid_s }, rest))
}

#[cfg(test)]
#[path = "message_tests.rs"]
pub mod tests;
