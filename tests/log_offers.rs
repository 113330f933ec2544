//! Goal: a batch that is left as an offer is in the log once, where its writer is
//! told, or not at all; whoever takes it, whoever dies, and whatever comes late.
//!
//! Method: instances of the core on the model store, stepped by hand. Numbers in
//! names are those of `docs/SCENARIOS.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use std::rc::Rc;

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::error::Error;
use ifmatch::log::{
    AppendOptions, AppendOutcome, Cursor, Keep, Logs, MergeOptions, ReadOutcome, SequenceProblem,
};
use ifmatch::slots::Grace;
use ifmatch::token::Epoch;
use model::log::{ALL, appended, batch, contents, fenced, produced};
use model::{Answer, HOUR_MS, ModelBucket, ModelEnv, Op, Request, World};

type Instance = Rc<Logs<ModelBucket, ModelEnv>>;
type Append<'f> = Op<'f, Result<AppendOutcome, Error>>;

/// An offer based on slot n may be taken up to slot n + 4.
const WINDOW: usize = 4;

/// A log with one segment, and somebody who writes to it whenever it hurts.
struct Scene {
    world: World,
    rival: Instance,
    rivals: std::cell::Cell<usize>,
}

impl Scene {
    fn new() -> Scene {
        let world = World::new();
        let rival = world.instance();
        let grace = Grace {
            period_ms: 10_000,
            margin_ms: 2_000,
        };
        world.run(rival.create("l", grace)).unwrap();
        Scene {
            world,
            rival,
            rivals: std::cell::Cell::new(0),
        }
    }

    /// The rival appends so many batches, each called `r`, straight into the next
    /// slots: not in such quick succession that it would look for offers.
    fn rival(&self, appends: usize) {
        for _ in 0..appends {
            self.world.advance_ms(50);
            let outcome =
                self.world
                    .run(self.rival.append("l", &batch("r"), &AppendOptions::SHARED));
            assert!(
                matches!(outcome, Ok(AppendOutcome::Appended(_))),
                "{outcome:?}"
            );
            self.rivals.set(self.rivals.get() + 1);
        }
    }

    /// An append by a new instance that has lost two races, so that its next request
    /// leaves an offer.
    fn offering<'f>(&'f self, text: &'f str, options: &'f AppendOptions) -> Append<'f> {
        self.offering_by(self.world.instance(), text, options)
    }

    /// The same, by this instance.
    fn offering_by<'f>(
        &'f self,
        writer: Instance,
        text: &'f str,
        options: &'f AppendOptions,
    ) -> Append<'f> {
        let mut op = self
            .world
            .start(async move { writer.append("l", &batch(text), options).await });
        loop {
            match op.request().unwrap() {
                Request::Put(write) if write.key.contains("-o") => return op,
                Request::Put(_) => self.rival(1),
                _ => {}
            }
            op.serve();
        }
    }

    /// The same, and the offer is there.
    fn offered<'f>(&'f self, text: &'f str, options: &'f AppendOptions) -> Append<'f> {
        let mut op = self.offering(text, options);
        op.serve();
        op
    }

    /// The same, and nobody has taken it for so long that its writer lists, to take
    /// along what others offer. The listing is not served.
    fn combining<'f>(&'f self, text: &'f str, options: &'f AppendOptions) -> Append<'f> {
        let mut op = self.offered(text, options);
        op.serve_until("LIST");
        op
    }

    /// What is in the log, without what the rival wrote.
    fn contents(&self) -> Vec<String> {
        let mut all = contents(&self.world);
        let before = all.len();
        all.retain(|text| text != "r");
        assert_eq!(before - all.len(), self.rivals.get());
        all
    }
}

fn offset_of(outcome: Result<AppendOutcome, Error>) -> u64 {
    match outcome {
        Ok(AppendOutcome::Appended(extent)) => extent.start,
        other => panic!("{other:?}"),
    }
}

fn is_open(outcome: &Result<AppendOutcome, Error>) -> bool {
    matches!(outcome, Ok(AppendOutcome::Indeterminate(_)))
}

const SHARED: &AppendOptions = &AppendOptions::SHARED;

#[test]
fn scenario_90_an_offer_is_taken_by_another_writer() {
    let scene = Scene::new();
    let mut taken = scene.offered("a b", SHARED);
    let taker = scene.combining("c", SHARED);
    let start = offset_of(taker.finish());
    scene.world.take_counts();
    taken.request();
    assert_eq!(taken.finish().unwrap(), appended(start + 1, start + 3));
    // The first slot of its window was filled by somebody who did not look.
    assert!(scene.world.take_total() <= 4);
    assert_eq!(scene.contents(), ["c", "a", "b"]);
    // A reader pays one request for the segment and one for the offer.
    let reader = scene.world.instance();
    let tail = scene.world.run(reader.tail("l")).unwrap();
    let before = Cursor {
        offset: start,
        slot: tail.slot.map(|slot| ifmatch::keys::Slot(slot.0 - 1)),
        ..tail
    };
    scene.world.take_counts();
    match scene.world.run(reader.read("l", before, model::log::two())) {
        Ok(ReadOutcome::Records(entries, _)) => assert_eq!(entries.len(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.world.take_counts()["GET"], 2);
}

#[test]
fn scenario_91_an_offer_is_taken_once_whoever_combines_next() {
    let scene = Scene::new();
    let taken = scene.offered("a", SHARED);
    // Three who have all seen the offer and know nothing of each other, one after
    // the other, within its window; one who does not combine comes between.
    let first = scene.combining("x", SHARED);
    offset_of(first.finish());
    let second = scene.combining("y", SHARED);
    offset_of(second.finish());
    assert_eq!(scene.contents(), ["x", "a", "y"]);
    offset_of(taken.finish());
    assert_eq!(scene.contents(), ["x", "a", "y"]);
}

#[test]
fn scenario_92_who_takes_the_offers_of_others_does_not_leave_its_own_to_be_taken() {
    let scene = Scene::new();
    let first = scene.combining("a", SHARED);
    let mut second = scene.combining("b", SHARED);
    // Both have left offers. The second has listed them when the first appends.
    second.serve();
    offset_of(first.finish());
    offset_of(second.finish());
    let mut contents = scene.contents();
    contents.sort();
    assert_eq!(contents, ["a", "b"]);
    // And nobody takes what is left of them.
    offset_of(scene.combining("c", SHARED).finish());
    assert_eq!(scene.contents().len(), 3);
}

#[test]
fn scenario_93_an_offer_that_nobody_took_in_time_is_taken_by_nobody() {
    let scene = Scene::new();
    let mut slow = scene.offered("a", SHARED);
    scene.rival(WINDOW);
    // It learns that, and offers again.
    while !matches!(slow.request(), Some(Request::Put(_))) {
        slow.serve();
    }
    slow.serve();
    assert_eq!(
        scene
            .world
            .keys()
            .iter()
            .filter(|it| it.contains("-o"))
            .count(),
        2
    );
    // Whoever lists now sees both offers.
    offset_of(scene.combining("b", SHARED).finish());
    offset_of(slow.finish());
    let mut contents = scene.contents();
    contents.sort();
    assert_eq!(contents, ["a", "b"]);
}

/// No reply to the offer comes, and then no answer at all. Gives the offer.
fn left_open(mut op: Append<'_>) -> Request {
    let put = op.request().unwrap();
    let down = || BucketError::Unavailable("down".to_owned());
    let mut sent = 0;
    while let Some(request) = op.request() {
        op.answer(match request.kind() {
            "PUT" if sent == 0 => Answer::Put(Ok(PutOutcome::Indeterminate("lost".to_owned()))),
            "PUT" => Answer::Put(Err(down())),
            "LIST" => Answer::List(Err(down())),
            _ => Answer::Get(Err(down())),
        });
        sent += 1;
    }
    let outcome = op.done();
    assert!(is_open(&outcome), "{outcome:?}");
    put
}

#[test]
fn scenario_94_an_offer_whose_fate_stays_open_is_reported_so() {
    let scene = Scene::new();
    let put = left_open(scene.offering("a", SHARED));
    // It arrives late, and is taken.
    scene.world.apply(&put);
    offset_of(scene.combining("b", SHARED).finish());
    assert!(scene.contents().contains(&"a".to_owned()) || scene.contents() == ["b"]);
}

#[test]
fn scenario_104_an_open_offer_is_not_taken_behind_what_its_writer_appends_next() {
    for dropped in [false, true] {
        for fenced_next in [false, true] {
            let scene = Scene::new();
            let writer = scene.world.instance();
            let op = scene.offering_by(writer.clone(), "a", SHARED);
            let put = if dropped {
                let mut op = op;
                op.request().unwrap()
            } else {
                left_open(op)
            };
            scene.world.take_counts();
            let options = match fenced_next {
                true => fenced(1),
                false => AppendOptions::SHARED,
            };
            offset_of(scene.world.run(writer.append("l", &batch("b"), &options)));
            // To withdraw it cost nothing.
            assert_eq!(scene.world.take_total(), 1);
            scene.world.apply(&put);
            if !fenced_next {
                offset_of(scene.combining("c", SHARED).finish());
            }
            assert!(!scene.contents().contains(&"a".to_owned()));
        }
    }
}

#[test]
fn scenario_104_an_open_offer_that_was_taken_stays_where_it_is() {
    let scene = Scene::new();
    let writer = scene.world.instance();
    let put = left_open(scene.offering_by(writer.clone(), "a", SHARED));
    scene.world.apply(&put);
    offset_of(scene.combining("b", SHARED).finish());
    let outcome = scene.world.run(writer.append("l", &batch("c"), SHARED));
    offset_of(outcome);
    offset_of(scene.combining("d", SHARED).finish());
    assert_eq!(scene.contents(), ["b", "a", "c", "d"]);
}

#[test]
fn scenario_104_no_offer_is_left_while_another_one_is_open() {
    let scene = Scene::new();
    // Two who take what others offer.
    let takers = [scene.world.instance(), scene.world.instance()];
    for taker in &takers {
        offset_of(scene.offering_by(taker.clone(), "x", SHARED).finish());
    }
    let writer = scene.world.instance();
    let put = left_open(scene.offering_by(writer.clone(), "a", SHARED));
    let records = batch("b");
    let mut op = scene.world.start(writer.append("l", &records, SHARED));
    // It loses as many races as it takes for the offer to have had its chances.
    let mut lost = 0;
    loop {
        match op.request().unwrap() {
            Request::Put(write) if write.key.contains("-o") => break,
            Request::Put(_) => {
                scene.rival(1);
                lost += 1;
            }
            _ => {}
        }
        op.serve();
    }
    op.serve();
    // Somebody has listed before the first one arrives, and takes the second.
    let records = batch("c");
    let mut taker = scene.world.start(takers[0].append("l", &records, SHARED));
    taker.serve_until("LIST");
    taker.serve();
    scene.world.apply(&put);
    offset_of(taker.finish());
    let outcome = takers[1].append("l", &records, SHARED);
    offset_of(scene.world.run(outcome));
    offset_of(op.finish());
    assert_eq!(scene.contents(), ["x", "x", "c", "b", "c"]);
    assert_eq!(lost, WINDOW, "the first one has had its chances");
}

#[test]
fn scenario_104_a_copy_of_its_writer_does_not_take_a_withdrawn_offer_for_appended() {
    let scene = Scene::new();
    let (one, other) = (scene.world.instance(), scene.world.instance());
    let records = batch("a");
    let mut first = scene.world.start(one.append("l", &records, SHARED));
    let mut second = scene.world.start(other.append("l", &records, SHARED));
    // What is drawn when the calls begin is the same.
    let before = scene.world.random();
    first.request();
    scene.world.set_random(before);
    second.request();
    loop {
        let request = first.request().unwrap();
        assert_eq!(request.key(), second.request().unwrap().key());
        match &request {
            Request::Put(write) if write.key.contains("-o") => break,
            Request::Put(_) => scene.rival(1),
            _ => {}
        }
        let answer = scene.world.apply(&request);
        first.answer(answer.clone());
        second.answer(answer);
    }
    first.serve();
    second.serve();
    // The second gives up, and goes on with another batch.
    drop(second);
    offset_of(scene.world.run(other.append("l", &batch("b"), SHARED)));
    let told = offset_of(first.finish());
    let all = contents(&scene.world);
    assert_eq!(
        all.get(usize::try_from(told).unwrap()).map(String::as_str),
        Some("a")
    );
    assert_eq!(scene.contents(), ["b", "a"]);
}

#[test]
fn an_instance_that_remembers_too_many_open_offers_leaves_no_more() {
    let scene = Scene::new();
    let writer = scene.world.instance();
    let mut left = 0;
    for log in 0..1_000 {
        let name = format!("other-{log}");
        let records = batch("a");
        let other = scene.world.instance();
        scene
            .world
            .run(other.create(&name, Grace::DEFAULT))
            .unwrap();
        let mut op = scene.world.start(writer.append(&name, &records, SHARED));
        // Somebody is always faster, until it leaves an offer or gets through.
        for race in 0.. {
            match op.request() {
                Some(Request::Put(write)) if write.key.contains("-o") => {
                    left += 1;
                    break;
                }
                Some(Request::Put(_)) if race < 40 => {
                    let rival = other.append(&name, &records, SHARED);
                    offset_of(scene.world.run(rival));
                }
                Some(_) => {}
                None => break,
            }
            op.serve();
        }
    }
    assert_eq!(left, 256);
}

#[test]
fn scenario_95_of_a_claim_and_an_offer_the_first_counts() {
    for taken_first in [true, false] {
        let scene = Scene::new();
        let offered = scene.offered("a", SHARED);
        if taken_first {
            offset_of(scene.combining("b", SHARED).finish());
        }
        let mut waiting = offered;
        waiting.serve_until("GET");
        let leader = scene.world.instance();
        scene.world.run(leader.claim("l", Epoch(1))).unwrap();
        scene
            .world
            .run(leader.append("l", &batch("r"), &fenced(1)))
            .unwrap();
        scene.rivals.set(scene.rivals.get() + 1);
        let outcome = waiting.finish();
        if taken_first {
            offset_of(outcome);
            assert_eq!(scene.contents(), ["b", "a"]);
        } else {
            assert_eq!(outcome.unwrap(), AppendOutcome::Fenced(Epoch(1)));
            assert_eq!(scene.contents(), Vec::<String>::new());
        }
    }
}

#[test]
fn scenario_95_a_claim_tells_what_was_taken_before_it() {
    let scene = Scene::new();
    // It looks at the newest segment only, and that is the claim.
    let late = scene.combining("a", SHARED);
    offset_of(scene.combining("b", SHARED).finish());
    let leader = scene.world.instance();
    scene.world.run(leader.claim("l", Epoch(1))).unwrap();
    offset_of(late.finish());
    assert_eq!(scene.contents(), ["b", "a"]);
}

#[test]
fn scenario_96_a_combiner_may_die_at_any_step() {
    for steps in 0.. {
        let scene = Scene::new();
        let offered = scene.offered("a", SHARED);
        let mut dying = scene.offering("b", SHARED);
        let mut done = false;
        for _ in 0..steps {
            done = dying.request().is_none();
            if done {
                break;
            }
            dying.serve();
        }
        drop(dying);
        offset_of(offered.finish());
        let contents = scene.contents();
        assert_eq!(contents.iter().filter(|text| *text == "a").count(), 1);
        assert!(contents.iter().filter(|text| *text == "b").count() <= 1);
        if done {
            assert!(steps > 3, "only {steps}");
            return;
        }
    }
}

#[test]
fn scenario_103_a_writer_that_combined_in_vain_combines_again() {
    let scene = Scene::new();
    let mut combiner = scene.combining("a", SHARED);
    combiner.serve();
    combiner.serve_until("PUT");
    // Somebody who did not look is faster, and then nobody writes any more.
    scene.rival(1);
    scene.world.take_counts();
    offset_of(combiner.finish());
    // The lost write with a look at who won, four looks in vain, and a combination.
    assert!(scene.world.take_total() <= 8);
    assert_eq!(scene.contents(), ["a"]);
}

#[test]
fn scenario_97_a_combiner_that_slept_through_a_trim_takes_nothing() {
    let scene = Scene::new();
    let mut offered = scene.offered("a", SHARED);
    offered.serve_until("GET");
    let mut sleeper = scene.combining("b", SHARED);
    // It has listed the offer, and is about to write.
    sleeper.serve_until("PUT");
    scene.rival(2 * WINDOW);
    scene.world.advance_ms(HOUR_MS);
    scene.rival(1);
    let collector = scene.world.instance();
    scene
        .world
        .run(collector.trim("l", Keep::Records(1)))
        .unwrap();
    assert!(
        scene.world.keys().iter().all(|key| !key.contains("-o")),
        "the offers went with the slots that could have taken them"
    );
    // Its segment is stored in a slot that was trimmed, and names the offer.
    let slot = sleeper.serve();
    assert!(scene.world.object(slot.key()).is_some());
    let outcome = offered.finish();
    assert!(
        is_open(&outcome),
        "what stands there does not count: {outcome:?}"
    );
    let slept = sleeper.finish();
    assert!(is_open(&slept), "{slept:?}");
    // Neither is in what is kept, and readers are told what that is.
    let reader = scene.world.instance();
    match scene
        .world
        .run(reader.read("l", Cursor::at(0), ALL))
        .unwrap()
    {
        ReadOutcome::Trimmed(kept) => match scene.world.run(reader.read("l", kept, ALL)).unwrap() {
            ReadOutcome::Records(entries, _) => {
                assert!(
                    entries.iter().all(|entry| entry.body == b"r"),
                    "{entries:?}"
                );
            }
            other @ ReadOutcome::Trimmed(_) => panic!("{other:?}"),
        },
        other @ ReadOutcome::Records(..) => panic!("{other:?}"),
    }
}

#[test]
fn scenario_98_a_copy_of_an_offer_that_arrives_late_changes_nothing() {
    let scene = Scene::new();
    let mut op = scene.offering("a", SHARED);
    let put = op.serve();
    offset_of(op.finish());
    scene.world.apply(&put);
    offset_of(scene.combining("b", SHARED).finish());
    assert_eq!(scene.contents(), ["a", "b"]);
    scene.rival(2 * WINDOW);
    scene.world.advance_ms(HOUR_MS);
    scene.rival(1);
    let collector = scene.world.instance();
    scene
        .world
        .run(collector.trim("l", Keep::Records(1)))
        .unwrap();
    // The offer is gone, so the copy is stored again, far behind the tail.
    scene.world.apply(&put);
    assert!(scene.world.object(put.key()).is_some());
    offset_of(
        scene
            .world
            .run(scene.world.instance().append("l", &batch("c"), SHARED)),
    );
    let first_kept = match scene
        .world
        .run(collector.read("l", Cursor::at(0), ALL))
        .unwrap()
    {
        ReadOutcome::Trimmed(kept) => kept,
        other @ ReadOutcome::Records(..) => panic!("{other:?}"),
    };
    match scene
        .world
        .run(collector.read("l", first_kept, ALL))
        .unwrap()
    {
        ReadOutcome::Records(entries, _) => {
            let bodies: Vec<_> = entries.iter().map(|entry| entry.body.as_slice()).collect();
            assert_eq!(bodies, [b"r", b"c"]);
        }
        other @ ReadOutcome::Trimmed(_) => panic!("{other:?}"),
    }
    scene.world.advance_ms(HOUR_MS);
    scene.rival(1);
    scene
        .world
        .run(collector.trim("l", Keep::Records(1)))
        .unwrap();
    assert!(
        scene.world.object(put.key()).is_none(),
        "the next trim takes it"
    );
}

#[test]
fn scenario_99_one_producer_at_two_instances_offers_one_batch() {
    let scene = Scene::new();
    let options = produced("p", 0);
    let first = scene.offered("a", &options);
    let second = scene.offered("a", &options);
    let taker = scene.combining("b", SHARED);
    offset_of(taker.finish());
    let told = (offset_of(first.finish()), offset_of(second.finish()));
    assert_eq!(told.0, told.1);
    assert_eq!(scene.contents(), ["b", "a"]);
}

#[test]
fn scenario_99_an_offer_out_of_sequence_is_taken_by_nobody() {
    let scene = Scene::new();
    // Nobody knows at the time of the offer that batch 0 will not come: the writer
    // knows nothing but that others are about.
    drop(scene.offered("a", SHARED));
    let writer = scene.world.instance();
    let options = produced("p", 1);
    let records = batch("gap");
    let mut op = scene.world.start(writer.append("l", &records, &options));
    assert!(op.serve_until("PUT").key().contains("-o"));
    op.serve();
    offset_of(scene.combining("b", SHARED).finish());
    scene.rival(WINDOW);
    let outcome = op.finish().unwrap();
    assert_eq!(
        outcome,
        AppendOutcome::OutOfSequence(SequenceProblem::Gap(0))
    );
    assert!(!scene.contents().contains(&"gap".to_owned()));
}

#[test]
fn scenario_99_a_batch_out_of_sequence_is_not_appended_by_its_own_writer() {
    let scene = Scene::new();
    // As above, but nobody else appends any more.
    drop(scene.offered("a", SHARED));
    let writer = scene.world.instance();
    let (options, records) = (produced("p", 1), batch("gap"));
    let append = || {
        scene
            .world
            .run(writer.append("l", &records, &options))
            .unwrap()
    };
    let outcome = append();
    assert!(
        matches!(outcome, AppendOutcome::Indeterminate(_)),
        "{outcome:?}"
    );
    let gap = AppendOutcome::OutOfSequence(SequenceProblem::Gap(0));
    assert_eq!(append(), gap);
    assert!(!scene.contents().contains(&"gap".to_owned()));
}

#[test]
fn scenario_99_an_offer_that_waits_for_the_batch_before_it_is_not_refused() {
    let scene = Scene::new();
    let mut taker = scene.combining("b", SHARED);
    let writer = scene.world.instance();
    let (options, records) = (produced("p", 1), batch("second"));
    let mut op = scene.world.start(writer.append("l", &records, &options));
    assert!(op.serve_until("PUT").key().contains("-o"));
    op.serve();
    // Behind what it sees there, its batch is out of sequence, as yet.
    scene.rival(1);
    op.serve_until("GET");
    op.serve();
    let (options, records) = (produced("p", 0), batch("first"));
    let first = scene.rival.append("l", &records, &options);
    offset_of(scene.world.run(first));
    taker.serve();
    offset_of(taker.finish());
    offset_of(op.finish());
    assert_eq!(scene.contents(), ["first", "b", "second"]);
}

#[test]
fn scenario_100_a_damaged_or_missing_offer_is_reported_with_its_key() {
    let scene = Scene::new();
    let mut op = scene.offering("a", SHARED);
    let put = op.serve();
    offset_of(scene.combining("b", SHARED).finish());
    offset_of(op.finish());
    let key = put.key().to_owned();
    let whole = scene.world.object(&key).unwrap().body;
    let read = || {
        let reader = scene.world.instance();
        let mut cursor = Cursor::at(0);
        loop {
            match scene.world.run(reader.read("l", cursor, ALL)) {
                Ok(ReadOutcome::Records(entries, _)) if entries.is_empty() => return Ok(()),
                Ok(ReadOutcome::Records(_, next)) => cursor = next,
                Ok(ReadOutcome::Trimmed(kept)) => panic!("{kept:?}"),
                Err(error) => return Err(error),
            }
        }
    };
    // A changed version number looks like a newer format.
    let is_corrupt = || match read() {
        Err(Error::Corrupt(text) | Error::Unsupported(text)) => text.contains(&key),
        _ => false,
    };
    for at in 0..whole.len() {
        scene.world.corrupt(&key, |body| body[at] ^= 0x40);
        assert!(is_corrupt(), "byte {at}");
        scene.world.corrupt(&key, |body| body[at] ^= 0x40);
        scene.world.corrupt(&key, |body| body.truncate(at));
        assert!(is_corrupt(), "cut to {at}");
        scene.world.corrupt(&key, |body| body.clone_from(&whole));
    }
    read().unwrap();
    // An offer of the same writer's next batch, as whole as this one.
    let mut other = scene.offering("x", SHARED);
    let other = other.serve();
    let foreign = scene.world.object(other.key()).unwrap().body;
    scene.world.corrupt(&key, |body| *body = foreign);
    assert!(is_corrupt(), "another offer");
    scene.world.apply(&Request::Delete(vec![key.clone()]));
    assert!(is_corrupt(), "no offer");
}

#[test]
fn the_oldest_offers_are_taken_first_up_to_the_size_of_a_batch() {
    let scene = Scene::new();
    let writer = |byte: u8| {
        let instance = scene.world.instance();
        let records = vec![vec![byte; 5 * 1024 * 1024]];
        scene
            .world
            .start(async move { instance.append("l", &records, SHARED).await })
    };
    drop(scene.offered("x", SHARED));
    let mut large = [writer(b'1'), writer(b'2')];
    for op in &mut large {
        let put = op.serve_until("PUT");
        assert!(put.key().contains("-o"), "{}", put.key());
        op.serve();
    }
    offset_of(scene.combining("b", SHARED).finish());
    let taken = |scene: &Scene| {
        scene
            .world
            .keys()
            .iter()
            .filter_map(|key| {
                let body = scene.world.object(key).unwrap().body;
                ifmatch::log::Segment::decode(body).ok()
            })
            .map(|segment| segment.offers().len())
            .max()
            .unwrap()
    };
    assert!(taken(&scene) <= 2, "not both of the large ones");
    for op in large {
        offset_of(op.finish());
    }
    let contents = contents(&scene.world);
    assert_eq!(contents.iter().filter(|text| text.len() > 1_000).count(), 2);
}

#[test]
fn trims_keep_the_offers_of_what_is_kept() {
    let scene = Scene::new();
    let mut told = Vec::new();
    for text in ["a", "b", "c", "d", "e", "f"] {
        let offered = scene.offered(text, SHARED);
        offset_of(scene.combining("r", SHARED).finish());
        scene.rivals.set(scene.rivals.get() + 1);
        told.push(offset_of(offered.finish()));
    }
    scene.world.advance_ms(HOUR_MS);
    let collector = scene.world.instance();
    let before = scene.world.keys().len();
    let report = scene
        .world
        .run(collector.trim("l", Keep::Start(told[3])))
        .unwrap();
    assert_eq!(
        scene.world.keys().len() + usize::try_from(report.deleted).unwrap(),
        before + 1
    );
    let kept = report.first_kept;
    let mut cursor = kept;
    let mut found = Vec::new();
    loop {
        match scene.world.run(collector.read("l", cursor, ALL)).unwrap() {
            ReadOutcome::Records(entries, _) if entries.is_empty() => break,
            ReadOutcome::Records(entries, next) => {
                found.extend(entries.iter().map(|it| (it.offset, it.body.clone())));
                cursor = next;
            }
            other @ ReadOutcome::Trimmed(_) => panic!("{other:?}"),
        }
    }
    for (at, text) in [(3, "d"), (4, "e"), (5, "f")] {
        assert!(
            found.contains(&(told[at], text.as_bytes().to_vec())),
            "{text}"
        );
    }
    // A bound on bytes counts offers as well.
    let report = scene
        .world
        .run(collector.trim("l", Keep::Bytes(1)))
        .unwrap();
    assert!(report.first_kept.offset > told[3], "{report:?}");
}

#[test]
fn scenario_102_a_pack_holds_the_offers_that_its_segments_take() {
    let scene = Scene::new();
    for text in ["a", "b c", "d"] {
        let offered = scene.offered(text, SHARED);
        offset_of(scene.combining("own", SHARED).finish());
        offset_of(offered.finish());
    }
    scene.rival(2 * WINDOW);
    let before = contents(&scene.world);
    scene.world.advance_ms(HOUR_MS);
    scene.rival(1);
    let options = MergeOptions {
        spare: Keep::Records(1),
        at_least: 1,
    };
    let collector = scene.world.instance();
    let report = scene.world.run(collector.merge("l", &options)).unwrap();
    assert!(report.packs >= 1, "{report:?}");
    assert!(
        scene.world.keys().iter().all(|key| !key.contains("-o")),
        "the offers went with the slots"
    );
    let after = contents(&scene.world);
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1);
    // Each byte of the pack counts, those of the offers as well.
    let key = scene
        .world
        .keys()
        .into_iter()
        .find(|key| key.contains("/_pack/"))
        .unwrap();
    let whole = scene.world.object(&key).unwrap().body;
    assert!(ifmatch::log::Pack::decode(&whole).is_ok());
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        assert!(ifmatch::log::Pack::decode(&changed).is_err(), "byte {at}");
    }
}
