//! A place where components run, and the one whose store is in this process.

use crate::artifact::Artifact;
use crate::clock::{GuestClock, VIRTUAL_START, WorldClock};
use crate::faults::Plan;
use crate::host::{Instance, Start};
use crate::store::{
    BUCKET, Credential, DOMAIN, Options, REGION, Request, Response, SharedStore, Store,
};
use crate::tape::Tape;
use crate::wire::{Sender, Sent, Wire};
use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full};
use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmtime_wasi_http::RequestOptions;

/// Environment variables by name.
pub type Settings = BTreeMap<String, String>;

/// Where a bucket is, and who may use it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// For example `http://127.0.0.1:5503`.
    pub url: String,
    /// The bucket's name.
    pub bucket: String,
    /// The region that signatures name.
    pub region: String,
    /// Who signs.
    pub credential: Credential,
}

impl Endpoint {
    /// The settings with which components find it.
    pub fn settings(&self) -> Settings {
        let mut settings: Settings = [
            ("AWS_ENDPOINT_URL_S3", self.url.as_str()),
            ("AWS_REGION", &self.region),
            ("AWS_ACCESS_KEY_ID", &self.credential.access_key),
            ("AWS_SECRET_ACCESS_KEY", &self.credential.secret_key),
            ("IFMATCH_BUCKET", &self.bucket),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        if let Some(token) = &self.credential.session_token {
            settings.insert("AWS_SESSION_TOKEN".to_owned(), token.clone());
        }
        settings
    }
}

/// Where components run: a clock, a network, and the settings that they get.
#[derive(Clone, Debug)]
pub struct Site {
    seed: u64,
    clock: WorldClock,
    wire: Arc<Wire>,
    settings: Settings,
    started: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Site {
    /// The machine itself: real sockets and real time.
    pub fn on_this_machine(endpoint: &Endpoint, seed: u64) -> Self {
        Self::on_sockets(endpoint, WorldClock::of_machine(), seed)
    }

    /// Real sockets, and a clock of the caller's.
    pub fn on_sockets(endpoint: &Endpoint, clock: WorldClock, seed: u64) -> Self {
        Self::new(
            endpoint,
            clock,
            Arc::new(Wire::to_sockets(clock, seed)),
            seed,
        )
    }

    /// Another network, for example one that keeps its connections.
    pub fn on_wire(endpoint: &Endpoint, clock: WorldClock, wire: Arc<Wire>, seed: u64) -> Self {
        Self::new(endpoint, clock, wire, seed)
    }

    /// The network.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    fn new(endpoint: &Endpoint, clock: WorldClock, wire: Arc<Wire>, seed: u64) -> Self {
        Self {
            seed,
            clock,
            wire,
            settings: endpoint.settings(),
            started: Arc::default(),
        }
    }

    /// The same place for components that get another setting.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What its dice are seeded with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The true time.
    pub fn clock(&self) -> &WorldClock {
        &self.clock
    }

    /// The settings that components get.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What was sent so far, by everybody.
    pub fn sent(&self) -> Vec<Sent> {
        self.wire.sent()
    }

    /// An instance of `ifmatch.wasm`; `.artifact(...)` chooses another. Await it
    /// to start it.
    pub fn instance(&self, name: &str) -> InstanceBuilder {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let count = started.entry(name.to_owned()).or_default();
        *count += 1;
        let clock = GuestClock::right(self.clock);
        let mut start = Start::new(Artifact::Ifmatch, name, self.wire.clone(), clock);
        // An instance that is started again under its old name must not repeat
        // the random bytes of the first.
        start.random_seed = self.seed ^ (*count << 32);
        InstanceBuilder {
            settings: self.settings.clone(),
            start,
        }
    }

    /// Sends a request of the test itself. It is not signed here.
    pub async fn send(&self, mut request: Request) -> Result<Response> {
        let authority = request
            .uri()
            .authority()
            .context("the request names no host")?;
        let host = authority.as_str().parse()?;
        request.headers_mut().insert(http::header::HOST, host);
        let length = http::HeaderValue::from(request.body().len());
        if !request.body().is_empty() || request.method() == http::Method::PUT {
            request
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, length);
        }
        let sender = Sender {
            instance: "test".to_owned(),
            gate: Default::default(),
            clock: GuestClock::right(self.clock),
            tape: None,
        };
        let request = request.map(|body| {
            Full::new(body)
                .map_err(|never| match never {})
                .boxed_unsync()
        });
        let sent = self
            .wire
            .clone()
            .send(sender, request, RequestOptions::default())
            .await;
        let response = sent.map_err(|error| anyhow!("{error}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| anyhow!("{error}"))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// An instance that is about to start.
pub struct InstanceBuilder {
    settings: Settings,
    start: Start,
}

impl InstanceBuilder {
    /// Another component than `ifmatch.wasm`.
    pub fn artifact(mut self, artifact: Artifact) -> Self {
        self.start.artifact = artifact;
        self
    }

    /// Sets many settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings.extend(settings);
        self
    }

    /// Sets a setting.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Takes a setting away.
    pub fn without(mut self, name: &str) -> Self {
        self.settings.remove(name);
        self
    }

    /// Believes this about time.
    pub fn clock(mut self, clock: GuestClock) -> Self {
        self.start.clock = clock;
        self
    }

    /// Gets the random bytes of this seed. Two instances of one name and seed are
    /// twins, like two copies of one snapshot.
    pub fn random_seed(mut self, seed: u64) -> Self {
        self.start.random_seed = seed;
        self
    }

    /// Notes on this tape what it is given, or is given what is on it.
    pub fn tape(mut self, tape: Tape) -> Self {
        self.start.tape = Some(Arc::new(tape));
        self
    }

    /// May have this much linear memory.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.start.memory_bytes = bytes;
        self
    }
}

impl IntoFuture for InstanceBuilder {
    type Output = Result<Instance>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Instance>> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        self.start.variables = self.settings.into_iter().collect();
        Box::pin(self.start.run())
    }
}

/// A place with a store of its own in this process, whose requests a plan can
/// spoil. In a runtime with paused time it is deterministic: the same seed and the
/// same calls give the same run.
///
/// If a test panics, the seed and the last requests are printed.
#[derive(Debug)]
pub struct World {
    site: Site,
    store: SharedStore,
}

/// Where it is noted that a store was found to keep conditions.
pub const NOTE_KEY: &str = "_doctor/passed";

/// Requests that are printed when a test fails.
const PRINTED_REQUESTS: usize = 200;

impl World {
    /// A world in which nothing goes wrong yet. Its store holds nothing but the note
    /// that it was found to keep conditions, so that creating something costs here what
    /// it costs in all but new installations.
    pub fn in_process(seed: u64) -> Self {
        Self::with_options(seed, Options::default())
    }

    /// The same with a store that is set up otherwise.
    pub fn with_options(seed: u64, options: Options) -> Self {
        let world = Self::unchecked(seed, options);
        let now = world.clock().now_ms();
        let note = [b"ifmatch passed 1", &now.0.to_le_bytes()[..]].concat();
        let place = |store: &mut Store| store.place(BUCKET, NOTE_KEY, note, now);
        // A store in memory keeps everything.
        let _ = world.store.tamper(place);
        world
    }

    /// The same with a store that nobody has checked.
    pub fn unchecked(seed: u64, options: Options) -> Self {
        let credential = options.credentials.first().cloned();
        let store = SharedStore::in_memory(options);
        let clock = WorldClock::starting_at(VIRTUAL_START);
        let endpoint = Endpoint {
            url: format!("http://{DOMAIN}"),
            bucket: BUCKET.to_owned(),
            region: REGION.to_owned(),
            credential: credential.unwrap_or_else(|| Credential::lasting("nobody", "nothing")),
        };
        let wire = Arc::new(Wire::to_store(store.clone(), clock, seed));
        Self {
            site: Site::new(&endpoint, clock, wire, seed),
            store,
        }
    }

    /// Where its components run.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Its store.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// The true time, which is the store's.
    pub fn clock(&self) -> &WorldClock {
        &self.site.clock
    }

    /// What goes wrong. Do not hold it across an await.
    pub fn faults(&self) -> MutexGuard<'_, Plan> {
        self.site.wire.plan()
    }

    /// What was sent so far, with what went wrong.
    pub fn sent(&self) -> Vec<Sent> {
        self.site.sent()
    }

    /// An instance of `ifmatch.wasm`. See [`Site::instance`].
    pub fn instance(&self, name: &str) -> InstanceBuilder {
        self.site.instance(name)
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until everything that was sent has reached the store, late and
    /// duplicate deliveries included.
    pub async fn settle(&self) {
        while self.site.wire.under_way() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// What happened, for people: the seed, what went wrong, the last requests.
    pub fn report(&self) -> String {
        let sent = self.sent();
        let skipped = sent.len().saturating_sub(PRINTED_REQUESTS);
        let lines: Vec<String> = sent[skipped..].iter().map(Sent::to_string).collect();
        format!(
            "seed {}, {} sent (the last {} follow), {:?}\n{}",
            self.site.seed,
            sent.len(),
            lines.len(),
            self.faults().counts(),
            lines.join("\n")
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
    }
}

/// Runs a test in a world of its own, in virtual time.
///
/// # Errors
/// What the test returns, with the world's report.
pub fn simulate(seed: u64, test: impl AsyncFnOnce(&World) -> Result<()>) -> Result<()> {
    virtual_time()?.block_on(async {
        let world = World::in_process(seed);
        test(&world)
            .await
            .map_err(|error| error.context(world.report()))
    })
}

/// A runtime in which time passes only while everybody waits.
///
/// # Errors
/// If the machine has none left.
pub fn virtual_time() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
}
