//! The error that all interfaces share.

use ifmatch::error;

/// Takes the place of the generated type in the bindings, which write it out in each
/// exported function: with texts that need no work there, all cases are one.
#[derive(Debug)]
pub(crate) enum Error {
    /// Fix the call.
    InvalidArgument(Text),
    /// Fix the setting.
    Misconfigured(Text),
    /// Fix the permission.
    AccessDenied(Text),
    /// Repair.
    Corrupt(Text),
    /// Retry after so many milliseconds.
    Throttled(u32),
    /// Retry.
    Unavailable(Text),
    /// Use another store.
    Unsupported(Text),
    /// Anything else.
    Other(Text),
}

/// A text that has no more memory than it needs. Has those functions of a string
/// that the bindings call.
#[derive(Debug)]
pub(crate) struct Text(Box<[u8]>);

impl Text {
    fn of(text: String) -> Text {
        Text(text.into_boxed_str().into_boxed_bytes())
    }

    #[inline(always)]
    pub(crate) fn into_bytes(self) -> Text {
        self
    }

    #[inline(always)]
    pub(crate) fn into_boxed_slice(self) -> Box<[u8]> {
        self.0
    }
}

pub(crate) fn to_error(error: error::Error) -> Error {
    match error {
        error::Error::InvalidArgument(text) => Error::InvalidArgument(Text::of(text)),
        error::Error::Misconfigured(text) => Error::Misconfigured(Text::of(text)),
        error::Error::AccessDenied(text) => Error::AccessDenied(Text::of(text)),
        error::Error::Corrupt(text) => Error::Corrupt(Text::of(text)),
        error::Error::Throttled(ms) => Error::Throttled(ms),
        error::Error::Unavailable(text) => Error::Unavailable(Text::of(text)),
        error::Error::Unsupported(text) => Error::Unsupported(Text::of(text)),
        error::Error::Other(text) => Error::Other(Text::of(text)),
    }
}
