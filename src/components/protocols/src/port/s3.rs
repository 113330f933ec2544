//! The bucket, linked in.
use bucket_s3::provider::{self, only};
use bucket_s3::s3::port as s3;
use ifmatch::bucket::{
    Bucket, BucketError, Deletion, Found, Metadata, Object, Page, Precondition, PutOutcome, Read,
    Reply, Span, StoreTime, Version, Write,
};
use ifmatch::list::list;

/// The bucket.
#[derive(Debug)]
pub(crate) struct Port;

impl Bucket for Port {
    fn get(&self, read: Read) -> Result<Reply, BucketError> {
        only(provider::get_many(vec![to_read(read)]))
            .map(from_reply)
            .map_err(from_error)
    }

    fn get_many(&self, reads: Vec<Read>) -> Vec<Result<Reply, BucketError>> {
        let results = provider::get_many(list(reads.into_iter().map(to_read))).into_iter();
        list(results.map(|result| result.map(from_reply).map_err(from_error)))
    }

    fn expect(&self, keys: Vec<String>) {
        provider::expect(keys);
    }

    fn put(&self, write: &Write) -> Result<PutOutcome, BucketError> {
        only(provider::put_many(vec![to_write(write)]))
            .map(from_outcome)
            .map_err(from_error)
    }

    fn put_many(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        let results = provider::put_many(list(writes.iter().map(to_write))).into_iter();
        list(results.map(|result| result.map(from_outcome).map_err(from_error)))
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Page, BucketError> {
        provider::list(prefix, start_after, limit)
            .map(|page| Page {
                objects: list(page.objects.into_iter().map(from_metadata)),
                more: page.more,
                observed_at: page.observed_at.map(from_time),
            })
            .map_err(from_error)
    }
}

impl Deletion for Port {
    fn delete_many(&self, keys: Vec<String>) -> Result<(), BucketError> {
        provider::delete_many(&keys).map_err(from_error)
    }
}

fn to_read(read: Read) -> s3::Read {
    s3::Read {
        key: read.key,
        span: match read.span {
            Span::All => s3::Span::All,
            Span::First(bytes) => s3::Span::First(bytes),
        },
        unless: read.unless.map(|version| version.0),
    }
}

/// Copies what is written, as passing it on to another component would.
fn to_write(write: &Write) -> s3::Write {
    s3::Write {
        key: write.key.clone(),
        body: write.body.clone(),
        precondition: match &write.precondition {
            Precondition::Absent => s3::Precondition::Absent,
            Precondition::Matches(version) => s3::Precondition::Matches(version.0.clone()),
        },
    }
}

fn from_time(unix_ms: u64) -> StoreTime {
    StoreTime { unix_ms }
}

fn from_metadata(metadata: s3::Metadata) -> Metadata {
    Metadata {
        key: metadata.key.as_str().to_owned(),
        version: Version(metadata.version.token().to_owned()),
        size_bytes: metadata.size,
        modified_at: metadata.modified_at.map(from_time),
    }
}

fn from_reply(reply: s3::Reply) -> Reply {
    Reply {
        found: match reply.found {
            s3::Found::Absent => Found::Absent,
            s3::Found::Unchanged => Found::Unchanged,
            s3::Found::Object { metadata, body } => Found::Object(Object {
                metadata: from_metadata(metadata),
                body,
            }),
        },
        observed_at: reply.observed_at.map(from_time),
    }
}

fn from_outcome(outcome: s3::PutOutcome) -> PutOutcome {
    match outcome {
        s3::PutOutcome::Written {
            version,
            observed_at,
        } => PutOutcome::Written {
            version: Version(version.token().to_owned()),
            observed_at: observed_at.map(from_time),
        },
        s3::PutOutcome::PreconditionFailed => PutOutcome::PreconditionFailed,
        s3::PutOutcome::Indeterminate(why) => PutOutcome::Indeterminate(why),
    }
}

fn from_error(error: s3::Error) -> BucketError {
    match error {
        s3::Error::InvalidArgument(text) => BucketError::InvalidArgument(text),
        s3::Error::Misconfigured(text) => BucketError::Misconfigured(text),
        s3::Error::AccessDenied(text) => BucketError::AccessDenied(text),
        s3::Error::NoSuchBucket(text) => BucketError::NoSuchBucket(text),
        s3::Error::TooLarge(bytes) => BucketError::TooLarge(bytes),
        s3::Error::Throttled(ms) => BucketError::Throttled(ms),
        s3::Error::Unavailable(text) => BucketError::Unavailable(text),
        s3::Error::Unsupported(text) => BucketError::Unsupported(text),
        s3::Error::Other(text) => BucketError::Other(text),
    }
}
