//! Orders that one leader at a time puts into a log.
//!
//! Any number of instances may run. Whoever gets the lease leads; the token of the
//! lease goes along with every write, so that an instance that was asleep while
//! another took over cannot write any more.

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

struct App;

impl Guest for App {
    fn place(me: String, order: String) -> Result<Placed, String> {
        let request = Request {
            holder: me,
            duration_ms: 10_000,
            note: String::new(),
            bounds: None,
        };
        let grant = match lease::acquire("orders", &request).map_err(text)? {
            AcquireOutcome::Acquired(grant) => grant,
            AcquireOutcome::Held(status) => return Ok(Placed::LedBy(status.holder)),
            AcquireOutcome::Indeterminate(why) => return Err(why),
        };
        let options = AppendOptions {
            writer: Writer::Fenced(grant.token),
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

fn text(error: log::Error) -> String {
    format!("{error:?}")
}

export!(App);
