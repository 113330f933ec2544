//! Packs: runs of segments in one object, each with checksums of its own.
#![no_main]

use ifmatch::log::Pack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = fuzz::bounded(data.len(), || Pack::decode(data));
    let object = fuzz::repaired(data);
    let Ok(pack) = fuzz::bounded(object.len(), || Pack::decode(&object)) else {
        return;
    };
    let mut end = None;
    for (segment, _) in pack.segments() {
        assert!(end.is_none_or(|end| end == segment.header.base_offset));
        end = Some(segment.end_offset());
    }
    assert!(end.is_some(), "a pack without segments: {pack:?}");
    let mut damaged = object;
    let last = damaged.len() - 1;
    damaged[last] ^= 1 << (data.len() % 8);
    assert!(
        Pack::decode(&damaged).is_err(),
        "byte {last} is not covered"
    );
});
