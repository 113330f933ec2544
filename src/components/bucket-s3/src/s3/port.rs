//! The values of `ifmatch:bucket`, as the protocols have them: what this component
//! takes and gives, without anything of HTTP in it.

pub use ifmatch::bucket::{
    BucketError as Error, Found, Metadata, Object, Page, Precondition, PutOutcome, Read, Reply,
    Span, StoreTime, Version, Write,
};

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

/// Whether a token can be the version of an object here: its entity tag without the
/// quotes, so that a listing, a read and a write of one object name it alike.
#[must_use]
pub fn is_version(token: &str) -> bool {
    let fits = !token.is_empty() && token.len() <= MAX_VERSION_BYTES;
    fits && token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e))
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
        assert!(is_version("d41d8cd9-2"));
        for bad in [
            "",
            "a\"b",
            "a b",
            "a\r\nx: y",
            "ü",
            &"v".repeat(MAX_VERSION_BYTES + 1),
        ] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn visible_text_is_bounded_and_plain() {
        assert_eq!(visible("a\r\nb\u{7f}ü c", 6), "a??b??");
    }
}
