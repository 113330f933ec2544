//! Values that several interfaces share.

use ifmatch::error;
use ifmatch::token;

use crate::bindings::exports::ifmatch::protocols::types::{Error, Token, Writer};

pub(crate) fn from_writer(writer: Writer) -> token::Writer {
    match writer {
        Writer::Shared => token::Writer::Shared,
        Writer::Fenced(token) => token::Writer::Fenced(token::Epoch(token.epoch)),
    }
}

pub(crate) fn to_token(epoch: token::Epoch) -> Token {
    Token { epoch: epoch.0 }
}

pub(crate) fn to_error(error: error::Error) -> Error {
    match error {
        error::Error::InvalidArgument(text) => Error::InvalidArgument(text),
        error::Error::Misconfigured(text) => Error::Misconfigured(text),
        error::Error::AccessDenied(text) => Error::AccessDenied(text),
        error::Error::Corrupt(text) => Error::Corrupt(text),
        error::Error::Throttled(ms) => Error::Throttled(ms),
        error::Error::Unavailable(text) => Error::Unavailable(text),
        error::Error::Unsupported(text) => Error::Unsupported(text),
        error::Error::Other(text) => Error::Other(text),
    }
}
