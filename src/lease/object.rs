//! The stored lease: one flat JSON object in a fixed form.
//!
//! `docs/LEASES.md` has the table. The form is JSON, so that every tool can show
//! it, but narrower: no white space, members in a fixed order, and the checksum
//! last. A general reader of JSON would bring more code than all the rest of the
//! lease into the component, and accept more than is ever written.

use crate::codec::{DecodeError, crc32c};
use crate::guards::{Guard, off};
use crate::keys::Name;
use crate::lease::clock::ClockBounds;
use crate::token::Epoch;

/// The longest name of a holder, in bytes.
pub const HOLDER_BYTES_MAX: usize = 200;

/// The longest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 1024;

/// From the shortest to the longest duration, in milliseconds.
pub const DURATION_MS_RANGE: core::ops::RangeInclusive<u32> = 1_000..=3_600_000;

/// The highest token: the highest number that every reader of JSON keeps exactly.
pub const TOKEN_MAX: u64 = (1 << 53) - 1;

/// No lease object is longer, even if every byte of its texts is escaped and a
/// later minor version adds as much again.
pub const OBJECT_BYTES_MAX: u32 = 16 * 1024;

/// The version that is written.
const VERSION: &str = "1.0";

/// The version that is understood, with any minor number.
const MAJOR: u32 = 1;

/// How every lease object of any version starts.
const HEAD: &[u8] = br#"{"format":"ifmatch-lease","version":""#;

/// What stands between the bytes that the checksum covers and the checksum.
const BEFORE_CHECKSUM: &[u8] = br#","crc32c":""#;

/// How every lease object of any version ends.
const TAIL: &[u8] = br#""}"#;

/// Length of the checksum in hexadecimal digits.
const CHECKSUM_DIGITS: usize = 8;

/// What the holder has said about the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is held for the duration.
    Held,
    /// Anybody may take it.
    Released,
    /// This holder may take it; anybody, once the duration is over.
    Handover(String),
}

/// The content of a lease object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name. Tells a misplaced object.
    pub name: Name,
    /// The token of the last acquisition, 0 if there was none since the object was
    /// created.
    pub token: Epoch,
    /// Who acquired it last.
    pub holder: String,
    /// Drawn for each write, and the same in all attempts of one write. It makes
    /// every version unique, so that equal entity tags mean equal attempts.
    pub nonce: u128,
    /// Renewals under this token.
    pub renewals: u64,
    /// What the holder has said.
    pub state: State,
    /// For how long `state` binds others, from when the store accepted it. Of no
    /// meaning once released.
    pub duration_ms: u32,
    /// What all participants assume about clocks.
    pub bounds: ClockBounds,
    /// What the holder publishes.
    pub note: String,
}

impl Lease {
    /// The stored bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (state, successor) = match &self.state {
            State::Held => ("held", None),
            State::Released => ("released", None),
            State::Handover(to) => ("handover", Some(to)),
        };
        let mut out = HEAD.to_vec();
        out.extend_from_slice(VERSION.as_bytes());
        out.push(b'"');
        put_text(&mut out, "name", self.name.as_str());
        put_number(&mut out, "token", self.token.0);
        put_text(&mut out, "holder", &self.holder);
        put_text(&mut out, "nonce", &format!("{:032x}", self.nonce));
        put_number(&mut out, "renewals", self.renewals);
        put_text(&mut out, "state", state);
        if let Some(successor) = successor {
            put_text(&mut out, "successor", successor);
        }
        put_number(&mut out, "duration-ms", self.duration_ms.into());
        put_number(&mut out, "clock-rate-ppm", self.bounds.rate_ppm.into());
        put_number(&mut out, "clock-margin-ms", self.bounds.margin_ms.into());
        put_text(&mut out, "note", &self.note);
        let checksum = crc32c(&[&out]);
        out.extend_from_slice(BEFORE_CHECKSUM);
        out.extend_from_slice(format!("{checksum:08x}").as_bytes());
        out.extend_from_slice(TAIL);
        out
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    ///
    /// If anything is not as some writer of version 1 wrote it.
    pub fn decode(body: &[u8]) -> Result<Lease, DecodeError> {
        let covered = covered_by_checksum(body)?;
        let rest = covered
            .strip_prefix(HEAD)
            .ok_or(DecodeError::Corrupt("it is not a lease"))?;
        // The reader goes on inside the string of the version.
        let mut reader = Reader { rest };
        check_version(&reader.rest_of_string()?)?;
        let name = reader.text("name")?;
        let token = reader.number("token")?;
        let holder = reader.text("holder")?;
        let nonce = reader.text("nonce")?;
        let renewals = reader.number("renewals")?;
        let state = match reader.text("state")?.as_str() {
            "held" => State::Held,
            "released" => State::Released,
            "handover" => State::Handover(reader.text("successor")?),
            _ => return Err(DecodeError::Corrupt("its state is not one")),
        };
        let lease = Lease {
            name: Name::parse(&name).map_err(|_| DecodeError::Corrupt("its name is not one"))?,
            token: Epoch(token),
            holder,
            nonce: parse_nonce(&nonce)?,
            renewals,
            state,
            duration_ms: reader.narrow("duration-ms")?,
            bounds: ClockBounds {
                rate_ppm: reader.narrow("clock-rate-ppm")?,
                margin_ms: reader.narrow("clock-margin-ms")?,
            },
            note: reader.text("note")?,
        };
        // A later minor version may add members here, which can be overlooked.
        if !(reader.rest.is_empty() || reader.rest.starts_with(b",")) {
            return Err(FORM);
        }
        if lease.is_in_range() {
            Ok(lease)
        } else {
            Err(DecodeError::Corrupt("a value in it is out of range"))
        }
    }

    fn is_in_range(&self) -> bool {
        self.token.0 <= TOKEN_MAX
            && (self.token != Epoch::SHARED || matches!(self.state, State::Handover(_)))
            && is_holder(&self.holder)
            && self.note.len() <= NOTE_BYTES_MAX
            && DURATION_MS_RANGE.contains(&self.duration_ms)
            && self.bounds.are_allowed()
            && match &self.state {
                State::Handover(to) => is_holder(to),
                State::Held | State::Released => true,
            }
    }
}

/// Checks how the object ends, and gives what the checksum there covers.
fn covered_by_checksum(body: &[u8]) -> Result<&[u8], DecodeError> {
    const ENDS: DecodeError = DecodeError::Corrupt("it does not end as a lease does");
    let body = body.strip_suffix(TAIL).ok_or(ENDS)?;
    let at = body.len().checked_sub(CHECKSUM_DIGITS).ok_or(ENDS)?;
    let (body, digits) = body.split_at_checked(at).ok_or(ENDS)?;
    let covered = body.strip_suffix(BEFORE_CHECKSUM).ok_or(ENDS)?;
    // Compared as text: other digits with the same value are a flipped bit, too.
    if format!("{:08x}", crc32c(&[covered])).as_bytes() != digits && !off(Guard::Checksums) {
        return Err(DecodeError::Corrupt("its checksum does not match"));
    }
    Ok(covered)
}

fn check_version(version: &str) -> Result<(), DecodeError> {
    let major = version
        .split_once('.')
        .filter(|(_, minor)| minor.parse::<u32>().is_ok())
        .and_then(|(major, _)| major.parse::<u32>().ok())
        .ok_or(DecodeError::Corrupt("its version is not a version"))?;
    match major {
        MAJOR => Ok(()),
        0 => Err(DecodeError::Corrupt("its version is not a version")),
        _ => Err(DecodeError::Newer(format!(
            "the lease has format {version}, and this program reads {MAJOR}.x"
        ))),
    }
}

fn put_member(out: &mut Vec<u8>, member: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(member.as_bytes());
    out.extend_from_slice(b"\":");
}

fn put_number(out: &mut Vec<u8>, member: &str, number: u64) {
    put_member(out, member);
    out.extend_from_slice(number.to_string().as_bytes());
}

fn put_text(out: &mut Vec<u8>, member: &str, text: &str) {
    put_member(out, member);
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Why most objects are refused whose checksum fits.
const FORM: DecodeError = DecodeError::Corrupt("it is not in the form of a lease");

/// Takes pieces from the front of the object.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self
            .rest
            .split_first()
            .ok_or(DecodeError::Corrupt("it ends too early"))?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, expected: &[u8]) -> Result<(), DecodeError> {
        self.rest = self.rest.strip_prefix(expected).ok_or(FORM)?;
        Ok(())
    }

    fn member(&mut self, member: &str) -> Result<(), DecodeError> {
        self.take(b",\"")?;
        self.take(member.as_bytes())?;
        self.take(b"\":")
    }

    fn text(&mut self, member: &str) -> Result<String, DecodeError> {
        self.member(member)?;
        self.take(b"\"")?;
        self.rest_of_string()
    }

    fn rest_of_string(&mut self) -> Result<String, DecodeError> {
        let mut text = Vec::new();
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => text.push(self.escaped()?),
                0..0x20 => return Err(DecodeError::Corrupt("it has a bare control character")),
                byte => text.push(byte),
            }
        }
        String::from_utf8(text).map_err(|_| DecodeError::Corrupt("a text in it is not UTF-8"))
    }

    fn escaped(&mut self) -> Result<u8, DecodeError> {
        const UNKNOWN: DecodeError = DecodeError::Corrupt("it has an escape that is never written");
        match self.byte()? {
            byte @ (b'"' | b'\\') => Ok(byte),
            b'u' => {
                self.take(b"00")?;
                let high = hex_digit(self.byte()?).filter(|high| *high < 2);
                let low = hex_digit(self.byte()?);
                match (high, low) {
                    (Some(high), Some(low)) => Ok(high << 4 | low),
                    _ => Err(UNKNOWN),
                }
            }
            _ => Err(UNKNOWN),
        }
    }

    fn narrow(&mut self, member: &str) -> Result<u32, DecodeError> {
        let number = self.number(member)?;
        u32::try_from(number).map_err(|_| DecodeError::Corrupt("a value in it is out of range"))
    }

    fn number(&mut self, member: &str) -> Result<u64, DecodeError> {
        self.member(member)?;
        const NO_NUMBER: DecodeError = DecodeError::Corrupt("a number in it is not one");
        let mut number: Option<u64> = None;
        while let Some((digit @ b'0'..=b'9', rest)) = self.rest.split_first() {
            self.rest = rest;
            let digit = u64::from(digit - b'0');
            number = Some(match number {
                None => digit,
                Some(0) => return Err(NO_NUMBER),
                Some(number) => number
                    .checked_mul(10)
                    .and_then(|tens| tens.checked_add(digit))
                    .ok_or(NO_NUMBER)?,
            });
        }
        number.ok_or(NO_NUMBER)
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Whether this can be the name of a holder.
pub(super) fn is_holder(holder: &str) -> bool {
    (1..=HOLDER_BYTES_MAX).contains(&holder.len())
}

fn parse_nonce(digits: &str) -> Result<u128, DecodeError> {
    const NO_NONCE: DecodeError = DecodeError::Corrupt("its nonce is not one");
    if digits.len() != 32 {
        return Err(NO_NONCE);
    }
    digits.bytes().try_fold(0, |nonce: u128, byte| {
        let digit = hex_digit(byte).ok_or(NO_NONCE)?;
        Ok(nonce << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Lease {
        Lease {
            name: Name::parse("jobs/eu").unwrap(),
            token: Epoch(1_700_000_000_000),
            holder: "worker-1".to_owned(),
            nonce: 0x0123_4567_89ab_cdef,
            renewals: 7,
            state: State::Held,
            duration_ms: 10_000,
            bounds: ClockBounds::DEFAULT,
            note: "http://10.0.0.1:80/ \"quoted\" \\ \n\u{1f} ü \u{7f}".to_owned(),
        }
    }

    /// The object with another beginning, under a checksum that fits.
    fn resealed(covered: &str) -> Vec<u8> {
        format!(
            "{covered},\"crc32c\":\"{:08x}\"}}",
            crc32c(&[covered.as_bytes()])
        )
        .into_bytes()
    }

    fn covered(lease: &Lease) -> String {
        let body = String::from_utf8(lease.encode()).unwrap();
        body.split_once(",\"crc32c\"").unwrap().0.to_owned()
    }

    #[test]
    fn leases_read_back() {
        let handover = State::Handover("worker-2 \u{0}".to_owned());
        for state in [State::Held, State::Released, handover] {
            let lease = Lease { state, ..sample() };
            assert_eq!(Lease::decode(&lease.encode()), Ok(lease));
        }
    }

    #[test]
    fn the_largest_lease_fits() {
        let lease = Lease {
            name: Name::parse(&"n".repeat(200)).unwrap(),
            token: Epoch(TOKEN_MAX),
            holder: "\0".repeat(HOLDER_BYTES_MAX),
            nonce: u128::MAX,
            renewals: u64::MAX,
            state: State::Handover("\0".repeat(HOLDER_BYTES_MAX)),
            duration_ms: *DURATION_MS_RANGE.end(),
            bounds: ClockBounds::DEFAULT,
            note: "\0".repeat(NOTE_BYTES_MAX),
        };
        let body = lease.encode();
        assert!(body.len() <= OBJECT_BYTES_MAX as usize);
        assert_eq!(Lease::decode(&body), Ok(lease));
    }

    #[test]
    fn every_flip_of_a_bit_and_every_truncation_is_an_error() {
        let body = sample().encode();
        for end in 0..body.len() {
            assert!(Lease::decode(&body[..end]).is_err(), "cut at {end}");
        }
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut flipped = body.clone();
                flipped[at] ^= 1 << bit;
                assert!(Lease::decode(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
        let longer = [body.as_slice(), b" "].concat();
        assert!(Lease::decode(&longer).is_err());
    }

    #[test]
    fn a_later_minor_version_may_add_members() {
        let body = covered(&sample()).replace("\"version\":\"1.0\"", "\"version\":\"1.7\"")
            + ",\"weight\":3,\"color\":\"red\",\"more\":{\"a\":[]}";
        assert_eq!(Lease::decode(&resealed(&body)), Ok(sample()));
    }

    #[test]
    fn a_later_major_version_is_refused_by_its_number() {
        let body = covered(&sample()).replace("\"version\":\"1.0\"", "\"version\":\"2.0\"");
        let Err(DecodeError::Newer(text)) = Lease::decode(&resealed(&body)) else {
            panic!("it was read");
        };
        assert!(text.contains("2.0"), "{text}");
    }

    #[test]
    fn what_no_writer_writes_is_corrupt() {
        let whole = covered(&sample());
        let cases = [
            ("\"token\":1700000000000", "\"token\":0"),
            ("\"token\":1700000000000", "\"token\":01"),
            ("\"token\":1700000000000", "\"token\":-1"),
            ("\"token\":1700000000000", "\"token\":9007199254740992"),
            ("\"token\":1700000000000", "\"token\":99999999999999999999"),
            ("\"token\":1700000000000", "\"token\":\"1700000000000\""),
            ("\"token\":1700000000000", "\"token\":"),
            ("\"token\":1700000000000,", ""),
            ("\"token\":", "\"renewals\":1,\"token\":"),
            ("\"token\":", " \"token\":"),
            ("\"holder\":\"worker-1\"", "\"holder\":\"\""),
            ("\"state\":\"held\"", "\"state\":\"lost\""),
            ("\"state\":\"held\"", "\"state\":\"handover\""),
            (
                "\"state\":\"held\"",
                "\"state\":\"held\",\"successor\":\"b\"",
            ),
            (
                "\"state\":\"held\"",
                "\"state\":\"handover\",\"successor\":\"\"",
            ),
            ("\"duration-ms\":10000", "\"duration-ms\":999"),
            ("\"duration-ms\":10000", "\"duration-ms\":4294977296"),
            ("\"clock-rate-ppm\":100000", "\"clock-rate-ppm\":1000000"),
            ("\"nonce\":\"0", "\"nonce\":\""),
            ("89abcdef\"", "89ABCDEF\""),
            ("\\u001f", "\\u0020"),
            ("\\u001f", "\\u001F"),
            ("\\u001f", "\\t"),
            ("\\u001f", "\u{1f}"),
            ("jobs/eu", "Jobs/eu"),
            ("ifmatch-lease", "ifmatch-other"),
            ("\"version\":\"1.0\"", "\"version\":\"0.1\""),
            ("\"version\":\"1.0\"", "\"version\":\"1\""),
            ("\u{7f}\"", "\u{7f}\"x"),
            ("\u{7f}\"", "\u{7f}"),
        ];
        for (from, to) in cases {
            let body = whole.replace(from, to);
            assert_ne!(body, whole, "{from}");
            assert!(
                matches!(
                    Lease::decode(&resealed(&body)),
                    Err(DecodeError::Corrupt(_))
                ),
                "{from} -> {to}"
            );
        }
        for body in [
            "",
            "}",
            "{}",
            "null",
            "[]",
            "\"}",
            ",\"crc32c\":\"00000000\"}",
        ] {
            assert!(Lease::decode(body.as_bytes()).is_err(), "{body}");
        }
    }
}
