//! Requests that are authenticated by their query, for somebody without
//! credentials.

use super::canonical_request::{CanonicalRequest, Query, SignedHeaders};
use super::config::Config;
use super::encoding::{base64, decimal, unhex};
use super::port::{Error, Key, Presigned};
use super::request::Method;
use super::signature::{ALGORITHM, Signer, UNSIGNED_PAYLOAD};
use super::time::AmzDate;

/// The longest time that S3 lets a request be valid for: a week.
pub const MAX_EXPIRES_S: u32 = 604_800;

/// A request to presign.
#[derive(Clone, Debug)]
pub struct Presign {
    method: Method,
    key: Key,
    expires_in_s: u32,
    headers: Vec<(&'static str, String)>,
}

impl Presign {
    /// Allows to read one object.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn get(key: &str, expires_in_s: u32) -> Result<Self, Error> {
        Ok(Self {
            method: Method::Get,
            key: Key::parse(key)?,
            expires_in_s: checked_expiry(expires_in_s)?,
            headers: Vec::new(),
        })
    }

    /// Allows to create one object with exactly the content that has this digest.
    ///
    /// The digest stands in a signed header that the store checks the body
    /// against; the signature itself does not cover the body, because stores
    /// verify a signature in a query as one over `UNSIGNED-PAYLOAD`.
    /// `If-None-Match` closes the race with another writer, and makes a second
    /// use of the request harmless.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn put(key: &str, sha256: &str, expires_in_s: u32) -> Result<Self, Error> {
        let digest: [u8; 32] = unhex(sha256).ok_or_else(|| {
            Error::InvalidArgument("sha256 must be 64 lower-case hexadecimal digits".to_owned())
        })?;
        Ok(Self {
            method: Method::Put,
            key: Key::parse(key)?,
            expires_in_s: checked_expiry(expires_in_s)?,
            headers: vec![
                ("if-none-match", "*".to_owned()),
                ("x-amz-checksum-sha256", base64(&digest)),
            ],
        })
    }

    /// The request, valid from a point in time on.
    #[must_use]
    pub fn sign(&self, config: &Config, signer: &Signer, unix_ms: u64) -> Presigned {
        let at = AmzDate::at(unix_ms);
        let mut headers = SignedHeaders::new();
        headers.push("host", &config.address.authority);
        for (name, value) in &self.headers {
            headers.push(name, value);
        }
        let credential = [
            config.credentials.access_key_id.expose(),
            "/",
            &signer.scope().text(&at),
        ]
        .concat();
        let mut query = Query::new();
        query.push("X-Amz-Algorithm", ALGORITHM);
        query.push("X-Amz-Credential", &credential);
        query.push("X-Amz-Date", at.as_str());
        query.push("X-Amz-Expires", &decimal(self.expires_in_s.into()));
        query.push("X-Amz-SignedHeaders", &headers.names());
        if let Some(token) = &config.credentials.session_token {
            query.push("X-Amz-Security-Token", token.expose());
        }
        let query = query.canonical();
        let path = config
            .address
            .object_path(&[&config.prefix, self.key.as_str()].concat());
        let signature = signer.sign(
            &CanonicalRequest {
                method: self.method.as_str(),
                path: &path,
                query: &query,
                headers: &headers,
                payload: UNSIGNED_PAYLOAD,
            },
            &at,
        );
        Presigned {
            method: self.method.as_str(),
            url: [
                &config.origin(),
                &path,
                "?",
                &query,
                "&X-Amz-Signature=",
                &signature,
            ]
            .concat(),
            headers: headers.sent(),
        }
    }
}

fn checked_expiry(expires_in_s: u32) -> Result<u32, Error> {
    if (1..=MAX_EXPIRES_S).contains(&expires_in_s) {
        Ok(expires_in_s)
    } else {
        Err(Error::InvalidArgument(
            "expires-in-s must be from 1 to 604800".to_owned(),
        ))
    }
}
