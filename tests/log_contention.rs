//! Goal: many writers at once cost little more for each append than one, the log
//! goes on faster than one append for each round trip, and nobody starves.
//!
//! Method: writers in a closed loop, in virtual time, on a store that answers each
//! request after 20 ms, beside a loop such as one would write by hand. `cargo test
//! --test log_contention -- --nocapture` prints the figures.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "a test fails by panicking, and prints what it measured"
)]

mod model;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use ifmatch::bucket::{Bucket, Precondition, PutOutcome, Write};
use ifmatch::log::{AppendOptions, AppendOutcome, Extent, Logs};
use model::clock::Clock;
use model::timed::{Timed, TimedBucket, Weather};

const ROUND_TRIP_MS: u64 = 20;

/// For how long the writers compete.
const CONTEST_MS: u64 = 10_000;

/// When the last of them must be done.
const END_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An instance for each writer.
    Warm,
    /// An instance for each append.
    Cold,
    /// Put-if-absent; after a lost race, the next slot.
    Naive,
    /// The same, and a listing before each append.
    NaiveCold,
}

#[derive(Default)]
struct Tally {
    acknowledged: Vec<(Extent, String)>,
    waits_ms: Vec<u64>,
    by_writer: Vec<u64>,
}

/// What a contest came to.
struct Figures {
    kind: Kind,
    writers: usize,
    requests_per_ack: f64,
    acks_per_round_trip: f64,
    wait_max_ms: u64,
    /// Acknowledged appends of the writer with the fewest and of that with the most.
    fewest: u64,
    most: u64,
    kinds: String,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:9} {:3}  {:6.2} requests per ack  {:6.2} acks per round trip  {:5} ms at most  {} to {} each {}",
            format!("{:?}", self.kind),
            self.writers,
            self.requests_per_ack,
            self.acks_per_round_trip,
            self.wait_max_ms,
            self.fewest,
            self.most,
            self.kinds
        )
    }
}

async fn write_by_hand(bucket: &TimedBucket, next: &mut u64, cold: bool) {
    if cold {
        let page = bucket.list("naive/", None, 1).await.unwrap();
        *next = page.objects.first().map_or(0, |newest| {
            let digits = newest.key.strip_prefix("naive/").unwrap();
            u64::MAX - u64::from_str_radix(digits, 16).unwrap() + 1
        });
    }
    loop {
        let slot = *next;
        *next += 1;
        let write = Write {
            key: format!("naive/{:016x}", u64::MAX - slot),
            body: b"record".to_vec(),
            precondition: Precondition::Absent,
        };
        if let PutOutcome::Written { .. } = bucket.put(&write).await.unwrap() {
            return;
        }
    }
}

fn contest(kind: Kind, writers: usize, seed: u64) -> Figures {
    let timed = Timed::new(seed);
    timed.set_weather(Weather {
        round_trip_ms: Some(ROUND_TRIP_MS),
        ..Weather::default()
    });
    let tally = Rc::new(RefCell::new(Tally {
        by_writer: vec![0; writers],
        ..Tally::default()
    }));
    for writer in 0..writers {
        let (timed, tally) = (timed.clone(), tally.clone());
        let start_ms = timed.draw_in(0..ROUND_TRIP_MS);
        timed.clone().spawn(async move {
            timed.sleep(start_ms).await;
            let instance = || Logs::new(timed.store(&Clock::default()).1);
            let (mut logs, bucket, mut next) = (instance(), timed.bucket(), 0);
            for number in 0.. {
                let began_ms = timed.now_ms();
                if began_ms >= CONTEST_MS {
                    break;
                }
                let text = format!("{writer}.{number}");
                match kind {
                    Kind::Naive | Kind::NaiveCold => {
                        write_by_hand(&bucket, &mut next, kind == Kind::NaiveCold).await;
                    }
                    Kind::Warm | Kind::Cold => {
                        if kind == Kind::Cold {
                            logs = instance();
                        }
                        let records = [text.clone().into_bytes()];
                        let outcome = logs.append("l", &records, &AppendOptions::SHARED).await;
                        let AppendOutcome::Appended(extent) = outcome.unwrap() else {
                            panic!("not appended");
                        };
                        tally.borrow_mut().acknowledged.push((extent, text));
                    }
                }
                let mut tally = tally.borrow_mut();
                tally.waits_ms.push(timed.now_ms() - began_ms);
                tally.by_writer[writer] += 1;
            }
        });
    }
    assert!(timed.run_until(END_MS), "somebody is still at work");
    let mut tally = tally.borrow_mut();
    if matches!(kind, Kind::Warm | Kind::Cold) {
        tally.acknowledged.sort_by_key(|(extent, _)| extent.start);
        let told: Vec<String> = tally
            .acknowledged
            .iter()
            .map(|(_, text)| text.clone())
            .collect();
        assert_eq!(model::log::contents(&timed.world), told);
    }
    let acks = tally.waits_ms.len() as f64;
    let requests = timed.requests();
    let mut kinds = std::collections::BTreeMap::new();
    for (_, _, kind) in &requests {
        *kinds.entry(*kind).or_insert(0_u32) += 1;
    }
    let kinds = kinds
        .iter()
        .map(|(kind, count)| format!("{:.2} {kind}", f64::from(*count) / acks))
        .collect::<Vec<_>>()
        .join(" + ");
    Figures {
        kind,
        writers,
        requests_per_ack: requests.len() as f64 / acks,
        acks_per_round_trip: acks * ROUND_TRIP_MS as f64 / CONTEST_MS as f64,
        wait_max_ms: *tally.waits_ms.iter().max().unwrap(),
        fewest: *tally.by_writer.iter().min().unwrap(),
        most: *tally.by_writer.iter().max().unwrap(),
        kinds,
    }
}

/// What a kind of writer may come to, for numbers of them.
struct Bounds {
    kind: Kind,
    writers: usize,
    requests_per_ack: f64,
    acks_per_round_trip: f64,
    wait_max_ms: u64,
}

const fn bounds(
    kind: Kind,
    writers: usize,
    requests_per_ack: f64,
    acks_per_round_trip: f64,
    wait_max_ms: u64,
) -> Bounds {
    Bounds {
        kind,
        writers,
        requests_per_ack,
        acks_per_round_trip,
        wait_max_ms,
    }
}

/// The longest wait among warm writers is that for whoever writes straight into the
/// log to look whether others wait.
const BOUNDS: [Bounds; 10] = [
    bounds(Kind::Warm, 1, 1.05, 0.9, 100),
    bounds(Kind::Warm, 2, 3.0, 0.5, 1_500),
    bounds(Kind::Warm, 4, 3.0, 0.9, 1_500),
    bounds(Kind::Warm, 16, 3.0, 3.2, 1_500),
    bounds(Kind::Warm, 64, 3.0, 12.0, 1_500),
    bounds(Kind::Cold, 1, 3.0, 0.3, 100),
    bounds(Kind::Cold, 2, 6.0, 0.3, 600),
    bounds(Kind::Cold, 4, 6.5, 0.4, 600),
    bounds(Kind::Cold, 16, 5.5, 1.8, 600),
    bounds(Kind::Cold, 64, 5.0, 7.0, 800),
];

/// The fewest appends of a writer are at least such a part of the most.
const FAIR_PART: u64 = 3;

#[test]
fn the_cost_of_an_append_hardly_grows_with_the_number_of_writers() {
    for bounds in BOUNDS {
        let figures = contest(bounds.kind, bounds.writers, 0);
        println!("{figures}");
        assert!(
            figures.requests_per_ack <= bounds.requests_per_ack,
            "{figures}"
        );
        assert!(
            figures.acks_per_round_trip >= bounds.acks_per_round_trip,
            "{figures}"
        );
        assert!(figures.wait_max_ms <= bounds.wait_max_ms, "{figures}");
        assert!(figures.fewest * FAIR_PART >= figures.most, "{figures}");
    }
}

/// What the bounds above are to be compared with: one append for each round trip at
/// most, and a request of each writer for each of them.
#[test]
fn a_loop_by_hand_costs_as_many_requests_as_there_are_writers() {
    for (kind, round_trip) in [(Kind::Naive, 1.0), (Kind::NaiveCold, 1.0)] {
        for writers in [1, 4, 16, 64] {
            let figures = contest(kind, writers, 0);
            println!("{figures}");
            assert!(
                figures.requests_per_ack >= writers as f64 * 0.9,
                "{figures}"
            );
            assert!(figures.acks_per_round_trip <= round_trip * 1.2, "{figures}");
        }
    }
}
