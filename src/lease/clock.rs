//! What the participants of a lease assume about clocks, and what follows.
//!
//! Let ρ bound how much faster or slower than true time any clock runs, and δ how
//! far two times of the store can disagree beyond that. A holder counts from
//! before its write was sent and stops after duration·(1−ρ) on its own clock:
//! at most `duration` after the store accepted the write. A contender starts
//! after more than duration·(1+ρ)+δ by the store's clock, or duration·(1+ρ) by
//! its own from when it had read the write: more than `duration` after the store
//! accepted it. So the first has ended before the second begins.

use crate::error::Error;

/// The largest bound on the rate of clocks: one half.
const RATE_PPM_MAX: u32 = 500_000;

/// The largest disagreement of the store's clocks.
const MARGIN_MS_MAX: u32 = 60_000;

/// A holder stops this much earlier than it would have to. Covers clocks that
/// advance in steps, as those of browsers do, and the time from asking a clock to
/// acting on the answer.
const HOLDER_MARGIN_MS: u64 = 100;

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
    /// virtual machines that lose ticks, and costs a tenth of the duration.
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

    /// What ρ makes of a duration, rounded up.
    fn error_ms(self, duration_ms: u32) -> u64 {
        (u64::from(duration_ms) * u64::from(self.rate_ppm)).div_ceil(MILLION)
    }

    /// For how long its holder may rely on a lease, on its own clock from before
    /// the write was sent.
    #[must_use]
    pub fn reliable_ms(self, duration_ms: u32) -> u64 {
        u64::from(duration_ms)
            .saturating_sub(self.error_ms(duration_ms))
            .saturating_sub(HOLDER_MARGIN_MS)
    }

    /// How old a lease is, by the store's clock, when others may take it.
    #[must_use]
    pub fn expired_by_store_ms(self, duration_ms: u32) -> u64 {
        self.expired_by_own_clock_ms(duration_ms) + u64::from(self.margin_ms)
    }

    /// For how long a contender must have known a lease, on its own clock from
    /// when it had read it, when it may take it.
    #[must_use]
    pub fn expired_by_own_clock_ms(self, duration_ms: u32) -> u64 {
        // One more, because the guard is "longer than", and clocks round down.
        u64::from(duration_ms) + self.error_ms(duration_ms) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::DURATION_MS_RANGE;

    #[test]
    fn a_holder_ends_before_a_contender_begins_at_the_worst_rates() {
        for rate_ppm in [0, 1, 500, 100_000, 333_333, RATE_PPM_MAX] {
            let bounds = ClockBounds {
                rate_ppm,
                margin_ms: 0,
            };
            assert!(bounds.are_allowed());
            for duration_ms in [1_000, 1_001, 9_999, 10_000, 3_600_000] {
                let rate = u64::from(rate_ppm);
                // True time, in millionths of a millisecond, of the slowest holder
                // and the fastest contender.
                let ends = bounds.reliable_ms(duration_ms) * MILLION * MILLION / (MILLION - rate);
                for known in [
                    bounds.expired_by_store_ms(duration_ms),
                    bounds.expired_by_own_clock_ms(duration_ms),
                ] {
                    let begins = known * MILLION * MILLION / (MILLION + rate);
                    assert!(ends < begins, "{duration_ms} at {rate_ppm}");
                }
                assert!(bounds.reliable_ms(duration_ms) >= 400);
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
        assert_eq!(ClockBounds::DEFAULT.reliable_ms(10_000), 8_900);
        assert_eq!(ClockBounds::DEFAULT.expired_by_store_ms(10_000), 13_001);
    }
}
