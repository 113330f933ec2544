//! The port: what the protocols need from an object store.
//!
//! These types mirror the WIT package `ifmatch:bucket`, where their contract is
//! written down. In short: linearizable per key, listings that reflect finished
//! writes, and writes only under a precondition.

use core::fmt;
use maybe_async::maybe_async;
/// Milliseconds since the Unix epoch by the store's own clock.
///
/// Times of the store are only ever compared with times of the same store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreTime {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
}

impl StoreTime {
    /// Milliseconds from `earlier` to `self`, or 0 if it is not later.
    #[must_use]
    pub fn since_ms(self, earlier: StoreTime) -> u64 {
        self.unix_ms.saturating_sub(earlier.unix_ms)
    }
}

/// The opaque version of one object. Only equality is meaningful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// What is known about an object without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The object's key.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// Length of the whole body in bytes.
    pub size_bytes: u64,
    /// When the store accepted this version, if it tells.
    pub modified_at: Option<StoreTime>,
}

/// Which bytes of a body to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The whole body.
    All,
    /// At most this many bytes from the start, at least 1.
    First(u32),
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The object's key.
    pub key: String,
    /// Which bytes to read.
    pub span: Span,
    /// Answer [`Found::Unchanged`] if the object still has this version.
    pub unless: Option<Version>,
}

impl Read {
    /// Reads a whole object.
    #[must_use]
    pub fn all(key: String) -> Read {
        Read {
            key,
            span: Span::All,
            unless: None,
        }
    }

    /// Reads the first `bytes` of an object.
    #[must_use]
    pub fn first(key: String, bytes: u32) -> Read {
        Read {
            key,
            span: Span::First(bytes),
            unless: None,
        }
    }
}

/// An object, or the part of it that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Key, version, size and time.
    pub metadata: Metadata,
    /// The bytes.
    pub body: Vec<u8>,
}

/// What stands at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no object.
    Absent,
    /// The object still has the version that the read named.
    Unchanged,
    /// The object.
    Object(Object),
}

/// The answer to one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What stands at the key.
    pub found: Found,
    /// The store's clock when it answered, if it tells.
    pub observed_at: Option<StoreTime>,
}

/// What must hold for a put to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// No object exists at the key.
    Absent,
    /// The object exists at exactly this version.
    Matches(Version),
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The object's key.
    pub key: String,
    /// Its new content.
    pub body: Vec<u8>,
    /// What must hold.
    pub precondition: Precondition,
}

/// How a put that did not fail ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object was written.
    Written {
        /// Its version.
        version: Version,
        /// The store's clock when it answered, if it tells.
        observed_at: Option<StoreTime>,
    },
    /// The precondition did not hold. This call wrote nothing.
    PreconditionFailed,
    /// The store may have applied the write, or may still apply it later.
    Indeterminate(String),
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In ascending byte order of key. Not empty if `more`.
    pub objects: Vec<Metadata>,
    /// Whether keys after the last one match the prefix.
    pub more: bool,
    /// The store's clock when it answered, if it tells.
    pub observed_at: Option<StoreTime>,
}

/// Why a call of the port failed. A put that failed has certainly not been
/// applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketError {
    /// The caller broke the contract of the port.
    InvalidArgument(String),
    /// The provider lacks a setting or has one that it cannot use.
    Misconfigured(String),
    /// The credentials do not allow the request, or have expired.
    AccessDenied(String),
    /// The bucket does not exist.
    NoSuchBucket(String),
    /// The body exceeds the provider's limit in bytes.
    TooLarge(u64),
    /// Retry after this many milliseconds.
    Throttled(u32),
    /// The store could not be reached, or did not answer.
    Unavailable(String),
    /// The store cannot honour the request safely.
    Unsupported(String),
    /// Anything else.
    Other(String),
}

impl BucketError {
    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Unavailable(_))
    }

    /// Whether a write that was answered so may still be applied: what asks to wait
    /// answers one delivery, and a front end may have passed another one on.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Throttled(_))
    }
}

impl fmt::Display for BucketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument(text)
            | Self::Misconfigured(text)
            | Self::AccessDenied(text)
            | Self::NoSuchBucket(text)
            | Self::Unavailable(text)
            | Self::Unsupported(text)
            | Self::Other(text) => f.write_str(text),
            Self::TooLarge(bytes) => write!(f, "the body exceeds {bytes} bytes"),
            Self::Throttled(ms) => write!(f, "the store asks to wait {ms} ms"),
        }
    }
}

/// At most this many objects in one batch call of the port.
pub const BATCH_OBJECTS_MAX: usize = 64;

/// At most this many keys in one listing page or deletion.
pub const PAGE_OBJECTS_MAX: u32 = 1000;

/// One object-store bucket with conditional writes, as `ifmatch:bucket/bucket`
/// describes it.
#[maybe_async(AFIT)]
pub trait Bucket {
    /// Reads one object.
    fn get(&self, read: Read) -> impl core::future::Future<Output = Result<Reply, BucketError>>;

    /// Reads up to [`BATCH_OBJECTS_MAX`] objects, overlapped. Results are in the
    /// order of `reads`.
    fn get_many(
        &self,
        reads: Vec<Read>,
    ) -> impl core::future::Future<Output = Vec<Result<Reply, BucketError>>>;

    /// Tells which objects [`Bucket::get_many`] will probably read whole next. Waits
    /// for nothing.
    ///
    /// A provider may send these requests at once. It may use a reply that shows an
    /// object, of which the caller knows that it never changes; that an object is
    /// absent, or a failure, counts only if it was seen after it was asked for.
    /// What was expected before and is not any more is given up.
    fn expect(&self, _keys: Vec<String>) {}

    /// Writes an object if its precondition holds.
    fn put(
        &self,
        write: &Write,
    ) -> impl core::future::Future<Output = Result<PutOutcome, BucketError>>;

    /// Writes up to [`BATCH_OBJECTS_MAX`] objects, each on its own, overlapped.
    fn put_many(
        &self,
        writes: &[Write],
    ) -> impl core::future::Future<Output = Vec<Result<PutOutcome, BucketError>>>;

    /// Lists up to `limit` objects under `prefix` with keys above `start_after`.
    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> impl core::future::Future<Output = Result<Page, BucketError>>;
}

/// Deletion of objects, as `ifmatch:bucket/deletion` describes it.
#[maybe_async(AFIT)]
pub trait Deletion {
    /// Deletes up to [`PAGE_OBJECTS_MAX`] objects. Absent keys succeed.
    fn delete_many(
        &self,
        keys: Vec<String>,
    ) -> impl core::future::Future<Output = Result<(), BucketError>>;
}
