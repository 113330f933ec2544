//! Versions of a manifest, and decisions of transactions.
#![no_main]

use ifmatch::manifest::{Decision, Version};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::check_object(data, Version::decode, |version| &version.header);
    fuzz::check_object(data, Decision::decode, |(header, _)| header);
});
