//! ListObjectsV2 and the multi-object delete.

use super::error::S3Error;
use super::object::{Object, check_digests, check_length};
use super::uri::{Query, encode};
use super::{Change, Quirk, Request, Response, Store, date, set, xml};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http::header;

/// Most keys in one page, and in one multi-object delete.
const MAX_KEYS: usize = 1000;

/// What a listing is asked for.
struct Wanted<'a> {
    prefix: &'a str,
    start_after: Option<&'a str>,
    token: Option<&'a str>,
    max_keys: usize,
    url_encoded: bool,
}

impl<'a> Wanted<'a> {
    fn of(query: &'a Query) -> Result<Self, S3Error> {
        if query.get("list-type") != Some("2") {
            return Err(S3Error::not_implemented("The first version of the listing"));
        }
        if query
            .get("delimiter")
            .is_some_and(|delimiter| !delimiter.is_empty())
        {
            return Err(S3Error::not_implemented("A delimiter"));
        }
        let max_keys = match query.get("max-keys") {
            None => MAX_KEYS,
            Some(text) => text
                .parse::<u32>()
                .map_err(|_| S3Error::invalid_argument("max-keys must be a number."))?
                .min(MAX_KEYS as u32) as usize,
        };
        let url_encoded = match query.get("encoding-type") {
            None => false,
            Some("url") => true,
            Some(_) => {
                return Err(S3Error::invalid_argument(
                    "Invalid Encoding Method specified in Request",
                ));
            }
        };
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default(),
            start_after: query.get("start-after"),
            token: query.get("continuation-token"),
            max_keys,
            url_encoded,
        })
    }

    /// The key after which the page begins. A token wins over `start-after`.
    fn after(&self) -> Result<Option<String>, S3Error> {
        let Some(token) = self.token else {
            return Ok(self.start_after.map(str::to_owned));
        };
        let wrong = || S3Error::invalid_argument("The continuation token provided is incorrect");
        let bytes = BASE64.decode(token).map_err(|_| wrong())?;
        String::from_utf8(bytes).map(Some).map_err(|_| wrong())
    }

    /// A name as the document shows it.
    fn shown(&self, name: &str) -> String {
        match self.url_encoded {
            true => encode(name.as_bytes(), true).replace("%20", "+"),
            false => name.to_owned(),
        }
    }
}

impl Store {
    pub(super) fn list_objects(&self, bucket: &str, query: &Query) -> Result<Response, S3Error> {
        let wanted = Wanted::of(query)?;
        let after = wanted.after()?;
        let mut found: Vec<(&str, &Object)> = self
            .objects(bucket)
            .filter(|(key, _)| key.starts_with(wanted.prefix))
            .filter(|(key, _)| after.as_deref().is_none_or(|after| *key > after))
            .collect();
        if self.has(&Quirk::UnsortedListings) {
            // Any order that is not the right one will do, if it is repeatable.
            found.sort_by_key(|(key, _)| super::auth::hex(&<md5::Md5 as md5::Digest>::digest(key)));
        }
        let limit = match self.has(&Quirk::IgnoresMaxKeys) {
            true => MAX_KEYS,
            false => wanted.max_keys,
        };
        let limit = self.options.max_page_keys.min(limit);
        // A page of nothing is complete: there would be no key to go on from.
        let truncated = found.len() > limit && limit > 0;
        found.truncate(limit);
        Ok(page(bucket, &wanted, &found, truncated))
    }

    pub(super) fn delete_objects(
        &mut self,
        request: &Request,
        bucket: &str,
    ) -> Result<Response, S3Error> {
        check_length(request.headers(), request.body())?;
        if !check_digests(request.headers(), request.body())? {
            return Err(S3Error::invalid_request(
                "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
            ));
        }
        let delete = xml::parse_delete(request.body())?;
        if delete.keys.len() > MAX_KEYS {
            return Err(S3Error::malformed_xml());
        }
        let mut document = xml::Document::in_namespace("DeleteResult");
        for key in delete.keys {
            if !delete.quiet {
                document.open("Deleted");
                document.text("Key", &key);
                document.close();
            }
            self.apply(Change::Delete(bucket.to_owned(), key));
        }
        Ok(xml_reply(document))
    }
}

fn page(bucket: &str, wanted: &Wanted, found: &[(&str, &Object)], truncated: bool) -> Response {
    let mut document = xml::Document::in_namespace("ListBucketResult");
    document.text("Name", bucket);
    document.text("Prefix", &wanted.shown(wanted.prefix));
    if let Some(start_after) = wanted.start_after {
        document.text("StartAfter", &wanted.shown(start_after));
    }
    if let Some(token) = wanted.token {
        document.text("ContinuationToken", token);
    }
    document.text("KeyCount", &found.len().to_string());
    document.text("MaxKeys", &wanted.max_keys.to_string());
    if wanted.url_encoded {
        document.text("EncodingType", "url");
    }
    document.text("IsTruncated", &truncated.to_string());
    if let Some((last, _)) = found.last().filter(|_| truncated) {
        document.text("NextContinuationToken", &BASE64.encode(last));
    }
    for (key, object) in found {
        document.open("Contents");
        document.text("Key", &wanted.shown(key));
        document.text("LastModified", &date::iso(object.modified_at));
        document.text("ETag", &object.etag);
        document.text("Size", &object.body.len().to_string());
        document.text("StorageClass", "STANDARD");
        document.close();
    }
    xml_reply(document)
}

fn xml_reply(document: xml::Document) -> Response {
    let mut response = Response::new(Bytes::from(document.finish()));
    set(&mut response, header::CONTENT_TYPE, "application/xml");
    response
}
