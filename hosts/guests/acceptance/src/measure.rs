//! How long a warm append takes, and a conditional write without the protocols.

use crate::ifmatch::bucket::bucket::{self, Precondition, PutOutcome, Write};
use crate::ifmatch::protocols::log::{self, AppendOptions, AppendOutcome, Writer};
use crate::wasi::clocks::monotonic_clock;

/// As much as a small event has.
const BODY: [u8; 100] = [b'x'; 100];

/// Times both, one call after the other. The first of each, which finds its place, is
/// not counted.
pub fn measure(prefix: &str, count: u32) -> Result<String, String> {
    if !(1..=100_000).contains(&count) {
        return Err("the count must be from 1 to 100000".to_owned());
    }
    let log = format!("{prefix}/measured");
    let options = AppendOptions {
        writer: Writer::Shared,
        expected: None,
        producer: None,
    };
    let append = times(count, |_| {
        match log::append(&log, &[BODY.to_vec()], &options) {
            Ok(AppendOutcome::Appended(_)) => Ok(()),
            other => Err(format!("append: {other:?}")),
        }
    })?;
    let put = times(count, |number| {
        let write = Write {
            key: format!("{prefix}/put/{number}"),
            body: BODY.to_vec(),
            precondition: Precondition::Absent,
        };
        match bucket::put(&write) {
            Ok(PutOutcome::Written(_)) => Ok(()),
            other => Err(format!("put: {other:?}")),
        }
    })?;
    Ok(format!("{{\"append\":{append},\"put\":{put}}}"))
}

/// The times of so many calls, in microseconds, as JSON.
fn times(count: u32, mut call: impl FnMut(u32) -> Result<(), String>) -> Result<String, String> {
    call(0)?;
    let begun = monotonic_clock::now();
    let mut times = Vec::new();
    for number in 1..=count {
        let start = monotonic_clock::now();
        call(number)?;
        times.push(monotonic_clock::now().saturating_sub(start) / 1000);
    }
    let total = monotonic_clock::now().saturating_sub(begun) / 1000;
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
    let (median, p99) = (at(50), at(99));
    Ok(format!(
        "{{\"median\":{median},\"p99\":{p99},\"total\":{total}}}"
    ))
}
