//! The monotonic clock of one instance: it may run too fast or too slow, start
//! anywhere, and stand still.

use std::cell::RefCell;
use std::rc::Rc;

const MILLION: i128 = 1_000_000;

/// Clones show the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    fast_ppm: i32,
    stopped: bool,
    /// True time up to which the clock's own time is settled.
    settled_at: u64,
    /// What the clock showed then.
    settled: u64,
}

impl State {
    fn show(&self, now_ms: u64) -> u64 {
        let passed = i128::from(now_ms.saturating_sub(self.settled_at));
        if self.stopped {
            return self.settled;
        }
        let own = passed * (MILLION + i128::from(self.fast_ppm)) / MILLION;
        self.settled + u64::try_from(own).expect("rates are above -100 %")
    }
}

impl Clock {
    /// A clock that shows `offset_ms` at true time 0 and runs this much too fast.
    pub fn new(offset_ms: u64, fast_ppm: i32) -> Clock {
        Clock(Rc::new(RefCell::new(State {
            fast_ppm,
            settled: offset_ms,
            ..State::default()
        })))
    }

    /// What it shows at true time `now_ms`.
    pub fn show(&self, now_ms: u64) -> u64 {
        self.0.borrow().show(now_ms)
    }

    /// How much true time passes while it counts `own_ms`, rounded up. A stopped
    /// clock is taken as one that has been set going again.
    pub fn true_ms(&self, own_ms: u64) -> u64 {
        let rate = MILLION + i128::from(self.0.borrow().fast_ppm);
        let true_ms = (i128::from(own_ms) * MILLION + rate - 1) / rate;
        u64::try_from(true_ms).expect("rates are above -100 %")
    }

    /// Stops the clock, as some hosts do with the clock of a frozen instance.
    pub fn stop(&self, now_ms: u64) {
        self.settle(now_ms);
        self.0.borrow_mut().stopped = true;
    }

    /// Lets it go on from where it stopped.
    pub fn go_on(&self, now_ms: u64) {
        self.settle(now_ms);
        self.0.borrow_mut().stopped = false;
    }

    fn settle(&self, now_ms: u64) {
        let mut state = self.0.borrow_mut();
        state.settled = state.show(now_ms);
        state.settled_at = now_ms;
    }
}
