//! Goal: the bytes that this library stores do not change by accident, and damage
//! of any kind to them is noticed.
//!
//! Method: a scripted history on the model store is compared object by object with
//! `fixtures/log` and `fixtures/manifest`. Every truncated prefix and every changed byte of each must be
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

use ifmatch::blob::{Digest, Generation, Reference};
use ifmatch::codec::{DecodeError, Header, Tag};
use ifmatch::collection::Act;
use ifmatch::log::{AppendOptions, Cursor, Keep, MergeOptions, Pack, Segment};
use ifmatch::manifest::{CommitOutcome, Decision, KeepVersions, Part, Version};
use ifmatch::slots::{ChainState, Grace};
use ifmatch::token::Epoch;
use model::log::{batch, fenced, produced};
use model::manifest::change;
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
    objects.extend(combination());
    objects
}

/// The same for manifests, with the keys behind `manifest/`.
const MANIFEST_FIXTURES: [(&str, &str); 9] = [
    ("manifest/1-settings", "m/_slot/ffffffffffffffff.0"),
    ("manifest/2-items", "m/_slot/fffffffffffffffe.1"),
    ("manifest/3-removed", "m/_slot/fffffffffffffffd.2"),
    ("manifest/4-prepared", "m/_slot/fffffffffffffffc.3"),
    ("manifest/5-decided", "m/_slot/fffffffffffffffb.4"),
    ("manifest/6-changes", "big/_slot/fffffffffffffffb.4"),
    ("manifest/7-fork", "fork/_slot/ffffffffffffffff.0"),
    ("manifest/8-decision", ""),
    ("manifest/9-swept", "n/_slot/fffffffffffffffd.2"),
];

/// Manifests with one version of each kind.
fn manifest_objects() -> Vec<(&'static str, Vec<u8>)> {
    let world = World::new();
    let manifests = world.manifests();
    let grace = Grace {
        period_ms: 10_000,
        margin_ms: 2_000,
    };
    world.run(manifests.create("m", grace)).unwrap();
    let mut first = change(1, "a=one b=two c=");
    first.edits[1].blobs = vec![Reference {
        generation: Generation(0),
        digest: Digest::of(b"a blob"),
    }];
    first.author = "somebody".to_owned();
    first.message = "the first items".to_owned();
    let commit = |name: &str, change| {
        world.advance_ms(1_000);
        let outcome = world.run(manifests.commit(name, &change)).unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)));
    };
    commit("m", first);
    commit("m", model::manifest::fenced(2, "b- d=four", 7));
    commit("n", change(0, "x=1"));
    let part = |name: &str, change| Part {
        name: name.to_owned(),
        change,
    };
    let parts = [
        part("m", model::manifest::fenced(3, "a=uno", 7)),
        part("n", change(1, "x=2")),
    ];
    world.run(manifests.transact(&parts)).unwrap();
    commit("m", model::manifest::fenced(4, "e=five", 8));
    let many: String = (0..60)
        .map(|n| format!("key-{n:02}={} ", "v".repeat(80)))
        .collect();
    commit("big", change(0, &many));
    for number in 1..5 {
        let text = format!("key-{number:02}=changed key-{:02}-", number + 20);
        commit("big", change(number, &text));
    }
    world.run(manifests.fork("n", 2, "fork")).unwrap();
    world
        .run(manifests.collect("n", KeepVersions::From(1), Act::Sweep))
        .unwrap();
    let decision = world
        .keys()
        .into_iter()
        .find(|key| key.starts_with("_transaction/"));
    let object = |(name, key): (&'static str, &str)| {
        let key = match key {
            "" => decision.clone().unwrap(),
            key => format!("manifest/{key}"),
        };
        (name, world.object(&key).unwrap().body)
    };
    MANIFEST_FIXTURES.map(object).to_vec()
}

/// Every object of which there is a fixture.
fn all_objects() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = objects();
    all.extend(manifest_objects());
    all
}

/// A segment that takes two offers, what it takes, and the segment behind it.
fn combination() -> Vec<(&'static str, Vec<u8>)> {
    let world = World::new();
    let rival = world.instance();
    let write = || world.run(rival.append("l", &batch("r"), &AppendOptions::SHARED));
    write().unwrap();
    let offering = |text: &str, options: AppendOptions| {
        let (writer, records) = (world.instance(), batch(text));
        let mut op = world.start(async move { writer.append("l", &records, &options).await });
        loop {
            let put = op.serve_until("PUT");
            if put.key().contains("-o") {
                op.serve();
                return op;
            }
            write().unwrap();
            op.serve();
        }
    };
    let _first = offering("taken also", produced("p-1", 0));
    let _second = offering("and this", AppendOptions::SHARED);
    let third = offering("own", AppendOptions::SHARED);
    third.finish().unwrap();
    write().unwrap();
    let body = |key: &str| world.object(key).unwrap().body;
    let combined = body("log/l/_slot/fffffffffffffffc.3");
    let segment = Segment::decode(combined.clone()).unwrap();
    let name = ifmatch::keys::Name::parse("l").unwrap();
    let keys = ifmatch::keys::ChainKeys::new(ifmatch::keys::Family::Log, name);
    assert_eq!(segment.offers().len(), 2);
    let offer = segment.offers().front().unwrap().key(&keys);
    Vec::from([
        ("10-combined", combined),
        ("11-offer", body(&offer)),
        ("12-settled", body("log/l/_slot/fffffffffffffffb.4")),
    ])
}

fn path(name: &str) -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "fixtures",
        if name.contains('/') { "" } else { "log" },
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

/// The segment that takes `11-offer`, which is the first that it takes.
fn taker() -> Segment {
    let text = std::fs::read_to_string(path("10-combined")).unwrap();
    Segment::decode(undump(&text)).unwrap()
}

fn decode(name: &str, bytes: &[u8]) -> Result<(), DecodeError> {
    if name.ends_with("offer") {
        // It is compared with what the segment that takes it says of it.
        return taker().join(bytes);
    }
    if name.ends_with("decision") {
        Decision::decode(bytes).map(drop)
    } else if name.starts_with("manifest/") {
        Version::decode(bytes).map(drop)
    } else if name.ends_with("state") {
        ChainState::decode_object(bytes).map(drop)
    } else if name.ends_with("pack") {
        Pack::decode(bytes).map(drop)
    } else {
        Segment::decode(bytes.to_vec()).map(drop)
    }
}

#[test]
fn stored_bytes_are_those_of_the_fixtures() {
    for (name, bytes) in all_objects() {
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
    for (name, bytes) in all_objects() {
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
    for (name, bytes) in all_objects() {
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
    for (name, bytes) in all_objects() {
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
fn a_version_that_does_not_know_packs_refuses_the_state_of_a_merged_log() {
    let mut found = 0;
    for (name, bytes) in objects() {
        let packs = ["7-planned-state", "8-pack", "9-merged-state"];
        if packs.iter().any(|known| name.ends_with(known)) {
            let header = Header::decode(&bytes, bytes.len() as u64).unwrap();
            assert!(header.require_only(&[Tag(1), Tag(2)]).is_err(), "{name}");
            found += 1;
        }
    }
    assert_eq!(found, 3);
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
