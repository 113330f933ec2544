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
use model::timed::{Distance, Timed, TimedBucket, Weather};

/// How long the requests of the writers take: those of every other writer from and up
/// to so many microseconds, and those of the rest.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: &'static str,
    one: Distance,
    other: Distance,
}

const fn place(name: &'static str, one: Distance, other: Distance) -> Place {
    Place { name, one, other }
}

/// All requests take 20 ms.
const USUAL: Place = place("20 ms", (20_000, 20_000), (20_000, 20_000));

impl Place {
    fn distance(&self, writer: usize) -> Distance {
        match writer % 2 {
            0 => self.one,
            _ => self.other,
        }
    }

    /// How long a round trip takes on average.
    fn round_trip_us(&self) -> u64 {
        (self.one.0 + self.one.1 + self.other.0 + self.other.1) / 4
    }

    /// For how long the writers compete.
    fn contest_ms(&self) -> u64 {
        (self.round_trip_us() * 500 / 1_000).max(400)
    }
}

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
    place: &'static str,
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
            "{:12} {:9} {:3}  {:6.2} requests per ack  {:6.2} acks per round trip  {:5} ms at most  {} to {} each {}",
            self.place,
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

fn contest(place: Place, kind: Kind, writers: usize, seed: u64) -> Figures {
    let timed = Timed::new(seed);
    timed.set_weather(Weather {
        // Timers of most hosts count whole milliseconds.
        timer_late_us: 1_000,
        ..Weather::default()
    });
    let contest_ms = place.contest_ms();
    let tally = Rc::new(RefCell::new(Tally {
        by_writer: vec![0; writers],
        ..Tally::default()
    }));
    for writer in 0..writers {
        let (timed, tally) = (timed.clone(), tally.clone());
        let start_us = timed.draw_in(0..place.round_trip_us());
        let distance = place.distance(writer);
        timed.clone().spawn(async move {
            timed.sleep_us(start_us).await;
            let instance = || Logs::new(timed.store_at(&Clock::default(), Some(distance)).1);
            let (mut logs, bucket, mut next) = (instance(), timed.bucket_at(distance), 0);
            for number in 0.. {
                let began_ms = timed.now_ms();
                if began_ms >= contest_ms {
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
    assert!(timed.run_until(contest_ms * 6), "somebody is still at work");
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
        place: place.name,
        kind,
        writers,
        requests_per_ack: requests.len() as f64 / acks,
        acks_per_round_trip: acks * place.round_trip_us() as f64 / 1_000.0 / contest_ms as f64,
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
        let figures = contest(USUAL, bounds.kind, bounds.writers, 0);
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
            let figures = contest(USUAL, kind, writers, 0);
            println!("{figures}");
            assert!(
                figures.requests_per_ack >= writers as f64 * 0.9,
                "{figures}"
            );
            assert!(figures.acks_per_round_trip <= round_trip * 1.2, "{figures}");
        }
    }
}

/// Stores nearer and farther than usual, one whose replies take now more and now less,
/// and writers that are not equally far.
const PLACES: [Place; 6] = [
    place("0.2 ms", (200, 200), (200, 200)),
    place("1 ms", (1_000, 1_000), (1_000, 1_000)),
    place("5 ms", (5_000, 5_000), (5_000, 5_000)),
    place("100 ms", (100_000, 100_000), (100_000, 100_000)),
    place("2 to 12 ms", (2_000, 12_000), (2_000, 12_000)),
    place("10 or 40 ms", (10_000, 10_000), (40_000, 40_000)),
];

/// However far the store is, sixteen writers that combine append several times as much as
/// the one that wins every race by hand, four no less than about that, and nobody starves.
#[test]
fn combining_pays_at_any_distance() {
    for place in PLACES {
        let unequal = place.one != place.other;
        // Here, nobody can wait for less than five round trips.
        let too_near = place.round_trip_us() < 500;
        for seed in 0..2 {
            let by_hand = contest(place, Kind::Naive, 16, seed);
            println!("{by_hand}");
            for writers in [4, 16] {
                let cold = contest(place, Kind::Cold, writers, seed);
                println!("{cold}");
                assert!(cold.requests_per_ack <= 6.5, "{cold}");
                let warm = contest(place, Kind::Warm, writers, seed);
                println!("{warm}");
                let requests_max = if too_near { 8.0 } else { 3.2 };
                assert!(warm.requests_per_ack <= requests_max, "{warm}");
                let times = match (writers, too_near || unequal) {
                    (4, false) => 0.85,
                    (4, true) => 0.6,
                    (_, false) => 2.8,
                    (_, true) => 2.0,
                };
                assert!(
                    warm.acks_per_round_trip >= by_hand.acks_per_round_trip * times,
                    "{warm}"
                );
                // Whoever is four times as far has fewer appends, but has some.
                let fair_part = if unequal { 40 } else { 5 };
                assert!(warm.fewest * fair_part >= warm.most, "{warm}");
                assert!(cold.fewest * fair_part >= cold.most, "{cold}");
            }
        }
    }
}
