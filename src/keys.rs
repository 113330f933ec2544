//! Names and the keys that are made from them.
//!
//! `docs/FORMAT.md` has the table of all keys.

use core::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use crate::blob::{Digest, Generation, Reference};
use crate::error::Error;

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// How much of a caller's text an error message repeats.
const QUOTED_CHARS_MAX: usize = 256;

/// The name of a log, lease or manifest: 1 to 200 bytes of `a-z 0-9 - /`, without
/// empty segments.
///
/// `_` and `.` never occur in names. Keys use them behind the name, so that one
/// name can be a prefix of another without their objects meeting in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] says which rule is broken.
    pub fn parse(name: &str) -> Result<Name, Error> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '/';
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Error::InvalidArgument(format!(
                "a name has 1 to {NAME_BYTES_MAX} bytes, not {}",
                name.len()
            )));
        }
        if !name.chars().all(allowed) {
            return Err(Error::InvalidArgument(format!(
                "the name {} has characters other than a-z 0-9 - /",
                quoted(name)
            )));
        }
        if name.split('/').any(str::is_empty) {
            return Err(Error::InvalidArgument(format!(
                "the name {} has an empty segment",
                quoted(name)
            )));
        }
        Ok(Name(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text of a caller's for an error message: in quotes, without anything that could
/// upset a terminal or a log.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push('"');
    for c in text.chars().take(QUOTED_CHARS_MAX) {
        quoted.push(if matches!(c, ' '..='~') { c } else { '?' });
    }
    quoted.push('"');
    quoted
}

/// What kind of thing a key belongs to. Its word starts the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A log.
    Log,
    /// A manifest.
    Manifest,
}

impl Family {
    /// The first segment of the family's keys.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Manifest => "manifest",
        }
    }
}

/// The number of an object in a chain. The first is 0, and there are no gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u64);

impl Slot {
    /// The first slot of every chain.
    pub const FIRST: Slot = Slot(0);

    /// The next slot, or `None` at the end of all numbers.
    #[must_use]
    pub fn next(self) -> Option<Slot> {
        self.0.checked_add(1).map(Slot)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The keys of one chain of slots: `<family>/<name>/_slot/<inverted>.<number>`.
///
/// The inverted number makes the newest object sort first, so that one listing
/// with limit 1 finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainKeys {
    family: Family,
    name: Name,
}

impl ChainKeys {
    /// The keys of the chain of `family` called `name`.
    #[must_use]
    pub fn new(family: Family, name: Name) -> ChainKeys {
        ChainKeys { family, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The prefix of all slot keys.
    #[must_use]
    pub fn slots_prefix(&self) -> String {
        format!("{}/{}/_slot/", self.family.word(), self.name)
    }

    /// The key of one slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> String {
        format!(
            "{}/{}/_slot/{:016x}.{}",
            self.family.word(),
            self.name,
            u64::MAX - slot.0,
            slot.0
        )
    }

    /// Reads the slot out of a key that a listing gave, or `None` if it is not one
    /// of this chain's.
    #[must_use]
    pub fn parse_slot(&self, key: &str) -> Option<Slot> {
        let rest = key.strip_prefix(&self.slots_prefix())?;
        let (_, number) = rest.split_once('.')?;
        let slot = Slot(number.parse().ok()?);
        (self.slot(slot) == key).then_some(slot)
    }

    /// The key of the object that holds what may change: the trim watermark and
    /// the readers' pins.
    #[must_use]
    pub fn state(&self) -> String {
        format!("{}/{}/_state", self.family.word(), self.name)
    }

    /// What every object of this chain carries, so that a misplaced one is noticed:
    /// the first 16 bytes of the SHA-256 of `<family>/<name>`.
    #[must_use]
    pub fn identity(&self) -> u128 {
        hash128(&[self.family.word(), "/", self.name.as_str()].map(str::as_bytes))
    }
}

/// The first 16 bytes of the SHA-256 of the concatenation of `parts`, as a
/// big-endian number.
#[must_use]
pub(crate) fn hash128(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut first = [0; 16];
    first
        .iter_mut()
        .zip(hash.finalize())
        .for_each(|(to, from)| *to = from);
    u128::from_be_bytes(first)
}

/// The key of a blob: `blob/<space>/_<generation>/<digest>`, with the generation as
/// 8 hexadecimal digits, so that the oldest is listed first.
#[must_use]
pub fn blob_key(space: &Name, generation: Generation, digest: &Digest) -> String {
    let mut key = blobs_prefix(space);
    // Writing to a string cannot fail.
    let _ = write!(key, "{:08x}/{}", generation.0, digest.hex());
    key
}

/// Reads what a key that a listing gave says of a blob, or `None` if it is not that
/// of one in this space.
#[must_use]
pub fn parse_blob_key(space: &Name, key: &str) -> Option<Reference> {
    let rest = key.strip_prefix(&blobs_prefix(space))?;
    let (generation, digits) = rest.split_once('/')?;
    let blob = Reference {
        generation: Generation(u32::from_str_radix(generation, 16).ok()?),
        digest: Digest::from_hex(digits)?,
    };
    (blob_key(space, blob.generation, &blob.digest) == key).then_some(blob)
}

/// The prefix of the keys of all blobs in a space.
#[must_use]
pub fn blobs_prefix(space: &Name) -> String {
    format!("blob/{space}/_")
}

/// The prefix of the keys of all decisions. No name starts with `_`, so no other key
/// does.
pub const DECISIONS_PREFIX: &str = "_transaction/";

/// The key of what decides a transaction: `_transaction/<id>`.
#[must_use]
pub fn decision_key(transaction: u128) -> String {
    format!("{DECISIONS_PREFIX}{transaction:032x}")
}

/// The key of the note that the store has passed the check of its conditions.
pub(crate) const PASSED_KEY: &str = "_doctor/passed";

/// The check of the store's conditions uses as many keys in all.
pub(crate) const PROBES: u64 = 1 << 16;

/// The key of an object that the check of the store's conditions writes.
#[must_use]
pub(crate) fn probe_key(number: u64) -> String {
    format!("_doctor/probe.{number}")
}

/// The prefix of the objects of one examination of the store.
#[must_use]
pub(crate) fn examination_prefix(id: u128) -> String {
    format!("_doctor/{id:032x}/")
}

/// The key of the lease called `name`: `lease/<name>/_lease`.
#[must_use]
pub fn lease_key(name: &Name) -> String {
    format!("lease/{name}/_lease")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(name: &str) -> ChainKeys {
        ChainKeys::new(Family::Log, Name::parse(name).unwrap())
    }

    #[test]
    fn names_are_checked() {
        for name in ["a", "a/b-c/0", &"x".repeat(200)] {
            assert_eq!(Name::parse(name).unwrap().as_str(), name);
        }
        for name in [
            "",
            "A",
            "a_b",
            "a.b",
            "/a",
            "a/",
            "a//b",
            "ä",
            "a b",
            "..",
            &"x".repeat(201),
        ] {
            assert!(
                matches!(Name::parse(name), Err(Error::InvalidArgument(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn quoted_text_has_no_control_characters() {
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("a\n\u{1b}[2Jä"), "\"a??[2J?\"");
        assert_eq!(quoted(&"x".repeat(1_000)).len(), QUOTED_CHARS_MAX + 2);
    }

    #[test]
    fn newer_slots_sort_first_and_parse_back() {
        let keys = keys("orders/eu");
        let slots = [0, 1, 9, 10, 1 << 40, u64::MAX - 1, u64::MAX];
        for pair in slots.windows(2) {
            assert!(keys.slot(Slot(pair[0])) > keys.slot(Slot(pair[1])));
        }
        for slot in slots {
            assert_eq!(keys.parse_slot(&keys.slot(Slot(slot))), Some(Slot(slot)));
        }
        assert_eq!(keys.slot(Slot(7)), "log/orders/eu/_slot/fffffffffffffff8.7");
    }

    #[test]
    fn foreign_keys_are_not_slots() {
        let keys = keys("a");
        for key in [
            "log/a/_slot/",
            "log/a/_slot/fffffffffffffff8.8",
            "log/a/_slot/fffffffffffffff8.07",
            "log/a/_slot/fffffffffffffff8",
            "log/b/_slot/fffffffffffffff8.7",
            "log/a/_state",
        ] {
            assert_eq!(keys.parse_slot(key), None, "{key}");
        }
    }

    #[test]
    fn identities_differ_between_names() {
        assert_ne!(keys("a").identity(), keys("b").identity());
        // printf 'log/a' | sha256sum
        assert_eq!(keys("a").identity(), 0x62678b00bbf95cdd70d5582591e11184);
    }
}
