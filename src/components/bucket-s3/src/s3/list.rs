//! ListObjectsV2.

use super::address::Address;
use super::canonical_request::Query;
use super::config::Config;
use super::encoding::{decimal as digits, decode_url};
use super::error_document::{ErrorDocument, refusal};
use super::get::cached;
use super::port::{Error, Metadata, StoreTime, is_key};
use super::request::{Method, Request};
use super::response::{Beyond, End, Reading, Response, decimal, version};
use super::time::iso_8601_ms;
use super::xml::{Malformed, walk};

/// Most bytes of one reply: 1000 keys of the longest kind, with room to spare.
pub const MAX_REPLY_BYTES: u64 = 8 << 20;
/// Longest continuation token.
const MAX_TOKEN_BYTES: usize = 4096;

/// One request for a part of a listing. Keys are full keys, with the prefix of
/// the installation.
#[derive(Clone, Debug)]
pub struct ListObjects {
    /// What the keys start with.
    pub prefix: String,
    /// The key after which to start.
    pub start_after: Option<String>,
    /// Most keys to give.
    pub max_keys: u32,
    /// Where the part before this one ended.
    pub continuation: Option<String>,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The objects, as they came.
    pub entries: Vec<Entry>,
    /// Where the next part starts, if there is one.
    pub continuation: Option<String>,
    /// The store's clock.
    pub observed_at: Option<StoreTime>,
}

/// One object in a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its full key, decoded.
    pub key: String,
    etag: String,
    size: Option<u64>,
    modified_at: Option<StoreTime>,
}

impl Entry {
    /// The object, with its key made relative to the installation's prefix.
    /// Nothing if its name is none of the port's: no protocol wrote it.
    ///
    /// # Errors
    /// `Unsupported` if the store does not tell its size or version.
    pub fn metadata(&self, prefix: &str) -> Result<Option<Metadata>, Error> {
        let Some(key) = self.key.strip_prefix(prefix).filter(|key| is_key(key)) else {
            return Ok(None);
        };
        match (version(&self.etag), self.size) {
            (Some(version), Some(size)) => Ok(Some(Metadata {
                key: key.to_owned(),
                version,
                size_bytes: size,
                modified_at: self.modified_at,
            })),
            _ => Err(Error::Unsupported(
                "the store lists objects without ETag or size".to_owned(),
            )),
        }
    }
}

impl ListObjects {
    /// The request.
    #[must_use]
    pub fn request(&self, address: &Address) -> Request<'static> {
        let mut query = Query::new();
        query.push("list-type", "2");
        query.push("encoding-type", "url");
        query.push("max-keys", &digits(self.max_keys.into()));
        query.push("prefix", &self.prefix);
        match (&self.continuation, &self.start_after) {
            (Some(token), _) => query.push("continuation-token", token),
            (None, Some(key)) => query.push("start-after", key),
            (None, None) => {}
        }
        Request::new(Method::Get, address.bucket_path(), query, None)
    }

    /// How much of the reply's body to take.
    #[must_use]
    pub fn reading() -> Reading<'static> {
        Reading {
            limit: MAX_REPLY_BYTES,
            beyond: Beyond::Refuse,
            budget: None,
        }
    }

    /// What a reply means. Entries beyond `max_keys` are dropped, which the
    /// caller sees by a full part.
    ///
    /// # Errors
    /// The errors of the port.
    pub fn part(&self, response: &Response, config: &Config) -> Result<Part, Error> {
        if response.headers.is_cached() {
            return Err(cached());
        }
        if response.status != 200 {
            return Err(refusal(
                response,
                &ErrorDocument::parse(&response.body),
                config,
            ));
        }
        match &response.end {
            End::Complete if response.is_whole() => {}
            End::Cut | End::OverBudget => {
                return Err(Error::Other(
                    "the store's listing is longer than 8 MiB".to_owned(),
                ));
            }
            End::Complete => {
                return Err(Error::Unavailable(
                    "the listing is shorter than announced".to_owned(),
                ));
            }
            End::Broken(why) => {
                return Err(Error::Unavailable(
                    ["the listing broke off: ", why].concat(),
                ));
            }
        }
        let (entries, continuation) = parse(&response.body).map_err(|Malformed(why)| {
            Error::Other(["the store's listing cannot be read: ", why].concat())
        })?;
        Ok(Part {
            entries,
            continuation,
            observed_at: response.headers.observed_at(),
        })
    }
}

/// Checks that a listing goes on in strictly ascending order of key.
///
/// # Errors
/// `Unsupported`: the tail of a log would be looked for in the wrong place.
pub fn check_order(previous: Option<&str>, prefix: &str, key: &str) -> Result<(), Error> {
    if !key.starts_with(prefix) {
        return Err(Error::Unsupported(
            "the store's listing ignores the prefix".to_owned(),
        ));
    }
    if previous.is_some_and(|previous| key <= previous) {
        return Err(Error::Unsupported(
            "the store's listing is not in ascending order of key or ignores start-after \
             (S3 Express directory buckets are not ordered)"
                .to_owned(),
        ));
    }
    Ok(())
}

fn parse(document: &[u8]) -> Result<(Vec<Entry>, Option<String>), Malformed> {
    let mut entries = Vec::new();
    let mut entry = Entry::default();
    let mut is_encoded = false;
    let mut is_truncated = None;
    let mut continuation = None;
    walk(document, &mut |path, text| {
        match path {
            ["ListBucketResult", "Contents", "Key"] => entry.key = text.to_owned(),
            ["ListBucketResult", "Contents", "ETag"] => entry.etag = text.trim_ascii().to_owned(),
            ["ListBucketResult", "Contents", "Size"] => entry.size = decimal(text.trim_ascii()),
            ["ListBucketResult", "Contents", "LastModified"] => {
                let unix_ms = iso_8601_ms(text.trim_ascii());
                entry.modified_at = unix_ms.map(|unix_ms| StoreTime { unix_ms });
            }
            ["ListBucketResult", "Contents"] => entries.push(core::mem::take(&mut entry)),
            ["ListBucketResult", "EncodingType"] => is_encoded = text.trim_ascii() == "url",
            ["ListBucketResult", "IsTruncated"] => {
                is_truncated = match text.trim_ascii() {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => return Err(Malformed("IsTruncated is neither true nor false")),
                };
            }
            ["ListBucketResult", "NextContinuationToken"] if !text.is_empty() => {
                if text.len() > MAX_TOKEN_BYTES {
                    return Err(Malformed("its continuation token is too long"));
                }
                continuation = Some(text.to_owned());
            }
            [root] if *root != "ListBucketResult" => {
                return Err(Malformed("it is no ListBucketResult"));
            }
            _ => {}
        }
        Ok(())
    })?;
    if is_encoded {
        for entry in &mut entries {
            entry.key = decode_url(&entry.key).ok_or(Malformed("a key is wrongly encoded"))?;
        }
    }
    match (is_truncated, continuation) {
        (Some(false), _) => Ok((entries, None)),
        (Some(true), Some(token)) => Ok((entries, Some(token))),
        (Some(true), None) => Err(Malformed("it goes on without saying where")),
        // Absent must not be read as the end: the tail would be missed.
        (None, _) => Err(Malformed("it does not say whether it is complete")),
    }
}
