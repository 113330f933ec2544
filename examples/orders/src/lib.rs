//! Orders that one leader at a time puts into a log, and ships.
//!
//! Any number of instances may run. Whoever gets the lease leads; the token of the
//! lease goes along with every write, so that an instance that was asleep while
//! another took over cannot write any more. The log has what happened, in order; the
//! manifest has what is so now, by key.

#![cfg(target_family = "wasm")]

wit_bindgen::generate!({
    path: ["../../wit/protocols", "wit"],
    world: "example:orders/app",
    generate_all,
});

use exports::example::orders::orders::{Guest, Placed};
use ifmatch::protocols::lease::{self, AcquireOutcome, Request};
use ifmatch::protocols::log::{
    self, AppendOptions, AppendOutcome, Cursor, ReadLimit, ReadOutcome, Writer,
};

use ifmatch::protocols::manifest::{self, Change, CommitOutcome, Dependency, Edit, Item};

struct App;

/// Whether this instance leads.
enum Leadership {
    Ours(Writer),
    Of(String),
}

impl Guest for App {
    fn place(me: String, order: String) -> Result<Placed, String> {
        let writer = match lead(me)? {
            Leadership::Ours(writer) => writer,
            Leadership::Of(holder) => return Ok(Placed::LedBy(holder)),
        };
        let options = AppendOptions {
            writer,
            expected: None,
            producer: None,
        };
        match log::append("orders", &[order.into_bytes()], &options).map_err(text)? {
            AppendOutcome::Appended(extent) => Ok(Placed::Number(extent.start)),
            AppendOutcome::Fenced(_) => Ok(Placed::LedBy("a newer leader".to_owned())),
            // The order may be in the log: look before placing it again.
            other => Err(format!("{other:?}")),
        }
    }

    fn ship(me: String, number: u64, address: String) -> Result<Placed, String> {
        let writer = match lead(me.clone())? {
            Leadership::Ours(writer) => writer,
            Leadership::Of(holder) => return Ok(Placed::LedBy(holder)),
        };
        let change = Change {
            base: 0,
            // The address holds whatever was noted before.
            depends_on: Dependency::Nothing,
            edits: vec![Edit::Set(Item {
                key: number.to_string(),
                value: address.into_bytes(),
                blobs: Vec::new(),
            })],
            writer,
            author: me,
            message: "shipped".to_owned(),
            id: None,
        };
        match manifest::commit("shipped", &change).map_err(text)? {
            CommitOutcome::Committed(_) => Ok(Placed::Number(number)),
            CommitOutcome::Fenced(_) => Ok(Placed::LedBy("a newer leader".to_owned())),
            other => Err(format!("{other:?}")),
        }
    }

    fn shipped_to(number: u64) -> Result<Option<String>, String> {
        let Some(snapshot) = manifest::latest("shipped").map_err(text)? else {
            return Ok(None);
        };
        let key = number.to_string();
        let item = snapshot.items.into_iter().find(|item| item.key == key);
        item.map(|item| String::from_utf8(item.value).map_err(|error| error.to_string()))
            .transpose()
    }

    fn since(number: u64) -> Result<Vec<String>, String> {
        let start = Cursor {
            offset: number,
            slot: None,
            absent_until: None,
        };
        let limit = ReadLimit {
            records: 100,
            bytes: 1_000_000,
        };
        match log::read("orders", start, limit).map_err(text)? {
            ReadOutcome::Records(batch) => batch
                .entries
                .into_iter()
                .map(|entry| String::from_utf8(entry.body).map_err(|error| error.to_string()))
                .collect(),
            ReadOutcome::Trimmed(kept) => Err(format!("orders before {} are gone", kept.offset)),
        }
    }
}

/// Gets the lease, or learns who has it.
fn lead(me: String) -> Result<Leadership, String> {
    let request = Request {
        holder: me,
        duration_ms: 10_000,
        note: String::new(),
        bounds: None,
    };
    match lease::acquire("orders", &request).map_err(text)? {
        AcquireOutcome::Acquired(grant) => Ok(Leadership::Ours(Writer::Fenced(grant.token))),
        AcquireOutcome::Held(status) => Ok(Leadership::Of(status.holder)),
        AcquireOutcome::Indeterminate(why) => Err(why),
    }
}

fn text(error: log::Error) -> String {
    format!("{error:?}")
}

export!(App);
