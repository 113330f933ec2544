//! Goal: many committers of disjoint keys at once cost little more for each commit than
//! one, the manifest goes on nearly as fast as with one, and nobody starves.
//!
//! Method: committers in a closed loop, in virtual time, on a store that answers each
//! request after 20 ms, or after 10 to 30, beside a loop such as one would write by
//! hand. `cargo test --test manifest_contention -- --nocapture` prints the figures.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "a test fails by panicking, and prints what it measured"
)]

mod model;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use ifmatch::bucket::{Bucket, Found, Precondition, PutOutcome, Read, Write};
use ifmatch::manifest::{Change, CommitOutcome, Dependency, Edit, Manifests};
use ifmatch::token::Writer;
use model::clock::Clock;
use model::timed::{Distance, Timed, TimedBucket, Weather};

const ROUND_TRIP_MS: u64 = 20;

/// Each request takes this long, and up to that, in microseconds.
const CONSTANT: Distance = (20_000, 20_000);
const VARYING: Distance = (10_000, 30_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An instance for each committer.
    Warm,
    /// An instance for each commit.
    Cold,
    /// Reads whatever wins, and puts the next.
    Naive,
}

#[derive(Default)]
struct Tally {
    /// When each commit began and ended, by committer.
    commits_ms: Vec<Vec<(u64, u64)>>,
    versions: Vec<u64>,
}

/// What a contest came to, without its first third, in which the committers find each
/// other.
struct Figures {
    kind: Kind,
    committers: usize,
    requests_per_commit: f64,
    commits_per_round_trip: f64,
    /// From the beginning of the contest.
    took_ms_max: u64,
    /// Commits of the committer with the fewest and of that with the most.
    fewest: usize,
    most: usize,
    kinds: String,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:6} {:3}  {:6.2} requests per commit  {:6.2} commits per round trip  {:6} ms at most  {} to {} each  {}",
            format!("{:?}", self.kind),
            self.committers,
            self.requests_per_commit,
            self.commits_per_round_trip,
            self.took_ms_max,
            self.fewest,
            self.most,
            self.kinds
        )
    }
}

/// Put-if-absent; after a lost race, a read of what won, and the next.
async fn commit_by_hand(bucket: &TimedBucket, next: &mut u64) {
    loop {
        let key = format!("naive/{next:08}");
        let write = Write {
            key: key.clone(),
            body: b"version".to_vec(),
            precondition: Precondition::Absent,
        };
        *next += 1;
        match bucket.put(&write).await.unwrap() {
            PutOutcome::Written { .. } => return,
            _ => {
                let reply = bucket.get(Read::all(key)).await.unwrap();
                assert!(matches!(reply.found, Found::Object(_)));
            }
        }
    }
}

fn change(base: u64, key: &str) -> Change {
    Change {
        base,
        depends_on: Dependency::Edits,
        edits: vec![Edit {
            key: key.to_owned(),
            value: Some(key.as_bytes().to_vec()),
            blobs: Vec::new(),
        }],
        writer: Writer::Shared,
        author: String::new(),
        message: String::new(),
        id: None,
    }
}

fn contest(kind: Kind, distance: Distance, committers: usize, contest_ms: u64) -> Figures {
    let timed = Timed::new(committers as u64);
    timed.set_weather(Weather {
        // Timers of most hosts count whole milliseconds.
        timer_late_us: 1_000,
        ..Weather::default()
    });
    let tally = Rc::new(RefCell::new(Tally {
        commits_ms: vec![Vec::new(); committers],
        ..Tally::default()
    }));
    for committer in 0..committers {
        let (timed, tally) = (timed.clone(), tally.clone());
        let start_us = timed.draw_in(0..ROUND_TRIP_MS * 1_000);
        timed.clone().spawn(async move {
            timed.sleep_us(start_us).await;
            let instance = || Manifests::new(timed.store_at(&Clock::default(), Some(distance)).1);
            let (mut manifests, bucket) = (instance(), timed.bucket_at(distance));
            let (mut base, mut next) = (0, 0);
            for number in 0.. {
                let began_ms = timed.now_ms();
                if began_ms >= contest_ms {
                    break;
                }
                let key = format!("{committer}.{}", number % 4);
                if kind == Kind::Naive {
                    commit_by_hand(&bucket, &mut next).await;
                } else {
                    if kind == Kind::Cold {
                        manifests = instance();
                    }
                    base = loop {
                        match manifests.commit("m", &change(base, &key)).await.unwrap() {
                            CommitOutcome::Committed(version) => break version,
                            // Too far behind to tell.
                            CommitOutcome::Conflict(conflict) if conflict.keys.is_empty() => {
                                base = conflict.latest;
                            }
                            other => panic!("{other:?}"),
                        }
                    };
                    tally.borrow_mut().versions.push(base);
                }
                let times_ms = (began_ms, timed.now_ms());
                tally.borrow_mut().commits_ms[committer].push(times_ms);
            }
        });
    }
    assert!(timed.run_until(contest_ms * 6), "somebody is still at work");
    let mut tally = tally.borrow_mut();
    // One commit for each version, and no version without one.
    tally.versions.sort_unstable();
    let count = tally.versions.len() as u64;
    assert_eq!(tally.versions, Vec::from_iter(1..=count));
    let counted_ms = contest_ms / 3..contest_ms;
    let each: Vec<usize> = tally
        .commits_ms
        .iter()
        .map(|commits| {
            let counted = commits.iter().filter(|(_, at)| counted_ms.contains(at));
            counted.count()
        })
        .collect();
    let commits = each.iter().sum::<usize>() as f64;
    let mut requests = 0;
    let mut kinds = BTreeMap::new();
    for (_, _, kind) in timed
        .requests()
        .iter()
        .filter(|(at, ..)| counted_ms.contains(at))
    {
        *kinds.entry(*kind).or_insert(0_u32) += 1;
        requests += 1;
    }
    let share = |(kind, count): (&&str, &u32)| format!("{:.2} {kind}", f64::from(*count) / commits);
    let kinds: Vec<String> = kinds.iter().map(share).collect();
    let round_trips = (counted_ms.end - counted_ms.start) as f64 / ROUND_TRIP_MS as f64;
    let took_ms = tally
        .commits_ms
        .iter()
        .flatten()
        .map(|(began, ended)| ended - began);
    Figures {
        kind,
        committers,
        requests_per_commit: f64::from(requests) / commits,
        commits_per_round_trip: commits / round_trips,
        took_ms_max: took_ms.max().unwrap(),
        fewest: *each.iter().min().unwrap(),
        most: *each.iter().max().unwrap(),
        kinds: kinds.join(" + "),
    }
}

/// What committers may come to, for numbers of them.
struct Bounds {
    committers: usize,
    contest_ms: u64,
    requests_per_commit: f64,
    commits_per_round_trip: f64,
    took_ms_max: u64,
}

const fn bounds(
    committers: usize,
    contest_ms: u64,
    requests_per_commit: f64,
    commits_per_round_trip: f64,
    took_ms_max: u64,
) -> Bounds {
    Bounds {
        committers,
        contest_ms,
        requests_per_commit,
        commits_per_round_trip,
        took_ms_max,
    }
}

impl Bounds {
    /// `fair` is how many times as many commits one may have as another.
    fn check(&self, kind: Kind, distance: Distance, fair: usize) {
        let figures = contest(kind, distance, self.committers, self.contest_ms);
        println!("{distance:?} {figures}");
        assert!(
            figures.requests_per_commit <= self.requests_per_commit,
            "{figures}"
        );
        assert!(
            figures.commits_per_round_trip >= self.commits_per_round_trip,
            "{figures}"
        );
        assert!(figures.took_ms_max <= self.took_ms_max, "{figures}");
        assert!(figures.fewest * fair >= figures.most, "{figures}");
    }
}

/// The longest wait is that of those who come upon others before anybody takes turns.
const WARM: [Bounds; 5] = [
    bounds(1, 10_000, 1.05, 0.95, 100),
    bounds(2, 60_000, 1.7, 0.8, 30_000),
    bounds(4, 60_000, 1.7, 0.75, 30_000),
    bounds(16, 60_000, 2.0, 0.65, 30_000),
    bounds(64, 150_000, 2.5, 0.65, 40_000),
];

#[test]
fn who_goes_on_committing_takes_turns() {
    for distance in [CONSTANT, VARYING] {
        for bounds in WARM {
            bounds.check(Kind::Warm, distance, 2);
        }
    }
}

/// An instance for each commit knows nothing of the others before it has read what they
/// say, and nobody knows of it.
const COLD: [Bounds; 4] = [
    bounds(1, 10_000, 3.05, 0.3, 100),
    bounds(2, 60_000, 5.2, 0.3, 30_000),
    bounds(4, 60_000, 7.0, 0.3, 30_000),
    bounds(16, 60_000, 14.0, 0.35, 40_000),
];

#[test]
fn who_commits_once_gets_there() {
    for distance in [CONSTANT, VARYING] {
        for bounds in COLD {
            bounds.check(Kind::Cold, distance, 10);
        }
    }
}

/// What the bounds above are to be compared with: one committer wins every race, and
/// the others follow it in vain.
#[test]
fn a_loop_by_hand_costs_as_many_requests_as_there_are_committers() {
    for committers in [1, 4, 16, 64] {
        let figures = contest(Kind::Naive, CONSTANT, committers, 10_000);
        println!("{figures}");
        assert!(
            figures.requests_per_commit >= committers as f64,
            "{figures}"
        );
        assert!(figures.commits_per_round_trip <= 1.2, "{figures}");
        assert!(committers == 1 || figures.fewest == 0, "{figures}");
    }
}
