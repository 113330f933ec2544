//! The interface `retention`.

use ifmatch::list::list;
use ifmatch::log as core;

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::log::Cursor;
use crate::bindings::exports::ifmatch::protocols::retention::{Guest, PinOutcome, PinnedReader};
use crate::error::{Error, to_error};
use crate::instance::run;
use crate::log::{from_cursor, to_cursor};

impl Guest for Component {
    fn pin(name: String, reader: String, at: Cursor, ttl_ms: u32) -> Result<PinOutcome, Error> {
        run(|instance| {
            let at = from_cursor(at);
            instance.logs.pin(&name, &reader, at, ttl_ms)
        })
        .map(|outcome| match outcome {
            core::PinOutcome::Pinned(until) => PinOutcome::Pinned(until.unix_ms),
            core::PinOutcome::Trimmed(kept) => PinOutcome::Trimmed(to_cursor(kept)),
            core::PinOutcome::Indeterminate(why) => PinOutcome::Indeterminate(why),
        })
        .map_err(to_error)
    }

    fn unpin(name: String, reader: String) -> Result<(), Error> {
        run(|instance| instance.logs.unpin(&name, &reader)).map_err(to_error)
    }

    fn pins(name: String) -> Result<Vec<PinnedReader>, Error> {
        let pins = run(|instance| instance.logs.pins(&name)).map_err(to_error)?;
        Ok(list(pins.into_iter().map(|pin| PinnedReader {
            reader: pin.reader,
            offset: pin.offset,
            expires_at: pin.expires_at.unix_ms,
        })))
    }
}
