//! What tests of logs have in common. The log is called `l`.

use ifmatch::log::{
    AppendOptions, AppendOutcome, Cursor, Extent, Producer, ReadLimit, ReadOutcome,
};
use ifmatch::token::{Epoch, Writer};

use super::World;

pub const ALL: ReadLimit = ReadLimit {
    records: 10_000,
    bytes: 16 * 1024 * 1024,
};

pub fn batch(text: &str) -> Vec<Vec<u8>> {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

pub fn appended(start: u64, end: u64) -> AppendOutcome {
    AppendOutcome::Appended(Extent { start, end })
}

pub fn fenced(epoch: u64) -> AppendOptions {
    AppendOptions {
        writer: Writer::Fenced(Epoch(epoch)),
        ..AppendOptions::SHARED
    }
}

pub fn produced(id: &str, sequence: u64) -> AppendOptions {
    AppendOptions {
        producer: Some(Producer {
            id: id.to_owned(),
            sequence,
            started_at: 0,
        }),
        ..AppendOptions::SHARED
    }
}

/// All records, as a fresh instance reads them.
pub fn contents(world: &World) -> Vec<String> {
    let reader = world.instance();
    let mut cursor = Cursor::at(0);
    let mut words = Vec::new();
    loop {
        match world.run(reader.read("l", cursor, ALL)).unwrap() {
            ReadOutcome::Records(entries, _) if entries.is_empty() => return words,
            ReadOutcome::Records(entries, next) => {
                for entry in entries {
                    assert_eq!(entry.offset, words.len() as u64);
                    words.push(String::from_utf8(entry.body).unwrap());
                }
                cursor = next;
            }
            ReadOutcome::Trimmed(kept) => panic!("trimmed up to {kept:?}"),
        }
    }
}

/// At most two records.
pub fn two() -> ReadLimit {
    ReadLimit {
        records: 2,
        bytes: 1_000,
    }
}
