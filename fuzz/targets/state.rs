//! The state of a chain: watermarks, pins, plans.
#![no_main]

use ifmatch::slots::ChainState;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let read = fuzz::check_object(data, ChainState::decode_object, |(header, _)| header);
    let Some((header, state)) = read else {
        return;
    };
    let written = state.encode_object(header.identity, header.commit_id);
    let (_, again) = ChainState::decode_object(&written.expect("it was read")).expect("written");
    assert_eq!(again, state);
});
