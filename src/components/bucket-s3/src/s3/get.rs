//! GetObject.

use super::address::Address;
use super::canonical_request::Query;
use super::config::{Config, EtagForm};
use super::encoding::decimal;
use super::error_document::{ErrorDocument, refusal};
use super::port::{Error, Found, Key, Metadata, Object, Reply, Span, Version};
use super::request::{Method, Request};
use super::response::{Beyond, Budget, End, Reading, Response};

/// A read whose arguments have been checked.
#[derive(Clone, Debug)]
pub struct GetObject {
    /// The key.
    pub key: Key,
    /// Which bytes; at least one.
    pub span: Span,
    /// Version that need not be sent again.
    pub unless: Option<Version>,
}

/// An entity tag as it stands in a condition.
#[must_use]
pub fn condition(version: &Version, form: EtagForm) -> String {
    match form {
        EtagForm::Quoted => ["\"", &version.0, "\""].concat(),
        EtagForm::Unquoted => version.0.clone(),
    }
}

/// What a reply to a read leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer.
    Done(Reply),
    /// The object is empty, so that no range of it can be had: read it whole.
    WithoutRange,
}

impl GetObject {
    /// The request.
    #[must_use]
    pub fn request(&self, address: &Address, prefix: &str, form: EtagForm) -> Request<'static> {
        let path = address.object_path(&[prefix, self.key.as_str()].concat());
        let mut request = Request::new(Method::Get, path, Query::new(), None);
        if let Span::First(bytes) = self.span {
            let last = decimal(bytes.saturating_sub(1).into());
            request = request.header("range", ["bytes=0-", &last].concat());
        }
        match &self.unless {
            Some(version) => request.header("if-none-match", condition(version, form)),
            None => request,
        }
    }

    /// How much of the body to take. A store that ignores the range must not
    /// make us hold the whole object.
    #[must_use]
    pub fn reading<'a>(&self, config: &Config, budget: &'a Budget) -> Reading<'a> {
        let whole = config.limits.object_bytes;
        match self.span {
            Span::All => Reading {
                limit: whole,
                beyond: Beyond::Refuse,
                budget: Some(budget),
            },
            Span::First(bytes) => Reading {
                limit: whole.min(bytes.into()),
                beyond: Beyond::Cut,
                budget: Some(budget),
            },
        }
    }

    /// What a reply means.
    ///
    /// # Errors
    /// The errors of the port.
    pub fn step(&self, response: Response, config: &Config) -> Result<Step, Error> {
        if response.headers.is_cached() {
            return Err(cached());
        }
        let observed_at = response.headers.observed_at();
        let done = |found| Ok(Step::Done(Reply { found, observed_at }));
        match response.status {
            200 | 206 => done(self.object(response, config)?),
            304 if self.unless.is_some() => done(Found::Unchanged),
            416 if self.span != Span::All => Ok(Step::WithoutRange),
            status => {
                let document = ErrorDocument::parse(&response.body);
                // Absence is what the protocols build on: only the store's own
                // word counts, not the 404 of a proxy or of a wrong endpoint.
                if status == 404 && document.code == "NoSuchKey" {
                    return done(Found::Absent);
                }
                Err(refusal(&response, &document, config))
            }
        }
    }

    fn object(&self, response: Response, config: &Config) -> Result<Found, Error> {
        let size = match (&response.end, self.span) {
            (End::OverBudget, _) => return Err(Error::TooLarge(config.limits.batch_bytes)),
            (End::Broken(why), _) => {
                return Err(Error::Unavailable(["the reply broke off: ", why].concat()));
            }
            (End::Cut, Span::All) => return Err(Error::TooLarge(config.limits.object_bytes)),
            (End::Cut, Span::First(bytes)) if config.limits.object_bytes < bytes.into() => {
                return Err(Error::TooLarge(config.limits.object_bytes));
            }
            (_, span) => size(&response, span)?,
        };
        let version = response.headers.version().ok_or_else(|| {
            Error::Unsupported("the store, or a proxy before it, gives no strong ETag".to_owned())
        })?;
        Ok(Found::Object(Object {
            metadata: Metadata {
                key: self.key.as_str().to_owned(),
                version,
                size_bytes: size,
                modified_at: response.headers.modified_at(),
            },
            body: response.body,
        }))
    }
}

/// The error for a reply that is not the store's own.
#[must_use]
pub fn cached() -> Error {
    Error::Unsupported("a cache before the store answers with old replies (Age)".to_owned())
}

/// The size of the whole object, once it is clear that all bytes asked for came.
fn size(response: &Response, span: Span) -> Result<u64, Error> {
    let truncated = || Error::Unavailable("the reply is shorter than announced".to_owned());
    let length = u64::try_from(response.body.len()).map_err(|_| truncated())?;
    let stated = response.headers.content_length();
    match (response.status, span) {
        (200, Span::All) => response.is_whole().then_some(length).ok_or_else(truncated),
        (200, Span::First(_)) => match (&response.end, stated) {
            (End::Complete, _) => response.is_whole().then_some(length).ok_or_else(truncated),
            (_, Some(stated)) => Ok(stated),
            (_, None) => Err(Error::Unsupported(
                "the store ignores ranges and gives no Content-Length".to_owned(),
            )),
        },
        (206, Span::First(asked)) => {
            let Some((first, last, size)) = response.headers.content_range() else {
                return Err(Error::Unsupported(
                    "the store gives no Content-Range".to_owned(),
                ));
            };
            let due = size.min(asked.into());
            if first == 0 && length == due && last >= due.saturating_sub(1) && last < size {
                Ok(size)
            } else {
                Err(truncated())
            }
        }
        _ => Err(Error::Other(
            "the store gave a part of an object that was asked for whole".to_owned(),
        )),
    }
}
