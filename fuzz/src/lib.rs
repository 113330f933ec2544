//! What the fuzz targets have in common: objects whose checksums are right, and a
//! limit on memory.
//!
//! A target panics where a promise is broken. Each runs what it is given as it is, and
//! again with right lengths and checksums, without which hardly anything would get
//! behind the first check.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};

use ifmatch::codec::{DecodeError, Header, crc32c};

/// How every object but leases and blobs starts.
const START: &[u8] = b"\x89ifm\r\n\x1a\n\x01\0\0\0\0\0\0\0";

/// Length of the fixed part of a header.
const FIXED: usize = 128;

/// Where its own checksum stands.
const HEADER_CRC: usize = FIXED - 4;

/// A decoder may use this many bytes for each byte that it is given.
const MEMORY_FACTOR: usize = 64;

/// And this many besides.
const MEMORY_BASE: usize = 1 << 20;

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as promised to this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised to this function.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a decoder on so many bytes, and panics if it uses memory out of proportion.
pub fn bounded<T>(bytes: usize, decode: impl FnOnce() -> T) -> T {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = decode();
    let used = PEAK.load(Ordering::Relaxed) - before;
    assert!(
        used <= MEMORY_BASE + MEMORY_FACTOR * bytes,
        "{used} bytes of memory for {bytes} bytes"
    );
    result
}

/// Runs a decoder of objects, and checks what it accepts.
///
/// `decode` gives the header of what it read. Objects whose checksums are wrong must be
/// refused, and the header of one that is accepted is read as it would be written.
pub fn check_object<T: Debug>(
    data: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    header: impl Fn(&T) -> &Header,
) -> Option<T> {
    let _ = bounded(data.len(), || decode(data));
    let object = repaired(data);
    let decoded = bounded(object.len(), || decode(&object)).ok()?;
    let read = header(&decoded);
    let written = read.encode().expect("it was read");
    let again = Header::decode(&written, written.len() as u64 + read.payload_bytes);
    assert_eq!(again.as_ref(), Ok(read), "{decoded:?}");
    // Any bit of either checksum, and the last byte that they cover.
    for at in [HEADER_CRC, 32, object.len() - 1] {
        let mut damaged = object.clone();
        damaged[at] ^= 1 << (data.len() % 8);
        let accepted = decode(&damaged);
        assert!(accepted.is_err(), "byte {at} is not covered: {accepted:?}");
    }
    Some(decoded)
}

/// The same bytes as an object whose lengths and checksums are right, and likewise every
/// object inside it.
pub fn repaired(data: &[u8]) -> Vec<u8> {
    let mut object = START.to_vec();
    object.extend(data.get(START.len()..).unwrap_or_default());
    object.resize(object.len().max(FIXED), 0);
    let starts: Vec<usize> = (START.len()..object.len().saturating_sub(FIXED))
        .filter(|&at| object[at..].starts_with(&START[..8]))
        .collect();
    // From the last to the first: those that hold others come first.
    for at in starts.into_iter().rev() {
        let header = u32_at(&object, at + 20) as usize;
        let payload = u32_at(&object, at + 24) as usize;
        let end = at.saturating_add(header).saturating_add(payload);
        if (FIXED..=0x1_0000).contains(&header) && end <= object.len() {
            seal(&mut object[at..end], header);
        }
    }
    let header = u32_at(&object, 20) as usize;
    let header = match (FIXED..=object.len().min(0x1_0000)).contains(&header) {
        true => header,
        false => FIXED,
    };
    seal(&mut object, header);
    object
}

/// Makes the lengths and checksums of an object right.
fn seal(object: &mut [u8], header: usize) {
    let payload = object.len() - header;
    put(object, 18, &[0; 2]);
    put(object, 20, &(header as u32).to_le_bytes());
    put(object, 24, &(payload as u64).to_le_bytes());
    let crc = crc32c(&[&object[header..]]);
    put(object, 32, &crc.to_le_bytes());
    put(object, HEADER_CRC - 4, &[0; 4]);
    let crc = crc32c(&[&object[..HEADER_CRC], &object[FIXED..header]]);
    put(object, HEADER_CRC, &crc.to_le_bytes());
}

fn put(object: &mut [u8], at: usize, bytes: &[u8]) {
    object[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(object: &[u8], at: usize) -> u32 {
    let bytes = object[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes)
}
