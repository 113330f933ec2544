//! The values of `ifmatch:bucket`, as plain Rust: what this component takes and
//! gives, without anything of HTTP in it.

/// Longest key that the port allows, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Most reads or writes in one batch.
pub const MAX_BATCH: usize = 64;
/// Most keys in one `delete-many`.
pub const MAX_DELETE: usize = 1000;
/// Most objects on one page of a listing.
pub const MAX_PAGE: u32 = 1000;
/// Longest version token, in bytes.
pub const MAX_VERSION_BYTES: usize = 256;

/// Why a call failed. A `put` that failed has certainly not been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The caller broke the contract of the port.
    InvalidArgument(String),
    /// A setting is missing or unusable. Names it.
    Misconfigured(String),
    /// The credentials do not allow the request, or have expired.
    AccessDenied(String),
    /// The bucket does not exist. Names it.
    NoSuchBucket(String),
    /// The body exceeds this limit in bytes.
    TooLarge(u64),
    /// The store asked to slow down for this many milliseconds.
    Throttled(u32),
    /// The store could not be reached, or did not answer.
    Unavailable(String),
    /// The store cannot honour the request safely.
    Unsupported(String),
    /// Anything else.
    Other(String),
}

/// The opaque version of one object: its entity tag without the quotes, so that
/// a listing, a read and a write of one object name it alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// Takes a token that a caller passed back, or that a store gave unquoted.
    #[must_use]
    pub fn parse(token: &str) -> Option<Self> {
        let fits = !token.is_empty() && token.len() <= MAX_VERSION_BYTES;
        let plain = token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e));
        (fits && plain).then(|| Self(token.to_owned()))
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.0
    }
}

/// The name of an object, relative to the installation's prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Checks the port's rules for a key.
    ///
    /// # Errors
    /// `InvalidArgument` that names the key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_key(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::InvalidArgument(
                [
                    "not a key (1 to 512 bytes of A-Z a-z 0-9 . _ = - /, no empty, . or .. segment): ",
                    &visible(text, MAX_KEY_BYTES),
                ]
                .concat(),
            ))
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` satisfies the port's rules for a key.
#[must_use]
pub fn is_key(text: &str) -> bool {
    is_key_prefix(text)
        && text
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Whether some key could start with `text`, as far as length and alphabet go.
#[must_use]
pub fn is_key_prefix(text: &str) -> bool {
    text.len() <= MAX_KEY_BYTES
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._=-/".contains(&byte))
}

/// At most `limit` characters of `text`, those that are not printable ASCII
/// replaced: what may stand in an error for people.
#[must_use]
pub fn visible(text: &str, limit: usize) -> String {
    let mut visible = String::new();
    for c in text.chars().take(limit) {
        visible.push(if matches!(c, ' '..='~') { c } else { '?' });
    }
    visible
}

/// What is known about an object without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// Length of the whole body in bytes.
    pub size: u64,
    /// When the store accepted it, in milliseconds since the Unix epoch.
    pub modified_at: Option<u64>,
}

/// Which bytes of a body to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The whole body.
    All,
    /// At most this many bytes from its start.
    First(u32),
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The key, unchecked.
    pub key: String,
    /// Which bytes.
    pub span: Span,
    /// Version that need not be sent again.
    pub unless: Option<String>,
}

/// What stands at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No object.
    Absent,
    /// The object has the version that the read named.
    Unchanged,
    /// The object, or its first bytes.
    Object {
        /// What is known about the whole object.
        metadata: Metadata,
        /// The bytes asked for.
        body: Vec<u8>,
    },
}

/// The answer to one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What stands at the key.
    pub found: Found,
    /// The store's clock, in milliseconds since the Unix epoch.
    pub observed_at: Option<u64>,
}

/// What must hold for a write to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition<V> {
    /// No object exists at the key.
    Absent,
    /// The object has exactly this version.
    Matches(V),
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// The key, unchecked.
    pub key: String,
    /// The whole body.
    pub body: Vec<u8>,
    /// The precondition, its version unchecked.
    pub precondition: Precondition<String>,
}

/// How a write that did not fail ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object was written.
    Written {
        /// Its version.
        version: Version,
        /// The store's clock.
        observed_at: Option<u64>,
    },
    /// The precondition did not hold; nothing was written.
    PreconditionFailed,
    /// The write may have been applied, or may still be.
    Indeterminate(String),
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In ascending byte order of key.
    pub objects: Vec<Metadata>,
    /// Whether there is more after the last of them.
    pub more: bool,
    /// The store's clock.
    pub observed_at: Option<u64>,
}

/// A request that somebody without credentials can send as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// `GET` or `PUT`.
    pub method: &'static str,
    /// The whole address.
    pub url: String,
    /// Headers that it must carry.
    pub headers: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_the_rules_of_the_port() {
        let longest = "k".repeat(MAX_KEY_BYTES);
        for good in ["a", "a/b", "A.b_c=d-e/0", "..a", "a..", longest.as_str()] {
            assert!(Key::parse(good).is_ok(), "{good}");
        }
        let too_long = "k".repeat(MAX_KEY_BYTES + 1);
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/./b",
            "a/../b",
            "a b",
            "a+b",
            "ä",
            "a%2fb",
            "a\n",
            too_long.as_str(),
        ] {
            assert!(
                matches!(Key::parse(bad), Err(Error::InvalidArgument(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn versions_hold_no_quotes_blanks_or_control_characters() {
        assert!(Version::parse("d41d8cd9-2").is_some());
        for bad in [
            "",
            "a\"b",
            "a b",
            "a\r\nx: y",
            "ü",
            &"v".repeat(MAX_VERSION_BYTES + 1),
        ] {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn visible_text_is_bounded_and_plain() {
        assert_eq!(visible("a\r\nb\u{7f}ü c", 6), "a??b??");
    }
}
