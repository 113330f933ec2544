//! What a caller does wrong is refused, and says why.

use std::fmt::Debug;

use super::log::{bodies, options, read};
use super::{equal, unexpected};
use crate::ifmatch::protocols::lease::{self, Request};
use crate::ifmatch::protocols::log;
use crate::ifmatch::protocols::types::Error;

/// Calls that break the contract, and one that finds nothing.
pub fn refusals(prefix: &str) -> Result<String, String> {
    let name = format!("{prefix}/errors");
    let too_short = Request {
        holder: "first".to_owned(),
        duration_ms: 10,
        note: String::new(),
        bounds: None,
    };
    invalid(
        "a name",
        log::append("No Name", &bodies(&["x"]), &options(None)),
    )?;
    invalid("no record", log::append(&name, &[], &options(None)))?;
    invalid("10 ms", lease::acquire(&name, &too_short))?;
    equal("a log that does not exist", read(&name)?, Vec::new())?;
    Ok("3 calls refused".to_owned())
}

fn invalid<T: Debug>(what: &str, result: Result<T, Error>) -> Result<(), String> {
    match result {
        Err(Error::InvalidArgument(why)) if !why.is_empty() => Ok(()),
        other => unexpected(what, other),
    }
}
