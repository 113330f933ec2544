//! Errors, classified by what the caller does next.

use core::fmt;

use crate::bucket::BucketError;

/// Why an operation failed. A write that failed has certainly not been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The caller broke the contract: fix the call.
    InvalidArgument(String),
    /// A setting is missing or wrong, or the bucket does not exist: fix it.
    Misconfigured(String),
    /// The host or the store refused access: fix the permission.
    AccessDenied(String),
    /// Stored bytes do not decode or contradict each other: repair. Names the
    /// object.
    Corrupt(String),
    /// Retry after this many milliseconds.
    Throttled(u32),
    /// The store did not answer: retry.
    Unavailable(String),
    /// The store cannot honour the request safely: use another store.
    Unsupported(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument(text)
            | Self::Misconfigured(text)
            | Self::AccessDenied(text)
            | Self::Corrupt(text)
            | Self::Unavailable(text)
            | Self::Unsupported(text)
            | Self::Other(text) => f.write_str(text),
            Self::Throttled(ms) => write!(f, "the store asks to wait {ms} ms"),
        }
    }
}

impl core::error::Error for Error {}

impl From<BucketError> for Error {
    fn from(error: BucketError) -> Error {
        match error {
            BucketError::InvalidArgument(text) => Error::InvalidArgument(text),
            BucketError::Misconfigured(text) => Error::Misconfigured(text),
            BucketError::AccessDenied(text) => Error::AccessDenied(text),
            BucketError::NoSuchBucket(text) => Error::Misconfigured(text),
            BucketError::TooLarge(bytes) => {
                Error::InvalidArgument(format!("the object exceeds {bytes} bytes"))
            }
            BucketError::Throttled(ms) => Error::Throttled(ms),
            BucketError::Unavailable(text) => Error::Unavailable(text),
            BucketError::Unsupported(text) => Error::Unsupported(text),
            BucketError::Other(text) => Error::Other(text),
        }
    }
}
