//! The imported bucket.

use ifmatch::bucket::{
    Bucket, BucketError, Deletion, Found, Metadata, Object, Page, Precondition, PutOutcome, Read,
    Reply, Span, StoreTime, Version, Write,
};
use ifmatch::list::list;

use crate::bindings::ifmatch::bucket::{bucket, deletion, types};

/// The imported bucket.
#[derive(Debug)]
pub(crate) struct Port;

impl Bucket for Port {
    fn get(&self, read: Read) -> Result<Reply, BucketError> {
        bucket::get(to_read(&read))
            .map(from_reply)
            .map_err(from_error)
    }

    fn get_many(&self, reads: Vec<Read>) -> Vec<Result<Reply, BucketError>> {
        let reads: Vec<bucket::ReadParam<'_>> = list(reads.iter().map(to_read));
        let results = bucket::get_many(&reads).into_iter();
        list(results.map(|result| result.map(from_reply).map_err(from_error)))
    }

    fn put(&self, write: &Write) -> Result<PutOutcome, BucketError> {
        bucket::put(to_write(write))
            .map(from_outcome)
            .map_err(from_error)
    }

    fn put_many(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        let writes: Vec<bucket::WriteParam<'_>> = list(writes.iter().map(to_write));
        let results = bucket::put_many(&writes).into_iter();
        list(results.map(|result| result.map(from_outcome).map_err(from_error)))
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Page, BucketError> {
        bucket::list_objects(prefix, start_after, limit)
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
        let keys: Vec<&str> = list(keys.iter().map(String::as_str));
        deletion::delete_many(&keys).map_err(from_error)
    }
}

fn to_read(read: &Read) -> bucket::ReadParam<'_> {
    bucket::ReadParam {
        key: &read.key,
        span: match read.span {
            Span::All => bucket::Span::All,
            Span::First(bytes) => bucket::Span::First(bytes),
        },
        unless: read.unless.as_ref().map(to_version),
    }
}

fn to_version(version: &Version) -> types::VersionParam<'_> {
    types::VersionParam { token: &version.0 }
}

fn to_write(write: &Write) -> bucket::WriteParam<'_> {
    bucket::WriteParam {
        key: &write.key,
        body: &write.body,
        precondition: match &write.precondition {
            Precondition::Absent => bucket::PreconditionParam::Absent,
            Precondition::Matches(version) => {
                bucket::PreconditionParam::Matches(to_version(version))
            }
        },
    }
}

fn from_time(unix_ms: u64) -> StoreTime {
    StoreTime { unix_ms }
}

fn from_metadata(metadata: types::Metadata) -> Metadata {
    Metadata {
        key: metadata.key,
        version: Version(metadata.version.token),
        size_bytes: metadata.size,
        modified_at: metadata.modified_at.map(from_time),
    }
}

fn from_reply(reply: bucket::Reply) -> Reply {
    Reply {
        found: match reply.found {
            bucket::Found::Absent => Found::Absent,
            bucket::Found::Unchanged => Found::Unchanged,
            bucket::Found::Object(object) => Found::Object(Object {
                metadata: from_metadata(object.metadata),
                body: object.body,
            }),
        },
        observed_at: reply.observed_at.map(from_time),
    }
}

fn from_outcome(outcome: bucket::PutOutcome) -> PutOutcome {
    match outcome {
        bucket::PutOutcome::Written(written) => PutOutcome::Written {
            version: Version(written.version.token),
            observed_at: written.observed_at.map(from_time),
        },
        bucket::PutOutcome::PreconditionFailed => PutOutcome::PreconditionFailed,
        bucket::PutOutcome::Indeterminate(why) => PutOutcome::Indeterminate(why),
    }
}

fn from_error(error: types::Error) -> BucketError {
    match error {
        types::Error::InvalidArgument(text) => BucketError::InvalidArgument(text),
        types::Error::Misconfigured(text) => BucketError::Misconfigured(text),
        types::Error::AccessDenied(text) => BucketError::AccessDenied(text),
        types::Error::NoSuchBucket(text) => BucketError::NoSuchBucket(text),
        types::Error::TooLarge(bytes) => BucketError::TooLarge(bytes),
        types::Error::Throttled(ms) => BucketError::Throttled(ms),
        types::Error::Unavailable(text) => BucketError::Unavailable(text),
        types::Error::Unsupported(text) => BucketError::Unsupported(text),
        types::Error::Other(text) => BucketError::Other(text),
    }
}
