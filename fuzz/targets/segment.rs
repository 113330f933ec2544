//! Segments of a log, with what their headers carry.
#![no_main]

use ifmatch::log::Segment;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let decode = |bytes: &[u8]| Segment::decode(bytes.to_vec());
    let Some(segment) = fuzz::check_object(data, decode, |segment| &segment.header) else {
        return;
    };
    if !segment.offers().is_empty() {
        return; // Its other records are in objects of their own.
    }
    let base = segment.header.base_offset;
    let offsets = segment.records_from(base).map(|(offset, _)| offset);
    assert!(offsets.eq(base..segment.end_offset()));
});
