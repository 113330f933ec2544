//! A table with transactions over many rows.
//!
//! A row is a blob, and the manifest of the table says which blob holds which row.
//! So a snapshot is one version of the manifest, whose blobs never change; and an
//! atomic change of many rows is blobs first, then one commit that names them. The
//! commit depends on the keys that were read: if one of them changed meanwhile, it
//! is a conflict, and nothing happened.

#![cfg(target_family = "wasm")]

wit_bindgen::generate!({
    path: ["../../wit/protocols", "wit"],
    world: "example:acid-table/app",
    generate_all,
});

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use exports::example::acid_table::tables::{
    Change, Guest, GuestTransaction, Outcome, Transaction as Handle,
};
use ifmatch::protocols::blob::{self, Reference};
use ifmatch::protocols::manifest::{self, CommitOutcome, Dependency, Edit, Item};
use ifmatch::protocols::types::{Error, Writer};

/// Blobs in one call.
const BATCH: usize = 64;

/// How often a commit is sent in all.
const COMMITS_MAX: u32 = 5;

struct App;

impl Guest for App {
    type Transaction = Transaction;
}

struct Transaction {
    table: String,
    name: String,
    /// The version of the table that it sees; 0 for none.
    version: u64,
    generation: u32,
    rows: BTreeMap<String, Reference>,
    read: RefCell<BTreeSet<String>>,
    read_all: Cell<bool>,
    written: RefCell<BTreeMap<String, Option<String>>>,
}

impl GuestTransaction for Transaction {
    fn begin(table: String, name: String) -> Result<Handle, String> {
        let mut transaction = Transaction {
            table,
            name,
            version: 0,
            generation: 0,
            rows: BTreeMap::new(),
            read: RefCell::default(),
            read_all: Cell::default(),
            written: RefCell::default(),
        };
        if let Some(snapshot) = manifest::latest(&transaction.table).map_err(text)? {
            transaction.version = snapshot.summary.version;
            transaction.generation = snapshot.summary.generation;
            for item in snapshot.items {
                let blob = item.blobs.into_iter().next();
                let blob = blob.ok_or("this manifest is not a table")?;
                transaction.rows.insert(item.key, blob);
            }
        }
        Ok(Handle::new(transaction))
    }

    fn read(&self, keys: Vec<String>) -> Result<Vec<Option<String>>, String> {
        let mut rows = BTreeMap::new();
        for keys in keys.chunks(BATCH) {
            let stored = keys.iter().filter_map(|key| self.rows.get_key_value(key));
            let (keys, blobs): (Vec<_>, Vec<_>) =
                stored.map(|(key, blob)| (key, blob.clone())).unzip();
            let bodies = blob::get(&self.table, &blobs).map_err(text)?;
            for (key, body) in keys.into_iter().zip(bodies) {
                // Collected with its version, which was replaced and trimmed long ago.
                let body = body.ok_or_else(|| format!("the row {key} is gone: begin anew"))?;
                rows.insert(
                    key,
                    String::from_utf8(body).map_err(|error| error.to_string())?,
                );
            }
        }
        self.read.borrow_mut().extend(keys.iter().cloned());
        let written = self.written.borrow();
        let value = |key: &String| match written.get(key) {
            Some(own) => own.clone(),
            None => rows.get(key).cloned(),
        };
        Ok(keys.iter().map(value).collect())
    }

    fn keys(&self) -> Vec<String> {
        self.read_all.set(true);
        let mut keys: BTreeSet<&String> = self.rows.keys().collect();
        let written = self.written.borrow();
        for (key, value) in written.iter() {
            match value {
                Some(_) => keys.insert(key),
                None => keys.remove(key),
            };
        }
        keys.into_iter().cloned().collect()
    }

    fn write(&self, change: Change) {
        self.written.borrow_mut().insert(change.key, change.value);
    }

    fn commit(&self) -> Result<Outcome, String> {
        let written = self.written.borrow();
        if written.is_empty() {
            // It saw one version, which is all that it asked for.
            return Ok(Outcome::Committed(self.version));
        }
        let mut edits = self.store(self.generation)?;
        let mut why = String::new();
        for _ in 0..COMMITS_MAX {
            let change = manifest::Change {
                base: self.version,
                depends_on: if self.read_all.get() {
                    Dependency::All
                } else {
                    Dependency::Keys(self.read.borrow().iter().cloned().collect())
                },
                edits: edits.clone(),
                writer: Writer::Shared,
                author: String::new(),
                message: self.name.clone(),
                // A commit whose reply was lost is recognised, and not made twice.
                id: Some(self.name.clone()),
            };
            match manifest::commit(&self.table, &change) {
                Ok(CommitOutcome::Committed(version)) => return Ok(Outcome::Committed(version)),
                // So late that nobody can tell any more what changed since: an earlier
                // attempt may be among it.
                Ok(CommitOutcome::Conflict(conflict))
                    if conflict.keys.is_empty() && !why.is_empty() => {}
                Ok(CommitOutcome::Conflict(conflict)) => {
                    return Ok(Outcome::Conflict(conflict.keys));
                }
                Ok(CommitOutcome::Fenced(_)) => return Err("the table has one writer".to_owned()),
                // So long ago that the blobs may have been collected.
                Ok(CommitOutcome::Expired(current)) => edits = self.store(current)?,
                Ok(CommitOutcome::Indeterminate(reason)) => why = reason,
                Err(error) if why.is_empty() => return Err(text(error)),
                // An earlier attempt may have been applied all the same.
                Err(_) => {}
            }
        }
        Ok(Outcome::Unknown(why))
    }
}

impl Transaction {
    /// Stores the written rows, and says how the table has to change. Nobody sees
    /// them before that.
    fn store(&self, generation: u32) -> Result<Vec<Edit>, String> {
        let written: Vec<_> = self.written.borrow().clone().into_iter().collect();
        let mut edits = Vec::new();
        for rows in written.chunks(BATCH) {
            let bodies = rows.iter().filter_map(|(_, value)| value.clone());
            let bodies: Vec<Vec<u8>> = bodies.map(String::into_bytes).collect();
            let blobs = blob::put(&self.table, generation, &bodies).map_err(text)?;
            let mut blobs = blobs.into_iter();
            edits.extend(rows.iter().map(|(key, value)| match value {
                Some(_) => Edit::Set(Item {
                    key: key.clone(),
                    value: Vec::new(),
                    blobs: blobs.by_ref().take(1).collect(),
                }),
                None => Edit::Remove(key.clone()),
            }));
        }
        Ok(edits)
    }
}

fn text(error: Error) -> String {
    format!("{error:?}")
}

export!(App);
