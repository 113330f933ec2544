//! A store that many can use at once.

use super::disk::Folder;
use super::traffic::{Entry, Totals};
use super::{BUCKET, Facts, Object, Options, Request, Response, S3Error, Store};
use crate::clock::UnixMs;
use crate::cpu;
use anyhow::Result;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A store behind a lock. Clones are the same store.
#[derive(Clone, Debug)]
pub struct SharedStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    folder: Option<Folder>,
    busy: Duration,
}

impl SharedStore {
    /// A store that lasts as long as the process.
    pub fn in_memory(options: Options) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                store: Store::new(options),
                folder: None,
                busy: Duration::ZERO,
            })),
        }
    }

    /// A store that keeps its objects in a folder.
    pub fn in_folder(options: Options, path: &Path) -> Result<Self> {
        let mut store = Store::new(options);
        let folder = Folder::open(path, &mut store)?;
        Ok(Self {
            inner: Arc::new(Mutex::new(Inner {
                store,
                folder: Some(folder),
                busy: Duration::ZERO,
            })),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in a test must not hide the store from its report.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request. What it changed is durable before this returns.
    pub fn handle(&self, request: &Request, now: UnixMs) -> Response {
        self.handle_admitted(request, now, now)
    }

    /// Answers a request that was admitted earlier. See [`Store::handle_admitted`].
    pub fn handle_admitted(&self, request: &Request, admitted_at: UnixMs, now: UnixMs) -> Response {
        let mut inner = self.lock();
        let began = cpu::of_this_thread();
        let response = inner.store.handle_admitted(request, admitted_at, now);
        let response = match inner.keep_changes() {
            Ok(()) => response,
            // Applied in memory and perhaps not on disk: the client may not be
            // told that it was written, nor that it was not.
            Err(_) => inner.store.refuse(request, S3Error::internal(), now),
        };
        inner.busy += cpu::of_this_thread().saturating_sub(began);
        response
    }

    /// Processor time that it took to answer requests so far. Whoever shares a thread
    /// with the store subtracts it from their own.
    pub fn busy(&self) -> Duration {
        self.lock().busy
    }

    /// Answers a request like [`SharedStore::handle`], with pages of at most so
    /// many keys.
    pub fn handle_with_pages(
        &self,
        request: &Request,
        now: UnixMs,
        max_page_keys: usize,
    ) -> Response {
        let mut inner = self.lock();
        let usual = std::mem::replace(&mut inner.store.options_mut().max_page_keys, max_page_keys);
        let response = inner.store.handle(request, now);
        inner.store.options_mut().max_page_keys = usual;
        response
    }

    /// Answers in place of the store. See [`Store::refuse`].
    pub fn refuse(&self, request: &Request, error: S3Error, now: UnixMs) -> Response {
        self.lock().store.refuse(request, error, now)
    }

    /// What a request is.
    pub fn facts(&self, request: &Request) -> Facts {
        self.lock().store.facts(request)
    }

    /// Sums over the requests that reached the store.
    pub fn totals(&self) -> Totals {
        self.lock().store.traffic().totals().clone()
    }

    /// The requests that reached the store, in order.
    pub fn requests(&self) -> Vec<Entry> {
        self.lock().store.traffic().log().cloned().collect()
    }

    /// The same as text, one request a line.
    pub fn request_log(&self) -> String {
        self.lock()
            .store
            .traffic()
            .log()
            .fold(String::new(), |mut log, entry| {
                let _ = writeln!(log, "{entry}");
                log
            })
    }

    /// An object of the default bucket.
    pub fn object(&self, key: &str) -> Option<Object> {
        self.lock().store.object(BUCKET, key).cloned()
    }

    /// The keys of the default bucket that start with a prefix, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let inner = self.lock();
        let keys = inner.store.objects(BUCKET).map(|(key, _)| key);
        keys.filter(|key| key.starts_with(prefix))
            .map(str::to_owned)
            .collect()
    }

    /// Changes the store behind everybody's back, or its set-up.
    pub fn tamper<T>(&self, change: impl FnOnce(&mut Store) -> T) -> Result<T> {
        let mut inner = self.lock();
        let result = change(&mut inner.store);
        inner.keep_changes()?;
        Ok(result)
    }
}

impl Inner {
    fn keep_changes(&mut self) -> Result<()> {
        let changes = self.store.take_changes();
        match &self.folder {
            Some(folder) => changes.iter().try_for_each(|change| folder.keep(change)),
            None => Ok(()),
        }
    }
}
