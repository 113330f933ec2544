//! The calls of each exported interface.
//!
//! The outer error of a call is a trap, or an interface that the component does
//! not export; the inner one is the component's own.

use crate::bindings::{
    blob, bucket, collection, doctor, lease, log, manifest, orders, receipts, retention, tables,
    transaction,
};
use crate::host::{Entered, Instance};
use anyhow::Result as Call;
use wasmtime::component::ResourceAny;

/// Calls of `ifmatch:bucket/bucket` in one instance.
pub struct Bucket<'a>(pub(crate) &'a mut Instance);

impl Bucket<'_> {
    /// Reads one object.
    pub async fn get(&mut self, read: &bucket::Read) -> Call<Result<bucket::Reply, bucket::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.bucket)?;
        let result = gate.behind(guest.call_get(store, read)).await;
        self.0.leave(result)
    }

    /// Reads many objects.
    pub async fn get_many(
        &mut self,
        reads: &[bucket::Read],
    ) -> Call<Vec<Result<bucket::Reply, bucket::Error>>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.bucket)?;
        let result = gate.behind(guest.call_get_many(store, reads)).await;
        self.0.leave(result)
    }

    /// Writes one object.
    pub async fn put(
        &mut self,
        write: &bucket::Write,
    ) -> Call<Result<bucket::PutOutcome, bucket::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.bucket)?;
        let result = gate.behind(guest.call_put(store, write)).await;
        self.0.leave(result)
    }

    /// Writes many objects.
    pub async fn put_many(
        &mut self,
        writes: &[bucket::Write],
    ) -> Call<Vec<Result<bucket::PutOutcome, bucket::Error>>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.bucket)?;
        let result = gate.behind(guest.call_put_many(store, writes)).await;
        self.0.leave(result)
    }

    /// Lists objects.
    pub async fn list_objects(
        &mut self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Call<Result<bucket::Page, bucket::Error>> {
        let start_after = start_after.map(str::to_owned);
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.bucket)?;
        let result = gate
            .behind(guest.call_list_objects(store, prefix, start_after.as_ref(), limit))
            .await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:bucket/deletion` in one instance.
pub struct Deletion<'a>(pub(crate) &'a mut Instance);

impl Deletion<'_> {
    /// Deletes objects.
    pub async fn delete_many(&mut self, keys: &[String]) -> Call<Result<(), bucket::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.deletion)?;
        let result = gate.behind(guest.call_delete_many(store, keys)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:bucket/presign` in one instance.
pub struct Presign<'a>(pub(crate) &'a mut Instance);

impl Presign<'_> {
    /// Allows an upload.
    pub async fn presign_put(
        &mut self,
        upload: &bucket::presign::Upload,
    ) -> Call<Result<bucket::presign::Request, bucket::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.presign)?;
        let result = gate.behind(guest.call_presign_put(store, upload)).await;
        self.0.leave(result)
    }

    /// Allows a download.
    pub async fn presign_get(
        &mut self,
        key: &str,
        expires_in_s: u32,
    ) -> Call<Result<bucket::presign::Request, bucket::Error>> {
        let key = key.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.presign)?;
        let result = gate
            .behind(guest.call_presign_get(store, &key, expires_in_s))
            .await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/log` in one instance.
pub struct Log<'a>(pub(crate) &'a mut Instance);

impl Log<'_> {
    /// Creates a log.
    pub async fn create(
        &mut self,
        name: &str,
        settings: log::Settings,
    ) -> Call<Result<log::CreateOutcome, log::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.log)?;
        let result = gate.behind(guest.call_create(store, &name, settings)).await;
        self.0.leave(result)
    }

    /// Appends records.
    pub async fn append(
        &mut self,
        name: &str,
        records: &[Vec<u8>],
        options: &log::AppendOptions,
    ) -> Call<Result<log::AppendOutcome, log::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.log)?;
        let result = gate
            .behind(guest.call_append(store, &name, records, options))
            .await;
        self.0.leave(result)
    }

    /// Fences writers with lower tokens.
    pub async fn claim(
        &mut self,
        name: &str,
        token: log::Token,
    ) -> Call<Result<log::AppendOutcome, log::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.log)?;
        let result = gate.behind(guest.call_claim(store, &name, token)).await;
        self.0.leave(result)
    }

    /// Reads records.
    pub async fn read(
        &mut self,
        name: &str,
        start: log::Cursor,
        limit: log::ReadLimit,
    ) -> Call<Result<log::ReadOutcome, log::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.log)?;
        let result = gate
            .behind(guest.call_read(store, &name, start, limit))
            .await;
        self.0.leave(result)
    }

    /// Waits for records, and reads them.
    pub async fn wait(
        &mut self,
        name: &str,
        start: log::Cursor,
        limit: log::ReadLimit,
        timeout_ms: u32,
    ) -> Call<Result<log::ReadOutcome, log::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.log)?;
        let result = gate
            .behind(guest.call_wait(store, &name, start, limit, timeout_ms))
            .await;
        self.0.leave(result)
    }

    /// Finds the tail.
    pub async fn tail(&mut self, name: &str) -> Call<Result<log::Cursor, log::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.log)?;
        let result = gate.behind(guest.call_tail(store, &name)).await;
        self.0.leave(result)
    }

    /// Finds a record by time.
    pub async fn locate(&mut self, name: &str, time: u64) -> Call<Result<log::Cursor, log::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.log)?;
        let result = gate.behind(guest.call_locate(store, &name, time)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/retention` in one instance.
pub struct Retention<'a>(pub(crate) &'a mut Instance);

impl Retention<'_> {
    /// Sets a pin.
    pub async fn pin(
        &mut self,
        name: &str,
        reader: &str,
        at: log::Cursor,
        ttl_ms: u32,
    ) -> Call<Result<retention::PinOutcome, retention::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.retention)?;
        let result = gate
            .behind(guest.call_pin(store, &name, reader, at, ttl_ms))
            .await;
        self.0.leave(result)
    }

    /// Removes a pin.
    pub async fn unpin(&mut self, name: &str, reader: &str) -> Call<Result<(), retention::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.retention)?;
        let result = gate.behind(guest.call_unpin(store, &name, reader)).await;
        self.0.leave(result)
    }

    /// Lists the pins.
    pub async fn pins(
        &mut self,
        name: &str,
    ) -> Call<Result<Vec<retention::PinnedReader>, retention::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.retention)?;
        let result = gate.behind(guest.call_pins(store, &name)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/lease` in one instance.
pub struct Lease<'a>(pub(crate) &'a mut Instance);

impl Lease<'_> {
    /// Takes a lease, without waiting for it.
    pub async fn acquire(
        &mut self,
        name: &str,
        request: &lease::Request,
    ) -> Call<Result<lease::AcquireOutcome, lease::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.lease)?;
        let result = gate.behind(guest.call_acquire(store, &name, request)).await;
        self.0.leave(result)
    }

    /// Waits for a lease, and takes it.
    pub async fn campaign(
        &mut self,
        name: &str,
        request: &lease::Request,
        timeout_ms: u32,
    ) -> Call<Result<lease::AcquireOutcome, lease::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.lease)?;
        let result = gate
            .behind(guest.call_campaign(store, &name, request, timeout_ms))
            .await;
        self.0.leave(result)
    }

    /// Extends a grant.
    pub async fn renew(
        &mut self,
        grant: &lease::Grant,
        duration_ms: u32,
    ) -> Call<Result<lease::RenewOutcome, lease::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.lease)?;
        let result = gate
            .behind(guest.call_renew(store, grant, duration_ms))
            .await;
        self.0.leave(result)
    }

    /// Gives a grant up.
    pub async fn release(
        &mut self,
        grant: &lease::Grant,
        successor: Option<&lease::Successor>,
    ) -> Call<Result<lease::ReleaseOutcome, lease::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.lease)?;
        let result = gate
            .behind(guest.call_release(store, grant, successor))
            .await;
        self.0.leave(result)
    }

    /// How long a grant can still be relied on.
    pub async fn remaining_ms(
        &mut self,
        name: &str,
        token: lease::Token,
    ) -> Call<Result<u32, lease::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.lease)?;
        let result = gate
            .behind(guest.call_remaining_ms(store, &name, token))
            .await;
        self.0.leave(result)
    }

    /// Reads what a lease says.
    pub async fn observe(
        &mut self,
        name: &str,
    ) -> Call<Result<Option<lease::Status>, lease::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.lease)?;
        let result = gate.behind(guest.call_observe(store, &name)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/blob` in one instance.
pub struct Blob<'a>(pub(crate) &'a mut Instance);

impl Blob<'_> {
    /// Stores blobs.
    pub async fn put(
        &mut self,
        space: &str,
        generation: u32,
        bodies: &[Vec<u8>],
    ) -> Call<Result<Vec<blob::Reference>, blob::Error>> {
        let space = space.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.blob)?;
        let result = gate
            .behind(guest.call_put(store, &space, generation, bodies))
            .await;
        self.0.leave(result)
    }

    /// Reads blobs.
    pub async fn get(
        &mut self,
        space: &str,
        blobs: &[blob::Reference],
    ) -> Call<Result<Vec<Option<Vec<u8>>>, blob::Error>> {
        let space = space.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.blob)?;
        let result = gate.behind(guest.call_get(store, &space, blobs)).await;
        self.0.leave(result)
    }

    /// Asks which blobs are stored.
    pub async fn contains(
        &mut self,
        space: &str,
        blobs: &[blob::Reference],
    ) -> Call<Result<Vec<bool>, blob::Error>> {
        let space = space.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.blob)?;
        let result = gate.behind(guest.call_contains(store, &space, blobs)).await;
        self.0.leave(result)
    }

    /// The key of a blob.
    pub async fn key(
        &mut self,
        space: &str,
        blob: &blob::Reference,
    ) -> Call<Result<String, blob::Error>> {
        let space = space.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.blob)?;
        let result = gate.behind(guest.call_key(store, &space, blob)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/manifest` in one instance.
pub struct Manifest<'a>(pub(crate) &'a mut Instance);

impl Manifest<'_> {
    /// Creates a manifest.
    pub async fn create(
        &mut self,
        name: &str,
        settings: log::Settings,
    ) -> Call<Result<log::CreateOutcome, manifest::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate.behind(guest.call_create(store, &name, settings)).await;
        self.0.leave(result)
    }

    /// Creates a fork.
    pub async fn fork(
        &mut self,
        name: &str,
        version: u64,
        fork: &str,
    ) -> Call<Result<manifest::ForkOutcome, manifest::Error>> {
        let (name, fork) = (name.to_owned(), fork.to_owned());
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate
            .behind(guest.call_fork(store, &name, version, &fork))
            .await;
        self.0.leave(result)
    }

    /// Sets a pin.
    pub async fn pin(
        &mut self,
        name: &str,
        reader: &str,
        version: u64,
        ttl_ms: u32,
    ) -> Call<Result<manifest::PinOutcome, manifest::Error>> {
        let (name, reader) = (name.to_owned(), reader.to_owned());
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate
            .behind(guest.call_pin(store, &name, &reader, version, ttl_ms))
            .await;
        self.0.leave(result)
    }

    /// Removes a pin.
    pub async fn unpin(&mut self, name: &str, reader: &str) -> Call<Result<(), manifest::Error>> {
        let (name, reader) = (name.to_owned(), reader.to_owned());
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate.behind(guest.call_unpin(store, &name, &reader)).await;
        self.0.leave(result)
    }

    /// Lists the pins.
    pub async fn pins(
        &mut self,
        name: &str,
    ) -> Call<Result<Vec<manifest::VersionPin>, manifest::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate.behind(guest.call_pins(store, &name)).await;
        self.0.leave(result)
    }

    /// Reads the latest version.
    pub async fn latest(
        &mut self,
        name: &str,
    ) -> Call<Result<Option<manifest::Snapshot>, manifest::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate.behind(guest.call_latest(store, &name)).await;
        self.0.leave(result)
    }

    /// Reads one version.
    pub async fn at(
        &mut self,
        name: &str,
        version: u64,
        reader: Option<&str>,
    ) -> Call<Result<manifest::AtOutcome, manifest::Error>> {
        let name = name.to_owned();
        let reader = reader.map(str::to_owned);
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate
            .behind(guest.call_at(store, &name, version, reader.as_deref()))
            .await;
        self.0.leave(result)
    }

    /// Commits a change.
    pub async fn commit(
        &mut self,
        name: &str,
        change: &manifest::Change,
    ) -> Call<Result<manifest::CommitOutcome, manifest::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate.behind(guest.call_commit(store, &name, change)).await;
        self.0.leave(result)
    }

    /// Lists versions.
    pub async fn history(
        &mut self,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Call<Result<Vec<manifest::Summary>, manifest::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.manifest)?;
        let result = gate
            .behind(guest.call_history(store, &name, before, limit))
            .await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/transaction` in one instance.
pub struct Transaction<'a>(pub(crate) &'a mut Instance);

impl Transaction<'_> {
    /// Commits changes of several manifests together.
    pub async fn commit(
        &mut self,
        parts: &[transaction::Part],
    ) -> Call<Result<transaction::Outcome, manifest::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.transaction)?;
        let result = gate.behind(guest.call_commit(store, parts)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/collection` in one instance.
pub struct Collection<'a>(pub(crate) &'a mut Instance);

impl Collection<'_> {
    /// Tells what a sweep would do.
    pub async fn plan(
        &mut self,
        target: &collection::Target,
    ) -> Call<Result<collection::Report, collection::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.collection)?;
        let result = gate.behind(guest.call_plan(store, target)).await;
        self.0.leave(result)
    }

    /// Deletes what nobody needs any more.
    pub async fn sweep(
        &mut self,
        target: &collection::Target,
    ) -> Call<Result<collection::Report, collection::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.collection)?;
        let result = gate.behind(guest.call_sweep(store, target)).await;
        self.0.leave(result)
    }

    /// Sweeps a log.
    pub async fn trim(
        &mut self,
        name: &str,
        keep: collection::Keep,
    ) -> Call<Result<collection::Report, collection::Error>> {
        self.sweep(&collection::Target::log(name, keep)).await
    }

    /// Merges segments of a log.
    pub async fn merge(
        &mut self,
        name: &str,
        options: collection::MergeOptions,
    ) -> Call<Result<collection::MergeReport, collection::Error>> {
        let name = name.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.collection)?;
        let result = gate.behind(guest.call_merge(store, &name, options)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/doctor` in one instance.
pub struct Doctor<'a>(pub(crate) &'a mut Instance);

impl Doctor<'_> {
    /// Tries everything that the protocols need from the store.
    pub async fn examine(&mut self) -> Call<Result<doctor::Report, doctor::Error>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.doctor)?;
        let result = gate.behind(guest.call_examine(store)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:protocols/receipts` in one instance.
pub struct Receipts<'a>(pub(crate) &'a mut Instance);

impl Receipts<'_> {
    /// What was used since the last call.
    pub async fn take(&mut self) -> Call<receipts::Receipt> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.receipts)?;
        let result = gate.behind(guest.call_take(store)).await;
        self.0.leave(result)
    }
}

/// Calls of `example:orders/orders` in one instance.
pub struct Orders<'a>(pub(crate) &'a mut Instance);

impl Orders<'_> {
    /// Places an order.
    pub async fn place(&mut self, me: &str, order: &str) -> Call<Result<orders::Placed, String>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.orders)?;
        let result = gate.behind(guest.call_place(store, me, order)).await;
        self.0.leave(result)
    }

    /// Notes where an order was shipped to.
    pub async fn ship(
        &mut self,
        me: &str,
        number: u64,
        address: &str,
    ) -> Call<Result<orders::Placed, String>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.orders)?;
        let result = gate
            .behind(guest.call_ship(store, me, number, address))
            .await;
        self.0.leave(result)
    }

    /// Where an order was shipped to.
    pub async fn shipped_to(&mut self, number: u64) -> Call<Result<Option<String>, String>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.orders)?;
        let result = gate.behind(guest.call_shipped_to(store, number)).await;
        self.0.leave(result)
    }

    /// The orders from a number on.
    pub async fn since(&mut self, number: u64) -> Call<Result<Vec<String>, String>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.orders)?;
        let result = gate.behind(guest.call_since(store, number)).await;
        self.0.leave(result)
    }
}

/// Calls of `example:acid-table/tables` in one instance.
pub struct Tables<'a>(pub(crate) &'a mut Instance);

impl Tables<'_> {
    /// Begins a transaction.
    pub async fn begin(&mut self, table: &str, name: &str) -> Call<Result<ResourceAny, String>> {
        let (table, name) = (table.to_owned(), name.to_owned());
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.tables)?;
        let begun = guest.transaction();
        let result = gate.behind(begun.call_begin(store, &table, &name)).await;
        self.0.leave(result)
    }

    /// Reads rows.
    pub async fn read(
        &mut self,
        transaction: ResourceAny,
        keys: &[String],
    ) -> Call<Result<Vec<Option<String>>, String>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.tables)?;
        let guest = guest.transaction();
        let result = gate.behind(guest.call_read(store, transaction, keys)).await;
        self.0.leave(result)
    }

    /// The keys of all rows.
    pub async fn keys(&mut self, transaction: ResourceAny) -> Call<Vec<String>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.tables)?;
        let guest = guest.transaction();
        let result = gate.behind(guest.call_keys(store, transaction)).await;
        self.0.leave(result)
    }

    /// Changes a row.
    pub async fn write(
        &mut self,
        transaction: ResourceAny,
        key: &str,
        value: Option<&str>,
    ) -> Call<()> {
        let change = tables::Change {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.tables)?;
        let guest = guest.transaction();
        let result = gate
            .behind(guest.call_write(store, transaction, &change))
            .await;
        self.0.leave(result)
    }

    /// Ends a transaction.
    pub async fn commit(
        &mut self,
        transaction: ResourceAny,
    ) -> Call<Result<tables::Outcome, String>> {
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.tables)?;
        let guest = guest.transaction();
        let result = gate.behind(guest.call_commit(store, transaction)).await;
        self.0.leave(result)
    }
}

/// Calls of `ifmatch:bench/floor` in one instance.
pub struct Floor<'a>(pub(crate) &'a mut Instance);

impl Floor<'_> {
    /// Writes an object that does not exist yet.
    pub async fn put(&mut self, key: &str, body: &[u8]) -> Call<Result<u16, String>> {
        let key = key.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.floor)?;
        let result = gate.behind(guest.call_put(store, &key, body)).await;
        self.0.leave(result)
    }

    /// Reads an object.
    pub async fn get(&mut self, key: &str) -> Call<Result<Vec<u8>, String>> {
        let key = key.to_owned();
        let Entered { guest, store, gate } = self.0.enter(|exports| &exports.floor)?;
        let result = gate.behind(guest.call_get(store, &key)).await;
        self.0.leave(result)
    }
}
