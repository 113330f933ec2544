//! The bucket, linked in.
use bucket_s3::provider::{self, only};
use ifmatch::bucket::{Bucket, BucketError, Deletion, Page, PutOutcome, Read, Reply, Write};

/// The bucket.
#[derive(Debug)]
pub(crate) struct Port;

impl Bucket for Port {
    fn get(&self, read: Read) -> Result<Reply, BucketError> {
        only(provider::get_many(vec![read]))
    }

    fn get_many(&self, reads: Vec<Read>) -> Vec<Result<Reply, BucketError>> {
        provider::get_many(reads)
    }

    fn expect(&self, keys: Vec<String>) {
        provider::expect(keys);
    }

    fn put(&self, write: &Write) -> Result<PutOutcome, BucketError> {
        only(provider::put_many(core::slice::from_ref(write)))
    }

    fn put_many(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        provider::put_many(writes)
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Page, BucketError> {
        provider::list(prefix, start_after, limit)
    }
}

impl Deletion for Port {
    fn delete_many(&self, keys: Vec<String>) -> Result<(), BucketError> {
        provider::delete_many(&keys)
    }
}
