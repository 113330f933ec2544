//! Goal: at no moment do two instances both believe to hold a lease, and tokens
//! only grow, as long as clocks keep to the bounds of the lease.
//!
//! Method: several instances, each with a clock of its own rate and start, run for
//! the same lease in virtual time on a store with latency, lost requests, lost
//! replies, late and duplicate deliveries, refusals, whole-second times and front
//! ends that disagree. Holders renew, release, hand over, sleep and die. Whenever
//! a call gives a grant, the test notes for which span of true time its instance
//! may rely on it, and compares that with all the others.
//!
//! Each run follows from one seed, which a failure names.
//! `IFMATCH_SEED=<number>` repeats that run alone.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and one run can be asked for"
)]

mod model;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ifmatch::lease::{
    AcquireOutcome, ClockBounds, Grant, Leases, RenewOutcome, Request, Successor,
};
use model::clock::Clock;
use model::timed::{Faults, Timed, TimedBucket, TimedEnv, Weather};

/// Acquisitions over all runs.
const ELECTIONS: u64 = 10_000;

/// Acquisitions of one run.
const ELECTIONS_PER_RUN: u64 = 50;

/// No run takes longer, in virtual time: 50 elections, each of which may take some
/// durations of at most 13 s.
const RUN_MS_MAX: u64 = 50 * 300_000;

/// For how long one candidate may rely on a grant, in true time.
#[derive(Clone, Copy, Debug)]
struct Belief {
    candidate: u64,
    token: u64,
    until_ms: u64,
}

/// What all candidates believe.
struct Beliefs {
    seed: u64,
    now: Vec<Belief>,
    last_token: u64,
    elections: u64,
}

impl Beliefs {
    /// Notes a grant that was just returned.
    fn granted(&mut self, now_ms: u64, belief: Belief, elected: bool) {
        let seed = self.seed;
        self.now.retain(|other| other.until_ms > now_ms);
        for other in &self.now {
            assert!(
                other.candidate == belief.candidate,
                "seed {seed}: at {now_ms}, {belief:?} while {other:?}"
            );
        }
        self.now.clear();
        if elected {
            assert!(
                belief.token > self.last_token,
                "seed {seed}: {belief:?} after token {}",
                self.last_token
            );
            self.last_token = belief.token;
            self.elections += 1;
        }
        self.now.push(belief);
    }

    fn given_up(&mut self, candidate: u64) {
        self.now.retain(|belief| belief.candidate != candidate);
    }
}

/// What one run has in common.
#[derive(Clone)]
struct Run {
    timed: Timed,
    beliefs: Rc<RefCell<Beliefs>>,
    candidates: Rc<Cell<u64>>,
    bounds: ClockBounds,
    duration_ms: u32,
}

/// By how much a clock within the bounds runs too fast. The extremes are the
/// likeliest to do harm.
fn fast_ppm(timed: &Timed, bounds: ClockBounds) -> i32 {
    let rate = u64::from(bounds.rate_ppm);
    let above_slowest = match timed.draw_in(0..4) {
        0 => 2 * rate,
        1 => 0,
        _ => timed.draw_in(0..2 * rate + 1),
    };
    i32::try_from(above_slowest).unwrap() - i32::try_from(rate).unwrap()
}

struct Candidate {
    run: Run,
    number: u64,
    clock: Clock,
    leases: Leases<TimedBucket, TimedEnv>,
}

impl Candidate {
    /// An instance that has just started.
    fn new(run: &Run) -> Candidate {
        let timed = &run.timed;
        run.candidates.set(run.candidates.get() + 1);
        let clock = Clock::new(timed.draw_in(0..1_000_000_000), fast_ppm(timed, run.bounds));
        let (_, store) = timed.store(&clock);
        Candidate {
            run: run.clone(),
            number: run.candidates.get(),
            clock,
            leases: Leases::new(store),
        }
    }

    fn note(&self, grant: &Grant, elected: bool) {
        let now_ms = self.run.timed.now_ms();
        let belief = Belief {
            candidate: self.number,
            token: grant.token.0,
            until_ms: now_ms + self.clock.true_ms(grant.valid_for_ms),
        };
        let remaining_ms = self.leases.remaining_ms("l", grant.token).unwrap();
        assert_eq!(remaining_ms, grant.valid_for_ms);
        self.run
            .beliefs
            .borrow_mut()
            .granted(now_ms, belief, elected);
    }

    fn give_up(&self) {
        self.run.beliefs.borrow_mut().given_up(self.number);
    }

    /// Runs for the lease until it dies.
    async fn live(self) {
        let timed = &self.run.timed;
        let request = Request {
            holder: format!("candidate-{}", self.number),
            duration_ms: self.run.duration_ms,
            note: String::new(),
            bounds: Some(self.run.bounds),
        };
        loop {
            if self.run.beliefs.borrow().elections >= ELECTIONS_PER_RUN {
                return;
            }
            let outcome = if timed.chance(100) {
                self.leases.acquire("l", &request).await
            } else {
                self.leases.campaign("l", &request, 60_000).await
            };
            if let Ok(AcquireOutcome::Acquired(grant)) = outcome {
                self.note(&grant, true);
                if !self.hold(grant).await {
                    return;
                }
            }
            timed.sleep(timed.draw_in(0..500)).await;
        }
    }

    /// Holds the lease for a while. Tells whether it is still alive.
    async fn hold(&self, mut grant: Grant) -> bool {
        let timed = &self.run.timed;
        let duration_ms = u64::from(self.run.duration_ms);
        loop {
            let action = timed.draw_in(0..100);
            // Often a third of the duration, sometimes so long that it is too late.
            let pause_ms = match timed.draw_in(0..10) {
                0 => timed.draw_in(0..3 * duration_ms),
                _ => timed.draw_in(0..duration_ms / 3),
            };
            timed.sleep(pause_ms).await;
            match action {
                0..60 => match self.leases.renew(&grant, self.run.duration_ms).await {
                    Ok(RenewOutcome::Renewed(next)) => {
                        assert_eq!(next.token, grant.token);
                        grant = next;
                        self.note(&grant, false);
                    }
                    Ok(RenewOutcome::Lost(_)) => {
                        self.give_up();
                        return true;
                    }
                    Ok(RenewOutcome::Indeterminate(_)) | Err(_) => {}
                },
                60..80 => {
                    self.give_up();
                    let _ = self.leases.release(&grant, None).await;
                    return true;
                }
                80..87 => {
                    self.give_up();
                    let other = timed.draw_in(1..self.run.candidates.get() + 1);
                    let successor = Successor {
                        holder: format!("candidate-{other}"),
                        within_ms: 1_000,
                    };
                    let _ = self.leases.release(&grant, Some(&successor)).await;
                    return true;
                }
                87..92 => {
                    // It forgets that it holds the lease and runs again.
                    return true;
                }
                _ => {
                    self.give_up();
                    let run = self.run.clone();
                    timed.spawn(async move { Candidate::new(&run).live().await });
                    return false;
                }
            }
        }
    }
}

/// One world, drawn from a seed. Gives the number of elections.
fn run(seed: u64) -> u64 {
    let timed = Timed::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let margin_ms = timed.draw_in(0..1_001);
    let rate_ppm = match timed.draw_in(0..4) {
        0 => 0,
        1 => 500,
        2 => 100_000,
        _ => 300_000,
    };
    let skew_ms = timed.chance(800).then_some(margin_ms / 2);
    let bounds = ClockBounds {
        rate_ppm,
        margin_ms: match skew_ms {
            None => 0,
            Some(skew_ms) => 1_000 + 2 * u32::try_from(skew_ms).unwrap(),
        },
    };
    timed.world.0.borrow_mut().tells_time = timed.chance(750);
    timed.set_weather(Weather {
        faults: Faults {
            lost_request: timed.draw_in(0..60),
            lost_reply: timed.draw_in(0..60),
            late: timed.draw_in(0..60),
            duplicate: timed.draw_in(0..60),
            throttled: timed.draw_in(0..60),
            throttled_applied: timed.draw_in(0..30),
            read_failed: timed.draw_in(0..60),
            slow: timed.draw_in(0..60),
        },
        skew_ms,
        store_fast_ppm: fast_ppm(&timed, bounds),
        write_interval_ms: if timed.chance(300) { 1_000 } else { 0 },
        ..Weather::default()
    });
    let run = Run {
        beliefs: Rc::new(RefCell::new(Beliefs {
            seed,
            now: Vec::new(),
            last_token: 0,
            elections: 0,
        })),
        candidates: Rc::default(),
        bounds,
        duration_ms: u32::try_from(bounds.duration_ms_min().max(1_000) + timed.draw_in(0..7_000))
            .unwrap(),
        timed: timed.clone(),
    };
    for _ in 0..timed.draw_in(2..6) {
        let candidate = Candidate::new(&run);
        timed.spawn(candidate.live());
    }
    let done = timed.run_until(RUN_MS_MAX);
    let elections = run.beliefs.borrow().elections;
    assert!(done, "seed {seed}: only {elections} elections in time");
    elections
}

#[test]
fn ten_thousand_elections_never_have_two_holders() {
    if let Ok(seed) = std::env::var("IFMATCH_SEED") {
        run(seed.parse().unwrap());
        return;
    }
    let mut elections = 0;
    let mut seed = 0;
    while elections < ELECTIONS {
        seed += 1;
        elections += run(seed);
    }
    eprintln!("{elections} elections in {seed} runs");
}
