//! Text forms of bytes: hexadecimal, Base64 (RFC 4648) and the percent encoding
//! of Signature Version 4.

const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn digit(alphabet: &[u8], value: u8) -> char {
    alphabet
        .get(usize::from(value))
        .map_or('0', |&byte| char::from(byte))
}

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        text.push(digit(HEX_LOWER, byte >> 4));
        text.push(digit(HEX_LOWER, byte & 15));
    }
    text
}

/// The bytes that `text`, lower-case hexadecimal digits, stands for.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut digits = text.bytes().map(|byte| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    });
    let mut bytes = [0; N];
    for byte in &mut bytes {
        let high = digits.next()??;
        *byte = (high << 4) | digits.next()??;
    }
    digits.next().is_none().then_some(bytes)
}

/// Decimal digits of `value`.
#[must_use]
pub fn decimal(value: u64) -> String {
    let mut text = String::new();
    let mut rest = value;
    loop {
        text.insert(0, digit(HEX_LOWER, (rest % 10).to_le_bytes()[0]));
        rest /= 10;
        if rest == 0 {
            return text;
        }
    }
}

/// Base64 of `bytes`, with padding.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let octet = |index| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = (octet(0) << 16) | (octet(1) << 8) | octet(2);
        for (position, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let sextet = (bits >> shift).to_le_bytes()[0] & 63;
            text.push(if position > group.len() {
                '='
            } else {
                digit(BASE64, sextet)
            });
        }
    }
    text
}

fn percent_encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || (keep_slash && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(digit(HEX_UPPER, byte >> 4));
            encoded.push(digit(HEX_UPPER, byte & 15));
        }
    }
    encoded
}

/// Percent-encodes a path, keeping its slashes.
#[must_use]
pub fn encode_path(path: &str) -> String {
    percent_encode(path, true)
}

/// Percent-encodes a name or a value of a query.
#[must_use]
pub fn encode_query(text: &str) -> String {
    percent_encode(text, false)
}

/// Reverses the `encoding-type=url` of a listing, where a blank may be a plus
/// sign. Nothing if the result is not UTF-8 or an escape is cut short.
#[must_use]
pub fn decode_url(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from((high << 4) | low).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn decimal_digits() {
        for value in [0, 7, 10, 1024, u64::MAX] {
            assert_eq!(decimal(value), value.to_string());
        }
    }

    #[test]
    fn hex_round_trips_and_refuses_other_text() {
        assert_eq!(hex(&[0, 0x9f, 0xff]), "009fff");
        assert_eq!(unhex::<3>("009fff"), Some([0, 0x9f, 0xff]));
        for bad in ["", "009ff", "009fff0", "009FFF", "00 fff"] {
            assert_eq!(unhex::<3>(bad), None, "{bad}");
        }
    }

    #[test]
    fn percent_encoding_escapes_all_but_unreserved_characters() {
        assert_eq!(encode_path("/a b/$ü~.txt"), "/a%20b/%24%C3%BC~.txt");
        assert_eq!(encode_query("a/b+c=d&e"), "a%2Fb%2Bc%3Dd%26e");
    }

    #[test]
    fn listing_keys_decode() {
        assert_eq!(decode_url("a%2Fb+c%C3%BC").as_deref(), Some("a/b cü"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decode_url(bad), None, "{bad}");
        }
    }
}
