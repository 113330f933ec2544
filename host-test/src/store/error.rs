//! S3's error replies.

use super::{Response, xml};
use bytes::Bytes;
use http::{StatusCode, header};

/// A refusal, as S3 words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Error {
    /// The HTTP status.
    pub status: StatusCode,
    /// The name that clients match on.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Further elements of the XML document.
    pub details: Vec<(&'static str, String)>,
    /// Further headers of the reply.
    pub headers: Vec<(header::HeaderName, String)>,
}

impl S3Error {
    /// An error with nothing but a code and a message.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Adds an element to the document.
    pub fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Adds a header to the reply.
    pub fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The credentials do not allow it.
    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    /// A parameter has a value that it cannot have.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    /// The request as a whole makes no sense.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    /// The body is not the document that was expected.
    pub fn malformed_xml() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "MalformedXML",
            "The document is not a valid list of keys.",
        )
    }

    /// This store does not do that.
    pub fn not_implemented(what: impl AsRef<str>) -> Self {
        let message = format!("{} is not implemented.", what.as_ref());
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    /// There is no object.
    pub fn no_such_key(key: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NoSuchKey",
            "There is no object at this key.",
        )
        .detail("Key", key)
    }

    /// There is no bucket.
    pub fn no_such_bucket(bucket: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NoSuchBucket",
            "There is no bucket of this name.",
        )
        .detail("BucketName", bucket)
    }

    /// `condition` did not hold.
    pub fn precondition_failed(condition: &str) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "A precondition did not hold.",
        )
        .detail("Condition", condition)
    }

    /// A conditional write met another one. Nothing was written.
    pub fn conditional_conflict() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "ConditionalRequestConflict",
            "Another request to this key was in progress. Nothing was written.",
        )
    }

    /// Too many requests. Nothing was applied.
    pub fn slow_down(status: StatusCode) -> Self {
        Self::new(status, "SlowDown", "Reduce the request rate.")
    }

    /// The store failed; it does not say how far it got.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "The store failed. Try again.",
        )
    }

    /// The store is not there; it does not say for how long.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "The store is not available. Try again.",
        )
    }

    /// The reply. `resource` is the path of the request.
    pub fn into_response(self, resource: &str) -> Response {
        let mut document = xml::Document::plain("Error");
        document.text("Code", self.code);
        document.text("Message", &self.message);
        for (name, value) in &self.details {
            document.text(name, value);
        }
        document.text("Resource", resource);
        let mut response = Response::new(Bytes::from(document.finish()));
        *response.status_mut() = self.status;
        super::set(&mut response, header::CONTENT_TYPE, "application/xml");
        for (name, value) in self.headers {
            super::set(&mut response, name, &value);
        }
        response
    }
}
