//! Instances of the components.

use crate::artifact::{Artifact, engine};
use crate::bindings::{
    blob, bucket, collection, doctor, floor, lease, log, manifest, orders, receipts, retention,
    tables, transaction,
};
use crate::calls::{
    Blob, Bucket, Collection, Deletion, Doctor, Floor, Lease, Log, Manifest, Orders, Presign,
    Receipts, Retention, Tables, Transaction,
};
use crate::clock::{GuestClock, GuestClockView, GuestClocks};
use crate::gate::Gate;
use crate::random::Seeded;
use crate::tape::Tape;
use crate::wire::{Hooks, Sender, Wire};
use anyhow::{Result, anyhow, bail};
use rand_core::{Infallible, TryRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{self, Component, HasData, InstancePre, Linker, ResourceTable};
use wasmtime::{ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings as wasi_http;
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Fuel of one call: a bound on loops, far above what any call needs.
const FUEL_PER_CALL: u64 = 10_000_000_000;
/// Linear memory that an instance may have unless a test sets less.
const DEFAULT_MEMORY_BYTES: usize = 256 << 20;

/// What the host keeps for one instance.
pub struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    clock: GuestClock,
    memory: Memory,
}

/// The linear memory of one instance: of all its modules together. It never shrinks.
struct Memory {
    limits: StoreLimits,
    bytes: usize,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.limits.memory_growing(current, desired, maximum)?;
        if granted {
            self.bytes += desired - current;
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.limits.memory_grow_failed(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl State {
    fn clocks(&mut self) -> GuestClockView<'_> {
        GuestClockView {
            clock: &self.clock,
            tape: self.hooks.sender.tape.as_ref(),
            table: &mut self.table,
        }
    }
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// A component that needs nothing but a store to be instantiated.
struct Prepared {
    pre: InstancePre<State>,
    bucket: Option<bucket::GuestIndices>,
    deletion: Option<bucket::deletion::GuestIndices>,
    presign: Option<bucket::presign::GuestIndices>,
    log: Option<log::GuestIndices>,
    retention: Option<retention::GuestIndices>,
    lease: Option<lease::GuestIndices>,
    manifest: Option<manifest::GuestIndices>,
    transaction: Option<transaction::GuestIndices>,
    blob: Option<blob::GuestIndices>,
    collection: Option<collection::GuestIndices>,
    doctor: Option<doctor::GuestIndices>,
    receipts: Option<receipts::GuestIndices>,
    orders: Option<orders::GuestIndices>,
    floor: Option<floor::GuestIndices>,
    tables: Option<tables::GuestIndices>,
}

impl Prepared {
    fn load(
        &self,
        store: &mut Store<State>,
        instance: &component::Instance,
    ) -> wasmtime::Result<Exports> {
        Ok(Exports {
            bucket: self
                .bucket
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            deletion: self
                .deletion
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            presign: self
                .presign
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            log: self
                .log
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            retention: self
                .retention
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            transaction: self
                .transaction
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            manifest: self
                .manifest
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            lease: self
                .lease
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            blob: self
                .blob
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            collection: self
                .collection
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            doctor: self
                .doctor
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            receipts: self
                .receipts
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            orders: self
                .orders
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            floor: self
                .floor
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
            tables: self
                .tables
                .as_ref()
                .map(|i| i.load(&mut *store, instance))
                .transpose()?,
        })
    }
}

fn prepared(artifact: Artifact) -> Result<&'static Prepared> {
    static SLOTS: [OnceLock<Result<Prepared, String>>; Artifact::COUNT] =
        [const { OnceLock::new() }; Artifact::COUNT];
    let slot = &SLOTS[artifact as usize];
    let prepared = slot.get_or_init(|| prepare(artifact).map_err(|error| format!("{error:#}")));
    prepared.as_ref().map_err(|error| anyhow!("{error}"))
}

fn prepare(artifact: Artifact) -> Result<Prepared> {
    let component = artifact.compile()?;
    let linker = link(&component)?;
    let pre = linker
        .instantiate_pre(&component)
        .map_err(|error| anyhow!("{} cannot be linked: {error:?}", artifact.file_name()))?;
    Ok(Prepared {
        bucket: bucket::GuestIndices::new(&pre).ok(),
        deletion: bucket::deletion::GuestIndices::new(&pre).ok(),
        presign: bucket::presign::GuestIndices::new(&pre).ok(),
        log: log::GuestIndices::new(&pre).ok(),
        retention: retention::GuestIndices::new(&pre).ok(),
        lease: lease::GuestIndices::new(&pre).ok(),
        manifest: manifest::GuestIndices::new(&pre).ok(),
        transaction: transaction::GuestIndices::new(&pre).ok(),
        blob: blob::GuestIndices::new(&pre).ok(),
        collection: collection::GuestIndices::new(&pre).ok(),
        doctor: doctor::GuestIndices::new(&pre).ok(),
        receipts: receipts::GuestIndices::new(&pre).ok(),
        floor: floor::GuestIndices::new(&pre).ok(),
        orders: orders::GuestIndices::new(&pre).ok(),
        tables: tables::GuestIndices::new(&pre).ok(),
        pre,
    })
}

/// The names of what a component imports, without interfaces that hold types only.
pub fn imports(component: &Component) -> Vec<String> {
    let engine = component.engine();
    let needed = component.component_type();
    let imports = needed
        .imports(engine)
        .filter(|(_, import)| match &import.ty {
            ComponentItem::ComponentInstance(instance) => instance
                .exports(engine)
                .any(|(_, export)| !matches!(export.ty, ComponentItem::Type(_))),
            _ => true,
        });
    imports.map(|(name, _)| name.to_owned()).collect()
}

/// Provides exactly what a component imports, so that a test notices when it
/// begins to ask for more than it should.
fn link(component: &Component) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine()?);
    for name in imports(component) {
        link_one(&mut linker, &name)
            .map_err(|error| anyhow!("cannot provide {name}: {error:?}"))?;
    }
    Ok(linker)
}

fn link_one(linker: &mut Linker<State>, name: &str) -> wasmtime::Result<()> {
    let interface = name.split('@').next().unwrap_or(name);
    match interface {
        "wasi:cli/environment" => {
            wasi::cli::environment::add_to_linker::<_, WasiCli>(linker, State::cli)
        }
        "wasi:clocks/monotonic-clock" => {
            wasi::clocks::monotonic_clock::add_to_linker::<_, GuestClocks>(linker, State::clocks)
        }
        "wasi:clocks/wall-clock" => {
            wasi::clocks::wall_clock::add_to_linker::<_, GuestClocks>(linker, State::clocks)
        }
        "wasi:random/random" => {
            wasi::random::random::add_to_linker::<_, WasiRandom>(linker, |state| {
                state.wasi.random()
            })
        }
        "wasi:io/error" => {
            wasi::io::error::add_to_linker::<_, Table>(linker, |state| &mut state.table)
        }
        "wasi:io/poll" => {
            wasi::io::poll::add_to_linker::<_, Table>(linker, |state| &mut state.table)
        }
        "wasi:io/streams" => {
            wasi::io::streams::add_to_linker::<_, Table>(linker, |state| &mut state.table)
        }
        "wasi:http/outgoing-handler" => {
            wasi_http::http::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, State::http)
        }
        "wasi:http/types" => {
            let options = wasi_http::LinkOptions::default();
            wasi_http::http::types::add_to_linker::<_, WasiHttp>(
                linker,
                &(&options).into(),
                State::http,
            )
        }
        _ => Err(wasmtime::Error::msg(
            "the harness does not have this interface",
        )),
    }
}

/// What an instance is given when it starts.
pub struct Start {
    /// Which component.
    pub artifact: Artifact,
    /// Its environment variables.
    pub variables: Vec<(String, String)>,
    /// Its network.
    pub wire: Arc<Wire>,
    /// What it believes about time.
    pub clock: GuestClock,
    /// Its name in logs.
    pub name: String,
    /// Seeds the random bytes that it gets.
    pub random_seed: u64,
    /// Linear memory that it may have.
    pub memory_bytes: usize,
    /// Where is noted what it is given, so that it can be copied.
    pub tape: Option<Arc<Tape>>,
}

/// The random bytes of one instance.
#[derive(Clone)]
struct Dice(Arc<Mutex<Seeded>>);

impl Dice {
    fn lock(&self) -> MutexGuard<'_, Seeded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.lock().try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.lock().try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.lock().try_fill_bytes(bytes)
    }
}

impl Start {
    /// What an instance is given unless a test says otherwise.
    pub fn new(artifact: Artifact, name: &str, wire: Arc<Wire>, clock: GuestClock) -> Self {
        Self {
            artifact,
            variables: Vec::new(),
            wire,
            clock,
            name: name.to_owned(),
            random_seed: 0,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            tape: None,
        }
    }

    /// Instantiates the component.
    pub async fn run(self) -> Result<Instance> {
        let prepared = prepared(self.artifact)?;
        let gate = Gate::default();
        let mut wasi = WasiCtx::builder();
        let dice = Dice(Arc::new(Mutex::new(Seeded::fork(
            self.random_seed,
            &self.name,
        ))));
        wasi.envs(&self.variables).secure_random(dice.clone());
        let state = State {
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: Hooks {
                wire: self.wire,
                sender: Sender {
                    instance: self.name.clone(),
                    gate: gate.clone(),
                    clock: self.clock.clone(),
                    tape: self.tape.clone(),
                },
            },
            clock: self.clock.clone(),
            memory: Memory {
                limits: StoreLimitsBuilder::new()
                    .memory_size(self.memory_bytes)
                    // A guest that asks for too much gets the trap that a real host
                    // would give it at once, not an allocation failure somewhere.
                    .trap_on_grow_failure(true)
                    .build(),
                bytes: 0,
            },
        };
        let mut store = Store::new(engine()?, state);
        store.limiter(|state| &mut state.memory);
        store.set_fuel(FUEL_PER_CALL).map_err(trap)?;
        let instance = prepared
            .pre
            .instantiate_async(&mut store)
            .await
            .map_err(trap)?;
        let exports = prepared.load(&mut store, &instance).map_err(trap)?;
        Ok(Instance {
            name: self.name,
            artifact: self.artifact,
            store,
            exports,
            clock: self.clock,
            gate,
            dice,
            tape: self.tape,
            variables: self.variables,
            fuel_used: 0,
        })
    }
}

/// Keeps the whole story of a trap in one error.
fn trap(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:?}")
}

pub(crate) struct Exports {
    pub bucket: Option<bucket::Guest>,
    pub deletion: Option<bucket::deletion::Guest>,
    pub presign: Option<bucket::presign::Guest>,
    pub log: Option<log::Guest>,
    pub retention: Option<retention::Guest>,
    pub lease: Option<lease::Guest>,
    pub manifest: Option<manifest::Guest>,
    pub transaction: Option<transaction::Guest>,
    pub blob: Option<blob::Guest>,
    pub collection: Option<collection::Guest>,
    pub doctor: Option<doctor::Guest>,
    pub receipts: Option<receipts::Guest>,
    pub orders: Option<orders::Guest>,
    pub floor: Option<floor::Guest>,
    pub tables: Option<tables::Guest>,
}

/// A running component. Dropping it kills it; what it has sent is still on its way.
pub struct Instance {
    name: String,
    artifact: Artifact,
    store: Store<State>,
    exports: Exports,
    clock: GuestClock,
    gate: Gate,
    dice: Dice,
    tape: Option<Arc<Tape>>,
    variables: Vec<(String, String)>,
    fuel_used: u64,
}

impl Instance {
    /// Its name in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it believes about time.
    pub fn clock(&self) -> &GuestClock {
        &self.clock
    }

    /// Makes it stand still while the returned value lives.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Its environment variables.
    pub fn settings(&self) -> BTreeMap<String, String> {
        self.variables.iter().cloned().collect()
    }

    /// What it was given so far, if that is noted.
    pub fn tape(&self) -> Option<&Arc<Tape>> {
        self.tape.as_ref()
    }

    /// Gives it other random bytes from now on.
    pub fn reseed(&self, seed: u64) {
        *self.dice.lock() = Seeded::fork(seed, &self.name);
    }

    /// Fuel that its calls used so far: about one for each WebAssembly instruction.
    pub fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// Linear memory that it has, in bytes. As it never shrinks, this is the most that
    /// it ever had.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory.bytes
    }

    /// Calls of `ifmatch:bench/floor`.
    pub fn floor(&mut self) -> Floor<'_> {
        Floor(self)
    }

    /// Calls of `ifmatch:bucket/bucket`.
    pub fn bucket(&mut self) -> Bucket<'_> {
        Bucket(self)
    }

    /// Calls of `ifmatch:bucket/deletion`.
    pub fn deletion(&mut self) -> Deletion<'_> {
        Deletion(self)
    }

    /// Calls of `ifmatch:bucket/presign`.
    pub fn presign(&mut self) -> Presign<'_> {
        Presign(self)
    }

    /// Calls of `ifmatch:protocols/log`.
    pub fn log(&mut self) -> Log<'_> {
        Log(self)
    }

    /// Calls of `ifmatch:protocols/retention`.
    pub fn retention(&mut self) -> Retention<'_> {
        Retention(self)
    }

    /// Calls of `ifmatch:protocols/manifest`.
    pub fn manifest(&mut self) -> Manifest<'_> {
        Manifest(self)
    }

    /// Calls of `ifmatch:protocols/transaction`.
    pub fn transaction(&mut self) -> Transaction<'_> {
        Transaction(self)
    }

    /// Calls of `ifmatch:protocols/lease`.
    pub fn lease(&mut self) -> Lease<'_> {
        Lease(self)
    }

    /// Calls of `ifmatch:protocols/blob`.
    pub fn blob(&mut self) -> Blob<'_> {
        Blob(self)
    }

    /// Calls of `ifmatch:protocols/collection`.
    pub fn collection(&mut self) -> Collection<'_> {
        Collection(self)
    }

    /// Calls of `example:acid-table/tables`.
    pub fn tables(&mut self) -> Tables<'_> {
        Tables(self)
    }

    /// Calls of `example:orders/orders`.
    pub fn orders(&mut self) -> Orders<'_> {
        Orders(self)
    }

    /// Calls of `ifmatch:protocols/doctor`.
    pub fn doctor(&mut self) -> Doctor<'_> {
        Doctor(self)
    }

    /// Calls of `ifmatch:protocols/receipts`.
    pub fn receipts(&mut self) -> Receipts<'_> {
        Receipts(self)
    }

    /// Prepares a call of one exported interface.
    pub(crate) fn enter<G>(
        &mut self,
        export: fn(&Exports) -> &Option<G>,
    ) -> Result<Entered<'_, G>> {
        self.store.set_fuel(FUEL_PER_CALL).map_err(trap)?;
        match export(&self.exports) {
            Some(guest) => Ok(Entered {
                guest,
                store: &mut self.store,
                gate: &self.gate,
            }),
            None => bail!(
                "{} does not export {}",
                self.artifact.file_name(),
                std::any::type_name::<G>()
            ),
        }
    }

    /// Ends a call.
    pub(crate) fn leave<T>(&mut self, result: wasmtime::Result<T>) -> Result<T> {
        self.fuel_used += FUEL_PER_CALL - self.store.get_fuel().map_err(trap)?;
        result.map_err(trap)
    }
}

/// What a call needs.
pub(crate) struct Entered<'a, G> {
    pub guest: &'a G,
    pub store: &'a mut Store<State>,
    pub gate: &'a Gate,
}
