//! Percent-encoding, and which bucket and key a request names.

use super::error::S3Error;
use http::{Uri, header};

/// Bytes that a key is written with in a URI without encoding (RFC 3986,
/// "unreserved").
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Percent-encodes every byte that is not unreserved, and `/` only on demand.
pub fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if unreserved(byte) || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Undoes percent-encoding. A `%` without two hexadecimal digits is an error.
pub fn decode(text: &str) -> Result<Vec<u8>, S3Error> {
    let malformed = || {
        S3Error::new(
            http::StatusCode::BAD_REQUEST,
            "InvalidURI",
            "The URI could not be parsed.",
        )
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || {
            bytes
                .next()
                .and_then(|d| char::from(d).to_digit(16))
                .ok_or_else(malformed)
        };
        out.push((digit()? * 16 + digit()?) as u8);
    }
    Ok(out)
}

fn decode_text(text: &str) -> Result<String, S3Error> {
    String::from_utf8(decode(text)?).map_err(|_| {
        S3Error::new(
            http::StatusCode::BAD_REQUEST,
            "InvalidURI",
            "The URI is not UTF-8.",
        )
    })
}

/// The query of a request: decoded names and values, in their order.
#[derive(Clone, Debug, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Reads the query of a URI. A name without `=` has an empty value.
    pub fn of(uri: &Uri) -> Result<Self, S3Error> {
        let mut pairs = Vec::new();
        for pair in uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode_text(name)?, decode_text(value)?));
        }
        Ok(Self(pairs))
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What a request is about.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Empty for the service itself.
    pub bucket: String,
    /// Empty for the bucket itself.
    pub key: String,
    /// Decoded.
    pub query: Query,
}

impl Target {
    /// Reads path-style (`/bucket/key`) and, under `domain`, virtual-host style
    /// (`bucket.domain/key`) requests.
    pub fn of<B>(request: &http::Request<B>, domain: Option<&str>) -> Result<Self, S3Error> {
        let query = Query::of(request.uri())?;
        let path = decode_text(request.uri().path())?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let host = host_of(request);
        let host = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        let virtual_bucket = domain.and_then(|domain| host.strip_suffix(domain)?.strip_suffix('.'));
        let (bucket, key) = match virtual_bucket {
            Some(bucket) => (bucket, path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            query,
        })
    }
}

/// The host that a request was sent to, with its port.
pub fn host_of<B>(request: &http::Request<B>) -> &str {
    let header = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    header
        .or_else(|| {
            request
                .uri()
                .authority()
                .map(|authority| authority.as_str())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, uri: &str) -> Target {
        let request = http::Request::get(uri)
            .header("host", host)
            .body(())
            .unwrap();
        Target::of(&request, Some("s3.test")).unwrap()
    }

    #[test]
    fn both_styles_name_bucket_and_key() {
        let path = target(
            "s3.test:9000",
            "/b/k/%E2%82%AC?list-type=2&prefix=a%2Fb&acl",
        );
        assert_eq!((path.bucket.as_str(), path.key.as_str()), ("b", "k/€"));
        assert_eq!(path.query.get("prefix"), Some("a/b"));
        assert_eq!(path.query.get("acl"), Some(""));
        let host = target("b.s3.test", "/k/x");
        assert_eq!((host.bucket.as_str(), host.key.as_str()), ("b", "k/x"));
        let service = target("127.0.0.1:1", "/");
        assert_eq!((service.bucket.as_str(), service.key.as_str()), ("", ""));
    }

    #[test]
    fn encoding_keeps_unreserved_bytes_only() {
        assert_eq!(encode(b"a b/=~", false), "a%20b%2F%3D~");
        assert_eq!(encode("/é".as_bytes(), true), "/%C3%A9");
        assert_eq!(decode("a%20b%2f").unwrap(), b"a b/");
        assert!(decode("%2").is_err() && decode("%zz").is_err());
    }
}
