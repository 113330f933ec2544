//! Names, digests, and keys that a listing gave.
#![no_main]

use ifmatch::blob::Digest;
use ifmatch::keys::{ChainKeys, Family, Name, blob_key, parse_blob_key};
use ifmatch::log::Offer;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
    }
    let _ = Name::parse(text).map(|name| assert_eq!(name.as_str(), text));
    let name = Name::parse("l").expect("a name");
    let keys = ChainKeys::new(Family::Log, name.clone());
    if let Some(slot) = keys.parse_slot(text) {
        assert_eq!(keys.slot(slot), text);
    }
    if let Some(offer) = Offer::parse(&keys, text) {
        assert_eq!(offer.key(&keys), text);
    }
    if let Some(blob) = parse_blob_key(&name, text) {
        assert_eq!(blob_key(&name, blob.generation, &blob.digest), text);
    }
});
