//! The credentials, and what keeps them out of every text.

use core::fmt;

/// Longest access key id and secret key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest session token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// A text that is never shown. There is no way to format it but redacted, and
/// no comparison, so that it cannot slip into a message or an assertion.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for signing and sending only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

/// What identifies the caller to the store.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`: not a secret, but no one else's business either.
    pub access_key_id: Secret,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Secret,
    /// `AWS_SESSION_TOKEN`, with temporary credentials.
    pub session_token: Option<Secret>,
}

impl Credentials {
    /// Whether `text` holds any part of the credentials, so that it must not be
    /// passed on. Stores echo them in some error replies.
    #[must_use]
    pub fn appear_in(&self, text: &str) -> bool {
        [
            Some(&self.access_key_id),
            Some(&self.secret_access_key),
            self.session_token.as_ref(),
        ]
        .into_iter()
        .flatten()
        .any(|secret| {
            let secret = secret.expose().as_bytes();
            text.as_bytes()
                .windows(secret.len().max(1))
                .any(|part| part == secret)
        })
    }
}
