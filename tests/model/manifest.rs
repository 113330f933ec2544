//! What tests of manifests have in common. The manifest is called `m`.

use std::rc::Rc;

use ifmatch::manifest::{At, Change, CommitOutcome, Dependency, Edit, Item, Manifests, Snapshot};
use ifmatch::token::{Epoch, Writer};

use super::{ModelBucket, ModelEnv, World};

pub type Instance = Rc<Manifests<ModelBucket, ModelEnv>>;

/// Edits from a text: `a=1` sets, `a-` removes.
pub fn edits(text: &str) -> Vec<Edit> {
    text.split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => Edit {
                key: key.to_owned(),
                value: Some(value.as_bytes().to_vec()),
                blobs: Vec::new(),
            },
            None => Edit {
                key: word.trim_end_matches('-').to_owned(),
                value: None,
                blobs: Vec::new(),
            },
        })
        .collect()
}

/// A change by a shared writer that depends on what it edits.
pub fn change(base: u64, text: &str) -> Change {
    Change {
        base,
        depends_on: Dependency::Edits,
        edits: edits(text),
        writer: Writer::Shared,
        author: String::new(),
        message: String::new(),
        id: None,
    }
}

pub fn fenced(base: u64, text: &str, epoch: u64) -> Change {
    Change {
        writer: Writer::Fenced(Epoch(epoch)),
        ..change(base, text)
    }
}

/// Commits, and returns the version.
pub fn commit(world: &World, instance: &Instance, change: &Change) -> u64 {
    match world.run(instance.commit("m", change)).unwrap() {
        CommitOutcome::Committed(version) => version,
        other => panic!("{other:?}"),
    }
}

/// Items as a text.
pub fn words(items: &[Item]) -> String {
    let words: Vec<String> = items
        .iter()
        .map(|item| format!("{}={}", item.key, String::from_utf8_lossy(&item.value)))
        .collect();
    words.join(" ")
}

pub fn latest_of(world: &World, instance: &Instance) -> Option<Snapshot> {
    world.run(instance.latest("m")).unwrap()
}

/// The latest version and its items, as a fresh instance reads them.
pub fn latest(world: &World) -> (u64, String) {
    let snapshot = latest_of(world, &world.manifests()).unwrap();
    (snapshot.summary.version, words(&snapshot.items))
}

/// The items at a version, as a fresh instance reads them.
pub fn at(world: &World, version: u64) -> String {
    match world.run(world.manifests().at("m", version, None)).unwrap() {
        At::Snapshot(snapshot) => {
            assert_eq!(snapshot.summary.version, version);
            words(&snapshot.items)
        }
        other => panic!("{other:?}"),
    }
}

/// The key of a version.
pub fn key(version: u64) -> String {
    let slot = version - 1;
    format!("manifest/m/_slot/{:016x}.{slot}", u64::MAX - slot)
}
