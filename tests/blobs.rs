//! Goal: a blob that was acknowledged is there, whole, whatever became of the
//! requests; and nothing else is ever read in its place.
//!
//! Method: instances of the core on the model store of `tests/model`, whose answers
//! the test decides.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use std::collections::BTreeMap;

use ifmatch::blob::{BLOB_BYTES_MAX, Digest, Generation, Reference};
use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::error::Error;
use model::{Answer, World};

const NOW: Generation = Generation(7);

/// `printf abc | sha256sum`: the example of FIPS 180-2, appendix B.1.
const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn abc() -> Reference {
    Reference {
        generation: NOW,
        digest: Digest::parse(ABC).unwrap(),
    }
}

/// The key of `abc()` in the space `s`, as `docs/FORMAT.md` gives it.
fn key() -> String {
    format!("blob/s/_00000007/{}", &ABC[7..])
}

fn put(world: &World, body: &[u8]) -> Result<Vec<Reference>, Error> {
    world.run(world.blobs().put("s", NOW, vec![body.to_vec()]))
}

fn get(world: &World, reference: Reference) -> Result<Option<Vec<u8>>, Error> {
    let bodies = world.run(world.blobs().get("s", &[reference]))?;
    assert_eq!(bodies.len(), 1);
    Ok(bodies[0].clone())
}

fn requests(world: &World) -> BTreeMap<&'static str, u32> {
    world.take_counts()
}

#[test]
fn digests_read_as_they_are_written_and_nothing_else_does() {
    assert_eq!(Digest::of(b"abc").to_string(), ABC);
    assert_eq!(Digest::parse(ABC), Ok(Digest::of(b"abc")));
    for wrong in [
        "",
        "sha256:",
        &ABC[7..],
        &ABC[..70],
        &format!("{ABC}0"),
        &ABC.to_uppercase(),
        &ABC.replace("ba78", "gh78"),
        &ABC.replace("sha256", "sha512"),
        &ABC.replace("ba78", "bä7"),
    ] {
        let parsed = Digest::parse(wrong);
        assert!(matches!(parsed, Err(Error::InvalidArgument(_))), "{wrong}");
    }
}

#[test]
fn what_is_stored_is_read_and_costs_one_request_each() {
    let world = World::new();
    assert_eq!(put(&world, b"abc"), Ok(vec![abc()]));
    assert_eq!(requests(&world), BTreeMap::from([("PUT", 1)]));
    assert_eq!(world.keys(), [key()]);
    assert_eq!(world.object(&key()).unwrap().body, b"abc", "as it is");
    assert_eq!(abc().key("s"), Ok(key()));
    assert_eq!(get(&world, abc()), Ok(Some(b"abc".to_vec())));
    assert_eq!(requests(&world), BTreeMap::from([("GET", 1)]));
    let other = Reference {
        digest: Digest::of(b"abd"),
        ..abc()
    };
    let contains = world.run(world.blobs().contains("s", &[abc(), other]));
    assert_eq!(contains, Ok(vec![true, false]));
    assert_eq!(get(&world, other), Ok(None));
    let earlier = Reference {
        generation: Generation(6),
        ..abc()
    };
    assert_eq!(get(&world, earlier), Ok(None), "of another generation");
    let elsewhere = world.run(world.blobs().get("s/t", &[abc()]));
    assert_eq!(elsewhere, Ok(vec![None]), "of another space");
}

#[test]
fn several_at_once_keep_their_order() {
    let world = World::new();
    let bodies: Vec<Vec<u8>> = (0..64).map(|number| vec![number; 3]).collect();
    // The same bytes twice are one object.
    let mut sent = bodies.clone();
    sent[63] = bodies[0].clone();
    let references = world
        .run(world.blobs().put("s", NOW, sent.clone()))
        .unwrap();
    assert_eq!(references[63], references[0]);
    assert_eq!(world.keys().len(), 63);
    let read = world.run(world.blobs().get("s", &references)).unwrap();
    assert!(read.into_iter().map(Option::unwrap).eq(sent));
}

#[test]
fn bytes_that_are_there_already_are_compared_before_they_count() {
    let world = World::new();
    put(&world, b"abc").unwrap();
    requests(&world);
    assert_eq!(put(&world, b"abc"), Ok(vec![abc()]));
    assert_eq!(requests(&world), BTreeMap::from([("GET", 1), ("PUT", 1)]));
    // Uploaded by somebody else to a store that checks no digests.
    world.corrupt(&key(), |body| body[0] = b'x');
    let refused = put(&world, b"abc");
    assert!(
        matches!(&refused, Err(Error::Corrupt(text)) if text.contains(&key())),
        "{refused:?}"
    );
}

#[test]
fn reads_are_verified() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        |body| body[1] ^= 1,
        |body| body.truncate(2),
        |body| body.push(0),
        Vec::clear,
    ];
    for damage in damages {
        let world = World::new();
        put(&world, b"abc").unwrap();
        world.corrupt(&key(), damage);
        let read = get(&world, abc());
        assert!(
            matches!(&read, Err(Error::Corrupt(text)) if text.contains(&key())),
            "{read:?}"
        );
    }
}

#[test]
fn an_attempt_whose_fate_is_open_is_settled_by_the_next() {
    for applied in [true, false] {
        let world = World::new();
        let blobs = world.blobs();
        let mut op = world.start(blobs.put("s", NOW, vec![b"abc".to_vec()]));
        let request = op.serve_until("PUT");
        if applied {
            world.apply(&request);
        }
        let lost = PutOutcome::Indeterminate("lost".to_owned());
        op.answer(Answer::Put(Ok(lost)));
        assert_eq!(op.finish(), Ok(vec![abc()]));
        assert_eq!(get(&world, abc()), Ok(Some(b"abc".to_vec())));
    }
}

#[test]
fn a_blob_that_disappears_while_it_is_compared_is_sent_again() {
    let world = World::new();
    put(&world, b"abc").unwrap();
    let blobs = world.blobs();
    let mut op = world.start(blobs.put("s", NOW, vec![b"abc".to_vec()]));
    op.serve_until("GET");
    world.0.borrow_mut().objects.clear();
    assert_eq!(op.finish(), Ok(vec![abc()]));
    assert_eq!(get(&world, abc()), Ok(Some(b"abc".to_vec())));
}

#[test]
fn a_store_that_does_not_answer_is_given_up_on_and_never_acknowledged() {
    let answers: [fn() -> Answer; 2] = [
        || Answer::Put(Ok(PutOutcome::Indeterminate("lost".to_owned()))),
        || Answer::Put(Err(BucketError::Throttled(5))),
    ];
    for answer in answers {
        let world = World::new();
        let blobs = world.blobs();
        let mut op = world.start(blobs.put("s", NOW, vec![b"abc".to_vec()]));
        let mut sent = 0;
        while op.request().is_some() {
            sent += 1;
            op.answer(answer());
        }
        assert_eq!(sent, 6);
        let ended = op.done();
        assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
    }
}

#[test]
fn an_error_that_no_retry_can_help_is_returned_at_once() {
    let world = World::new();
    let blobs = world.blobs();
    let mut op = world.start(blobs.put("s", NOW, vec![b"abc".to_vec()]));
    op.serve_until("PUT");
    op.answer(Answer::Put(Err(BucketError::AccessDenied("no".to_owned()))));
    assert_eq!(op.done(), Err(Error::AccessDenied("no".to_owned())));
}

#[test]
fn a_provider_that_holds_too_much_at_once_asks_for_fewer() {
    let world = World::new();
    put(&world, b"abc").unwrap();
    let blobs = world.blobs();
    let two = [abc(), abc()];
    let mut op = world.start(blobs.get("s", &two));
    op.serve();
    op.serve_until("GET");
    op.answer(Answer::Get(Err(BucketError::TooLarge(9))));
    let ended = op.done();
    assert!(matches!(ended, Err(Error::InvalidArgument(_))), "{ended:?}");
}

#[test]
fn limits_are_kept_without_a_request() {
    let world = World::new();
    let blobs = world.blobs();
    let bytes = vec![0; BLOB_BYTES_MAX];
    let refused = [
        world.run(blobs.put("s", NOW, vec![bytes, vec![0]])).err(),
        world.run(blobs.put("s", NOW, vec![Vec::new(); 65])).err(),
        world.run(blobs.put("S", NOW, vec![Vec::new()])).err(),
        world.run(blobs.get("s", &[abc(); 65])).err(),
        world.run(blobs.contains("s//", &[abc()])).err(),
        abc().key("s_").err(),
    ];
    for error in refused {
        assert!(
            matches!(error, Some(Error::InvalidArgument(_))),
            "{error:?}"
        );
    }
    assert_eq!(world.take_total(), 0);
}
