//! What the participants of a lease assume about clocks, and what follows.
//!
//! Let ρ bound how much faster or slower than true time any clock runs, and δ how
//! far two times of the store can disagree beyond that.
//!
//! A lease is free once its whole duration has passed: by the store's times, or
//! by the clock of a contender that has known the version for so long. That is
//! after more than (duration−δ)/(1+ρ) of true time. All margins are the holder's:
//! it stops after (duration−δ)·(1−ρ)/(1+ρ) on its own clock from before its write
//! was sent, at most (duration−δ)/(1+ρ) of true time after the store accepted it.
//! So it has ended before anybody else begins, and who waits for a dead holder
//! waits for the duration and no longer.

use super::object::DURATION_MS_RANGE;
use crate::error::Error;
use crate::guards::{Guard, off};

/// The largest bound on the rate of clocks: one half.
const RATE_PPM_MAX: u32 = 500_000;

/// The largest disagreement of the store's clocks.
const MARGIN_MS_MAX: u32 = 60_000;

/// A holder stops this much earlier than it would have to, and a wait lasts this
/// much longer. Covers clocks that advance in steps, as those of browsers do, and
/// the time from asking a clock to acting on the answer.
const CLOCK_STEP_MS: u64 = 100;

/// What a holder can rely on is at least one in so many parts of the duration.
const RELIABLE_PART: u64 = 4;

const MILLION: u64 = 1_000_000;

/// What all participants of a lease assume about clocks. Stored in the lease, so
/// that they all assume the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockBounds {
    /// By how many millionths a clock may run too fast or too slow.
    pub rate_ppm: u32,
    /// By how many milliseconds the store's own times may disagree, steps of
    /// whole seconds included.
    pub margin_ms: u32,
}

impl ClockBounds {
    /// One tenth, and two seconds.
    ///
    /// Clocks that are not broken stay within a thousandth. A tenth also covers
    /// virtual machines that lose ticks, and costs a fifth of the duration.
    /// Two seconds are one for headers that tell whole seconds, and one for front
    /// ends of the store that disagree.
    pub const DEFAULT: ClockBounds = ClockBounds {
        rate_ppm: 100_000,
        margin_ms: 2_000,
    };

    pub(super) fn are_allowed(self) -> bool {
        self.rate_ppm <= RATE_PPM_MAX && self.margin_ms <= MARGIN_MS_MAX
    }

    pub(super) fn check(self) -> Result<(), Error> {
        if self.are_allowed() {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "rate-ppm is at most {RATE_PPM_MAX} and margin-ms at most {MARGIN_MS_MAX}, not {} and {}",
            self.rate_ppm, self.margin_ms
        )))
    }

    /// Refuses a duration of which the margins leave too little.
    pub(super) fn check_duration(self, duration_ms: u32) -> Result<(), Error> {
        let least = self.duration_ms_min();
        if u64::from(duration_ms) >= least {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "with the clock bounds of this lease a duration is at least {least} ms, not {duration_ms}"
        )))
    }

    /// Millionths by which the slowest clock counts, and the fastest.
    fn slow_and_fast(self) -> (u64, u64) {
        let rate = u64::from(self.rate_ppm.min(RATE_PPM_MAX));
        (MILLION - rate, MILLION + rate)
    }

    /// For how long its holder may rely on a lease, on its own clock from before
    /// the write was sent.
    #[must_use]
    pub fn reliable_ms(self, duration_ms: u32) -> u64 {
        let (slow, fast) = match off(Guard::HolderRate) {
            true => (1, 1),
            false => self.slow_and_fast(),
        };
        let margin_ms = match off(Guard::HolderMargin) {
            true => 0,
            false => self.margin_ms,
        };
        let surely_ms = u64::from(duration_ms.saturating_sub(margin_ms));
        (surely_ms * slow / fast).saturating_sub(CLOCK_STEP_MS)
    }

    /// The shortest duration of which a holder can rely on a quarter.
    #[must_use]
    pub fn duration_ms_min(self) -> u64 {
        let (slow, fast) = self.slow_and_fast();
        let lost = u64::from(self.margin_ms) * slow + (CLOCK_STEP_MS + 1) * fast;
        (RELIABLE_PART * lost).div_ceil(RELIABLE_PART * slow - fast)
    }

    /// How long to count on an own clock until any other has counted `ms`.
    fn outlast_ms(self, ms: u64) -> u64 {
        let (slow, fast) = self.slow_and_fast();
        // One more, because clocks round down.
        (ms * fast).div_ceil(slow) + 1
    }

    /// How long to wait, on an own clock, until every time that the store tells is
    /// later than any that it has told before.
    #[must_use]
    pub fn settle_ms(self) -> u64 {
        self.outlast_ms(u64::from(self.margin_ms) + 1) + CLOCK_STEP_MS
    }

    /// For how long only the one that has reserved a lease may take it. Twice as
    /// long as it has to wait, so that it comes back in time; and by then anybody
    /// has waited long enough, by the store's times as well.
    #[must_use]
    pub fn reservation_ms(self) -> u32 {
        let twice_ms = u32::try_from(2 * self.settle_ms()).unwrap_or(u32::MAX);
        twice_ms.max(*DURATION_MS_RANGE.start())
    }

    /// How long to wait, on an own clock, until the store's clock has gone on by a
    /// millisecond.
    pub(super) fn pause_ms(self) -> u64 {
        self.outlast_ms(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_ends_before_a_contender_begins_at_the_worst_rates() {
        for rate_ppm in [0, 1, 500, 100_000, 333_333, RATE_PPM_MAX] {
            for margin_ms in [0, 1, 1_000, 2_000, MARGIN_MS_MAX] {
                let bounds = ClockBounds {
                    rate_ppm,
                    margin_ms,
                };
                assert!(bounds.are_allowed());
                let least = u32::try_from(bounds.duration_ms_min()).unwrap();
                assert!(least <= *DURATION_MS_RANGE.end());
                for duration_ms in [least, least + 1, least + 9_999, 3_600_000] {
                    let (slow, fast) = bounds.slow_and_fast();
                    // True time, in millionths of a millisecond, of the slowest
                    // holder, and of the store's fastest clock, if its two times
                    // disagree as far as they may.
                    let ends = bounds.reliable_ms(duration_ms) * MILLION * MILLION / slow;
                    let begins = u64::from(duration_ms - margin_ms) * MILLION * MILLION / fast;
                    assert!(ends < begins, "{duration_ms} at {bounds:?}");
                    assert!(bounds.reliable_ms(duration_ms) >= u64::from(duration_ms / 4));
                    assert!(bounds.check_duration(duration_ms).is_ok());
                }
                let error = bounds.check_duration(least - 1).unwrap_err();
                assert!(error.to_string().contains(&least.to_string()), "{error}");
            }
        }
    }

    #[test]
    fn a_wait_outlasts_the_disagreement_at_the_worst_rates() {
        for rate_ppm in [0, 1, 100_000, RATE_PPM_MAX] {
            for margin_ms in [0, 1_000, MARGIN_MS_MAX] {
                let bounds = ClockBounds {
                    rate_ppm,
                    margin_ms,
                };
                let (slow, fast) = bounds.slow_and_fast();
                // What the store's slowest clock has counted at least when the
                // fastest has counted this.
                let counted = |ms: u64| (ms - 1) * slow / fast;
                assert!(counted(bounds.settle_ms()) > u64::from(margin_ms));
                assert!(counted(bounds.pause_ms()) >= 1);
                // By the store's times, which disagree, and by an own clock.
                let reservation_ms = u64::from(bounds.reservation_ms());
                assert!(reservation_ms > 2 * u64::from(margin_ms));
                assert!(reservation_ms > bounds.settle_ms());
                assert!(DURATION_MS_RANGE.contains(&bounds.reservation_ms()));
            }
        }
    }

    #[test]
    fn bounds_are_bounded() {
        assert!(ClockBounds::DEFAULT.check().is_ok());
        for (rate_ppm, margin_ms) in [(RATE_PPM_MAX + 1, 0), (0, MARGIN_MS_MAX + 1)] {
            let bounds = ClockBounds {
                rate_ppm,
                margin_ms,
            };
            assert!(matches!(bounds.check(), Err(Error::InvalidArgument(_))));
        }
        assert_eq!(*DURATION_MS_RANGE.start(), 1_000);
        assert_eq!(ClockBounds::DEFAULT.reliable_ms(10_000), 6_445);
        assert_eq!(ClockBounds::DEFAULT.duration_ms_min(), 3_058);
        assert_eq!(ClockBounds::DEFAULT.settle_ms(), 2_547);
    }
}
