//! A log of any length whose segments exist only while somebody looks.
//!
//! A store with a million objects in memory would need a gigabyte and a minute. But
//! a segment follows from its number, so it can be made when a request needs it, put
//! into a real [`Store`], and taken out after the answer. Signatures, conditions,
//! ranges, listings and times are the store's own, and segments that a component
//! appends behind the synthetic ones are ordinary objects.

use crate::clock::{UnixMs, WorldClock};
use crate::store::{BUCKET, Facts, Kind, Object, Options, Request, Response, SharedStore, Store};
use crate::world::Endpoint;
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ifmatch::codec::{Header, Kind as ObjectKind, Section, Tag, crc32c};
use ifmatch::keys::{ChainKeys, Family, Name, Slot};
use ifmatch::token::Epoch;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The section of a segment's header that points back: see `docs/FORMAT.md`.
const POINTERS: Tag = Tag(1);
/// The settings that a log has unless it was created with others.
const GRACE_MS: u32 = 3_600_000;
/// See [`GRACE_MS`].
const CLOCK_MARGIN_MS: u32 = 300_000;
/// The largest page of a listing, and one more, which shows that there is more.
const LISTED_MAX: usize = 1001;

/// A log that was appended to by one shared writer, at a steady pace.
#[derive(Clone, Debug)]
pub struct SyntheticLog {
    keys: ChainKeys,
    segments: u64,
    started_at: UnixMs,
    interval_ms: u64,
}

impl SyntheticLog {
    /// A log of so many segments, the first of which was written at a time, and each
    /// later one so many milliseconds after the one before.
    ///
    /// # Errors
    /// If the name is not one of a log.
    pub fn new(name: &str, segments: u64, started_at: UnixMs, interval_ms: u64) -> Result<Self> {
        let name = Name::parse(name).map_err(|error| anyhow!("{error}"))?;
        Ok(Self {
            keys: ChainKeys::new(Family::Log, name),
            segments,
            started_at,
            interval_ms,
        })
    }

    /// Records in one segment: 1 to 4, so that offsets and slots differ.
    fn records_in(slot: u64) -> u64 {
        1 + slot % 4
    }

    /// The offset of the first record of a slot.
    pub fn base_offset(&self, slot: u64) -> u64 {
        // Every four slots hold 1 + 2 + 3 + 4 records.
        let (fours, rest) = (slot / 4, slot % 4);
        fours * 10 + (0..rest).map(Self::records_in).sum::<u64>()
    }

    /// The offset behind the last record.
    pub fn end_offset(&self) -> u64 {
        self.base_offset(self.segments)
    }

    /// The body of a record.
    pub fn record(offset: u64) -> Vec<u8> {
        format!("record {offset}").into_bytes()
    }

    /// When a segment was written, in whole seconds, as HTTP tells it.
    pub fn written_at(&self, slot: u64) -> UnixMs {
        UnixMs((self.started_at.0 + slot * self.interval_ms) / 1000 * 1000)
    }

    /// Any number that is not 0 and belongs to one slot alone.
    fn commit_id(slot: u64) -> u128 {
        u128::from(slot + 1) << 64 | 0x5e6
    }

    /// The object in a slot.
    ///
    /// # Errors
    /// If the header is too long, which it is not below 2^64 slots.
    pub fn segment(&self, slot: u64) -> Result<Vec<u8>> {
        let base_offset = self.base_offset(slot);
        let records: Vec<Vec<u8>> = (base_offset..base_offset + Self::records_in(slot))
            .map(Self::record)
            .collect();
        let lengths = records.iter().map(|record| record.len() as u32);
        let mut payload: Vec<u8> = lengths.flat_map(u32::to_le_bytes).collect();
        records
            .iter()
            .for_each(|record| payload.extend_from_slice(record));
        let mut pointers = Vec::new();
        let mut earlier = slot & slot.wrapping_sub(1);
        while earlier > 0 {
            pointers.extend_from_slice(&self.base_offset(earlier).to_le_bytes());
            pointers.extend_from_slice(&self.written_at(earlier).0.to_le_bytes());
            earlier &= earlier - 1;
        }
        let header = Header {
            kind: ObjectKind::Segment,
            identity: self.keys.identity(),
            slot: Slot(slot),
            commit_id: Self::commit_id(slot),
            previous_id: slot.checked_sub(1).map_or(0, Self::commit_id),
            epoch: Epoch::SHARED,
            base_offset,
            record_count: records.len() as u32,
            grace_ms: GRACE_MS,
            clock_margin_ms: CLOCK_MARGIN_MS,
            payload_bytes: payload.len() as u64,
            payload_crc: crc32c(&[&payload]),
            sections: match pointers.is_empty() {
                true => Vec::new(),
                false => vec![Section {
                    tag: POINTERS,
                    required: false,
                    data: pointers,
                }],
            },
        };
        let mut object = header.encode().map_err(|error| anyhow!("{error}"))?;
        object.append(&mut payload);
        Ok(object)
    }

    /// The synthetic slots whose objects can matter to a request.
    fn touched(&self, facts: &Facts, start_after: Option<&str>) -> Vec<u64> {
        if facts.kind == Kind::List {
            if !self.keys.slots_prefix().starts_with(&facts.key)
                && !facts.key.starts_with(&self.keys.slots_prefix())
            {
                return Vec::new();
            }
            // Newest first, as their keys sort.
            let newest = match start_after.and_then(|key| self.keys.parse_slot(key)) {
                Some(Slot(after)) => after.min(self.segments),
                None => self.segments,
            };
            return (0..newest).rev().take(LISTED_MAX).collect();
        }
        let slot = self.keys.parse_slot(&facts.key).map(|slot| slot.0);
        slot.filter(|slot| *slot < self.segments)
            .into_iter()
            .collect()
    }

    /// Answers a request with the touched objects in place.
    fn answer(&self, store: &mut Store, request: &Request, now: UnixMs) -> Result<Response> {
        let facts = store.facts(request);
        let query = request.uri().query().unwrap_or_default();
        let start_after = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("start-after="))
            .map(|key| key.replace("%2F", "/"));
        let mut placed: Vec<(String, Object)> = Vec::new();
        for slot in self.touched(&facts, start_after.as_deref()) {
            let key = self.keys.slot(Slot(slot));
            let body = self.segment(slot)?;
            store.place(BUCKET, &key, body, self.written_at(slot));
            let object = store
                .object(BUCKET, &key)
                .context("the object is not there")?;
            placed.push((key, object.clone()));
        }
        let response = store.handle(request, now);
        for (key, before) in placed {
            let after = store.remove(BUCKET, &key);
            anyhow::ensure!(after.as_ref() == Some(&before), "{key} was changed");
        }
        Ok(response)
    }
}

/// Serves a synthetic log on loopback. Dropping it stops that.
#[derive(Debug)]
pub struct SyntheticServer {
    store: SharedStore,
    endpoint: Endpoint,
    accepting: JoinHandle<()>,
}

impl SyntheticServer {
    /// Serves `log` in the default bucket of a store that holds nothing else yet.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(log: SyntheticLog, clock: WorldClock) -> Result<Self> {
        let options = Options::default();
        let store = SharedStore::in_memory(options.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = Endpoint {
            url: format!("http://{}", listener.local_addr()?),
            bucket: BUCKET.to_owned(),
            region: options.region.clone(),
            credential: options
                .credentials
                .first()
                .context("no credential")?
                .clone(),
        };
        let accepting = tokio::spawn(accept(listener, store.clone(), Arc::new(log), clock));
        Ok(Self {
            store,
            endpoint,
            accepting,
        })
    }

    /// How components reach it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The store, which counts the requests.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }
}

impl Drop for SyntheticServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    store: SharedStore,
    log: Arc<SyntheticLog>,
    clock: WorldClock,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (store, log) = (store.clone(), log.clone());
        connections.spawn(async move {
            let service = service_fn(|request| answer(&store, &log, clock, request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no concern of the store's.
            let _ = connection.await;
        });
    }
}

async fn answer(
    store: &SharedStore,
    log: &SyntheticLog,
    clock: WorldClock,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let broken = |why: String| {
        let mut response = http::Response::new(Full::new(Bytes::from(why)));
        *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
        response
    };
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Ok(broken(error.to_string())),
    };
    let request = Request::from_parts(parts, body);
    let now = clock.now_ms();
    let answered = store.tamper(|store| log.answer(store, &request, now));
    Ok(match answered.and_then(|answer| answer) {
        Ok(mut response) => {
            // hyper writes the length itself.
            response.headers_mut().remove(http::header::CONTENT_LENGTH);
            response.map(Full::new)
        }
        Err(error) => broken(format!("{error:#}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ifmatch::log::Segment;

    #[test]
    fn segments_decode_and_follow_on_each_other() -> Result<()> {
        let log = SyntheticLog::new("l", 5_000, UnixMs(1_000_000), 7)?;
        let mut before: Option<Segment> = None;
        for slot in 0..5_000 {
            let segment =
                Segment::decode(log.segment(slot)?).map_err(|error| anyhow!("{error}"))?;
            let (end, id) = before.as_ref().map_or((0, 0), |before| {
                (before.end_offset(), before.header.commit_id)
            });
            assert_eq!(
                (segment.header.base_offset, segment.header.previous_id),
                (end, id)
            );
            for (offset, body) in segment.records_from(0) {
                assert_eq!(body, SyntheticLog::record(offset));
            }
            before = Some(segment);
        }
        assert_eq!(before.map(|last| last.end_offset()), Some(log.end_offset()));
        Ok(())
    }

    #[test]
    fn a_request_touches_what_it_can_see() -> Result<()> {
        let log = SyntheticLog::new("l", 3_000, UnixMs(0), 1)?;
        let facts = |kind, key: &str| Facts {
            kind,
            key: key.to_owned(),
            condition: crate::store::Condition::None,
            bytes_in: 0,
        };
        let key = |slot| log.keys.slot(Slot(slot));
        assert_eq!(log.touched(&facts(Kind::Get, &key(7)), None), [7]);
        assert!(log.touched(&facts(Kind::Get, &key(3_000)), None).is_empty());
        let prefix = log.keys.slots_prefix();
        let page = log.touched(&facts(Kind::List, &prefix), None);
        assert_eq!((page.len(), page[0], page[1000]), (1001, 2_999, 1_999));
        let page = log.touched(&facts(Kind::List, &prefix), Some(&key(2)));
        assert_eq!(page, [1, 0]);
        assert!(log.touched(&facts(Kind::List, "lease/"), None).is_empty());
        Ok(())
    }
}
