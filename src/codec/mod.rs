//! Reading and writing of stored bytes. All integers are little-endian.
//!
//! Decoding never panics and never trusts a length: whatever the store returns,
//! the result is a value or a [`DecodeError`].

mod crc32c;
mod header;

use core::fmt;

pub use crc32c::crc32c;
pub use header::{HEADER_BYTES_MAX, HEADER_FIXED_BYTES, Header, Kind, Section, Tag};

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes are not what they should be.
    Corrupt(&'static str),
    /// The bytes come from a newer, incompatible format.
    Newer(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(what) => f.write_str(what),
            Self::Newer(what) => f.write_str(what),
        }
    }
}

/// Takes integers and slices from the front of a byte string.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    /// Takes the next `count` bytes.
    ///
    /// # Errors
    ///
    /// If fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Corrupt("the object ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    ///
    /// If fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Takes one byte.
    ///
    /// # Errors
    ///
    /// If none is left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    /// Takes a 16-bit number.
    ///
    /// # Errors
    ///
    /// If too few bytes are left. The same holds for the wider numbers.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes a 32-bit number.
    ///
    /// # Errors
    ///
    /// If too few bytes are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes a 64-bit number.
    ///
    /// # Errors
    ///
    /// If too few bytes are left.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes a 128-bit number.
    ///
    /// # Errors
    ///
    /// If too few bytes are left.
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_le_bytes)
    }

    /// The bytes that were not taken.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all bytes were taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// If bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Corrupt("there are bytes behind the end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoders_stop_at_the_end() {
        let mut decoder = Decoder::new(&[1, 0, 2, 0, 0, 0]);
        assert_eq!(decoder.u16(), Ok(1));
        assert_eq!(decoder.u32(), Ok(2));
        assert!(decoder.u8().is_err());
        assert_eq!(decoder.finish(), Ok(()));
        assert!(Decoder::new(&[1]).finish().is_err());
        assert!(Decoder::new(&[1]).take(usize::MAX).is_err());
    }
}
