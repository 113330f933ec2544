//! How long a warm append takes, and a conditional write without the protocols.

use crate::ifmatch::bucket::bucket::{self, Precondition, PutOutcome, Write};
use crate::ifmatch::protocols::log::{self, AppendOptions, AppendOutcome, Writer};
use crate::wasi::clocks::monotonic_clock;

/// As much as a small event has.
const BODY: [u8; 100] = [b'x'; 100];

/// Times both in turn, so that whatever else the machine does slows down both. The
/// first of each, which finds its place, is not counted.
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
    let append = || match log::append(&log, &[BODY.to_vec()], &options) {
        Ok(AppendOutcome::Appended(_)) => Ok(()),
        other => Err(format!("append: {other:?}")),
    };
    let put = |number| {
        let write = Write {
            key: format!("{prefix}/put/{number}"),
            body: BODY.to_vec(),
            precondition: Precondition::Absent,
        };
        match bucket::put(&write) {
            Ok(PutOutcome::Written(_)) => Ok(()),
            other => Err(format!("put: {other:?}")),
        }
    };
    append()?;
    put(0)?;
    let (mut appends, mut puts) = (Vec::new(), Vec::new());
    for number in 1..=count {
        appends.push(time(append)?);
        puts.push(time(|| put(number))?);
    }
    let (appends, puts) = (summary(appends), summary(puts));
    Ok(format!("{{\"append\":{appends},\"put\":{puts}}}"))
}

/// How long a call takes, in microseconds.
fn time(call: impl FnOnce() -> Result<(), String>) -> Result<u64, String> {
    let start = monotonic_clock::now();
    call()?;
    Ok(monotonic_clock::now().saturating_sub(start) / 1000)
}

/// Some times as JSON.
fn summary(mut times: Vec<u64>) -> String {
    times.sort_unstable();
    let total: u64 = times.iter().sum();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
    let (median, p99) = (at(50), at(99));
    format!("{{\"median\":{median},\"p99\":{p99},\"total\":{total}}}")
}
