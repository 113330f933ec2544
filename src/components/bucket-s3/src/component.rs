//! The exported functions: values of the WIT to values of [`crate::s3::port`]
//! and back. No rule of S3 is here.

use ifmatch::list::list;

use crate::bindings::exports::ifmatch::bucket::types;
use crate::bindings::exports::ifmatch::bucket::{bucket as wit, deletion, presign};
use crate::provider;
use crate::s3::port::{
    Error, Found, Metadata, Page, Precondition, Presigned, PutOutcome, Read, Reply, Span,
    StoreTime, Version, Write,
};

/// Implements the exports.
pub struct Component;

fn all<T, U: From<T>>(results: Vec<Result<T, Error>>) -> Vec<Result<U, types::Error>> {
    let results = results.into_iter();
    list(results.map(|result| result.map(Into::into).map_err(Into::into)))
}

fn unix_ms(time: StoreTime) -> u64 {
    time.unix_ms
}

impl wit::Guest for Component {
    fn get(read: wit::Read) -> Result<wit::Reply, types::Error> {
        Ok(provider::only(provider::get_many(vec![read.into()]))?.into())
    }

    fn get_many(reads: Vec<wit::Read>) -> Vec<Result<wit::Reply, types::Error>> {
        all(provider::get_many(list(reads.into_iter().map(Into::into))))
    }

    fn put(write: wit::Write) -> Result<wit::PutOutcome, types::Error> {
        Ok(provider::only(provider::put_many(&[write.into()]))?.into())
    }

    fn put_many(writes: Vec<wit::Write>) -> Vec<Result<wit::PutOutcome, types::Error>> {
        let writes: Vec<Write> = list(writes.into_iter().map(Into::into));
        all(provider::put_many(&writes))
    }

    fn list_objects(
        prefix: String,
        start_after: Option<String>,
        limit: u32,
    ) -> Result<wit::Page, types::Error> {
        Ok(provider::list(&prefix, start_after.as_deref(), limit)?.into())
    }
}

impl deletion::Guest for Component {
    fn delete_many(keys: Vec<String>) -> Result<(), types::Error> {
        Ok(provider::delete_many(&keys)?)
    }
}

impl presign::Guest for Component {
    fn presign_put(upload: presign::Upload) -> Result<presign::Request, types::Error> {
        Ok(provider::presign_put(&upload.key, &upload.sha256, upload.expires_in_s)?.into())
    }

    fn presign_get(key: String, expires_in_s: u32) -> Result<presign::Request, types::Error> {
        Ok(provider::presign_get(&key, expires_in_s)?.into())
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidArgument(text) => Self::InvalidArgument(text),
            Error::Misconfigured(text) => Self::Misconfigured(text),
            Error::AccessDenied(text) => Self::AccessDenied(text),
            Error::NoSuchBucket(bucket) => Self::NoSuchBucket(bucket),
            Error::TooLarge(limit) => Self::TooLarge(limit),
            Error::Throttled(ms) => Self::Throttled(ms),
            Error::Unavailable(text) => Self::Unavailable(text),
            Error::Unsupported(text) => Self::Unsupported(text),
            Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<types::Version> for Version {
    fn from(version: types::Version) -> Self {
        Self(version.token)
    }
}

impl From<Version> for types::Version {
    fn from(version: Version) -> Self {
        Self { token: version.0 }
    }
}

impl From<Metadata> for types::Metadata {
    fn from(metadata: Metadata) -> Self {
        Self {
            key: metadata.key,
            version: metadata.version.into(),
            size: metadata.size_bytes,
            modified_at: metadata.modified_at.map(unix_ms),
        }
    }
}

impl From<wit::Read> for Read {
    fn from(read: wit::Read) -> Self {
        Self {
            key: read.key,
            span: match read.span {
                wit::Span::All => Span::All,
                wit::Span::First(bytes) => Span::First(bytes),
            },
            unless: read.unless.map(Into::into),
        }
    }
}

impl From<Reply> for wit::Reply {
    fn from(reply: Reply) -> Self {
        Self {
            found: match reply.found {
                Found::Absent => wit::Found::Absent,
                Found::Unchanged => wit::Found::Unchanged,
                Found::Object(object) => wit::Found::Object(wit::Object {
                    metadata: object.metadata.into(),
                    body: object.body,
                }),
            },
            observed_at: reply.observed_at.map(unix_ms),
        }
    }
}

impl From<wit::Write> for Write {
    fn from(write: wit::Write) -> Self {
        Self {
            key: write.key,
            body: write.body,
            precondition: match write.precondition {
                wit::Precondition::Absent => Precondition::Absent,
                wit::Precondition::Matches(version) => Precondition::Matches(version.into()),
            },
        }
    }
}

impl From<PutOutcome> for wit::PutOutcome {
    fn from(outcome: PutOutcome) -> Self {
        match outcome {
            PutOutcome::Written {
                version,
                observed_at,
            } => Self::Written(wit::Written {
                version: version.into(),
                observed_at: observed_at.map(unix_ms),
            }),
            PutOutcome::PreconditionFailed => Self::PreconditionFailed,
            PutOutcome::Indeterminate(why) => Self::Indeterminate(why),
        }
    }
}

impl From<Page> for wit::Page {
    fn from(page: Page) -> Self {
        Self {
            objects: list(page.objects.into_iter().map(Into::into)),
            more: page.more,
            observed_at: page.observed_at.map(unix_ms),
        }
    }
}

impl From<Presigned> for presign::Request {
    fn from(request: Presigned) -> Self {
        Self {
            method: request.method.to_owned(),
            url: request.url,
            headers: request.headers,
        }
    }
}
