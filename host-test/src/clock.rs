//! Time: one clock for the world, and one per component that can be wrong.
//!
//! The world's clock follows tokio's. In a runtime whose time is paused, it is
//! virtual: it stands still while anything can run and jumps to the next timer
//! when nothing can.

use crate::tape::Tape;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The same instant in whole seconds, rounded down.
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The same instant as the standard library writes it.
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }

    /// This instant moved by some milliseconds, not before the epoch.
    pub fn offset_ms(self, by: i64) -> Self {
        Self(self.0.saturating_add_signed(by))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}

/// The true time of a world: the clock of its store.
#[derive(Clone, Copy, Debug)]
pub struct WorldClock {
    origin: tokio::time::Instant,
    epoch: Duration,
}

/// Where a virtual world begins: 2026-01-01T00:00:00Z.
pub const VIRTUAL_START: Duration = Duration::from_secs(1_767_225_600);

impl WorldClock {
    /// A clock that shows `epoch` (since the Unix epoch) now.
    pub fn starting_at(epoch: Duration) -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            epoch,
        }
    }

    /// A clock that shows what the machine's shows.
    pub fn of_machine() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::starting_at(since_epoch)
    }

    /// Time since this clock was made.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The time of day.
    pub fn now(&self) -> Duration {
        self.epoch + self.elapsed()
    }

    /// The time of day in milliseconds.
    pub fn now_ms(&self) -> UnixMs {
        UnixMs(u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX))
    }
}

/// What one component believes about time. Clones show the same clock.
///
/// Both its clocks start right. A test can set the wall clock wrong, let both
/// run too fast or too slow, or stop them, at any moment of a run.
#[derive(Clone, Debug)]
pub struct GuestClock {
    world: WorldClock,
    state: Arc<Mutex<Error>>,
    changed: Arc<Notify>,
}

/// How far a guest's clocks are off.
#[derive(Debug, Default)]
struct Error {
    /// Added to the wall clock.
    wall_ahead_ns: i128,
    /// How much faster than the world both clocks run.
    fast_ppm: i64,
    /// World time up to which the guest's own time is settled in `settled_ns`.
    settled_at: Duration,
    /// Guest time that had passed at `settled_at`.
    settled_ns: u64,
    stopped: bool,
    /// The last time that it stood still.
    last_stop: Option<Stop>,
}

/// From when to when a clock stood still, in the world's time.
type Stop = (Duration, Option<Duration>);

impl Error {
    /// Guest time since the world began.
    fn elapsed_ns(&self, world: Duration) -> u64 {
        let passed = nanos(world.saturating_sub(self.settled_at));
        self.settled_ns
            + if self.stopped {
                0
            } else {
                scale(passed, self.fast_ppm)
            }
    }

    /// Makes a later change of speed apply from now on only.
    fn settle(&mut self, world: Duration) {
        self.settled_ns = self.elapsed_ns(world);
        self.settled_at = world;
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `ns` as a clock shows it that runs `ppm` millionths too fast.
fn scale(ns: u64, ppm: i64) -> u64 {
    let scaled = i128::from(ns) * (1_000_000 + i128::from(ppm)) / 1_000_000;
    u64::try_from(scaled.max(0)).unwrap_or(u64::MAX)
}

/// World time in which a clock that runs `ppm` too fast counts `ns`.
fn unscale(ns: u64, ppm: i64) -> u64 {
    let rate = (1_000_000 + i128::from(ppm)).max(1);
    // Rounded up, so that the guest's clock has certainly reached the deadline.
    let unscaled = (i128::from(ns) * 1_000_000 + rate - 1) / rate;
    u64::try_from(unscaled).unwrap_or(u64::MAX)
}

impl GuestClock {
    /// A clock that agrees with the world's.
    pub fn right(world: WorldClock) -> Self {
        let elapsed = world.elapsed();
        Self {
            world,
            state: Arc::new(Mutex::new(Error {
                settled_at: elapsed,
                settled_ns: nanos(elapsed),
                ..Error::default()
            })),
            changed: Arc::new(Notify::new()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Error)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle(self.world.elapsed());
        change(&mut state);
        self.changed.notify_waiters();
    }

    /// Sets the wall clock forward by some milliseconds, or back.
    pub fn jump_wall_ms(&self, by: i64) {
        self.change(|state| state.wall_ahead_ns += i128::from(by) * 1_000_000);
    }

    /// Lets both clocks run faster by some millionths from now on, or slower.
    pub fn run_fast_ppm(&self, ppm: i64) {
        self.change(|state| state.fast_ppm = ppm.max(-999_999));
    }

    /// Stops both clocks, as a frozen virtual machine does. Waits of the guest
    /// stop with them.
    pub fn stop(&self) {
        let now = self.world.elapsed();
        self.change(|state| {
            state.stopped = true;
            state.last_stop = Some((now, None));
        });
    }

    /// Whether it stood still at some moment since then, in the world's time.
    pub fn has_stood_still_since(&self, since: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .last_stop
            .is_some_and(|(_, end)| end.is_none_or(|end| end >= since))
    }

    /// Lets both clocks go on from where they stopped.
    pub fn resume(&self) {
        let now = self.world.elapsed();
        self.change(|state| {
            state.stopped = false;
            if let Some((_, end)) = &mut state.last_stop {
                *end = Some(now);
            }
        });
    }

    /// What the guest's monotonic clock shows.
    pub fn monotonic_ns(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Not from zero: guests must not mistake a small value for "never".
        state.elapsed_ns(self.world.elapsed()) + 1_000_000_000
    }

    /// What the guest's wall clock shows.
    pub fn wall(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let start = nanos(self.world.epoch);
        let shown = i128::from(start)
            + i128::from(state.elapsed_ns(self.world.elapsed()))
            + state.wall_ahead_ns;
        Duration::from_nanos(u64::try_from(shown.max(0)).unwrap_or(u64::MAX))
    }

    /// In how much of the world's time the guest counts this much, if nothing
    /// changes.
    pub fn in_world_time(&self, own: Duration) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_nanos(unscale(nanos(own), state.fast_ppm))
    }

    fn world_time_until(&self, due_ns: u64) -> Until {
        let left = due_ns.saturating_sub(self.monotonic_ns());
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match left {
            0 => Until::Passed,
            _ if state.stopped => Until::Never,
            _ => Until::In(Duration::from_nanos(unscale(left, state.fast_ppm))),
        }
    }
}

/// In how much of the world's time a guest's clock shows something.
enum Until {
    Passed,
    In(Duration),
    /// Not before something changes.
    Never,
}

/// Names [`GuestClockView`] to the linker.
pub struct GuestClocks;

impl HasData for GuestClocks {
    type Data<'a> = GuestClockView<'a>;
}

/// Implements `wasi:clocks` from a [`GuestClock`].
pub struct GuestClockView<'a> {
    /// The guest's clock.
    pub clock: &'a GuestClock,
    /// Where is noted what it showed.
    pub tape: Option<&'a Arc<Tape>>,
    /// The guest's resources.
    pub table: &'a mut ResourceTable,
}

impl wall_clock::Host for GuestClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = self.clock.wall();
        let now = self.tape.map_or(now, |tape| tape.wall(now));
        Ok(wall_clock::Datetime {
            seconds: now.as_secs(),
            nanoseconds: now.subsec_nanos(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: 1_000_000,
        })
    }
}

impl monotonic_clock::Host for GuestClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        let now = self.clock.monotonic_ns();
        Ok(self.tape.map_or(now, |tape| tape.monotonic_ns(now)))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1_000_000)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_duration(when.saturating_sub(self.clock.monotonic_ns()))
    }

    fn subscribe_duration(&mut self, ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.table.push(Timer {
            clock: self.clock.clone(),
            due_ns: self.clock.monotonic_ns().saturating_add(ns),
            yielded: ns > 0,
            taped: self.tape.map(|tape| (tape.clone(), tape.new_timer())),
        })?;
        subscribe(self.table, timer)
    }
}

/// A wait that a guest has begun, until its own monotonic clock shows a time.
struct Timer {
    clock: GuestClock,
    due_ns: u64,
    yielded: bool,
    /// Where is noted that it ran out, and its place there.
    taped: Option<(Arc<Tape>, usize)>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if let Some((tape, place)) = &self.taped
            && let Some(ran_out) = tape.replay_timer(*place)
        {
            // No wait takes time in a replay, and none ends that did not.
            return match ran_out {
                true => (),
                false => std::future::pending().await,
            };
        }
        self.wait().await;
        if let Some((tape, place)) = &self.taped {
            tape.ran_out(*place);
        }
    }
}

impl Timer {
    async fn wait(&mut self) {
        // A guest that polls in a loop with waits of no length must not keep the
        // executor from everything else. Only the first look yields: a look that
        // never finds a timer ready would be a loop without end.
        if !self.yielded {
            self.yielded = true;
            tokio::task::yield_now().await;
        }
        loop {
            let changed = self.clock.changed.notified();
            match self.clock.world_time_until(self.due_ns) {
                Until::Passed => return,
                Until::In(wait) => {
                    // A change of the clock's speed ends the wait early or late;
                    // either way it is measured anew.
                    let _ = tokio::time::timeout(wait, changed).await;
                }
                Until::Never => changed.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_guest_clock_can_jump_drift_and_stop() {
        let world = WorldClock::starting_at(VIRTUAL_START);
        let clock = GuestClock::right(world);
        let start = clock.monotonic_ns();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.monotonic_ns() - start, 10_000_000_000);
        assert_eq!(clock.wall(), VIRTUAL_START + Duration::from_secs(10));

        clock.run_fast_ppm(100_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.monotonic_ns() - start, 21_000_000_000);

        clock.stop();
        clock.jump_wall_ms(-86_400_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.monotonic_ns() - start, 21_000_000_000);
        assert_eq!(
            clock.wall(),
            VIRTUAL_START + Duration::from_secs(21) - Duration::from_secs(86_400)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn waits_follow_the_guest_clock() {
        let clock = GuestClock::right(WorldClock::starting_at(VIRTUAL_START));
        let mut timer = Timer {
            due_ns: clock.monotonic_ns() + 10_000_000_000,
            clock: clock.clone(),
            yielded: true,
            taped: None,
        };
        let start = tokio::time::Instant::now();
        let interference = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            clock.stop();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            clock.resume();
            clock.run_fast_ppm(1_000_000);
        };
        tokio::join!(timer.ready(), interference);
        assert_eq!(start.elapsed(), Duration::from_secs(3600 + 4 + 3));
    }

    #[test]
    fn a_wait_is_never_shorter_than_the_guest_asked() {
        for ppm in [-100_000, -1, 0, 1, 100_000] {
            for ns in [1, 999, 1_000_003, 5_000_000_000] {
                assert!(scale(unscale(ns, ppm), ppm) >= ns, "{ns} at {ppm}");
            }
        }
    }
}
