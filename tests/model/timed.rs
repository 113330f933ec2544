//! Many instances at once in virtual time, on a store with latency and faults.
//!
//! Everything is drawn from one seed, so a run can be repeated. Times are true
//! milliseconds since the world began; each instance sees them through a
//! [`Clock`] of its own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ifmatch::bucket::{Bucket, BucketError, Page, PutOutcome, Read, Reply, Write};
use ifmatch::env::Env;
use ifmatch::store::Store;

use super::clock::Clock;
use super::{Answer, Request, START_MS, World};

/// What goes wrong, each in so many of a thousand requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A write never arrives; its sender gives up.
    pub lost_request: u64,
    /// A write is applied; its sender gives up.
    pub lost_reply: u64,
    /// A write is applied long after its sender has given up.
    pub late: u64,
    /// A write is applied, and arrives again later.
    pub duplicate: u64,
    /// A write is refused for its rate.
    pub throttled: u64,
    /// A write is applied and all the same refused for its rate.
    pub throttled_applied: u64,
    /// A read fails.
    pub read_failed: u64,
    /// A request or its reply takes seconds.
    pub slow: u64,
}

/// The properties of the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub faults: Faults,
    /// Times are rounded down to whole seconds, by front ends that disagree by up
    /// to this much in either direction; `None` for exact times.
    pub skew_ms: Option<u64>,
    /// By how many millionths the store's clock runs too fast.
    pub store_fast_ppm: i32,
    /// By at most so much a timer of an instance is late.
    pub timer_late_us: u64,
    /// Refuse a write to a key this soon after another one was applied.
    pub write_interval_ms: u64,
}

/// How long a sender waits before it gives up.
const TIMEOUT_US: u64 = 2_000_000;

/// How long the requests of an instance take, from and up to this many
/// microseconds.
pub type Distance = (u64, u64);

type Event = Box<dyn FnOnce(&Timed)>;
type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Inner {
    now_us: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    random: u64,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    current: u64,
    last_applied: BTreeMap<String, u64>,
    /// Every request, by instance: (time, instance, kind).
    requests: Vec<(u64, usize, &'static str)>,
    next_instance: usize,
}

/// The world and its events.
#[derive(Clone)]
pub struct Timed {
    pub world: World,
    inner: Rc<RefCell<Inner>>,
    weather: Rc<Cell<Weather>>,
}

impl Timed {
    pub fn new(seed: u64) -> Timed {
        Timed {
            world: World::new(),
            inner: Rc::new(RefCell::new(Inner {
                now_us: 0,
                events: BTreeMap::new(),
                next_event: 0,
                random: seed,
                tasks: BTreeMap::new(),
                next_task: 0,
                current: 0,
                last_applied: BTreeMap::new(),
                requests: Vec::new(),
                next_instance: 0,
            })),
            weather: Rc::default(),
        }
    }

    pub fn set_weather(&self, weather: Weather) {
        self.weather.set(weather);
    }

    pub fn now_ms(&self) -> u64 {
        self.inner.borrow().now_us / 1_000
    }

    /// A fresh instance, and its number in [`Timed::requests`].
    pub fn store(&self, clock: &Clock) -> (usize, Rc<Store<TimedBucket, TimedEnv>>) {
        self.store_at(clock, None)
    }

    /// A fresh instance this far from the store, or as far as the weather draws.
    pub fn store_at(
        &self,
        clock: &Clock,
        distance: Option<Distance>,
    ) -> (usize, Rc<Store<TimedBucket, TimedEnv>>) {
        let instance = {
            let mut inner = self.inner.borrow_mut();
            inner.next_instance += 1;
            inner.next_instance
        };
        let store = Store::trusting(
            TimedBucket(self.clone(), instance, distance),
            TimedEnv(self.clone(), clock.clone()),
        );
        (instance, Rc::new(store))
    }

    /// The bare port of an instance without a number.
    pub fn bucket_at(&self, distance: Distance) -> TimedBucket {
        TimedBucket(self.clone(), 0, Some(distance))
    }

    /// All requests so far: when, from which instance, of which kind.
    pub fn requests(&self) -> Vec<(u64, usize, &'static str)> {
        self.inner.borrow().requests.clone()
    }

    fn draw(&self) -> u64 {
        let mut inner = self.inner.borrow_mut();
        inner.random = inner.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = inner.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `range`.
    pub fn draw_in(&self, range: Range<u64>) -> u64 {
        range.start + self.draw() % (range.end - range.start)
    }

    /// True in so many of a thousand cases.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.draw() % 1_000 < per_mille
    }

    fn at(&self, after_us: u64, event: impl FnOnce(&Timed) + 'static) {
        let mut inner = self.inner.borrow_mut();
        let key = (inner.now_us + after_us, inner.next_event);
        inner.next_event += 1;
        inner.events.insert(key, Box::new(event));
    }

    /// Adds a task, which starts when the world runs.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let id = {
            let mut inner = self.inner.borrow_mut();
            inner.next_task += 1;
            let id = inner.next_task;
            inner.tasks.insert(id, Box::pin(task));
            id
        };
        self.at(0, move |timed| timed.poll(id));
    }

    fn poll(&self, id: u64) {
        let task = self.inner.borrow_mut().tasks.remove(&id);
        let Some(mut task) = task else { return };
        self.inner.borrow_mut().current = id;
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            self.inner.borrow_mut().tasks.insert(id, task);
        }
    }

    /// Runs until this time, or until nothing can happen any more. Tells whether
    /// all tasks are done.
    pub fn run_until(&self, end_ms: u64) -> bool {
        loop {
            let event = {
                let mut inner = self.inner.borrow_mut();
                if inner.tasks.is_empty() {
                    return true;
                }
                match inner.events.first_key_value() {
                    Some(((at, _), _)) if *at <= end_ms * 1_000 => {}
                    _ => return false,
                }
                let ((at, _), event) = inner.events.pop_first().expect("there is one");
                inner.now_us = at;
                event
            };
            event(self);
        }
    }

    /// Waits in true time.
    pub fn sleep(&self, ms: u64) -> impl Future<Output = ()> + use<> {
        self.sleep_us(ms * 1_000)
    }

    /// The same, for microseconds.
    pub fn sleep_us(&self, us: u64) -> impl Future<Output = ()> + use<> {
        self.pending(|deliver, timed| {
            timed.at(us, move |timed| deliver(timed, ()));
        })
    }

    /// A future that is ready when what `start` was given has been called.
    fn pending<T: 'static>(
        &self,
        start: impl FnOnce(Box<dyn FnOnce(&Timed, T)>, &Timed),
    ) -> Pin<Box<dyn Future<Output = T>>> {
        let slot = Rc::new(RefCell::new(None));
        let task = self.inner.borrow().current;
        let fill = slot.clone();
        start(
            Box::new(move |timed, value| {
                *fill.borrow_mut() = Some(value);
                timed.poll(task);
            }),
            self,
        );
        Box::pin(poll_fn(move |_| match slot.borrow_mut().take() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }))
    }

    fn apply(&self, request: &Request) -> Answer {
        let weather = self.weather.get();
        let now_ms = self.now_ms();
        if let Request::Put(write) = request {
            let limit_ms = weather.write_interval_ms;
            let last = self.inner.borrow().last_applied.get(&write.key).copied();
            if last.is_some_and(|last| now_ms < last + limit_ms) {
                return Answer::Put(Err(BucketError::Throttled(0)));
            }
        }
        let store_ms = START_MS + Clock::new(0, weather.store_fast_ppm).show(now_ms);
        let shown_ms = match weather.skew_ms {
            None => store_ms,
            Some(skew_ms) => {
                let skewed = store_ms + self.draw_in(0..2 * skew_ms + 1) - skew_ms;
                skewed - skewed % 1_000
            }
        };
        self.world.0.borrow_mut().now_ms = shown_ms;
        let answer = self.world.apply(request);
        if let (Request::Put(write), Answer::Put(Ok(PutOutcome::Written { .. }))) =
            (request, &answer)
        {
            let mut inner = self.inner.borrow_mut();
            inner.last_applied.insert(write.key.clone(), now_ms);
        }
        answer
    }

    /// How long a request takes in one direction.
    fn latency_us(&self, distance: Option<Distance>) -> u64 {
        if let Some((least, most)) = distance {
            return self.draw_in(least..most + 1) / 2;
        }
        if self.chance(self.weather.get().faults.slow) {
            self.draw_in(1_000..6_000) * 1_000
        } else {
            self.draw_in(2..60) * 1_000
        }
    }

    fn send(
        &self,
        instance: usize,
        distance: Option<Distance>,
        request: Request,
    ) -> impl Future<Output = Answer> + use<> {
        let now_ms = self.now_ms();
        let kind = request.kind();
        self.inner
            .borrow_mut()
            .requests
            .push((now_ms, instance, kind));
        let faults = self.weather.get().faults;
        self.pending(|deliver, timed| {
            let there_us = timed.latency_us(distance);
            let back_us = timed.latency_us(distance);
            if matches!(request, Request::Get(_)) && timed.chance(faults.read_failed) {
                let failed = Err(BucketError::Unavailable("no answer".to_owned()));
                timed.at(there_us, move |timed| deliver(timed, Answer::Get(failed)));
                return;
            }
            if !matches!(request, Request::Put(_)) {
                timed.at(there_us, move |timed| {
                    let answer = timed.apply(&request);
                    timed.at(back_us, move |timed| deliver(timed, answer));
                });
                return;
            }
            let given_up = Answer::Put(Ok(PutOutcome::Indeterminate("no answer".to_owned())));
            let throttled = Answer::Put(Err(BucketError::Throttled(0)));
            let mut dice = timed.draw_in(0..1_000);
            let mut falls_on = |per_mille: u64| {
                let hit = dice < per_mille;
                dice = if hit { u64::MAX } else { dice - per_mille };
                hit
            };
            if falls_on(faults.lost_request) {
                timed.at(TIMEOUT_US, move |timed| deliver(timed, given_up));
            } else if falls_on(faults.lost_reply) {
                timed.at(there_us.min(TIMEOUT_US), move |timed| {
                    timed.apply(&request);
                });
                timed.at(TIMEOUT_US, move |timed| deliver(timed, given_up));
            } else if falls_on(faults.late) {
                let late_us = timed.draw_in(TIMEOUT_US..20_000_000);
                timed.at(late_us, move |timed| {
                    timed.apply(&request);
                });
                timed.at(TIMEOUT_US, move |timed| deliver(timed, given_up));
            } else if falls_on(faults.throttled) {
                timed.at(there_us, move |timed| deliver(timed, throttled));
            } else if falls_on(faults.throttled_applied) {
                timed.at(there_us, move |timed| {
                    timed.apply(&request);
                    timed.at(back_us, move |timed| deliver(timed, throttled));
                });
            } else {
                if falls_on(faults.duplicate) {
                    let again = request.clone();
                    let again_us = timed.draw_in(there_us..20_000_000);
                    timed.at(again_us, move |timed| {
                        timed.apply(&again);
                    });
                }
                timed.at(there_us, move |timed| {
                    let answer = timed.apply(&request);
                    timed.at(back_us, move |timed| deliver(timed, answer));
                });
            }
        })
    }
}

/// The port of one instance.
pub struct TimedBucket(Timed, usize, Option<Distance>);

impl Bucket for TimedBucket {
    async fn get(&self, read: Read) -> Result<Reply, BucketError> {
        match self.0.send(self.1, self.2, Request::Get(read)).await {
            Answer::Get(result) => result,
            other => panic!("{other:?} to a GET"),
        }
    }

    async fn get_many(&self, reads: Vec<Read>) -> Vec<Result<Reply, BucketError>> {
        let send = |read| self.0.send(self.1, self.2, Request::Get(read));
        let mut sent: Vec<_> = reads.into_iter().map(send).map(Box::pin).collect();
        let mut results: Vec<_> = sent.iter().map(|_| None).collect();
        poll_fn(|context| {
            for (reply, result) in sent.iter_mut().zip(&mut results) {
                if result.is_none()
                    && let Poll::Ready(Answer::Get(reply)) = reply.as_mut().poll(context)
                {
                    *result = Some(reply);
                }
            }
            match results.iter().all(Option::is_some) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        results.into_iter().flatten().collect()
    }

    async fn put(&self, write: &Write) -> Result<PutOutcome, BucketError> {
        match self
            .0
            .send(self.1, self.2, Request::Put(write.clone()))
            .await
        {
            Answer::Put(result) => result,
            other => panic!("{other:?} to a PUT"),
        }
    }

    async fn put_many(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        let mut results = Vec::new();
        for write in writes {
            results.push(self.put(write).await);
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
        match self.0.send(self.1, self.2, request).await {
            Answer::List(result) => result,
            other => panic!("{other:?} to a LIST"),
        }
    }
}

/// The clock and randomness of one instance.
pub struct TimedEnv(Timed, Clock);

impl Env for TimedEnv {
    fn monotonic_ms(&self) -> u64 {
        self.1.show(self.0.now_ms())
    }

    async fn sleep_ms(&self, ms: u64) {
        let late_us = match ms {
            0 => 0,
            _ => self.0.draw_in(0..self.0.weather.get().timer_late_us + 1),
        };
        self.0.sleep_us(self.1.true_ms(ms) * 1_000 + late_us).await;
    }

    fn random_u128(&self) -> u128 {
        u128::from(self.0.draw()) << 64 | u128::from(self.0.draw())
    }
}
