//! What was asked of a store, in order, and how much of it.

use super::uri::Target;
use super::xml;
use crate::clock::UnixMs;
use http::{HeaderValue, Method, header};
use std::collections::BTreeMap;
use std::fmt;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Writes one object.
    Put,
    /// Reads one object.
    Get,
    /// Reads one object's headers.
    Head,
    /// Reads one page of a listing.
    List,
    /// Deletes one object.
    Delete,
    /// Deletes a list of objects.
    DeleteMany,
    /// Anything else.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::List => "LIST",
            Self::Delete => "DELETE",
            Self::DeleteMany => "DELETES",
            Self::Other => "OTHER",
        })
    }
}

/// What a request makes its effect depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match` with this entity tag.
    Matches(String),
    /// `If-None-Match` with this entity tag.
    Differs(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Absent => f.write_str(" if absent"),
            Self::Matches(tag) => write!(f, " if {tag}"),
            Self::Differs(tag) => write!(f, " unless {tag}"),
        }
    }
}

/// What a request is, before anything is known about its answer.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What it does.
    pub kind: Kind,
    /// Its key, the prefix of a listing, or the first key of a list.
    pub key: String,
    /// What its effect depends on.
    pub condition: Condition,
    /// Bytes of its body.
    pub bytes_in: u64,
}

impl Facts {
    /// What a request with this body is, also if it will be refused.
    pub fn of<B>(request: &http::Request<B>, body: &[u8], domain: Option<&str>) -> Self {
        let target = Target::of(request, domain).unwrap_or_default();
        let on_object = !target.key.is_empty();
        let kind = match *request.method() {
            Method::PUT if on_object => Kind::Put,
            Method::GET if on_object => Kind::Get,
            Method::HEAD if on_object => Kind::Head,
            Method::DELETE if on_object => Kind::Delete,
            Method::GET if target.query.get("list-type").is_some() => Kind::List,
            Method::POST if target.query.get("delete").is_some() => Kind::DeleteMany,
            _ => Kind::Other,
        };
        let text = |name| {
            let value: Option<&HeaderValue> = request.headers().get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let condition = match (text(header::IF_NONE_MATCH), text(header::IF_MATCH)) {
            (Some(any), _) if any == "*" => Condition::Absent,
            (Some(tag), _) => Condition::Differs(tag),
            (None, Some(tag)) => Condition::Matches(tag),
            (None, None) => Condition::None,
        };
        let key = match kind {
            Kind::List => target.query.get("prefix").unwrap_or_default().to_owned(),
            Kind::DeleteMany => xml::parse_delete(body)
                .ok()
                .and_then(|delete| delete.keys.into_iter().next())
                .unwrap_or_default(),
            _ => target.key,
        };
        Self {
            kind,
            key,
            condition,
            bytes_in: body.len() as u64,
        }
    }
}

/// One answered request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// From 1, in the order in which the store handled them.
    pub number: u64,
    /// When, by the store's clock.
    pub at: UnixMs,
    /// What it was.
    pub request: Facts,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts {
            kind,
            key,
            condition,
            bytes_in,
        } = &self.request;
        let (number, at, status, bytes_out) = (self.number, self.at, self.status, self.bytes_out);
        write!(
            f,
            "#{number:<4} {at} {kind:<7} {key}{condition} -> {status} ({bytes_in} in, {bytes_out} out)"
        )
    }
}

/// Sums over requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests by kind.
    pub requests: BTreeMap<Kind, u64>,
    /// Requests by the status of their answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes of bodies that were sent to the store.
    pub bytes_in: u64,
    /// Bytes of bodies that it sent.
    pub bytes_out: u64,
    /// Writes that depended on nothing. A correct provider sends none.
    pub unconditional_puts: u64,
}

impl Totals {
    /// Requests of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.requests.get(&kind).copied().unwrap_or(0)
    }

    /// Requests of every kind.
    pub fn all(&self) -> u64 {
        self.requests.values().sum()
    }

    /// What was added since an earlier state.
    pub fn since(&self, earlier: &Self) -> Self {
        fn less<K: Ord + Copy>(
            now: &BTreeMap<K, u64>,
            then: &BTreeMap<K, u64>,
        ) -> BTreeMap<K, u64> {
            now.iter()
                .map(|(key, count)| (*key, count - then.get(key).copied().unwrap_or(0)))
                .filter(|(_, count)| *count > 0)
                .collect()
        }
        Self {
            requests: less(&self.requests, &earlier.requests),
            statuses: less(&self.statuses, &earlier.statuses),
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
            unconditional_puts: self.unconditional_puts - earlier.unconditional_puts,
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.requests {
            write!(f, "{count} {kind}, ")?;
        }
        write!(f, "{} bytes in, {} out", self.bytes_in, self.bytes_out)
    }
}

/// Requests kept in full. Older ones are counted only.
const LOG_LIMIT: usize = 20_000;

/// The log and the sums.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    totals: Totals,
    log: std::collections::VecDeque<Entry>,
    last: u64,
}

impl Traffic {
    /// The number that the next request gets.
    pub fn next_number(&self) -> u64 {
        self.last + 1
    }

    /// Adds an answered request.
    pub fn add(&mut self, at: UnixMs, request: Facts, status: u16, bytes_out: u64) {
        self.last += 1;
        *self.totals.requests.entry(request.kind).or_default() += 1;
        *self.totals.statuses.entry(status).or_default() += 1;
        self.totals.bytes_in += request.bytes_in;
        self.totals.bytes_out += bytes_out;
        if request.kind == Kind::Put && request.condition == Condition::None {
            self.totals.unconditional_puts += 1;
        }
        if self.log.len() == LOG_LIMIT {
            self.log.pop_front();
        }
        self.log.push_back(Entry {
            number: self.last,
            at,
            request,
            status,
            bytes_out,
        });
    }

    /// The sums so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The last requests, oldest first.
    pub fn log(&self) -> impl Iterator<Item = &Entry> {
        self.log.iter()
    }
}
