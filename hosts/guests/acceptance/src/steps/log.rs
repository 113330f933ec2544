//! Append, read, race, repeat and trim.

use super::{equal, text, unexpected};
use crate::ifmatch::acceptance::rival::{self, Produced};
use crate::ifmatch::protocols::collection::{self, Keep, LogTarget, Target};
use crate::ifmatch::protocols::log::{
    self, AppendOptions, AppendOutcome, CreateOutcome, Cursor, Producer, ReadLimit, ReadOutcome,
    Settings, Writer,
};
use crate::ifmatch::protocols::receipts;

const LIMIT: ReadLimit = ReadLimit {
    records: 1000,
    bytes: 1 << 20,
};

/// Create, append, compare-and-append, read, tail.
pub fn append_and_read(prefix: &str) -> Result<String, String> {
    let log = format!("{prefix}/log");
    let settings = Settings {
        grace_ms: 60_000,
        clock_margin_ms: 5_000,
    };
    match log::create(&log, settings).map_err(text)? {
        CreateOutcome::Created => {}
        other => return unexpected("create", other),
    }
    let others = Settings {
        grace_ms: 120_000,
        ..settings
    };
    match log::create(&log, others).map_err(text)? {
        CreateOutcome::Exists(known) => equal("grace-ms", known.grace_ms, settings.grace_ms)?,
        other => return unexpected("create again", other),
    }
    equal(
        "a batch",
        appended(&log, &["a", "b", "c"], options(None))?,
        0,
    )?;
    match log::append(&log, &bodies(&["x"]), &options(Some(0))).map_err(text)? {
        AppendOutcome::Mismatch(tail) => equal("the tail", tail, 3)?,
        other => return unexpected("compare-and-append at 0", other),
    }
    equal(
        "compare-and-append",
        appended(&log, &["d"], options(Some(3)))?,
        3,
    )?;
    equal("the records", read(&log)?, own(&["a", "b", "c", "d"]))?;
    equal("the tail", log::tail(&log).map_err(text)?.offset, 4)?;
    Ok("5 calls, 4 records".to_owned())
}

/// The rival writes where this instance is about to write.
pub fn lost_race(prefix: &str) -> Result<String, String> {
    let log = format!("{prefix}/race");
    equal(
        "the first record",
        appended(&log, &["mine"], options(None))?,
        0,
    )?;
    equal("the rival's", rival::append(&log, "theirs")?, 1)?;
    receipts::take();
    equal(
        "after a lost race",
        appended(&log, &["mine too"], options(None))?,
        2,
    )?;
    let lost = receipts::take().races_lost;
    equal("races lost", lost, 1)?;
    equal("the rival's second", rival::append(&log, "theirs too")?, 3)?;
    let expected = own(&["mine", "theirs", "mine too", "theirs too"]);
    equal("read here", read(&log)?, expected.clone())?;
    equal("read by the rival", rival::records(&log)?, expected)?;
    Ok(format!("{lost} race lost, both read the same"))
}

/// The rival repeats the batch of a producer that this instance appended.
pub fn repeated_batch(prefix: &str) -> Result<String, String> {
    let log = format!("{prefix}/once");
    let produced = |sequence| Producer {
        id: "producer".to_owned(),
        sequence,
        started_at: 0,
    };
    let as_producer = |sequence| AppendOptions {
        producer: Some(produced(sequence)),
        ..options(None)
    };
    equal("sequence 0", appended(&log, &["zero"], as_producer(0))?, 0)?;
    equal("sequence 1", appended(&log, &["one"], as_producer(1))?, 1)?;
    let repeated = Produced {
        producer: "producer".to_owned(),
        sequence: 1,
        body: "one".to_owned(),
    };
    equal(
        "repeated elsewhere",
        rival::append_once(&log, &repeated)?,
        1,
    )?;
    match log::append(&log, &bodies(&["gap"]), &as_producer(7)).map_err(text)? {
        AppendOutcome::OutOfSequence(_) => {}
        other => return unexpected("sequence 7", other),
    }
    equal("the records", read(&log)?, own(&["zero", "one"]))?;
    Ok("repeated by another instance, once in the log".to_owned())
}

/// Trims, and reads where the records were.
pub fn trim(prefix: &str) -> Result<String, String> {
    let log = format!("{prefix}/trim");
    // Nothing has to age, so that a trim takes effect at once.
    let settings = Settings {
        grace_ms: 0,
        clock_margin_ms: 0,
    };
    log::create(&log, settings).map_err(text)?;
    for number in 0..4_u64 {
        equal("a record", appended(&log, &["x"], options(None))?, number)?;
    }
    let target = Target::Log(LogTarget {
        name: log.clone(),
        keep: Keep::Start(3),
    });
    let report = collection::sweep(&target).map_err(text)?;
    equal("the first kept", report.first_kept, 3)?;
    match log::read(&log, start(), LIMIT).map_err(text)? {
        ReadOutcome::Trimmed(kept) => equal("the first kept", kept.offset, 3)?,
        other => return unexpected("a read of trimmed records", other),
    }
    let deleted: u64 = report.removals.iter().map(|removal| removal.objects).sum();
    Ok(format!("{deleted} objects deleted"))
}

/// Appends a batch, and returns where it starts.
pub(super) fn appended(log: &str, records: &[&str], options: AppendOptions) -> Result<u64, String> {
    match log::append(log, &bodies(records), &options).map_err(text)? {
        AppendOutcome::Appended(extent) => Ok(extent.start),
        other => unexpected("append", other),
    }
}

/// The records of a short log.
pub(super) fn read(log: &str) -> Result<Vec<String>, String> {
    match log::read(log, start(), LIMIT).map_err(text)? {
        ReadOutcome::Records(batch) => batch
            .entries
            .into_iter()
            .map(|entry| String::from_utf8(entry.body).map_err(text))
            .collect(),
        other => unexpected("read", other),
    }
}

/// A shared writer, at the tail or only at a given offset.
pub(super) fn options(expected: Option<u64>) -> AppendOptions {
    AppendOptions {
        writer: Writer::Shared,
        expected,
        producer: None,
    }
}

pub(super) fn bodies(records: &[&str]) -> Vec<Vec<u8>> {
    records
        .iter()
        .map(|record| record.as_bytes().to_vec())
        .collect()
}

pub(super) fn own(records: &[&str]) -> Vec<String> {
    records.iter().map(|record| (*record).to_owned()).collect()
}

fn start() -> Cursor {
    Cursor {
        offset: 0,
        slot: None,
        absent_until: None,
    }
}
