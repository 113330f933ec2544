//! A store, a clock and any number of instances in one thread, every request of
//! which the test decides: when it is applied, when it is answered, and how.
//!
//! [`World::run`] answers all requests of an operation as a perfect store would.
//! [`World::start`] gives an [`Op`] to step through by hand.

#![allow(
    unreachable_pub,
    dead_code,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each test file uses its own part"
)]

pub mod lease;
pub mod log;
pub mod manifest;

pub mod clock;
pub mod dice;
pub mod timed;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use clock::Clock;
use ifmatch::blob::Blobs;
use ifmatch::bucket::{
    Bucket, BucketError, Deletion, Found, Metadata, Object, Page, Precondition, PutOutcome, Read,
    Reply, Span, StoreTime, Version, Write,
};
use ifmatch::env::Env;
use ifmatch::lease::Leases;
use ifmatch::log::Logs;
use ifmatch::manifest::Manifests;
use ifmatch::store::Store;

/// The store's clock starts here.
pub const START_MS: u64 = 1_700_000_000_000;

/// One hour.
pub const HOUR_MS: u64 = 3_600_000;

/// A request of one instance.
#[derive(Clone, Debug)]
pub enum Request {
    Get(Read),
    Put(Write),
    List {
        prefix: String,
        start_after: Option<String>,
        limit: u32,
    },
    Delete(Vec<String>),
}

impl Request {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Get(_) => "GET",
            Self::Put(_) => "PUT",
            Self::List { .. } => "LIST",
            Self::Delete(_) => "DELETE",
        }
    }

    pub fn key(&self) -> &str {
        match self {
            Self::Get(read) => &read.key,
            Self::Put(write) => &write.key,
            Self::List { prefix, .. } => prefix,
            Self::Delete(keys) => keys.first().map_or("", String::as_str),
        }
    }
}

/// The store's answer.
#[derive(Clone, Debug)]
pub enum Answer {
    Get(Result<Reply, BucketError>),
    Put(Result<PutOutcome, BucketError>),
    List(Result<Page, BucketError>),
    Delete(Result<(), BucketError>),
}

struct Call {
    id: u64,
    request: Request,
    answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub struct Stored {
    pub body: Vec<u8>,
    pub version: u64,
    pub modified_at: u64,
}

/// What is shared by all instances.
pub struct Shared {
    pub objects: BTreeMap<String, Stored>,
    pub now_ms: u64,
    /// Whether the store tells its time and its objects' times.
    pub tells_time: bool,
    /// Its times are rounded down to whole seconds.
    pub whole_seconds: bool,
    /// How far the front end that answers next is off.
    pub skew_ms: i64,
    /// Every body that was stored, in order, with its key.
    pub history: Vec<(String, Vec<u8>)>,
    versions: u64,
    random: u128,
    calls: Vec<Call>,
    next_call: u64,
    counts: BTreeMap<&'static str, u32>,
}

#[derive(Clone)]
pub struct World(pub Rc<RefCell<Shared>>);

impl World {
    pub fn new() -> World {
        World(Rc::new(RefCell::new(Shared {
            objects: BTreeMap::new(),
            now_ms: START_MS,
            tells_time: true,
            whole_seconds: false,
            skew_ms: 0,
            history: Vec::new(),
            versions: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            calls: Vec::new(),
            next_call: 0,
            counts: BTreeMap::new(),
        })))
    }

    /// The store as a fresh instance sees it.
    pub fn store(&self) -> Rc<Store<ModelBucket, ModelEnv>> {
        self.store_on(&Clock::default())
    }

    /// The store as an instance sees it that does not trust it yet, and draws random
    /// bits of its own.
    pub fn unchecked_store(&self, seed: u64) -> Rc<Store<ModelBucket, ModelEnv>> {
        let own = Some(Cell::new(seed));
        Rc::new(Store::new(
            ModelBucket(self.0.clone()),
            ModelEnv(self.0.clone(), Clock::default(), own),
        ))
    }

    /// The same for an instance with a clock of its own.
    pub fn store_on(&self, clock: &Clock) -> Rc<Store<ModelBucket, ModelEnv>> {
        Rc::new(Store::trusting(
            ModelBucket(self.0.clone()),
            ModelEnv(self.0.clone(), clock.clone(), None),
        ))
    }

    /// The store as an instance sees it whose random bits depend on nobody else's.
    pub fn store_drawing(&self, seed: u64) -> Rc<Store<ModelBucket, ModelEnv>> {
        let own = Some(Cell::new(seed));
        Rc::new(Store::trusting(
            ModelBucket(self.0.clone()),
            ModelEnv(self.0.clone(), Clock::default(), own),
        ))
    }

    /// The leases of a fresh instance that knows nothing.
    pub fn leases(&self) -> Rc<Leases<ModelBucket, ModelEnv>> {
        Rc::new(Leases::new(self.store()))
    }

    /// The same for an instance with a clock of its own.
    pub fn leases_on(&self, clock: &Clock) -> Rc<Leases<ModelBucket, ModelEnv>> {
        Rc::new(Leases::new(self.store_on(clock)))
    }

    /// The blobs of a fresh instance.
    pub fn blobs(&self) -> Rc<Blobs<ModelBucket, ModelEnv>> {
        Rc::new(Blobs::new(self.store()))
    }

    /// The state of what instances draw their random numbers from.
    pub fn random(&self) -> u128 {
        self.0.borrow().random
    }

    /// Goes back, so that an instance draws what another one has drawn.
    pub fn set_random(&self, state: u128) {
        self.0.borrow_mut().random = state;
    }

    /// True time since the world began.
    pub fn elapsed_ms(&self) -> u64 {
        self.0.borrow().now_ms - START_MS
    }

    /// The logs of a fresh instance that knows nothing.
    pub fn instance(&self) -> Rc<Logs<ModelBucket, ModelEnv>> {
        Rc::new(Logs::new(self.store()))
    }

    /// The manifests of a fresh instance that knows nothing.
    pub fn manifests(&self) -> Rc<Manifests<ModelBucket, ModelEnv>> {
        Rc::new(Manifests::new(self.store()))
    }

    pub fn advance_ms(&self, ms: u64) {
        self.0.borrow_mut().now_ms += ms;
    }

    pub fn now(&self) -> StoreTime {
        StoreTime {
            unix_ms: self.0.borrow().now_ms,
        }
    }

    /// Requests since the last call of this, by kind.
    pub fn take_counts(&self) -> BTreeMap<&'static str, u32> {
        std::mem::take(&mut self.0.borrow_mut().counts)
    }

    /// Requests since the last call, in all.
    pub fn take_total(&self) -> u32 {
        self.take_counts().values().sum()
    }

    pub fn keys(&self) -> Vec<String> {
        self.0.borrow().objects.keys().cloned().collect()
    }

    pub fn object(&self, key: &str) -> Option<Stored> {
        self.0.borrow().objects.get(key).cloned()
    }

    pub fn corrupt(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut shared = self.0.borrow_mut();
        change(&mut shared.objects.get_mut(key).expect("the object exists").body);
    }

    /// What a perfect store does with a request now.
    pub fn apply(&self, request: &Request) -> Answer {
        self.0.borrow_mut().apply(request)
    }

    /// Starts an operation. It runs when it is stepped.
    pub fn start<'f, T>(&self, future: impl Future<Output = T> + 'f) -> Op<'f, T> {
        Op {
            world: self.clone(),
            future: Box::pin(future),
            own: VecDeque::new(),
            result: None,
        }
    }

    /// Runs an operation to its end against a perfect store.
    pub fn run<'f, T>(&self, future: impl Future<Output = T> + 'f) -> T {
        self.start(future).finish()
    }
}

/// An operation under way.
pub struct Op<'f, T> {
    world: World,
    future: Pin<Box<dyn Future<Output = T> + 'f>>,
    own: VecDeque<u64>,
    result: Option<T>,
}

impl<T> Op<'_, T> {
    /// Runs the operation until it waits for the store, and gives its oldest
    /// unanswered request, or `None` if it is done.
    pub fn request(&mut self) -> Option<Request> {
        self.poll();
        let id = *self.own.front()?;
        let shared = self.world.0.borrow();
        shared
            .calls
            .iter()
            .find(|call| call.id == id)
            .map(|call| call.request.clone())
    }

    fn poll(&mut self) {
        if self.result.is_some() || !self.own.is_empty() {
            return;
        }
        let before = self.world.0.borrow().next_call;
        let polled = self
            .future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(result) = polled {
            self.result = Some(result);
        }
        let after = self.world.0.borrow().next_call;
        self.own.extend(before..after);
        assert!(
            self.result.is_some() || !self.own.is_empty(),
            "the operation waits for nothing"
        );
    }

    /// Answers the oldest request.
    pub fn answer(&mut self, answer: Answer) {
        self.poll();
        let id = self.own.pop_front().expect("a request is waiting");
        let mut shared = self.world.0.borrow_mut();
        let call = shared
            .calls
            .iter_mut()
            .find(|call| call.id == id)
            .expect("the call exists");
        call.answer = Some(answer);
    }

    /// Applies the oldest request and answers it.
    pub fn serve(&mut self) -> Request {
        let request = self.request().expect("a request is waiting");
        let answer = self.world.apply(&request);
        self.answer(answer);
        request
    }

    /// Serves requests until one of this kind is waiting, which is not served.
    pub fn serve_until(&mut self, kind: &str) -> Request {
        for _ in 0..1_000 {
            let request = self.request().expect("the operation is not done yet");
            if request.kind() == kind {
                return request;
            }
            self.serve();
        }
        panic!("no {kind} came");
    }

    /// Serves all requests to the end.
    pub fn finish(mut self) -> T {
        for _ in 0..1_000_000 {
            if self.request().is_none() {
                break;
            }
            self.serve();
        }
        self.result.take().expect("the operation is done")
    }

    /// Serves all requests to the end, and counts the steps: requests that are sent
    /// together, before any of them is answered, are one.
    pub fn finish_in_steps(mut self) -> (T, u32) {
        let mut steps = 0;
        while self.request().is_some() {
            steps += 1;
            while !self.own.is_empty() {
                self.serve();
            }
        }
        (self.result.take().expect("the operation is done"), steps)
    }

    /// The result, if the operation is done without another request.
    pub fn done(mut self) -> T {
        assert!(self.request().is_none(), "another request is waiting");
        self.result.take().expect("the operation is done")
    }
}

impl Shared {
    fn time(&self, unix_ms: u64) -> Option<StoreTime> {
        self.tells_time.then_some(StoreTime { unix_ms })
    }

    fn metadata(&self, key: &str, stored: &Stored) -> Metadata {
        Metadata {
            key: key.to_owned(),
            version: Version(stored.version.to_string()),
            size_bytes: stored.body.len() as u64,
            modified_at: self.time(stored.modified_at),
        }
    }

    /// What the front end that answers takes for the time.
    fn shown_ms(&self) -> u64 {
        let shown_ms = self.now_ms.saturating_add_signed(self.skew_ms);
        if self.whole_seconds {
            shown_ms - shown_ms % 1_000
        } else {
            shown_ms
        }
    }

    fn apply(&mut self, request: &Request) -> Answer {
        let shown_ms = self.shown_ms();
        let observed_at = self.time(shown_ms);
        match request {
            Request::Get(read) => {
                let found = match self.objects.get(&read.key) {
                    None => Found::Absent,
                    Some(stored) if read.unless == Some(Version(stored.version.to_string())) => {
                        Found::Unchanged
                    }
                    Some(stored) => {
                        let mut body = stored.body.clone();
                        if let Span::First(bytes) = read.span {
                            body.truncate(bytes as usize);
                        }
                        Found::Object(Object {
                            metadata: self.metadata(&read.key, stored),
                            body,
                        })
                    }
                };
                Answer::Get(Ok(Reply { found, observed_at }))
            }
            Request::Put(write) => {
                let existing = self.objects.get(&write.key);
                let holds = match (&write.precondition, existing) {
                    (Precondition::Absent, None) => true,
                    (Precondition::Matches(version), Some(stored)) => {
                        version.0 == stored.version.to_string()
                    }
                    _ => false,
                };
                if !holds {
                    return Answer::Put(Ok(PutOutcome::PreconditionFailed));
                }
                self.versions += 1;
                let stored = Stored {
                    body: write.body.clone(),
                    version: self.versions,
                    modified_at: shown_ms,
                };
                self.history.push((write.key.clone(), write.body.clone()));
                self.objects.insert(write.key.clone(), stored);
                Answer::Put(Ok(PutOutcome::Written {
                    version: Version(self.versions.to_string()),
                    observed_at,
                }))
            }
            Request::List {
                prefix,
                start_after,
                limit,
            } => {
                let mut matching = self
                    .objects
                    .range(prefix.clone()..)
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .filter(|(key, _)| start_after.as_ref().is_none_or(|after| *key > after));
                let objects: Vec<Metadata> = matching
                    .by_ref()
                    .take(*limit as usize)
                    .map(|(key, stored)| self.metadata(key, stored))
                    .collect();
                let more = matching.next().is_some();
                Answer::List(Ok(Page {
                    objects,
                    more,
                    observed_at,
                }))
            }
            Request::Delete(keys) => {
                for key in keys {
                    self.objects.remove(key);
                }
                Answer::Delete(Ok(()))
            }
        }
    }
}

/// The port of one instance.
pub struct ModelBucket(Rc<RefCell<Shared>>);

impl ModelBucket {
    fn send(&self, request: Request) -> impl Future<Output = Answer> + use<> {
        let shared = self.0.clone();
        let id = {
            let mut shared = shared.borrow_mut();
            *shared.counts.entry(request.kind()).or_default() += 1;
            let id = shared.next_call;
            shared.next_call += 1;
            shared.calls.push(Call {
                id,
                request,
                answer: None,
            });
            id
        };
        poll_fn(move |_| {
            let mut shared = shared.borrow_mut();
            let at = shared
                .calls
                .iter()
                .position(|call| call.id == id)
                .expect("the call exists");
            match shared.calls[at].answer.take() {
                None => Poll::Pending,
                Some(answer) => {
                    shared.calls.remove(at);
                    Poll::Ready(answer)
                }
            }
        })
    }
}

impl Bucket for ModelBucket {
    async fn get(&self, read: Read) -> Result<Reply, BucketError> {
        match self.send(Request::Get(read)).await {
            Answer::Get(result) => result,
            other => panic!("{other:?} to a GET"),
        }
    }

    async fn get_many(&self, reads: Vec<Read>) -> Vec<Result<Reply, BucketError>> {
        let calls: Vec<_> = reads
            .into_iter()
            .map(|read| self.send(Request::Get(read)))
            .collect();
        let mut results = Vec::new();
        for call in calls {
            match call.await {
                Answer::Get(result) => results.push(result),
                other => panic!("{other:?} to a GET"),
            }
        }
        results
    }

    async fn put(&self, write: &Write) -> Result<PutOutcome, BucketError> {
        match self.send(Request::Put(write.clone())).await {
            Answer::Put(result) => result,
            other => panic!("{other:?} to a PUT"),
        }
    }

    async fn put_many(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        let calls: Vec<_> = writes
            .iter()
            .map(|write| self.send(Request::Put(write.clone())))
            .collect();
        let mut results = Vec::new();
        for call in calls {
            match call.await {
                Answer::Put(result) => results.push(result),
                other => panic!("{other:?} to a PUT"),
            }
        }
        results
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Page, BucketError> {
        let request = Request::List {
            prefix: prefix.to_owned(),
            start_after: start_after.map(str::to_owned),
            limit,
        };
        match self.send(request).await {
            Answer::List(result) => result,
            other => panic!("{other:?} to a LIST"),
        }
    }
}

impl Deletion for ModelBucket {
    async fn delete_many(&self, keys: Vec<String>) -> Result<(), BucketError> {
        match self.send(Request::Delete(keys)).await {
            Answer::Delete(result) => result,
            other => panic!("{other:?} to a DELETE"),
        }
    }
}

/// The clock and randomness of one instance. Sleeping takes no time but the
/// store's.
pub struct ModelEnv(Rc<RefCell<Shared>>, Clock, Option<Cell<u64>>);

impl Env for ModelEnv {
    fn monotonic_ms(&self) -> u64 {
        self.1.show(self.0.borrow().now_ms - START_MS)
    }

    async fn sleep_ms(&self, ms: u64) {
        self.0.borrow_mut().now_ms += self.1.true_ms(ms);
    }

    fn random_u128(&self) -> u128 {
        // SplitMix64, twice: enough to be different each time.
        let mut shared = self.0.borrow_mut();
        let mut draw = || {
            let mut z = match &self.2 {
                Some(own) => {
                    own.set(own.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
                    own.get()
                }
                None => {
                    shared.random = shared.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    shared.random as u64
                }
            };
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        u128::from(draw()) << 64 | u128::from(draw())
    }
}
