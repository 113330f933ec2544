//! Goal: nothing that a kept version names is ever missing, whoever sleeps for how
//! long, and what nobody names goes.
//!
//! Method: instances of the core on the model store of `tests/model`, stepped by
//! hand where the order of requests matters. Numbers in names are those of
//! `docs/SCENARIOS.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use ifmatch::blob::{Digest, Generation, Reference};
use ifmatch::error::Error;
use ifmatch::manifest::{Change, Edit};
use model::World;
use model::manifest::{Instance, change, commit, latest_of};

/// Stores a blob under a generation, as a fresh instance.
fn put(world: &World, generation: u32, body: &str) -> Reference {
    let bodies = vec![body.as_bytes().to_vec()];
    let blobs = world.blobs();
    let references = world.run(blobs.put("m", Generation(generation), bodies));
    references.unwrap()[0]
}

/// A change that sets one key to a value that names these blobs.
fn naming(base: u64, key: &str, blobs: &[Reference]) -> Change {
    let edit = Edit {
        key: key.to_owned(),
        value: Some(b"value".to_vec()),
        blobs: blobs.to_vec(),
    };
    Change {
        edits: vec![edit],
        ..change(base, "")
    }
}

/// What an item names.
fn named(world: &World, instance: &Instance, key: &str) -> Option<Vec<Reference>> {
    let snapshot = latest_of(world, instance).unwrap();
    let item = snapshot.items.into_iter().find(|item| item.key == key)?;
    assert_eq!(item.value, b"value");
    Some(item.blobs)
}

#[test]
fn an_item_names_blobs_until_it_is_changed() {
    let world = World::new();
    let writer = world.manifests();
    let (one, two) = (put(&world, 0, "one"), put(&world, 0, "two"));
    commit(&world, &writer, &naming(0, "a", &[one, two]));
    commit(&world, &writer, &naming(1, "b", &[two]));
    for reader in [writer.clone(), world.manifests()] {
        assert_eq!(named(&world, &reader, "a"), Some(vec![one, two]));
        assert_eq!(named(&world, &reader, "b"), Some(vec![two]));
    }
    commit(&world, &writer, &naming(2, "a", &[]));
    commit(&world, &writer, &change(3, "b-"));
    assert_eq!(named(&world, &world.manifests(), "a"), Some(vec![]));
    assert_eq!(named(&world, &world.manifests(), "b"), None);
}

#[test]
fn a_commit_with_blobs_costs_one_request_more_than_there_are_blobs() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    world.take_total();
    let bodies = vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
    let blobs = world.run(world.blobs().put("m", Generation(0), bodies));
    commit(&world, &writer, &naming(1, "a", &blobs.unwrap()));
    assert_eq!(world.take_total(), 4);
}

#[test]
fn what_no_item_can_name_is_refused() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    let blob = put(&world, 0, "one");
    let later = Reference {
        generation: Generation(1),
        digest: Digest::of(b"one"),
    };
    let mut removed = naming(1, "a", &[blob]);
    removed.edits[0].value = None;
    for refused in [
        naming(1, "a", &[blob; 256]),
        naming(1, "a", &[blob, later]),
        removed,
    ] {
        let ended = world.run(writer.commit("m", &refused));
        assert!(matches!(ended, Err(Error::InvalidArgument(_))), "{ended:?}");
    }
    commit(&world, &writer, &naming(1, "a", &[blob; 255]));
}
