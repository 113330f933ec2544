//! Several instances that append to one log at once, and the count afterwards.

use crate::ifmatch::protocols::log::{
    self, AppendOptions, AppendOutcome, Cursor, ReadLimit, ReadOutcome, Writer,
};
use crate::ifmatch::protocols::receipts;

/// Appends the records `who/0`, `who/1`, ... one after the other.
pub fn contend(prefix: &str, who: &str, count: u32) -> Result<String, String> {
    let log = log_of(prefix);
    let options = AppendOptions {
        writer: Writer::Shared,
        expected: None,
        producer: None,
    };
    receipts::take();
    for number in 0..count {
        let record = format!("{who}/{number}").into_bytes();
        match log::append(&log, &[record], &options).map_err(|error| format!("{error:?}"))? {
            AppendOutcome::Appended(_) => {}
            other => return Err(format!("append {number}: {other:?}")),
        }
    }
    let lost = receipts::take().races_lost;
    Ok(format!("{{\"appended\":{count},\"races_lost\":{lost}}}"))
}

/// Checks that nothing is lost, doubled or out of order.
pub fn audit(prefix: &str, expected: u32) -> Result<String, String> {
    let log = log_of(prefix);
    let mut next = Cursor {
        offset: 0,
        slot: None,
        absent_until: None,
    };
    let limit = ReadLimit {
        records: 1000,
        bytes: 1 << 20,
    };
    // How many records of each contender there were so far.
    let mut counts: Vec<(String, u32)> = Vec::new();
    let mut records = 0_u32;
    loop {
        let batch = match log::read(&log, next, limit).map_err(|error| format!("{error:?}"))? {
            ReadOutcome::Records(batch) => batch,
            ReadOutcome::Trimmed(kept) => return Err(format!("trimmed up to {}", kept.offset)),
        };
        if batch.entries.is_empty() {
            break;
        }
        for entry in &batch.entries {
            if entry.offset != u64::from(records) {
                return Err(format!("record {} instead of {records}", entry.offset));
            }
            records += 1;
            count(&mut counts, &entry.body)?;
        }
        next = batch.next;
    }
    if records != expected {
        return Err(format!("{records} records instead of {expected}"));
    }
    let contenders = counts.len();
    Ok(format!(
        "{{\"records\":{records},\"contenders\":{contenders}}}"
    ))
}

/// Counts a record, which must be the next one of its contender.
fn count(counts: &mut Vec<(String, u32)>, body: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(body);
    let record = text.rsplit_once('/');
    let Some((who, Ok(number))) = record.map(|(who, number)| (who, number.parse::<u32>())) else {
        return Err(format!("`{text}` is not a record of a contender"));
    };
    if counts.iter().all(|(known, _)| known != who) {
        counts.push((who.to_owned(), 0));
    }
    match counts.iter_mut().find(|(known, _)| known == who) {
        Some((_, next)) if *next == number => {
            *next += 1;
            Ok(())
        }
        _ => Err(format!("`{text}` is doubled, lost or out of order")),
    }
}

fn log_of(prefix: &str) -> String {
    format!("{prefix}/contest")
}
