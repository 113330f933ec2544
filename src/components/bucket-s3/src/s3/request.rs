//! A request before and after it is signed.

use super::canonical_request::{CanonicalRequest, Query, SignedHeaders};
use super::config::Config;
use super::encoding::decimal;
use super::signature::{ALGORITHM, SHA256_HEX_EMPTY, Signer, UNSIGNED_PAYLOAD, sha256_hex};
use super::time::AmzDate;

/// The methods that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Writes.
    Put,
    /// Deletes many.
    Post,
}

impl Method {
    /// The method's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
        }
    }
}

/// A request, still without time and signature: it can be signed again.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The encoded path.
    pub path: String,
    /// The query.
    pub query: Query,
    /// Headers to sign beside those that every request carries.
    pub headers: Vec<(&'static str, String)>,
    /// The body, if the method has one.
    pub body: Option<&'a [u8]>,
    payload: String,
}

/// A request as it is sent. The authority is the configuration's.
#[derive(Clone, Debug)]
pub struct SignedRequest<'a> {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// All headers but `Host`, which a guest of `wasi:http` cannot set: the host
    /// sends the authority, which is what is signed.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// A request whose body, if any, is covered by the signature.
    #[must_use]
    pub fn new(method: Method, path: String, query: Query, body: Option<&'a [u8]>) -> Self {
        let payload = body.map_or_else(|| SHA256_HEX_EMPTY.to_owned(), sha256_hex);
        Self {
            method,
            path,
            query,
            headers: Vec::new(),
            body,
            payload,
        }
    }

    /// The same with a body of which the signature says nothing, which saves its hash.
    /// Conditions and key stay signed.
    #[must_use]
    pub fn with_unsigned(method: Method, path: String, query: Query, body: &'a [u8]) -> Self {
        Self {
            body: Some(body),
            payload: UNSIGNED_PAYLOAD.to_owned(),
            ..Self::new(method, path, query, None)
        }
    }

    /// Adds a header to sign.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Signs by header, for one point in time.
    ///
    /// The conditions are among the signed headers: a proxy that dropped
    /// `If-None-Match` would break the signature instead of the guarantee.
    #[must_use]
    pub fn sign(&self, config: &Config, signer: &Signer, unix_ms: u64) -> SignedRequest<'a> {
        let at = AmzDate::at(unix_ms);
        let mut headers = SignedHeaders::new();
        headers.push("host", &config.address.authority);
        headers.push("x-amz-content-sha256", &self.payload);
        headers.push("x-amz-date", at.as_str());
        if let Some(token) = &config.credentials.session_token {
            headers.push("x-amz-security-token", token.expose());
        }
        for (name, value) in &self.headers {
            headers.push(name, value);
        }
        let query = self.query.canonical();
        let signature = signer.sign(
            &CanonicalRequest {
                method: self.method.as_str(),
                path: &self.path,
                query: &query,
                headers: &headers,
                payload: &self.payload,
            },
            &at,
        );
        let authorization = [
            ALGORITHM,
            " Credential=",
            config.credentials.access_key_id.expose(),
            "/",
            &signer.scope().text(&at),
            ",SignedHeaders=",
            &headers.names(),
            ",Signature=",
            &signature,
        ]
        .concat();
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut sent = headers.sent();
        sent.push(("authorization".to_owned(), authorization));
        // Not signed: proxies rewrite these.
        sent.push(own("accept-encoding", "identity"));
        if self.method == Method::Get {
            // Some hosts send requests through a cache, such as that of a browser,
            // which may guess how long a reply stays fresh.
            sent.push(own("cache-control", "no-cache"));
        }
        if let Some(body) = self.body {
            // Without it a host would send the body in chunks, which S3 refuses.
            sent.push(own(
                "content-length",
                &decimal(u64::try_from(body.len()).unwrap_or(u64::MAX)),
            ));
        }
        let mut target = self.path.clone();
        if !query.is_empty() {
            target.push('?');
            target.push_str(&query);
        }
        SignedRequest {
            method: self.method,
            target,
            headers: sent,
            body: self.body,
        }
    }
}
