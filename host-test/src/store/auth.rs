//! Signature Version 4, seen from the server.
//!
//! Written from Amazon's description of the scheme, independently of the client
//! under test, so that an error common to both is unlikely:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>

use super::error::S3Error;
use super::uri::{Query, encode, host_of};
use super::{Request, date};
use crate::clock::UnixMs;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// How far a request's time may be off.
const MAX_SKEW_MS: u64 = 15 * 60 * 1000;
/// For how long a presigned request may be valid: a week.
const MAX_EXPIRES_S: u64 = 604_800;

/// A key pair that the store knows.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The public half.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
    /// What `x-amz-security-token` must say, for temporary credentials.
    pub session_token: Option<String>,
    /// From when on they are refused.
    pub expires_at: Option<UnixMs>,
}

impl Credential {
    /// A pair that is valid for good.
    pub fn lasting(access_key: &str, secret_key: &str) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            session_token: None,
            expires_at: None,
        }
    }

    /// A pair that needs a token, and can expire.
    pub fn temporary(
        access_key: &str,
        secret_key: &str,
        token: &str,
        expires_at: Option<UnixMs>,
    ) -> Self {
        Self {
            session_token: Some(token.to_owned()),
            expires_at,
            ..Self::lasting(access_key, secret_key)
        }
    }
}

/// `access-key/20130524/us-east-1/s3/aws4_request`.
#[derive(Clone, Debug)]
struct Scope<'a> {
    access_key: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
}

impl<'a> Scope<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        // An access key can itself hold slashes, so the fixed part is taken from
        // the end.
        let mut parts = text.rsplitn(5, '/');
        let terminator = parts.next()?;
        let (service, region, day) = (parts.next()?, parts.next()?, parts.next()?);
        let access_key = parts.next()?;
        (terminator == "aws4_request").then_some(Self {
            access_key,
            day,
            region,
            service,
        })
    }

    fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.day, self.region, self.service)
    }
}

/// What a request says about its own signature.
struct Claim<'a> {
    scope: Scope<'a>,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
    /// `X-Amz-Date` as it was written.
    date: &'a str,
    time: UnixMs,
    token: Option<&'a str>,
    /// The hash that stands in the canonical request.
    payload: &'a str,
    /// Seconds of validity, if the signature is in the query.
    expires_s: Option<u64>,
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn malformed_header(message: &str) -> S3Error {
    S3Error::new(
        StatusCode::BAD_REQUEST,
        "AuthorizationHeaderMalformed",
        message,
    )
}

fn malformed_query(message: &str) -> S3Error {
    S3Error::new(
        StatusCode::BAD_REQUEST,
        "AuthorizationQueryParametersError",
        message,
    )
}

fn claim_in_header<'a>(request: &'a Request, authorization: &'a str) -> Result<Claim<'a>, S3Error> {
    let fields = authorization
        .strip_prefix(ALGORITHM)
        .and_then(|rest| rest.strip_prefix(' '))
        .ok_or_else(|| S3Error::invalid_argument("Only AWS4-HMAC-SHA256 is supported."))?;
    let field = |name: &str| {
        let value = fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        value.ok_or_else(|| malformed_header(&format!("{name} is missing.")))
    };
    let headers = request.headers();
    let date = header(headers, "x-amz-date")
        .ok_or_else(|| S3Error::access_denied("A valid x-amz-date header is required."))?;
    let payload = header(headers, "x-amz-content-sha256")
        .ok_or_else(|| S3Error::invalid_request("The header x-amz-content-sha256 is missing."))?;
    Ok(Claim {
        scope: Scope::parse(field("Credential")?)
            .ok_or_else(|| malformed_header("The credential is malformed."))?,
        signed_headers: field("SignedHeaders")?.split(';').collect(),
        signature: field("Signature")?,
        date,
        time: date::parse_amz(date)
            .ok_or_else(|| S3Error::access_denied("A valid x-amz-date header is required."))?,
        token: header(headers, "x-amz-security-token"),
        payload,
        expires_s: None,
    })
}

fn claim_in_query<'a>(request: &'a Request, query: &'a Query) -> Result<Claim<'a>, S3Error> {
    let field = |name: &str| {
        query
            .get(name)
            .ok_or_else(|| malformed_query(&format!("{name} is missing.")))
    };
    if field("X-Amz-Algorithm")? != ALGORITHM {
        return Err(malformed_query("Only AWS4-HMAC-SHA256 is supported."));
    }
    let expires_s: u64 = field("X-Amz-Expires")?
        .parse()
        .map_err(|_| malformed_query("X-Amz-Expires must be a number."))?;
    if !(1..=MAX_EXPIRES_S).contains(&expires_s) {
        return Err(malformed_query("X-Amz-Expires must be from 1 to 604800."));
    }
    let date = field("X-Amz-Date")?;
    Ok(Claim {
        scope: Scope::parse(field("X-Amz-Credential")?)
            .ok_or_else(|| malformed_query("The credential is malformed."))?,
        signed_headers: field("X-Amz-SignedHeaders")?.split(';').collect(),
        signature: field("X-Amz-Signature")?,
        date,
        time: date::parse_amz(date).ok_or_else(|| malformed_query("X-Amz-Date is malformed."))?,
        token: query.get("X-Amz-Security-Token"),
        // A presigned request may bind its body; without that, any body does.
        payload: header(request.headers(), "x-amz-content-sha256")
            .or_else(|| query.get("X-Amz-Content-Sha256"))
            .unwrap_or(UNSIGNED),
        expires_s: Some(expires_s),
    })
}

/// The canonical request: method, path, query, headers, their names, payload.
fn canonical_request(request: &Request, query: &Query, claim: &Claim) -> Result<String, S3Error> {
    // S3 alone encodes the path once and does not normalise it.
    let path = encode(&super::uri::decode(request.uri().path())?, true);
    let mut pairs: Vec<(String, String)> = query
        .0
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| {
            (
                encode(name.as_bytes(), false),
                encode(value.as_bytes(), false),
            )
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut headers = String::new();
    for name in &claim.signed_headers {
        let values: Vec<String> = if *name == "host" {
            vec![host_of(request).to_owned()]
        } else {
            let all = request.headers().get_all(*name).iter();
            all.map(|value| one_space(&String::from_utf8_lossy(value.as_bytes())))
                .collect()
        };
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    Ok(format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{}",
        request.method(),
        pairs.join("&"),
        claim.signed_headers.join(";"),
        claim.payload
    ))
}

/// Trims a header value and turns every run of spaces into one.
fn one_space(value: &str) -> String {
    value
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn hmac(key: &[u8], message: &str) -> [u8; 32] {
    // HMAC takes keys of every length; the error type is a formality.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(error) => unreachable!("HMAC refused a key: {error}"),
    };
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn string_to_sign(claim: &Claim, canonical_request: &str) -> String {
    let hash = hex(&Sha256::digest(canonical_request));
    format!(
        "{ALGORITHM}\n{}\n{}\n{hash}",
        claim.date,
        claim.scope.text()
    )
}

fn signature(secret_key: &str, scope: &Scope, string_to_sign: &str) -> String {
    let day = hmac(format!("AWS4{secret_key}").as_bytes(), scope.day);
    let region = hmac(&day, scope.region);
    let service = hmac(&region, scope.service);
    let signing_key = hmac(&service, "aws4_request");
    hex(&hmac(&signing_key, string_to_sign))
}

/// Signs a request in its headers, for tests that talk to a store directly.
pub fn sign(
    request: &mut Request,
    credential: &Credential,
    region: &str,
    now: UnixMs,
) -> Result<(), S3Error> {
    let date = date::amz(now);
    let payload = hex(&Sha256::digest(request.body()));
    let mut headers = vec![
        ("x-amz-date", date.as_str()),
        ("x-amz-content-sha256", &payload),
    ];
    if let Some(token) = &credential.session_token {
        headers.push(("x-amz-security-token", token));
    }
    for (name, value) in headers {
        let value = value
            .parse()
            .map_err(|_| S3Error::invalid_argument("A header cannot hold this."))?;
        request
            .headers_mut()
            .insert(http::HeaderName::from_static(name), value);
    }
    let mut signed_headers: Vec<String> = request
        .headers()
        .keys()
        .map(|name| name.to_string())
        .collect();
    signed_headers.push("host".to_owned());
    signed_headers.sort();
    signed_headers.dedup();
    let scope = Scope {
        access_key: &credential.access_key,
        day: &date[..8],
        region,
        service: "s3",
    };
    let claim = Claim {
        scope,
        signed_headers: signed_headers.iter().map(String::as_str).collect(),
        signature: "",
        date: &date,
        time: now,
        token: None,
        payload: &payload,
        expires_s: None,
    };
    let canonical = canonical_request(request, &Query::of(request.uri())?, &claim)?;
    let signature = signature(
        &credential.secret_key,
        &claim.scope,
        &string_to_sign(&claim, &canonical),
    );
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
        credential.access_key,
        claim.scope.text(),
        signed_headers.join(";")
    );
    let value = authorization
        .parse()
        .map_err(|_| S3Error::invalid_argument("The access key cannot stand in a header."))?;
    let length = http::HeaderValue::from(request.body().len());
    request
        .headers_mut()
        .insert(http::header::AUTHORIZATION, value);
    request
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, length);
    Ok(())
}

/// The keys, the region and the time against which requests are checked.
pub struct Verifier<'a> {
    /// Every pair that is accepted.
    pub credentials: &'a [Credential],
    /// The region that signatures must name.
    pub region: &'a str,
    /// The store's clock.
    pub now: UnixMs,
}

impl Verifier<'_> {
    /// Checks who sent a request, when, and that nothing signed was changed.
    pub fn verify(&self, request: &Request, query: &Query) -> Result<(), S3Error> {
        let authorization = header(request.headers(), "authorization");
        let claim = match (authorization, query.get("X-Amz-Algorithm")) {
            (Some(_), Some(_)) => {
                return Err(S3Error::invalid_argument(
                    "Only one auth mechanism is allowed.",
                ));
            }
            (Some(authorization), None) => claim_in_header(request, authorization)?,
            (None, Some(_)) => claim_in_query(request, query)?,
            (None, None) => return Err(S3Error::access_denied("Anonymous access is not allowed.")),
        };
        self.check_scope(&claim)?;
        let credential = self
            .credentials
            .iter()
            .find(|credential| credential.access_key == claim.scope.access_key)
            .ok_or_else(|| {
                S3Error::new(
                    StatusCode::FORBIDDEN,
                    "InvalidAccessKeyId",
                    "The access key is not known.",
                )
                .detail("AWSAccessKeyId", claim.scope.access_key)
            })?;
        check_signed_headers(request, &claim)?;
        let canonical = canonical_request(request, query, &claim)?;
        let to_sign = string_to_sign(&claim, &canonical);
        if signature(&credential.secret_key, &claim.scope, &to_sign) != claim.signature {
            // S3 shows what it has computed from the request, never the key.
            return Err(S3Error::new(
                StatusCode::FORBIDDEN,
                "SignatureDoesNotMatch",
                "The signature does not match the one that was calculated.",
            )
            .detail("StringToSign", to_sign)
            .detail("CanonicalRequest", canonical));
        }
        self.check_time(&claim)?;
        self.check_token(credential, &claim)?;
        check_payload(request, &claim)
    }

    fn check_scope(&self, claim: &Claim) -> Result<(), S3Error> {
        let malformed = |message: &str| match claim.expires_s {
            None => malformed_header(message),
            Some(_) => malformed_query(message),
        };
        if claim.scope.service != "s3" {
            return Err(malformed("The credential's service is not s3."));
        }
        if claim.scope.region != self.region {
            let message = format!(
                "The region '{}' is wrong; expecting '{}'.",
                claim.scope.region, self.region
            );
            return Err(malformed(&message).detail("Region", self.region));
        }
        if claim.date.get(..8) != Some(claim.scope.day) {
            return Err(malformed(
                "The credential's date is not that of the request.",
            ));
        }
        Ok(())
    }

    fn check_time(&self, claim: &Claim) -> Result<(), S3Error> {
        match claim.expires_s {
            None if self.now.0.abs_diff(claim.time.0) > MAX_SKEW_MS => Err(S3Error::new(
                StatusCode::FORBIDDEN,
                "RequestTimeTooSkewed",
                "The request's time and the store's differ too much.",
            )
            .detail("RequestTime", claim.date)
            .detail("ServerTime", date::iso_seconds(self.now))
            .detail("MaxAllowedSkewMilliseconds", MAX_SKEW_MS.to_string())),
            Some(_) if claim.time.0 > self.now.0 + MAX_SKEW_MS => {
                Err(S3Error::access_denied("Request is not valid yet"))
            }
            Some(expires_s) if self.now.0 > claim.time.0 + expires_s * 1000 => {
                Err(S3Error::access_denied("Request has expired")
                    .detail("X-Amz-Expires", expires_s.to_string())
                    .detail("ServerTime", date::iso_seconds(self.now)))
            }
            _ => Ok(()),
        }
    }

    fn check_token(&self, credential: &Credential, claim: &Claim) -> Result<(), S3Error> {
        let refuse = |code, message| Err(S3Error::new(StatusCode::BAD_REQUEST, code, message));
        if credential.session_token.as_deref() != claim.token {
            return refuse(
                "InvalidToken",
                "The provided token is malformed or otherwise invalid.",
            );
        }
        if credential.expires_at.is_some_and(|end| self.now >= end) {
            return refuse("ExpiredToken", "The provided token has expired.");
        }
        Ok(())
    }
}

/// The host and every `x-amz-` header must be signed, else a middleman could add
/// or change one.
fn check_signed_headers(request: &Request, claim: &Claim) -> Result<(), S3Error> {
    let names = request.headers().keys().map(|name| name.as_str());
    let unsigned: Vec<&str> = names
        .filter(|name| name.starts_with("x-amz-"))
        // Without `x-amz-content-sha256` among the signed headers the payload is
        // bound all the same: it is the last line of the canonical request.
        .filter(|name| *name != "x-amz-content-sha256")
        .chain(["host"])
        .filter(|name| !claim.signed_headers.contains(name))
        .collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    Err(
        S3Error::access_denied("There were headers present in the request which were not signed")
            .detail("HeadersNotSigned", unsigned.join(", ")),
    )
}

fn check_payload(request: &Request, claim: &Claim) -> Result<(), S3Error> {
    if claim.payload == UNSIGNED {
        return Ok(());
    }
    if claim.payload.starts_with("STREAMING-") {
        return Err(S3Error::not_implemented("A chunked signature"));
    }
    if hex(&Sha256::digest(request.body())) == claim.payload {
        return Ok(());
    }
    Err(S3Error::new(
        StatusCode::BAD_REQUEST,
        "XAmzContentSHA256Mismatch",
        "The provided x-amz-content-sha256 does not match what was computed.",
    ))
}

#[cfg(test)]
mod tests;
