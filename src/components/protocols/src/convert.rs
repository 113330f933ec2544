//! Values that several interfaces share.

use ifmatch::token;

use crate::bindings::exports::ifmatch::protocols::types::{Token, Writer};

pub(crate) fn from_writer(writer: Writer) -> token::Writer {
    match writer {
        Writer::Shared => token::Writer::Shared,
        Writer::Fenced(token) => token::Writer::Fenced(token::Epoch(token.epoch)),
    }
}

pub(crate) fn to_token(epoch: token::Epoch) -> Token {
    Token { epoch: epoch.0 }
}
