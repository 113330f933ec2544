//! Goal: the bytes that this library stores do not change by accident, and damage
//! of any kind to them is noticed.
//!
//! Method: a scripted history on the model store is compared object by object with
//! `fixtures/log`. Every truncated prefix and every changed byte of each must be
//! refused. `IFMATCH_BLESS=1 cargo test --test fixtures` rewrites the files, for a
//! change of format that is meant.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "whoever rewrites the files says so in the environment"
)]

mod model;

use std::fmt::Write as _;
use std::path::PathBuf;

use ifmatch::codec::{DecodeError, Header};
use ifmatch::log::{AppendOptions, Cursor, Keep, MergeOptions, Pack, Segment};
use ifmatch::slots::{ChainState, Grace};
use ifmatch::token::Epoch;
use model::log::{batch, fenced, produced};
use model::{HOUR_MS, World};

/// What each fixture shows, and the key under which it is stored.
const FIXTURES: [(&str, &str); 9] = [
    ("1-settings", "log/l/_slot/ffffffffffffffff.0"),
    ("2-batch", "log/l/_slot/fffffffffffffffe.1"),
    ("3-producer", "log/l/_slot/fffffffffffffffd.2"),
    ("4-claim", "log/l/_slot/fffffffffffffffc.3"),
    ("5-pointers", "log/l/_slot/fffffffffffffff8.7"),
    ("6-state", "log/l/_state"),
    ("7-planned-state", "log/l/_state"),
    (
        "8-pack",
        "log/l/_pack/0000000000000008.0000000000000004.0000000000000002",
    ),
    ("9-merged-state", "log/l/_state"),
];

/// A log with one object of each kind.
fn history() -> World {
    let world = World::new();
    let logs = world.instance();
    let grace = Grace {
        period_ms: 10_000,
        margin_ms: 2_000,
    };
    world.run(logs.create("l", grace)).unwrap();
    world.advance_ms(1_000);
    let records = batch("one two  three");
    world
        .run(logs.append("l", &records, &AppendOptions::SHARED))
        .unwrap();
    world.advance_ms(1_000);
    world
        .run(logs.append("l", &batch("four"), &produced("p-1", 0)))
        .unwrap();
    world.advance_ms(1_000);
    world.run(logs.claim("l", Epoch(7))).unwrap();
    for text in ["five", "six", "seven", "eight"] {
        world.advance_ms(1_000);
        world
            .run(logs.append("l", &batch(text), &fenced(7)))
            .unwrap();
    }
    world
}

/// The rest is added at the end, since trims and merges remove some of the others.
fn objects() -> Vec<(&'static str, Vec<u8>)> {
    let world = history();
    let mut objects = Vec::new();
    for (name, key) in FIXTURES {
        if name == "6-state" {
            world.advance_ms(HOUR_MS);
            let logs = world.instance();
            world
                .run(logs.pin("l", "reader", Cursor::at(4), 60_000))
                .unwrap();
            world.run(logs.trim("l", Keep::Start(4))).unwrap();
        }
        let logs = world.instance();
        let options = MergeOptions {
            spare: Keep::Start(8),
            at_least: 1,
        };
        let mut merge = world.start(logs.merge("l", &options));
        if name == "7-planned-state" {
            merge.serve_until("PUT");
            merge.serve();
        } else if name == "8-pack" {
            merge.finish().unwrap();
        }
        objects.push((name, world.object(key).unwrap().body));
    }
    objects
}

fn path(name: &str) -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "fixtures",
        "log",
        &format!("{name}.hex"),
    ]
    .iter()
    .collect()
}

/// Sixteen bytes on a line, with their offset.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes.chunks(16).enumerate() {
        write!(text, "{:04x} ", number * 16).unwrap();
        for byte in line {
            write!(text, " {byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn undump(text: &str) -> Vec<u8> {
    text.lines()
        .flat_map(|line| line.split_whitespace().skip(1))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn decode(name: &str, bytes: &[u8]) -> Result<(), DecodeError> {
    if name.ends_with("state") {
        ChainState::decode_object(bytes).map(drop)
    } else if name.ends_with("pack") {
        Pack::decode(bytes).map(drop)
    } else {
        Segment::decode(bytes.to_vec()).map(drop)
    }
}

#[test]
fn stored_bytes_are_those_of_the_fixtures() {
    for (name, bytes) in objects() {
        if std::env::var_os("IFMATCH_BLESS").is_some() {
            std::fs::write(path(name), dump(&bytes)).unwrap();
        }
        let text = std::fs::read_to_string(path(name)).unwrap();
        assert_eq!(dump(&bytes), text, "{name}");
        assert_eq!(undump(&text), bytes, "{name}");
        decode(name, &bytes).unwrap();
    }
}

#[test]
fn every_truncated_prefix_is_refused() {
    for (name, bytes) in objects() {
        for length in 0..bytes.len() {
            assert!(
                decode(name, &bytes[..length]).is_err(),
                "{name} cut to {length}"
            );
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode(name, &longer).is_err(), "{name} with a byte more");
    }
}

#[test]
fn every_changed_byte_is_refused() {
    for (name, bytes) in objects() {
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                assert!(
                    decode(name, &changed).is_err(),
                    "{name}: byte {at} ^ {change:#x}"
                );
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_header_is_refused_where_only_the_header_is_read() {
    for (name, bytes) in objects() {
        let length = Header::length(&bytes).unwrap();
        let size = bytes.len() as u64;
        let header = Header::decode(&bytes[..length], size).unwrap();
        assert_eq!(Header::decode(&bytes, size).unwrap(), header, "{name}");
        for at in 0..length {
            let mut changed = bytes[..length].to_vec();
            changed[at] ^= 0x10;
            assert!(Header::decode(&changed, size).is_err(), "{name}: byte {at}");
        }
        for size in [0, size - 1, size + 1, u64::MAX] {
            assert!(
                Header::decode(&bytes, size).is_err(),
                "{name}: {size} bytes"
            );
        }
    }
}

#[test]
fn scenario_51_a_newer_format_is_refused_and_a_newer_minor_version_is_read() {
    // Each change is made as a newer writer would make it, with the checksum right.
    let (_, bytes) = objects()
        .into_iter()
        .find(|(name, _)| *name == "2-batch")
        .unwrap();
    let written_with = |at: usize, value: u8| {
        let mut changed = bytes.clone();
        changed[at] = value;
        let length = Header::length(&bytes).unwrap();
        let crc = ifmatch::codec::crc32c(&[&changed[..124], &changed[128..length]]);
        changed[124..128].copy_from_slice(&crc.to_le_bytes());
        Segment::decode(changed)
    };
    assert!(written_with(10, 1).is_ok(), "minor version");
    assert!(written_with(18, 1).is_ok(), "reserved bytes");
    assert!(
        matches!(written_with(8, 2), Err(DecodeError::Newer(_))),
        "major version"
    );
    assert!(
        matches!(written_with(12, 1), Err(DecodeError::Newer(_))),
        "a feature flag"
    );
    assert!(
        matches!(written_with(16, 200), Err(DecodeError::Newer(_))),
        "a kind"
    );
}
