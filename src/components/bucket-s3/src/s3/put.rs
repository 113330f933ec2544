//! PutObject, always with a precondition.

use super::canonical_request::Query;
use super::config::{Config, Payload};
use super::encoding::decimal;
use super::error_document::{ErrorDocument, is_throttled, refusal};
use super::get::condition;
use super::port::{Error, Key, Precondition, PutOutcome};
use super::request::{Method, Request};
use super::response::{Beyond, Failure, Reading, Response};

/// Most bytes of the body of a successful reply, which is empty.
const MAX_REPLY_BYTES: u64 = 64 << 10;

/// A write whose arguments have been checked.
#[derive(Clone, Debug)]
pub struct PutObject<'a> {
    /// The key.
    pub key: Key,
    /// The whole body.
    pub body: &'a [u8],
    /// What must hold.
    pub precondition: &'a Precondition,
}

/// What a reply to a write leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is settled, as far as it can be.
    Done(PutOutcome),
    /// Another request on the key got in the way and nothing was written: the
    /// same write can be sent again.
    Conflict,
}

impl PutObject<'_> {
    /// The request. Its condition is what closes the race between two writers
    /// that both saw the key absent, or both saw the same version.
    #[must_use]
    pub fn request(&self, config: &Config) -> Request<'_> {
        let full_key = [config.prefix.as_str(), self.key.as_str()].concat();
        let path = config.address.object_path(&full_key);
        let request = match config.payload {
            Payload::Signed => Request::new(Method::Put, path, Query::new(), Some(self.body)),
            Payload::Unsigned => Request::with_unsigned(Method::Put, path, Query::new(), self.body),
        };
        match self.precondition {
            Precondition::Absent => request.header("if-none-match", "*".to_owned()),
            Precondition::Matches(version) => {
                request.header("if-match", condition(version, config.etag))
            }
        }
    }

    /// How much of the reply's body to take.
    #[must_use]
    pub fn reading() -> Reading<'static> {
        Reading {
            limit: MAX_REPLY_BYTES,
            beyond: Beyond::Cut,
            budget: None,
        }
    }

    /// What a reply, or its absence, means.
    ///
    /// # Errors
    /// The errors of the port; nothing was written then.
    pub fn step(&self, result: Result<Response, Failure>, config: &Config) -> Result<Step, Error> {
        let indeterminate = |why: String| Ok(Step::Done(PutOutcome::Indeterminate(why)));
        let response = match result {
            Ok(response) => response,
            Err(Failure::Lost(why)) => return indeterminate(why),
            Err(failure) => return Err(failure.into_error()),
        };
        let document = ErrorDocument::parse(&response.body);
        match response.status {
            200 => Ok(Step::Done(written(&response, &document))),
            // Some stores answer a failed If-None-Match as if to a read.
            304 | 412 => Ok(Step::Done(PutOutcome::PreconditionFailed)),
            404 if document.code == "NoSuchKey" && *self.precondition != Precondition::Absent => {
                Ok(Step::Done(PutOutcome::PreconditionFailed))
            }
            // `ConditionalRequestConflict` of Amazon: a delete or a write of the
            // key was under way. CoreWeave gives a concurrent loser a bare 409.
            // Either way the store refused; the next attempt meets the winner.
            409 => Ok(Step::Conflict),
            // Whoever answers 408 gave up waiting, not necessarily before the
            // store behind it had everything.
            408 => indeterminate(answered(&response, &document)),
            status if is_throttled(status, &document) => Err(refusal(&response, &document, config)),
            300..=499 | 501 => Err(refusal(&response, &document, config)),
            _ => indeterminate(answered(&response, &document)),
        }
    }
}

/// A success counts only if it is one throughout: some gateways answer 200
/// before they know, and put the error into the body.
fn written(response: &Response, document: &ErrorDocument) -> PutOutcome {
    if document.is_present() || !response.is_whole() {
        return PutOutcome::Indeterminate(answered(response, document));
    }
    match response.headers.version() {
        Some(version) => PutOutcome::Written {
            version,
            observed_at: response.headers.observed_at(),
        },
        // Asking for the version by another request could find a later write.
        None => PutOutcome::Indeterminate(
            "the store accepted the write without a strong ETag".to_owned(),
        ),
    }
}

fn answered(response: &Response, document: &ErrorDocument) -> String {
    let status = decimal(response.status.into());
    let colon = if document.is_present() { ": " } else { "" };
    ["the store answered HTTP ", &status, colon, &document.code].concat()
}
