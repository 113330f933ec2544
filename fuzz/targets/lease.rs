//! Lease objects, which are JSON.
#![no_main]

use ifmatch::codec::crc32c;
use ifmatch::lease::Lease;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = fuzz::bounded(data.len(), || Lease::decode(data));
    // The same with a right checksum behind it.
    let marker = b",\"crc32c\":\"";
    let covered = data
        .windows(marker.len())
        .rposition(|window| window == marker)
        .map_or(data, |at| &data[..at]);
    let crc = format!("{:08x}", crc32c(&[covered]));
    let object = [covered, marker, crc.as_bytes(), b"\"}"].concat();
    let Ok(lease) = fuzz::bounded(object.len(), || Lease::decode(&object)) else {
        return;
    };
    let written = lease.encode();
    assert_eq!(Lease::decode(&written).as_ref(), Ok(&lease));
    let mut damaged = object.clone();
    let at = data.len() % covered.len();
    damaged[at] ^= 1;
    assert!(Lease::decode(&damaged).is_err(), "byte {at} is not covered");
});
