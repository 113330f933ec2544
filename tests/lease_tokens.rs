//! Goal: the tokens of a lease only grow, also if an operator deletes the object.
//!
//! Method: what is judged is every version that the model store of `tests/model`
//! ever stored, in its order, whether anybody learned of it or not. Deletions come
//! at every moment of a term, several in a row, among candidates that race, on a
//! store that tells whole seconds and whose front ends disagree as far as the
//! lease allows; first by hand, then drawn from seeds, of which a failure names
//! one. Numbers in names are those of `docs/SCENARIOS.md`.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod model;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use ifmatch::lease::{ClockBounds, Lease, Leases, RenewOutcome, Request, State, Successor};
use ifmatch::token::Epoch;
use model::clock::Clock;
use model::lease::{
    Instance, KEY, SETTLE_MS, acquire, acquired, delete, lost_reply, renewed, request, used_world,
};
use model::timed::{Faults, Timed, TimedBucket, TimedEnv, Weather};
use model::{START_MS, World};

/// Half of what front ends may disagree by, within the default margin of 2 s, of
/// which whole seconds take one.
const SKEW_MS: i64 = 500;

/// The tokens of all terms that ever began, in the order in which they did.
fn terms(world: &World) -> Vec<u64> {
    let shared = world.0.borrow();
    let leases = shared.history.iter().filter(|(key, _)| key == KEY);
    leases
        .map(|(_, body)| Lease::decode(body).unwrap())
        .filter(|lease| lease.token != Epoch::SHARED)
        .filter(|lease| lease.state == State::Held && lease.renewals == 0)
        .map(|lease| lease.token.0)
        .collect()
}

/// How many versions there were.
fn versions(world: &World) -> usize {
    world.0.borrow().history.len()
}

/// How many terms there were, each with a token above all before.
fn count_of_rising_terms(world: &World, context: &str) -> usize {
    let terms = terms(world);
    let risen = terms.windows(2).all(|pair| pair.first() < pair.last());
    assert!(risen, "{context}: {terms:?}");
    terms.len()
}

/// A store with whole seconds, so long after one of them.
fn world_in_seconds(phase_ms: u64) -> World {
    let world = World::new();
    world.0.borrow_mut().whole_seconds = true;
    world.advance_ms(phase_ms);
    world
}

/// The next answers come from a front end that is so far off.
fn ask_front_end(world: &World, skew_ms: i64) {
    world.0.borrow_mut().skew_ms = skew_ms;
}

#[test]
fn scenario_34_tokens_grow_over_the_deletion_of_the_lease() {
    type Deed = fn(&World, &Instance);
    let deeds: [Deed; 4] = [
        |world, instance| drop(acquire(world, instance, "a")),
        |world, instance| {
            let grant = acquire(world, instance, "a");
            renewed(world.run(instance.renew(&grant, 10_000)).unwrap());
        },
        |world, instance| {
            let grant = acquire(world, instance, "a");
            world.run(instance.release(&grant, None)).unwrap();
        },
        |world, instance| {
            let grant = acquire(world, instance, "a");
            let successor = Successor {
                holder: "b".to_owned(),
                within_ms: 1_000,
            };
            world
                .run(instance.release(&grant, Some(&successor)))
                .unwrap();
            acquire(world, instance, "b");
        },
    ];
    // The front end that creates may be ahead of the one that is asked next, and the
    // other way round.
    for (creates, follows) in [(0, 0), (SKEW_MS, -SKEW_MS), (-SKEW_MS, SKEW_MS)] {
        for phase_ms in (0..1_000).step_by(111) {
            for deed in deeds {
                let world = world_in_seconds(phase_ms);
                for round in 0..6 {
                    let skew_ms = if round % 2 == 0 { creates } else { follows };
                    ask_front_end(&world, skew_ms);
                    // Each by somebody who has never seen the lease.
                    deed(&world, &world.leases());
                    delete(&world);
                }
                let terms = count_of_rising_terms(&world, &format!("{phase_ms} {creates}"));
                assert!(terms >= 6);
            }
        }
    }
}

#[test]
fn scenario_34_the_time_between_looking_and_creating_is_nobodys() {
    // Both have seen that there is no lease. One of them acquires it, it is deleted,
    // and only then does the other one write.
    for (first, second) in [(0, 0), (SKEW_MS, -SKEW_MS), (-SKEW_MS, SKEW_MS)] {
        for late_ms in [0, 1, 999, 5_000] {
            let world = world_in_seconds(0);
            let (a, b) = (world.leases(), world.leases());
            let asked = request("a");
            ask_front_end(&world, second);
            let mut op = world.start(a.acquire("l", &asked));
            op.serve_until("PUT");
            ask_front_end(&world, first);
            let grant = acquire(&world, &b, "b");
            delete(&world);
            world.advance_ms(late_ms);
            ask_front_end(&world, second);
            let later = acquired(op.finish().unwrap());
            assert!(later.token > grant.token, "{later:?} after {grant:?}");
            assert_eq!(count_of_rising_terms(&world, "late"), 2);
        }
    }
}

#[test]
fn scenario_34_a_reservation_that_arrives_after_a_deletion_grants_nothing() {
    let world = world_in_seconds(0);
    let (a, b) = (world.leases(), world.leases());
    let asked = request("a");
    // The network keeps the first attempt; the second goes through.
    let mut op = world.start(a.acquire("l", &asked));
    let kept = op.serve_until("PUT");
    op.answer(lost_reply());
    let first = acquired(op.finish().unwrap());
    delete(&world);
    let second = acquire(&world, &b, "b");
    delete(&world);
    world.apply(&kept);
    // The lease exists, and nobody has it: not even the one that wrote this.
    let stranger = world.leases();
    let status = world.run(stranger.observe("l")).unwrap().unwrap();
    assert_eq!(status.token, Epoch::SHARED);
    for grant in [&first, &second] {
        let renewal = world.run(a.renew(grant, 10_000)).unwrap();
        assert!(matches!(renewal, RenewOutcome::Lost(_)), "{renewal:?}");
    }
    let third = acquire(&world, &a, "a");
    assert!(first.token < second.token && second.token < third.token);
    assert_eq!(count_of_rising_terms(&world, "late"), 3);
}

#[test]
fn scenario_34_an_attempt_that_is_sent_again_is_another_one() {
    // Two attempts at a reservation that look the same could stand for one another:
    // the first, which arrives after a deletion, would be taken for the second.
    let world = World::new();
    let a = world.leases();
    let asked = request("a");
    let mut op = world.start(a.acquire("l", &asked));
    let first = op.serve_until("PUT");
    op.answer(lost_reply());
    op.serve();
    let second = op.serve_until("PUT");
    let body = |request: &model::Request| match request {
        model::Request::Put(write) => write.body.clone(),
        other => panic!("{other:?}"),
    };
    assert_ne!(body(&first), body(&second));
    // Both are its own: if the first one is there, the second one meets it.
    world.apply(&first);
    acquired(op.finish().unwrap());
    assert_eq!(count_of_rising_terms(&world, "own"), 1);
}

#[test]
fn scenario_34_tokens_do_not_run_ahead_of_the_stores_time() {
    // No store is as fast as this one, on which a hundred terms take no time.
    let world = used_world();
    let a = world.leases();
    let before_ms = world.elapsed_ms();
    for _ in 0..3_000 {
        acquire(&world, &a, "a");
    }
    let spent_ms = world.elapsed_ms() - before_ms;
    assert!((2_000..10_000).contains(&spent_ms), "{spent_ms}");
    delete(&world);
    acquire(&world, &world.leases(), "b");
    assert_eq!(count_of_rising_terms(&world, "many"), 3_002);
}

#[test]
fn scenario_34_the_margins_of_a_first_token_are_used_to_their_limits() {
    let world = used_world();
    let a = world.leases();
    world.advance_ms(60_000);
    // A front end that is ahead by half the margin, and all the terms that can begin
    // at once.
    ask_front_end(&world, 1_000);
    world.run(a.observe("l")).unwrap();
    let before_ms = world.elapsed_ms();
    for _ in 0..1_001 {
        acquire(&world, &a, "a");
    }
    assert_eq!(world.elapsed_ms(), before_ms, "one of them waited");
    // Then one that is behind by the other half.
    delete(&world);
    ask_front_end(&world, -1_000);
    acquire(&world, &world.leases(), "b");
    assert_eq!(count_of_rising_terms(&world, "limits"), 1_003);
    let terms = terms(&world);
    let [.., last, first] = terms.as_slice() else {
        panic!("{terms:?}");
    };
    assert_eq!(first - last, 2, "as low as it may be");
}

#[test]
fn scenario_34_without_times_a_token_is_never_the_same() {
    let world = World::new();
    world.0.borrow_mut().tells_time = false;
    let tokens: BTreeSet<u64> = (0..50)
        .map(|_| {
            let token = acquire(&world, &world.leases(), "a").token.0;
            delete(&world);
            token
        })
        .collect();
    assert!(!tokens.contains(&0), "that of shared writers");
    assert_eq!(tokens.len(), 50, "a start that is hardly ever the same");
    assert!(tokens.iter().all(|token| *token < START_MS));
    // An instance that has seen the lease knows better.
    for _ in 0..50 {
        let a = world.leases();
        let first = acquire(&world, &a, "a");
        delete(&world);
        assert!(acquire(&world, &a, "a").token > first.token);
        delete(&world);
    }
}

/// One candidate among several, with a clock of its own.
struct Candidate {
    timed: Timed,
    leases: Leases<TimedBucket, TimedEnv>,
    request: Request,
    over: Rc<Cell<bool>>,
}

impl Candidate {
    async fn live(self) {
        let timed = &self.timed;
        while !self.over.get() {
            let outcome = if timed.chance(500) {
                self.leases.acquire("l", &self.request).await
            } else {
                self.leases.campaign("l", &self.request, 5_000).await
            };
            if let Ok(ifmatch::lease::AcquireOutcome::Acquired(grant)) = outcome {
                if timed.chance(300) {
                    let _ = self.leases.renew(&grant, grant.duration_ms).await;
                }
                timed.sleep(timed.draw_in(0..300)).await;
                if timed.chance(700) {
                    let _ = self.leases.release(&grant, None).await;
                }
            }
            timed.sleep(timed.draw_in(0..400)).await;
        }
    }
}

/// One world with candidates that race and an operator who deletes, drawn from a
/// seed. Gives the number of terms.
fn run(seed: u64) -> usize {
    let timed = Timed::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let skew_ms = timed.draw_in(0..1_001);
    let rate_ppm = match timed.draw_in(0..4) {
        0 => 0,
        1 => 500,
        2 => 100_000,
        _ => 300_000,
    };
    let bounds = ClockBounds {
        rate_ppm,
        margin_ms: 1_000 + 2 * skew_ms as u32,
    };
    let rate = i32::try_from(rate_ppm).unwrap();
    let extreme = |timed: &Timed| rate * (timed.draw_in(0..3) as i32 - 1);
    timed.set_weather(Weather {
        // No duplicates: `docs/LEASES.md` says what one of them could do here.
        faults: Faults {
            lost_request: timed.draw_in(0..60),
            lost_reply: timed.draw_in(0..60),
            late: timed.draw_in(0..60),
            throttled: timed.draw_in(0..60),
            throttled_applied: timed.draw_in(0..60),
            read_failed: timed.draw_in(0..60),
            slow: timed.draw_in(0..60),
            ..Faults::default()
        },
        skew_ms: Some(skew_ms),
        store_fast_ppm: extreme(&timed),
        write_interval_ms: 0,
        ..Weather::default()
    });
    let over = Rc::new(Cell::new(false));
    let duration_ms = bounds.duration_ms_min() as u32 + timed.draw_in(0..2_000) as u32;
    for number in 0..timed.draw_in(2..6) {
        let clock = Clock::new(timed.draw_in(0..1_000_000_000), extreme(&timed));
        let (_, store) = timed.store(&clock);
        let candidate = Candidate {
            timed: timed.clone(),
            leases: Leases::new(store),
            request: Request {
                duration_ms,
                bounds: Some(bounds),
                ..request(&format!("candidate-{number}"))
            },
            over: over.clone(),
        };
        timed.spawn(candidate.live());
    }
    {
        let (timed, over) = (timed.clone(), over.clone());
        timed.clone().spawn(async move {
            while timed.now_ms() < 300_000 {
                // Now at any time, now as soon as a lease has been acquired.
                let before = versions(&timed.world);
                let patience_ms = timed.draw_in(0..8_000);
                let end_ms = timed.now_ms() + patience_ms;
                let at_once = timed.chance(700);
                while timed.now_ms() < end_ms {
                    timed.sleep(timed.draw_in(1..40)).await;
                    let stored = versions(&timed.world);
                    // The version in between is a reservation, as a rule.
                    if at_once && stored > before + 1 {
                        break;
                    }
                }
                timed.world.0.borrow_mut().objects.remove(KEY);
            }
            over.set(true);
        });
    }
    assert!(timed.run_until(3_600_000), "seed {seed}: it does not end");
    count_of_rising_terms(&timed.world, &format!("seed {seed}"))
}

#[test]
fn scenario_34_tokens_grow_whatever_an_operator_deletes() {
    let mut terms = 0;
    for seed in 1..=100 {
        terms += run(seed);
    }
    assert!(terms > 3_000, "only {terms} terms");
}

#[test]
fn the_first_acquisition_waits_until_no_front_end_can_be_behind() {
    let world = world_in_seconds(0);
    let a = world.leases_on(&Clock::new(0, 100_000));
    acquire(&world, &a, "a");
    // Counted by a clock that is a tenth too fast.
    assert_eq!(world.elapsed_ms(), (SETTLE_MS * 10).div_ceil(11));
}
