//! `rival.wasm`: another instance of the protocols, for races that are meant.
//!
//! Composed with an `ifmatch.wasm` (or `protocols.wasm`) of its own, it has a memory
//! of its own: what the first instance knows about a log is out of date as soon as
//! this one has written.

#![cfg(target_family = "wasm")]

wit_bindgen::generate!({
    path: [
        "../../../wit/deps/io",
        "../../../wit/deps/clocks",
        "../../../wit/bucket",
        "../../../wit/protocols",
        "../wit",
    ],
    world: "ifmatch:acceptance/rival-app",
    generate_all,
});

use std::fmt::Debug;

use exports::ifmatch::acceptance::rival::{Guest, Leadership, Produced, Written};
use ifmatch::protocols::blob;
use ifmatch::protocols::lease::{self, AcquireOutcome, Request};
use ifmatch::protocols::log::{
    self, AppendOptions, AppendOutcome, Cursor, Producer, ReadLimit, ReadOutcome, Writer,
};
use ifmatch::protocols::manifest::{self, Change, CommitOutcome, Dependency, Edit, Item};
use ifmatch::protocols::types::Token;

struct Rival;

impl Guest for Rival {
    fn append(log: String, body: String) -> Result<u64, String> {
        at(append(&log, body, Writer::Shared, None)?)
    }

    fn append_once(log: String, batch: Produced) -> Result<u64, String> {
        let producer = Producer {
            id: batch.producer,
            sequence: batch.sequence,
            started_at: 0,
        };
        at(append(&log, batch.body, Writer::Shared, Some(producer))?)
    }

    fn append_fenced(log: String, body: String, epoch: u64) -> Result<Written, String> {
        let writer = Writer::Fenced(Token { epoch });
        match append(&log, body, writer, None)? {
            AppendOutcome::Fenced(token) => Ok(Written::Fenced(token.epoch)),
            other => Ok(Written::At(at(other)?)),
        }
    }

    fn records(log: String) -> Result<Vec<String>, String> {
        let start = Cursor {
            offset: 0,
            slot: None,
            absent_until: None,
        };
        let limit = ReadLimit {
            records: 1000,
            bytes: 1 << 20,
        };
        match log::read(&log, start, limit).map_err(text)? {
            ReadOutcome::Records(batch) => batch
                .entries
                .into_iter()
                .map(|entry| String::from_utf8(entry.body).map_err(text))
                .collect(),
            ReadOutcome::Trimmed(kept) => Err(text(kept)),
        }
    }

    fn commit(
        manifest: String,
        base: u64,
        key: String,
        value: String,
        epoch: Option<u64>,
    ) -> Result<u64, String> {
        let change = Change {
            base,
            depends_on: Dependency::Edits,
            edits: vec![Edit::Set(Item {
                key,
                value: value.into_bytes(),
                blobs: Vec::new(),
            })],
            writer: match epoch {
                Some(epoch) => Writer::Fenced(Token { epoch }),
                None => Writer::Shared,
            },
            author: "rival".to_owned(),
            message: String::new(),
            id: None,
        };
        match manifest::commit(&manifest, &change).map_err(text)? {
            CommitOutcome::Committed(version) => Ok(version),
            other => Err(text(other)),
        }
    }

    fn items(manifest: String) -> Result<Vec<(String, String)>, String> {
        let snapshot = manifest::latest(&manifest).map_err(text)?;
        let items = snapshot.map(|snapshot| snapshot.items).unwrap_or_default();
        items
            .into_iter()
            .map(|item| Ok((item.key, String::from_utf8(item.value).map_err(text)?)))
            .collect()
    }

    fn fetch(manifest: String, key: String) -> Result<Option<Vec<u8>>, String> {
        let snapshot = manifest::latest(&manifest).map_err(text)?;
        let items = snapshot.map(|snapshot| snapshot.items).unwrap_or_default();
        let named = items.into_iter().find(|item| item.key == key);
        let Some(reference) = named.and_then(|item| item.blobs.into_iter().next()) else {
            return Err(format!("{key} names no blob"));
        };
        let mut found = blob::get(&manifest, &[reference]).map_err(text)?;
        found.pop().ok_or_else(|| "no answer".to_owned())
    }

    fn lead(lease: String, holder: String, timeout_ms: u32) -> Result<Leadership, String> {
        let request = Request {
            holder,
            duration_ms: 10_000,
            note: String::new(),
            bounds: None,
        };
        let outcome = match timeout_ms {
            0 => lease::acquire(&lease, &request),
            _ => lease::campaign(&lease, &request, timeout_ms),
        };
        match outcome.map_err(text)? {
            AcquireOutcome::Acquired(grant) => Ok(Leadership::Leads(grant.token.epoch)),
            AcquireOutcome::Held(status) => Ok(Leadership::Follows(status.holder)),
            AcquireOutcome::Indeterminate(why) => Err(why),
        }
    }
}

fn append(
    log: &str,
    body: String,
    writer: Writer,
    producer: Option<Producer>,
) -> Result<AppendOutcome, String> {
    let options = AppendOptions {
        writer,
        expected: None,
        producer,
    };
    log::append(log, &[body.into_bytes()], &options).map_err(text)
}

fn at(outcome: AppendOutcome) -> Result<u64, String> {
    match outcome {
        AppendOutcome::Appended(extent) => Ok(extent.start),
        other => Err(text(other)),
    }
}

fn text(value: impl Debug) -> String {
    format!("{value:?}")
}

export!(Rival);
