//! `ifmatch:bucket/presign`, which only the provider can serve.

use bucket_s3::provider;
use bucket_s3::s3::port::{Error, Presigned};

use crate::Component;
use crate::bindings::exports::ifmatch::bucket::presign::{Guest, Request, Upload};
use crate::bindings::exports::ifmatch::bucket::types;

impl Guest for Component {
    fn presign_put(upload: Upload) -> Result<Request, types::Error> {
        provider::presign_put(&upload.key, &upload.sha256, upload.expires_in_s)
            .map(from_presigned)
            .map_err(from_error)
    }

    fn presign_get(key: String, expires_in_s: u32) -> Result<Request, types::Error> {
        provider::presign_get(&key, expires_in_s)
            .map(from_presigned)
            .map_err(from_error)
    }
}

fn from_presigned(presigned: Presigned) -> Request {
    Request {
        method: presigned.method.to_owned(),
        url: presigned.url,
        headers: presigned.headers,
    }
}

fn from_error(error: Error) -> types::Error {
    match error {
        Error::InvalidArgument(text) => types::Error::InvalidArgument(text),
        Error::Misconfigured(text) => types::Error::Misconfigured(text),
        Error::AccessDenied(text) => types::Error::AccessDenied(text),
        Error::NoSuchBucket(bucket) => types::Error::NoSuchBucket(bucket),
        Error::TooLarge(limit) => types::Error::TooLarge(limit),
        Error::Throttled(ms) => types::Error::Throttled(ms),
        Error::Unavailable(text) => types::Error::Unavailable(text),
        Error::Unsupported(text) => types::Error::Unsupported(text),
        Error::Other(text) => types::Error::Other(text),
    }
}
