//! The `<Error>` document of S3, and what a reply that is not a success means
//! for a request that changes nothing or was certainly not applied.

use super::config::Config;
use super::encoding::decimal as digits;
use super::port::{Error, visible};
use super::response::{End, Headers, Response, decimal};
use super::time::iso_8601_ms;
use super::xml::walk;

/// Most characters of a store's message that are passed on.
const MAX_MESSAGE_CHARS: usize = 200;
/// How long to wait when the store asks to slow down without saying how long.
/// R2 and Google allow one write per second and key.
const DEFAULT_WAIT_MS: u32 = 1_000;
/// The longest wait that is passed on.
const MAX_WAIT_MS: u32 = 60_000;

/// The parts of an error document that are used.
///
/// Others, such as `StringToSign` and `AWSAccessKeyId`, echo the request and are
/// never kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorDocument {
    /// The code, ASCII letters and digits only; empty if there is none.
    pub code: String,
    message: String,
    region: String,
    /// The store's clock, in the reply to a request whose time is off.
    pub server_time_ms: Option<u64>,
    max_size: Option<u64>,
}

impl ErrorDocument {
    /// Reads a document; one that cannot be read is empty.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let mut document = Self::default();
        let read = walk(body, &mut |path, text| {
            match path {
                ["Error", "Code"] if is_code(text) => document.code = text.to_owned(),
                ["Error", "Message"] => {
                    document.message =
                        visible(text.trim_ascii().trim_end_matches('.'), MAX_MESSAGE_CHARS);
                }
                ["Error", "Region"] if is_region(text) => document.region = text.to_owned(),
                ["Error", "ServerTime"] => document.server_time_ms = iso_8601_ms(text),
                ["Error", "MaxSizeAllowed"] => document.max_size = decimal(text),
                _ => {}
            }
            Ok(())
        });
        match read {
            Ok(()) => document,
            Err(_) => Self::default(),
        }
    }

    /// Whether the document is one: some stores answer 200 with an error.
    #[must_use]
    pub fn is_present(&self) -> bool {
        !self.code.is_empty()
    }

    fn quote(&self, status: u16, config: &Config) -> String {
        let mut text = ["HTTP ", &digits(status.into())].concat();
        for part in [&self.code, &self.message] {
            if !part.is_empty() && !config.credentials.appear_in(part) {
                text.push_str(": ");
                text.push_str(part);
            }
        }
        text
    }
}

fn is_code(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_region(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// How long the store wants the caller to wait. `Retry-After` may also hold a
/// date, which is not worth its code here.
#[must_use]
pub fn wait_ms(headers: &Headers) -> u32 {
    headers
        .retry_after
        .as_deref()
        .and_then(decimal)
        .and_then(|seconds| {
            u32::try_from(seconds.saturating_mul(1000))
                .ok()
                .or(Some(MAX_WAIT_MS))
        })
        .map_or(DEFAULT_WAIT_MS, |ms| ms.min(MAX_WAIT_MS))
}

/// Whether the store refused the request because of its load, before it did
/// anything. MinIO's `SlowDownWrite` is not among the codes: it reports a write
/// that some drives took and too many did not (`errErasureWriteQuorum`).
#[must_use]
pub fn is_throttled(status: u16, document: &ErrorDocument) -> bool {
    status == 429 || (status == 503 && document.code == "SlowDown")
}

/// What a reply that is not a success means, once it is clear that the request
/// changed nothing.
#[must_use]
pub fn refusal(response: &Response, document: &ErrorDocument, config: &Config) -> Error {
    let status = response.status;
    let quote = || document.quote(status, config);
    let because = |advice: &str| [&quote(), ". ", advice].concat();
    if is_throttled(status, document) {
        return Error::Throttled(wait_ms(&response.headers));
    }
    match document.code.as_str() {
        "NoSuchBucket" => return Error::NoSuchBucket(config.address.bucket.clone()),
        "ExpiredToken" | "TokenRefreshRequired" => {
            return Error::AccessDenied(because(
                "The temporary credentials have expired: renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
            ));
        }
        "InvalidToken" => {
            return Error::AccessDenied(because("Check AWS_SESSION_TOKEN"));
        }
        "InvalidAccessKeyId" => {
            return Error::AccessDenied(because("Check AWS_ACCESS_KEY_ID"));
        }
        "SignatureDoesNotMatch" => {
            return Error::AccessDenied(because(
                "Check AWS_SECRET_ACCESS_KEY and AWS_REGION, and that no proxy changes requests",
            ));
        }
        "RequestTimeTooSkewed" | "RequestExpired" => {
            return Error::AccessDenied(because(
                "The signature has expired: the clock of this host is wrong and the store does not tell the time, or requests take too long to get there",
            ));
        }
        "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "PermanentRedirect"
        | "TemporaryRedirect" => return elsewhere(response, document, &quote()),
        "EntityTooLarge" => {
            return Error::TooLarge(document.max_size.unwrap_or(config.limits.object_bytes));
        }
        "NotImplemented" | "MethodNotAllowed" => return Error::Unsupported(quote()),
        // The body did not arrive as it was sent; S3 stores nothing then.
        "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody" | "RequestTimeout" => {
            return Error::Unavailable(quote());
        }
        _ => {}
    }
    // The code says what these two mean, and it did not arrive.
    if matches!(status, 400 | 404) && document.code.is_empty() && is_cut_short(response) {
        return Error::Unavailable([&quote(), ". The reply is shorter than announced"].concat());
    }
    match status {
        304 => Error::Other(quote()),
        300..=399 => elsewhere(response, document, &quote()),
        401 | 403 => Error::AccessDenied(quote()),
        405 | 501 => Error::Unsupported(quote()),
        404 if document.code.is_empty() => Error::Other(because(
            "This is not the answer of an S3 API: check AWS_ENDPOINT_URL_S3 and IFMATCH_ADDRESSING",
        )),
        408 | 500..=599 => Error::Unavailable(quote()),
        413 => Error::TooLarge(document.max_size.unwrap_or(config.limits.object_bytes)),
        _ => Error::Other(quote()),
    }
}

/// Whether the connection lost a part of the body. A body that was too long to be
/// taken whole is another matter.
fn is_cut_short(response: &Response) -> bool {
    match &response.end {
        End::Complete => !response.is_whole(),
        End::Broken(_) => true,
        End::Cut | End::OverBudget => false,
    }
}

/// The bucket is in another region, or at another endpoint. Redirects are never
/// followed: where data and signatures go is the operator's decision.
fn elsewhere(response: &Response, document: &ErrorDocument, quote: &str) -> Error {
    let told = response
        .headers
        .bucket_region
        .as_deref()
        .filter(|region| is_region(region));
    let region = told.unwrap_or(&document.region);
    Error::Misconfigured(if region.is_empty() {
        [
            "AWS_REGION or AWS_ENDPOINT_URL_S3 does not fit the bucket (",
            quote,
            ")",
        ]
        .concat()
    } else {
        [
            "AWS_REGION must be ",
            region,
            ", where the bucket is (",
            quote,
            ")",
        ]
        .concat()
    })
}
