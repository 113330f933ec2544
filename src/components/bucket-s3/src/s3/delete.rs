//! DeleteObjects.

use md5::{Digest, Md5};

use super::address::Address;
use super::canonical_request::Query;
use super::config::Config;
use super::encoding::base64;
use super::error_document::{ErrorDocument, refusal, wait_ms};
use super::port::{Error, Key, visible};
use super::request::{Method, Request};
use super::response::{Beyond, End, Reading, Response};
use super::xml::{Malformed, walk};

/// Most bytes of a reply: an error for each of 1000 keys.
const MAX_REPLY_BYTES: u64 = 4 << 20;
/// Most characters that are quoted of a key that could not be deleted.
const MAX_QUOTED_CHARS: usize = 800;

/// The body of a request that deletes `keys`.
///
/// Nothing in it needs escaping: neither keys nor prefixes can hold markup.
#[must_use]
pub fn body(keys: &[Key], prefix: &str) -> Vec<u8> {
    let mut text = String::from(
        "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>",
    );
    for key in keys {
        for part in ["<Object><Key>", prefix, key.as_str(), "</Key></Object>"] {
            text.push_str(part);
        }
    }
    text.push_str("</Delete>");
    text.into_bytes()
}

/// The request.
///
/// `Content-MD5` is the integrity header that every store takes here; several
/// refuse the request without it, and know no other.
#[must_use]
pub fn request<'a>(address: &Address, body: &'a [u8]) -> Request<'a> {
    let mut query = Query::new();
    query.push("delete", "");
    Request::new(Method::Post, address.bucket_path(), query, Some(body))
        .header("content-md5", base64(Md5::digest(body).as_slice()))
        .header("content-type", "application/xml".to_owned())
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

/// What a reply means.
///
/// # Errors
/// The errors of the port. Some keys may have been deleted.
pub fn outcome(response: &Response, config: &Config) -> Result<(), Error> {
    if response.status != 200 {
        return Err(refusal(
            response,
            &ErrorDocument::parse(&response.body),
            config,
        ));
    }
    if !response.is_whole() {
        return Err(Error::Unavailable(match &response.end {
            End::Broken(why) => ["the reply broke off: ", why].concat(),
            _ => "the reply is shorter or longer than announced".to_owned(),
        }));
    }
    match first_failure(&response.body) {
        Ok(None) => Ok(()),
        Ok(Some(failure)) => Err(failure.error(response, config)),
        Err(Malformed(why)) => Err(Error::Other(
            ["the reply to a delete cannot be read: ", why].concat(),
        )),
    }
}

#[derive(Default)]
struct KeyFailure {
    key: String,
    code: String,
}

impl KeyFailure {
    fn error(&self, response: &Response, config: &Config) -> Error {
        let key = self.key.strip_prefix(&config.prefix).unwrap_or(&self.key);
        let text = [
            &visible(key, MAX_QUOTED_CHARS),
            " was not deleted: ",
            &visible(&self.code, 64),
        ]
        .concat();
        match self.code.as_str() {
            "AccessDenied" => Error::AccessDenied(text),
            "SlowDown" => Error::Throttled(wait_ms(&response.headers)),
            "InternalError" | "ServiceUnavailable" => Error::Unavailable(text),
            "NotImplemented" => Error::Unsupported(text),
            _ => Error::Other(text),
        }
    }
}

fn first_failure(document: &[u8]) -> Result<Option<KeyFailure>, Malformed> {
    let mut failure = None;
    let mut current = KeyFailure::default();
    walk(document, &mut |path, text| {
        match path {
            ["DeleteResult", "Error", "Key"] => current.key = text.to_owned(),
            ["DeleteResult", "Error", "Code"] => current.code = text.trim_ascii().to_owned(),
            ["DeleteResult", "Error"] => {
                let ended = core::mem::take(&mut current);
                // Absent is what was asked for.
                if ended.code != "NoSuchKey" && failure.is_none() {
                    failure = Some(ended);
                }
            }
            [root] if *root != "DeleteResult" => return Err(Malformed("it is no DeleteResult")),
            _ => {}
        }
        Ok(())
    })?;
    Ok(failure)
}
