//! String to sign, signing key and signature (AWS Signature Version 4).

use core::cell::RefCell;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::canonical_request::CanonicalRequest;
use super::credentials::Secret;
use super::encoding::hex;
use super::time::AmzDate;

/// The name of the scheme.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The payload of a signature that does not cover the body.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// The service that S3 requests are signed for.
pub const SERVICE: &str = "s3";

const SHA256_BLOCK_BYTES: usize = 64;

/// [`sha256_hex`] of nothing.
pub const SHA256_HEX_EMPTY: &str =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Hexadecimal SHA-256.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

/// HMAC-SHA256 with a key that has been taken in.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC hashes a key that is longer than a block and pads a shorter one
    // (RFC 2104); with the block made here, the constructor cannot fail.
    let mut block = [0; SHA256_BLOCK_BYTES];
    let hashed;
    let short = if key.len() > SHA256_BLOCK_BYTES {
        hashed = Sha256::digest(key);
        hashed.as_slice()
    } else {
        key
    };
    for (to, from) in block.iter_mut().zip(short) {
        *to = *from;
    }
    Hmac::new(&block.into())
}

fn hmac_sha256(mut key: Hmac<Sha256>, message: &str) -> [u8; 32] {
    key.update(message.as_bytes());
    key.finalize().into_bytes().into()
}

/// What a signature is valid for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region.
    pub region: &'a str,
    /// The service, `s3`.
    pub service: &'a str,
}

impl Scope<'_> {
    /// `date/region/service/aws4_request`
    #[must_use]
    pub fn text(&self, at: &AmzDate) -> String {
        [at.date(), self.region, self.service, "aws4_request"].join("/")
    }
}

/// The text that the signature covers.
#[must_use]
pub fn string_to_sign(request: &CanonicalRequest<'_>, scope: &Scope<'_>, at: &AmzDate) -> String {
    [
        ALGORITHM,
        at.as_str(),
        &scope.text(at),
        &sha256_hex(request.text().as_bytes()),
    ]
    .join("\n")
}

/// The signing key, for one day, region and service.
fn derive(secret: &Secret, scope: &Scope<'_>, date: &str) -> Hmac<Sha256> {
    let start = ["AWS4", secret.expose()].concat();
    let mut key = keyed(start.as_bytes());
    for part in [date, scope.region, scope.service, "aws4_request"] {
        key = keyed(&hmac_sha256(key, part));
    }
    key
}

/// Signs for one secret and scope. Keeps the key of the last day that it signed
/// for, taken in: that takes more hashing than all else in a request without a body.
pub struct Signer {
    secret: Secret,
    region: String,
    service: &'static str,
    key: RefCell<Option<(String, Hmac<Sha256>)>>,
}

impl Signer {
    /// A signer for one secret, region and service.
    #[must_use]
    pub fn new(secret: Secret, region: &str, service: &'static str) -> Self {
        Self {
            secret,
            region: region.to_owned(),
            service,
            key: RefCell::new(None),
        }
    }

    /// The scope that it signs for.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        Scope {
            region: &self.region,
            service: self.service,
        }
    }

    /// The signature of a request, in hexadecimal digits.
    #[must_use]
    pub fn sign(&self, request: &CanonicalRequest<'_>, at: &AmzDate) -> String {
        let mut cached = self.key.borrow_mut();
        let (_, key) = match &mut *cached {
            Some(entry) if entry.0 == at.date() => entry,
            stale => stale.insert((
                at.date().to_owned(),
                derive(&self.secret, &self.scope(), at.date()),
            )),
        };
        hex(&hmac_sha256(
            key.clone(),
            &string_to_sign(request, &self.scope(), at),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nothing() {
        assert_eq!(sha256_hex(b""), SHA256_HEX_EMPTY);
    }

    #[test]
    fn hmac_matches_rfc_4231() {
        // Test cases 2 and 6: a short key, and one longer than a block.
        assert_eq!(
            hex(&hmac_sha256(keyed(b"Jefe"), "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac_sha256(
                keyed(&[0xaa; 131]),
                "Test Using Larger Than Block-Size Key - Hash Key First"
            )),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
