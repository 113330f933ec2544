//! Goal: leases cost what is stated, refuse what is wrong, never touch what they
//! do not understand, and wait without writing.
//!
//! Method: instances of the core on the model store of `tests/model`, with every
//! request counted. The golden objects are in `fixtures/lease`;
//! `IFMATCH_BLESS=1 cargo test --test lease_calls` rewrites them, for a change of
//! format that is meant.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and fixtures are files"
)]

mod model;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ifmatch::bucket::{BucketError, Found, PutOutcome, Reply};
use ifmatch::codec::crc32c;
use ifmatch::error::Error;
use ifmatch::lease::{
    AcquireOutcome, ClockBounds, Grant, LEASES_MAX, Lease, ReleaseOutcome, RenewOutcome, Request,
    State, Status, Successor, TOKEN_MAX,
};
use ifmatch::token::Epoch;
use model::lease::{
    DURATION_MS, KEY, RELIABLE_MS, SETTLE_MS, acquire, acquired, delete, held, lost_reply,
    no_answer, renewed, request, stored, used_world,
};
use model::{Answer, World};

/// The requests of `op`, which must not take time.
fn cost<T>(world: &World, op: impl Future<Output = T>) -> (T, BTreeMap<&'static str, u32>) {
    world.take_counts();
    let before_ms = world.elapsed_ms();
    let result = world.run(op);
    assert_eq!(world.elapsed_ms(), before_ms, "it waited");
    (result, world.take_counts())
}

fn counts(gets: u32, puts: u32) -> BTreeMap<&'static str, u32> {
    [("GET", gets), ("PUT", puts)]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn an_acquisition_costs_two_requests_cold_and_one_warm() {
    let world = used_world();
    let first = world.leases();
    let asked = request("a");
    let (outcome, used) = cost(&world, first.acquire("l", &asked));
    let grant = acquired(outcome.unwrap());
    assert_eq!(used, counts(1, 1), "released, seen for the first time");
    world.run(first.release(&grant, None)).unwrap();
    let (outcome, used) = cost(&world, first.acquire("l", &asked));
    let grant = acquired(outcome.unwrap());
    assert_eq!(used, counts(0, 1), "known to be released");
    let (outcome, used) = cost(&world, first.acquire("l", &asked));
    assert!(acquired(outcome.unwrap()).token > grant.token);
    assert_eq!(used, counts(0, 1), "its own");
    world.advance_ms(DURATION_MS);
    let second = world.leases();
    let asked = request("b");
    let (outcome, used) = cost(&world, second.acquire("l", &asked));
    acquired(outcome.unwrap());
    assert_eq!(used, counts(1, 1), "expired, seen for the first time");
    let asked = request("c");
    let (outcome, used) = cost(&world, first.acquire("l", &asked));
    held(outcome.unwrap());
    assert_eq!(used, counts(1, 0), "held by another");
}

#[test]
fn the_first_acquisition_costs_three_requests_and_a_wait() {
    let world = World::new();
    let (a, b) = (world.leases(), world.leases());
    let grant = acquire(&world, &a, "a");
    assert_eq!(world.elapsed_ms(), SETTLE_MS);
    assert_eq!(world.take_counts(), counts(1, 2));
    assert_eq!(grant.valid_for_ms, RELIABLE_MS, "of which it takes nothing");
    let (outcome, used) = cost(&world, b.acquire("l", &request("b")));
    held(outcome.unwrap());
    assert_eq!(used, counts(1, 0), "nobody else waits");
    // A store without times has nothing that a wait could help.
    world.0.borrow_mut().tells_time = false;
    let asked = request("a");
    let (outcome, used) = cost(&world, a.acquire("m", &asked));
    acquired(outcome.unwrap());
    assert_eq!(used, counts(1, 1));
}

#[test]
fn a_reservation_is_its_makers_for_a_while_and_then_anybodys() {
    let world = World::new();
    let (a, b) = (world.leases(), world.leases());
    let asked = request("a");
    let mut op = world.start(a.acquire("l", &asked));
    op.serve_until("PUT");
    op.serve();
    let made_ms = world.elapsed_ms();
    let status = world.run(b.observe("l")).unwrap().unwrap();
    assert_eq!((status.holder.as_str(), status.token), ("a", Epoch(0)));
    assert_eq!(status.state, State::Handover("a".to_owned()));
    assert_eq!(status.free_in_ms, 2 * SETTLE_MS);
    drop(op);
    // It has died. Somebody of its name waits as it would have, and does so once.
    let again = world.leases();
    let asked_again = request("a");
    let mut op = world.start(again.campaign("l", &asked_again, 1_000));
    op.serve();
    let status = held(op.done().unwrap());
    assert_eq!((status.holder.as_str(), status.token), ("a", Epoch(0)));
    assert_eq!(
        world.elapsed_ms() - made_ms,
        1_000,
        "a campaign ends in time"
    );
    let grant = acquired(world.run(again.campaign("l", &asked, 4_000)).unwrap());
    assert_eq!(world.elapsed_ms() - made_ms, SETTLE_MS);
    assert!(grant.token > Epoch(0));
    // Somebody else waits longer.
    delete(&world);
    let asked = request("c");
    let mut op = world.start(a.acquire("l", &asked));
    op.serve_until("PUT");
    op.serve();
    drop(op);
    let made_ms = world.elapsed_ms();
    let second = acquired(world.run(b.campaign("l", &request("b"), 60_000)).unwrap());
    assert!(second.token > grant.token);
    let waited_ms = world.elapsed_ms() - made_ms;
    assert!(
        (2 * SETTLE_MS..2 * SETTLE_MS + 600).contains(&waited_ms),
        "{waited_ms}"
    );
}

#[test]
fn a_duration_that_the_margins_use_up_is_refused_before_anything_is_written() {
    let world = World::new();
    let a = world.leases();
    let ask = |duration_ms| Request {
        duration_ms,
        ..request("a")
    };
    let refused = |error: Error| {
        let told = matches!(&error, Error::InvalidArgument(text) if text.contains("3058 ms"));
        assert!(told, "{error:?}");
    };
    refused(world.run(a.acquire("l", &ask(3_057))).unwrap_err());
    refused(world.run(a.campaign("l", &ask(3_057), 60_000)).unwrap_err());
    assert_eq!(world.keys(), Vec::<String>::new());
    let grant = acquired(world.run(a.acquire("l", &ask(3_058))).unwrap());
    assert_eq!(grant.valid_for_ms, 765);
    // A grant that came with other bounds, and was kept somewhere.
    let kept = Grant {
        duration_ms: 2_000,
        ..grant.clone()
    };
    refused(world.run(a.renew(&kept, 3_057)).unwrap_err());
    renewed(world.run(a.renew(&grant, 3_058)).unwrap());
}

#[test]
fn renewing_releasing_and_observing_cost_one_request() {
    let world = World::new();
    let (a, b) = (world.leases(), world.leases());
    let grant = acquire(&world, &a, "a");
    let (outcome, used) = cost(&world, a.renew(&grant, 10_000));
    let grant = renewed(outcome.unwrap());
    assert_eq!(used, counts(0, 1));
    let (status, used) = cost(&world, b.observe("l"));
    assert_eq!(status.unwrap().unwrap().renewals, 1);
    assert_eq!(used, counts(1, 0));
    let (outcome, used) = cost(&world, a.release(&grant, None));
    assert_eq!(outcome.unwrap(), ReleaseOutcome::Released);
    assert_eq!(used, counts(0, 1));
    let (status, used) = cost(&world, a.observe("none"));
    assert_eq!(status.unwrap(), None);
    assert_eq!(used, counts(1, 0));
}

#[test]
fn an_observer_that_knows_the_version_gets_no_body() {
    let world = World::new();
    let (a, b) = (world.leases(), world.leases());
    let grant = acquire(&world, &a, "a");
    let first = world.run(b.observe("l")).unwrap().unwrap();
    world.advance_ms(1_000);
    let mut op = world.start(b.observe("l"));
    let get = op.request().unwrap();
    let answer = world.apply(&get);
    assert!(
        matches!(&answer, Answer::Get(Ok(Reply { found, .. })) if *found == Found::Unchanged),
        "{answer:?}"
    );
    op.answer(answer);
    let second = op.finish().unwrap().unwrap();
    assert_eq!(second.free_in_ms, first.free_in_ms - 1_000);
    assert_eq!(
        Status {
            free_in_ms: first.free_in_ms,
            ..second
        },
        first
    );
    world.run(a.renew(&grant, 10_000)).unwrap();
    let third = world.run(b.observe("l")).unwrap().unwrap();
    assert_eq!((third.renewals, third.free_in_ms), (1, DURATION_MS));
}

#[test]
fn any_instance_renews_a_grant_with_one_request() {
    let world = World::new();
    let (a, b) = (world.leases(), world.leases());
    let mut grant = acquire(&world, &a, "a");
    grant.note = "moved".to_owned();
    let (outcome, used) = cost(&world, b.renew(&grant, 20_000));
    let grant = renewed(outcome.unwrap());
    assert_eq!(used, counts(0, 1));
    assert_eq!(stored(&world).note, "moved");
    assert_eq!(stored(&world).duration_ms, 20_000);
    assert_eq!(b.remaining_ms("l", grant.token), Ok(grant.valid_for_ms));
}

#[test]
fn a_grant_says_how_long_it_can_be_relied_on() {
    let world = World::new();
    let a = world.leases();
    let grant = acquire(&world, &a, "a");
    assert_eq!(grant.valid_for_ms, RELIABLE_MS);
    assert_eq!(
        grant.expires_at.unwrap().unix_ms,
        world.now().unix_ms + DURATION_MS
    );
    world.advance_ms(RELIABLE_MS - 1);
    assert_eq!(a.remaining_ms("l", grant.token), Ok(1));
    world.advance_ms(1);
    assert_eq!(a.remaining_ms("l", grant.token), Ok(0));
    // Nobody took it: the holder may go on under the same token.
    world.advance_ms(60_000);
    let grant = renewed(world.run(a.renew(&grant, 10_000)).unwrap());
    assert_eq!(a.remaining_ms("l", grant.token), Ok(RELIABLE_MS));
    assert_eq!(a.remaining_ms("l", Epoch(grant.token.0 + 1)), Ok(0));
    assert_eq!(a.remaining_ms("other", grant.token), Ok(0));
    assert_eq!(world.leases().remaining_ms("l", grant.token), Ok(0));
}

#[test]
fn a_holder_stops_relying_before_its_release_is_sent() {
    let world = World::new();
    let a = world.leases();
    let grant = acquire(&world, &a, "a");
    let mut op = world.start(a.release(&grant, None));
    op.serve_until("PUT");
    assert_eq!(a.remaining_ms("l", grant.token), Ok(0));
    op.answer(Answer::Put(Err(BucketError::AccessDenied("no".to_owned()))));
    assert!(matches!(op.finish(), Err(Error::AccessDenied(_))));
    assert_eq!(a.remaining_ms("l", grant.token), Ok(0));
}

#[test]
fn a_holder_stops_relying_when_it_sees_another_token() {
    let world = World::new();
    let (a, b) = (world.leases(), world.leases());
    let grant = acquire(&world, &a, "a");
    delete(&world);
    acquire(&world, &b, "b");
    assert!(a.remaining_ms("l", grant.token).unwrap() > 0);
    world.run(a.observe("l")).unwrap();
    assert_eq!(a.remaining_ms("l", grant.token), Ok(0));
}

#[test]
fn a_release_whose_reply_is_lost_is_resolved() {
    for known_at_once in [true, false] {
        let world = World::new();
        let a = world.leases();
        let grant = acquire(&world, &a, "a");
        let mut op = world.start(a.release(&grant, None));
        let put = op.serve_until("PUT");
        world.apply(&put);
        op.answer(lost_reply());
        if known_at_once {
            assert_eq!(op.finish().unwrap(), ReleaseOutcome::Released);
        } else {
            op.answer(no_answer());
            let outcome = op.finish().unwrap();
            assert!(matches!(outcome, ReleaseOutcome::Indeterminate(_)));
            let outcome = world.run(a.release(&grant, None)).unwrap();
            assert_eq!(outcome, ReleaseOutcome::Released);
        }
        let renewal = world.run(a.renew(&grant, 10_000)).unwrap();
        assert!(
            matches!(renewal, RenewOutcome::Lost(Some(_))),
            "{renewal:?}"
        );
        assert_eq!(stored(&world).state, State::Released);
    }
}

#[test]
fn a_release_goes_through_although_a_renewal_before_it_was_not_resolved() {
    let world = World::new();
    let a = world.leases();
    let grant = acquire(&world, &a, "a");
    let mut op = world.start(a.renew(&grant, 10_000));
    let put = op.serve_until("PUT");
    world.apply(&put);
    op.answer(lost_reply());
    op.answer(no_answer());
    op.finish().unwrap();
    let outcome = world.run(a.release(&grant, None)).unwrap();
    assert_eq!(outcome, ReleaseOutcome::Released);
    assert_eq!(stored(&world).state, State::Released);
}

#[test]
fn a_grant_of_an_earlier_term_changes_nothing_in_the_instance_that_has_a_later_one() {
    let world = World::new();
    let a = world.leases();
    let first = acquire(&world, &a, "a");
    let second = acquire(&world, &a, "a");
    assert!(second.token > first.token);
    let renewal = world.run(a.renew(&first, 10_000)).unwrap();
    assert!(
        matches!(renewal, RenewOutcome::Lost(Some(_))),
        "{renewal:?}"
    );
    let release = world.run(a.release(&first, None)).unwrap();
    assert!(
        matches!(release, ReleaseOutcome::Lost(Some(_))),
        "{release:?}"
    );
    assert_eq!(stored(&world).token, second.token);
    assert_eq!(stored(&world).state, State::Held);
}

#[test]
fn asking_for_a_lease_anew_gives_up_the_grant_before() {
    let world = World::new();
    let a = world.leases();
    let grant = acquire(&world, &a, "a");
    assert!(a.remaining_ms("l", grant.token).unwrap() > 0);
    let asked = request("a");
    let mut op = world.start(a.acquire("l", &asked));
    op.serve_until("PUT");
    // It may be applied at any moment now, under another token.
    assert_eq!(a.remaining_ms("l", grant.token), Ok(0));
    op.finish().unwrap();
}

#[test]
fn a_refusal_that_cannot_be_looked_into_is_not_taken_for_a_lost_race() {
    let world = used_world();
    let a = world.leases();
    let asked = request("a");
    let mut op = world.start(a.acquire("l", &asked));
    let put = op.serve_until("PUT");
    // Something on the way sent it twice: the first was applied, the second refused.
    world.apply(&put);
    op.serve();
    op.answer(no_answer());
    let outcome = op.done().unwrap();
    assert!(
        matches!(outcome, AcquireOutcome::Indeterminate(_)),
        "{outcome:?}"
    );
    assert_eq!(stored(&world).holder, "a");
}

#[test]
fn nothing_is_sent_again_that_would_be_over_when_it_is_known() {
    let world = used_world();
    let a = world.leases();
    let asked = request("a");
    let mut op = world.start(a.acquire("l", &asked));
    op.serve_until("PUT");
    world.take_counts();
    world.advance_ms(10_000);
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "timeout".to_owned(),
    ))));
    let outcome = op.finish().unwrap();
    assert!(
        matches!(outcome, AcquireOutcome::Indeterminate(_)),
        "{outcome:?}"
    );
    assert_eq!(world.take_counts(), counts(1, 0));
}

#[test]
fn a_renewal_does_not_shorten_what_the_holder_relies_on() {
    let world = World::new();
    let a = world.leases();
    let first = acquire(&world, &a, "a");
    let shorter = world.run(a.renew(&first, 9_999));
    assert!(matches!(shorter, Err(Error::InvalidArgument(_))));
    renewed(world.run(a.renew(&first, 60_000)).unwrap());
    // An outdated grant, but this instance knows better.
    let shorter = world.run(a.renew(&first, 10_000));
    assert!(matches!(shorter, Err(Error::InvalidArgument(_))));
    assert_eq!(stored(&world).duration_ms, 60_000);
}

#[test]
fn without_times_of_the_store_acquire_does_not_wait_and_campaign_does() {
    let world = World::new();
    world.0.borrow_mut().tells_time = false;
    let (a, b) = (world.leases(), world.leases());
    let grant = acquire(&world, &a, "a");
    world.advance_ms(60_000);
    let asked = request("b");
    let (outcome, used) = cost(&world, b.acquire("l", &asked));
    assert_eq!(held(outcome.unwrap()).free_in_ms, DURATION_MS);
    assert_eq!(used, counts(1, 0));
    world.advance_ms(DURATION_MS - 1);
    held(world.run(b.acquire("l", &asked)).unwrap());
    world.advance_ms(1);
    let (outcome, used) = cost(&world, b.acquire("l", &asked));
    assert!(acquired(outcome.unwrap()).token > grant.token);
    assert_eq!(used, counts(0, 1), "seen unchanged for long enough");
    let c = world.leases();
    let started_ms = world.elapsed_ms();
    let won = acquired(world.run(c.campaign("l", &request("c"), 30_000)).unwrap());
    assert_eq!(won.holder, "c");
    assert!((DURATION_MS..DURATION_MS + 600).contains(&(world.elapsed_ms() - started_ms)));
}

#[test]
fn a_version_that_changes_starts_the_wait_anew() {
    let world = World::new();
    world.0.borrow_mut().tells_time = false;
    let (a, b) = (world.leases(), world.leases());
    let mut grant = acquire(&world, &a, "a");
    for _ in 0..10 {
        held(world.run(b.acquire("l", &request("b"))).unwrap());
        world.advance_ms(6_000);
        grant = renewed(world.run(a.renew(&grant, 10_000)).unwrap());
    }
}

#[test]
fn a_campaign_waits_without_writing_and_takes_the_lease_when_it_expires() {
    let world = World::new();
    let (a, b) = (world.leases(), world.leases());
    let grant = acquire(&world, &a, "a");
    world.take_counts();
    let started_ms = world.elapsed_ms();
    let won = acquired(world.run(b.campaign("l", &request("b"), 60_000)).unwrap());
    let waited_ms = world.elapsed_ms() - started_ms;
    assert!(
        (DURATION_MS..DURATION_MS + 600).contains(&waited_ms),
        "{waited_ms}"
    );
    let used = world.take_counts();
    assert_eq!(used["PUT"], 1);
    assert!((5..=10).contains(&used["GET"]), "{used:?}");
    assert!(won.token > grant.token);
}

#[test]
fn a_campaign_notices_a_release() {
    let world = World::new();
    let (a, b) = (world.leases(), world.leases());
    let grant = acquire(&world, &a, "a");
    let asked = request("b");
    let mut op = world.start(b.campaign("l", &asked, 60_000));
    op.serve();
    op.request();
    world.run(a.release(&grant, None)).unwrap();
    let released_ms = world.elapsed_ms();
    acquired(op.finish().unwrap());
    assert!(world.elapsed_ms() - released_ms <= 2_500);
}

#[test]
fn a_campaign_ends_in_time_with_what_it_saw_last() {
    for timeout_ms in [0, 1, 5_000] {
        let world = World::new();
        let (a, b) = (world.leases(), world.leases());
        acquire(&world, &a, "a");
        let started_ms = world.elapsed_ms();
        let status = held(
            world
                .run(b.campaign("l", &request("b"), timeout_ms))
                .unwrap(),
        );
        assert_eq!(world.elapsed_ms() - started_ms, u64::from(timeout_ms));
        assert_eq!(status.holder, "a");
        assert_eq!(status.free_in_ms, DURATION_MS - u64::from(timeout_ms));
    }
}

#[test]
fn a_campaign_outlives_a_store_that_does_not_answer() {
    let world = World::new();
    let b = world.leases();
    let asked = request("b");
    let mut op = world.start(b.campaign("l", &asked, 60_000));
    for _ in 0..10 {
        op.serve_until("GET");
        op.answer(Answer::Get(Err(BucketError::Unavailable(
            "down".to_owned(),
        ))));
    }
    acquired(op.finish().unwrap());
    let mut op = world.start(b.campaign("m", &asked, 1_000));
    while op.request().is_some() {
        op.answer(Answer::Get(Err(BucketError::Unavailable(
            "down".to_owned(),
        ))));
    }
    assert!(matches!(op.done(), Err(Error::Unavailable(_))));
    let mut op = world.start(b.campaign("m", &asked, 60_000));
    op.serve_until("GET");
    op.answer(Answer::Get(Err(BucketError::AccessDenied("no".to_owned()))));
    assert!(matches!(op.done(), Err(Error::AccessDenied(_))));
}

#[test]
fn bounds_are_those_of_the_first_acquisition() {
    let world = World::new();
    let a = world.leases();
    let narrow = ClockBounds {
        rate_ppm: 1_000,
        margin_ms: 500,
    };
    let asked = Request {
        bounds: Some(narrow),
        ..request("a")
    };
    let grant = acquired(world.run(a.acquire("l", &asked)).unwrap());
    // 9,500 ms, at the worst rates of both.
    assert_eq!(grant.valid_for_ms, 9_481 - 100);
    world.run(a.release(&grant, None)).unwrap();
    let other = Request {
        bounds: Some(ClockBounds::DEFAULT),
        ..request("b")
    };
    let grant = acquired(world.run(world.leases().acquire("l", &other)).unwrap());
    assert_eq!(grant.bounds, narrow);
    assert_eq!(stored(&world).bounds, narrow);
}

#[test]
fn bad_input_is_refused_before_any_request() {
    let world = World::new();
    let a = world.leases();
    let grant = acquire(&world, &a, "a");
    let long = |bytes| "x".repeat(bytes);
    let ask = |change: &dyn Fn(&mut Request)| {
        let mut asked = request("b");
        change(&mut asked);
        asked
    };
    world.take_counts();
    let refused = |result: Result<AcquireOutcome, Error>| {
        assert!(
            matches!(result, Err(Error::InvalidArgument(_))),
            "{result:?}"
        );
    };
    for name in ["", "A", "a_b", "/a", &long(201)] {
        refused(world.run(a.acquire(name, &request("b"))));
        refused(world.run(a.campaign(name, &request("b"), 0)));
        assert!(world.run(a.observe(name)).is_err());
        assert!(a.remaining_ms(name, grant.token).is_err());
    }
    for asked in [
        ask(&|asked| asked.holder = String::new()),
        ask(&|asked| asked.holder = long(201)),
        ask(&|asked| asked.duration_ms = 999),
        ask(&|asked| asked.duration_ms = 3_600_001),
        ask(&|asked| asked.duration_ms = u32::MAX),
        ask(&|asked| asked.note = long(1_025)),
        ask(&|asked| {
            asked.bounds = Some(ClockBounds {
                rate_ppm: 500_001,
                margin_ms: 0,
            });
        }),
        ask(&|asked| {
            asked.bounds = Some(ClockBounds {
                rate_ppm: 0,
                margin_ms: 60_001,
            });
        }),
    ] {
        refused(world.run(a.acquire("l", &asked)));
        refused(world.run(a.campaign("l", &asked, 0)));
    }
    refused(world.run(a.campaign("l", &request("b"), 300_001)));
    for duration_ms in [0, 999, 3_600_001, u32::MAX] {
        assert!(world.run(a.renew(&grant, duration_ms)).is_err());
        let successor = Successor {
            holder: "b".to_owned(),
            within_ms: duration_ms,
        };
        assert!(world.run(a.release(&grant, Some(&successor))).is_err());
    }
    for holder in ["", &long(201)] {
        let successor = Successor {
            holder: holder.to_owned(),
            within_ms: 1_000,
        };
        assert!(world.run(a.release(&grant, Some(&successor))).is_err());
        let forged = Grant {
            holder: holder.to_owned(),
            ..grant.clone()
        };
        assert!(world.run(a.renew(&forged, 10_000)).is_err());
    }
    for token in [0, TOKEN_MAX + 1, u64::MAX] {
        let forged = Grant {
            token: Epoch(token),
            ..grant.clone()
        };
        assert!(world.run(a.renew(&forged, 10_000)).is_err());
        assert!(world.run(a.release(&forged, None)).is_err());
    }
    assert_eq!(world.take_total(), 0);
}

#[test]
fn the_largest_input_is_accepted() {
    let world = World::new();
    let a = world.leases();
    let name = "n".repeat(200);
    let asked = Request {
        holder: "\u{1}".repeat(200),
        duration_ms: 3_600_000,
        note: "\"".repeat(1_024),
        bounds: None,
    };
    let grant = acquired(world.run(a.acquire(&name, &asked)).unwrap());
    let stranger = world.leases();
    let status = world.run(stranger.observe(&name)).unwrap().unwrap();
    assert_eq!((status.holder, status.note), (asked.holder, asked.note));
    renewed(world.run(a.renew(&grant, 3_600_000)).unwrap());
}

#[test]
fn damaged_and_foreign_objects_are_named_and_never_replaced() {
    let world = World::new();
    let a = world.leases();
    let grant = acquire(&world, &a, "a");
    world.run(a.acquire("other", &request("a"))).unwrap();
    let good = world.object(KEY).unwrap().body;
    let misplaced = world.object("lease/other/_lease").unwrap().body;
    let newer = {
        let text = String::from_utf8(good.clone()).unwrap();
        let (covered, _) = text.split_once(",\"crc32c\"").unwrap();
        let covered = covered.replace("\"1.0\"", "\"2.0\"");
        let checksum = crc32c(&[covered.as_bytes()]);
        format!("{covered},\"crc32c\":\"{checksum:08x}\"}}").into_bytes()
    };
    let mut cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{}".to_vec(),
        b"<html></html>".to_vec(),
        vec![0xff; 100],
        vec![b' '; 20_000],
        [good.as_slice(), &vec![b' '; 20_000]].concat(),
        good[..good.len() - 1].to_vec(),
        misplaced,
    ];
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        cases.push(flipped);
    }
    world.advance_ms(DURATION_MS);
    let refuse = |body: &[u8], corrupt: bool| {
        world.corrupt(KEY, |stored| *stored = body.to_vec());
        world.0.borrow_mut().objects.get_mut(KEY).unwrap().version = 1_000_000;
        let right = |error: &Error| match error {
            Error::Corrupt(text) => corrupt && text.contains(KEY),
            Error::Unsupported(text) => !corrupt && text.contains(KEY),
            _ => false,
        };
        let b = world.leases();
        let error = world.run(b.acquire("l", &request("b"))).unwrap_err();
        assert!(right(&error), "{error:?}");
        let error = world
            .run(b.campaign("l", &request("b"), 60_000))
            .unwrap_err();
        assert!(right(&error), "{error:?}");
        let error = world.run(b.observe("l")).unwrap_err();
        assert!(right(&error), "{error:?}");
        let _ = world.run(b.renew(&grant, 10_000));
        let _ = world.run(b.release(&grant, None));
        assert_eq!(world.object(KEY).unwrap().body, body, "it was replaced");
    };
    for body in &cases {
        refuse(body, true);
    }
    world.corrupt(KEY, |stored| *stored = vec![b' '; 20_000]);
    let error = world.run(world.leases().observe("l")).unwrap_err();
    assert!(error.to_string().contains("exceeds 16384 bytes"), "{error}");
    refuse(&newer, false);
}

#[test]
fn tokens_end_with_an_error() {
    let world = World::new();
    let a = world.leases();
    acquire(&world, &a, "a");
    let last = Lease {
        token: Epoch(TOKEN_MAX),
        state: State::Released,
        ..stored(&world)
    };
    world.corrupt(KEY, |body| *body = last.encode());
    let outcome = world.run(world.leases().acquire("l", &request("b")));
    assert!(matches!(outcome, Err(Error::Other(_))), "{outcome:?}");
}

#[test]
fn an_instance_remembers_a_bounded_number_of_leases() {
    let world = World::new();
    // So that no acquisition waits, and all are still held at the end.
    world.0.borrow_mut().tells_time = false;
    let a = world.leases();
    let mut grants = Vec::new();
    for number in 0..LEASES_MAX + 10 {
        let name = format!("l-{number}");
        grants.push(acquired(
            world.run(a.acquire(&name, &request("a"))).unwrap(),
        ));
    }
    let known = |grant: &Grant| a.remaining_ms(grant.name.as_str(), grant.token).unwrap() > 0;
    assert!(!known(&grants[0]));
    assert!(known(grants.last().unwrap()));
    assert_eq!(
        grants.iter().filter(|grant| known(grant)).count(),
        LEASES_MAX
    );
    let (outcome, used) = cost(&world, a.renew(&grants[0], 10_000));
    renewed(outcome.unwrap());
    assert_eq!(used, counts(0, 1), "a grant has all that is needed");
}

/// Each state of a lease, as it is stored.
fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let world = World::new();
    let a = world.leases();
    let asked = Request {
        note: "http://10.0.0.1:8080 \"a\" \\ \u{1} ü".to_owned(),
        ..request("worker-1")
    };
    let body = |world: &World| world.object("lease/jobs/eu/_lease").unwrap().body;
    let mut op = world.start(a.acquire("jobs/eu", &asked));
    op.serve_until("PUT");
    op.serve();
    let mut objects = vec![("0-reserved", body(&world))];
    let grant = acquired(op.finish().unwrap());
    objects.push(("1-held", body(&world)));
    world.advance_ms(3_000);
    let grant = renewed(world.run(a.renew(&grant, 15_000)).unwrap());
    objects.push(("2-renewed", body(&world)));
    let successor = Successor {
        holder: "worker-2".to_owned(),
        within_ms: 5_000,
    };
    world.run(a.release(&grant, Some(&successor))).unwrap();
    objects.push(("3-handover", body(&world)));
    let grant = acquired(
        world
            .run(a.acquire("jobs/eu", &request("worker-2")))
            .unwrap(),
    );
    world.run(a.release(&grant, None)).unwrap();
    objects.push(("4-released", body(&world)));
    objects
}

#[test]
fn stored_bytes_are_those_of_the_fixtures() {
    for (name, body) in golden() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/lease")
            .join(name)
            .with_extension("json");
        if std::env::var_os("IFMATCH_BLESS").is_some() {
            std::fs::write(&path, &body).unwrap();
        }
        let fixture = std::fs::read(&path).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&body),
            String::from_utf8_lossy(&fixture),
            "{name}"
        );
        let lease = Lease::decode(&fixture).unwrap();
        assert_eq!(lease.encode(), fixture, "{name}");
        for end in 0..fixture.len() {
            assert!(
                Lease::decode(&fixture[..end]).is_err(),
                "{name} cut to {end}"
            );
        }
        for at in 0..fixture.len() {
            for change in 1..=u8::MAX {
                let mut changed = fixture.clone();
                changed[at] ^= change;
                assert!(
                    Lease::decode(&changed).is_err(),
                    "{name}: byte {at} ^ {change}"
                );
            }
        }
    }
}
