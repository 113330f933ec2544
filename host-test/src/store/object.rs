//! Requests for one object.

use super::error::S3Error;
use super::{Change, Quirk, Request, Response, Store, auth, date, set};
use crate::clock::UnixMs;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use md5::Md5;
use sha2::{Digest, Sha256};

/// Longest key that S3 takes, in bytes of UTF-8.
const MAX_KEY_BYTES: usize = 1024;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub body: Bytes,
    /// Its entity tag, with quotes.
    pub etag: String,
    /// When it was written.
    pub modified_at: UnixMs,
}

fn header(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An entity tag without its quotes: S3 takes both forms.
fn bare(etag: &str) -> &str {
    etag.trim().trim_matches('"')
}

fn reply(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Conditions that this store does not know. Ignoring one would be unsafe.
fn refuse_headers(headers: &HeaderMap, names: &[HeaderName]) -> Result<(), S3Error> {
    match names.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(S3Error::not_implemented(format!("The header {name} here"))),
        None => Ok(()),
    }
}

/// The part of a body that `Range` asks for.
enum Part {
    /// Everything: there is no range, or none that is understood.
    Whole,
    /// From the first up to, not including, the second.
    Bytes(usize, usize),
    /// Nothing that exists.
    Unsatisfiable,
}

fn part(range: Option<&str>, size: usize) -> Part {
    // RFC 9110 lets a server ignore a range that it does not understand.
    let Some((first, last)) = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .filter(|range| !range.contains(','))
        .and_then(|range| range.split_once('-'))
    else {
        return Part::Whole;
    };
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first > last => Part::Whole,
        (Ok(first), _) if first >= size => Part::Unsatisfiable,
        (Ok(first), Ok(last)) => Part::Bytes(first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => Part::Bytes(first, size),
        (Err(_), Ok(0)) if first.is_empty() => Part::Unsatisfiable,
        (Err(_), Ok(_)) if first.is_empty() && size == 0 => Part::Unsatisfiable,
        (Err(_), Ok(suffix)) if first.is_empty() => Part::Bytes(size.saturating_sub(suffix), size),
        _ => Part::Whole,
    }
}

impl Store {
    pub(super) fn get_object(
        &self,
        request: &Request,
        bucket: &str,
        key: &str,
    ) -> Result<Response, S3Error> {
        let headers = request.headers();
        refuse_headers(
            headers,
            &[
                header::IF_MODIFIED_SINCE,
                header::IF_UNMODIFIED_SINCE,
                header::IF_RANGE,
            ],
        )?;
        let object = self
            .object(bucket, key)
            .ok_or_else(|| S3Error::no_such_key(key))?;
        if let Some(wanted) = header(headers, header::IF_MATCH)
            && wanted != "*"
            && bare(wanted) != bare(&object.etag)
        {
            return Err(S3Error::precondition_failed("If-Match"));
        }
        let unless = header(headers, header::IF_NONE_MATCH);
        if unless.is_some_and(|unless| {
            unless == "*" || unless.split(',').any(|tag| bare(tag) == bare(&object.etag))
        }) {
            let mut response = reply(StatusCode::NOT_MODIFIED, Bytes::new());
            describe(&mut response, object);
            return Ok(response);
        }
        let size = object.body.len();
        let mut response = match part(header(headers, header::RANGE), size) {
            Part::Whole => reply(StatusCode::OK, object.body.clone()),
            Part::Bytes(start, end) => {
                let mut response =
                    reply(StatusCode::PARTIAL_CONTENT, object.body.slice(start..end));
                let range = format!("bytes {start}-{}/{size}", end - 1);
                set(&mut response, header::CONTENT_RANGE, &range);
                response
            }
            Part::Unsatisfiable => {
                return Err(S3Error::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "InvalidRange",
                    "The requested range is not satisfiable.",
                )
                .detail("ActualObjectSize", size.to_string())
                .header(header::CONTENT_RANGE, format!("bytes */{size}")));
            }
        };
        describe(&mut response, object);
        set(&mut response, header::CONTENT_TYPE, "binary/octet-stream");
        Ok(response)
    }

    pub(super) fn put_object(
        &mut self,
        request: &Request,
        bucket: &str,
        key: &str,
        now: UnixMs,
    ) -> Result<Response, S3Error> {
        let (headers, body) = (request.headers(), request.body());
        if headers.contains_key("x-amz-copy-source") {
            return Err(S3Error::not_implemented("CopyObject"));
        }
        refuse_headers(
            headers,
            &[header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE],
        )?;
        if key.len() > MAX_KEY_BYTES {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "KeyTooLongError",
                "Your key is too long",
            ));
        }
        check_length(headers, body)?;
        if body.len() > self.options.max_object_bytes {
            let limit = self.options.max_object_bytes.to_string();
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "EntityTooLarge",
                "The object is too large.",
            )
            .detail("MaxSizeAllowed", limit));
        }
        check_digests(headers, body)?;
        self.check_precondition(headers, bucket, key, now)?;
        let object = Object {
            body: body.clone(),
            etag: self.etag_of(body),
            modified_at: now,
        };
        let mut response = reply(StatusCode::OK, Bytes::new());
        set(&mut response, header::ETAG, &object.etag);
        if let Some(sum) = header(headers, "x-amz-checksum-sha256") {
            set(
                &mut response,
                HeaderName::from_static("x-amz-checksum-sha256"),
                sum,
            );
        }
        self.apply(Change::Put(bucket.to_owned(), key.to_owned(), object));
        Ok(response)
    }

    pub(super) fn delete_object(
        &mut self,
        request: &Request,
        bucket: &str,
        key: &str,
    ) -> Result<Response, S3Error> {
        refuse_headers(
            request.headers(),
            &[header::IF_MATCH, header::IF_NONE_MATCH],
        )?;
        self.apply(Change::Delete(bucket.to_owned(), key.to_owned()));
        Ok(reply(StatusCode::NO_CONTENT, Bytes::new()))
    }

    /// Whether a conditional write may take effect.
    fn check_precondition(
        &self,
        headers: &HeaderMap,
        bucket: &str,
        key: &str,
        now: UnixMs,
    ) -> Result<(), S3Error> {
        let current = self.object_seen_by_conditions(bucket, key, now);
        match (
            header(headers, header::IF_NONE_MATCH),
            header(headers, header::IF_MATCH),
        ) {
            (None, None) => Ok(()),
            (Some(_), Some(_)) => Err(S3Error::not_implemented(
                "If-Match together with If-None-Match",
            )),
            (Some(none_match), None) => {
                if none_match.trim() != "*" {
                    return Err(S3Error::not_implemented(
                        "If-None-Match with an entity tag on a write",
                    ));
                }
                let ignored = self.has(&Quirk::IgnoresIfNoneMatch);
                match current {
                    Some(_) if !ignored => Err(S3Error::precondition_failed("If-None-Match")),
                    _ => Ok(()),
                }
            }
            (None, Some(wanted)) => {
                if wanted.trim() == "*" {
                    return Err(S3Error::not_implemented("If-Match: * on a write"));
                }
                if self.has(&Quirk::IgnoresIfMatch) {
                    return Ok(());
                }
                let Some(current) = current else {
                    return Err(match self.has(&Quirk::MissingKeyFailsPrecondition) {
                        true => S3Error::precondition_failed("If-Match"),
                        false => S3Error::no_such_key(key),
                    });
                };
                let holds = match self.has(&Quirk::ComparesIfMatchLiterally) {
                    // Such stores keep the tag without quotes.
                    true => wanted == bare(&current.etag),
                    false => bare(wanted) == bare(&current.etag),
                };
                if holds {
                    Ok(())
                } else {
                    Err(S3Error::precondition_failed("If-Match"))
                }
            }
        }
    }

    fn etag_of(&self, body: &[u8]) -> String {
        let mut digest = Md5::new();
        digest.update(body);
        if self.has(&Quirk::OpaqueEtags) {
            digest.update(self.traffic().next_number().to_be_bytes());
        }
        format!("\"{}\"", auth::hex(&digest.finalize()))
    }
}

fn describe(response: &mut Response, object: &Object) {
    set(response, header::ETAG, &object.etag);
    set(
        response,
        header::LAST_MODIFIED,
        &date::http(object.modified_at),
    );
    set(response, header::ACCEPT_RANGES, "bytes");
}

/// S3 wants the length announced, and all of it.
pub(super) fn check_length(headers: &HeaderMap, body: &[u8]) -> Result<(), S3Error> {
    let announced =
        header(headers, header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    match announced {
        None => Err(S3Error::new(
            StatusCode::LENGTH_REQUIRED,
            "MissingContentLength",
            "The header Content-Length is missing.",
        )),
        Some(length) if length != body.len() => Err(S3Error::new(
            StatusCode::BAD_REQUEST,
            "IncompleteBody",
            "The body does not have the announced length.",
        )),
        Some(_) => Ok(()),
    }
}

/// Checks the digests that a request carries, and says whether it has any.
pub(super) fn check_digests(headers: &HeaderMap, body: &[u8]) -> Result<bool, S3Error> {
    let bad = |code, message| Err(S3Error::new(StatusCode::BAD_REQUEST, code, message));
    let mut any = false;
    if let Some(sum) = header(headers, "x-amz-checksum-sha256") {
        any = true;
        match BASE64.decode(sum) {
            Ok(expected) if expected.len() == 32 => {
                if expected != Sha256::digest(body).as_slice() {
                    return bad(
                        "BadDigest",
                        "The SHA256 you specified did not match the calculated checksum.",
                    );
                }
            }
            _ => {
                return Err(S3Error::invalid_request(
                    "Value for x-amz-checksum-sha256 header is invalid.",
                ));
            }
        }
    }
    if let Some(sum) = header(headers, "content-md5") {
        any = true;
        match BASE64.decode(sum) {
            Ok(expected) if expected.len() == 16 => {
                if expected != Md5::digest(body).as_slice() {
                    return bad(
                        "BadDigest",
                        "The Content-MD5 you specified did not match what we received.",
                    );
                }
            }
            _ => {
                return bad(
                    "InvalidDigest",
                    "The Content-MD5 you specified is not valid.",
                );
            }
        }
    }
    let unknown = headers
        .keys()
        .map(HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-checksum-") && *name != "x-amz-checksum-sha256");
    match unknown {
        Some(name) => Err(S3Error::not_implemented(format!("The header {name}"))),
        None => Ok(any),
    }
}
