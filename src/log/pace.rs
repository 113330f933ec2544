//! How an instance gets on with others who append to the same log: whether it
//! writes alone, leaves offers, or combines those of others, and how long it waits.
//!
//! Liveness and cost only. Whatever is wrong here, nothing is lost or doubled.

use super::Log;
use crate::bucket::Bucket;
use crate::env::Env;
use crate::store::ROUND_TRIP_US_MAX;
use core::ops::RangeInclusive;
use maybe_async::maybe_async;

/// What was learnt is forgotten after this. As all waits here, it is in hundredths of
/// a round trip.
const MEMORY: u64 = 3_200;

/// And not earlier than after so many milliseconds.
const MEMORY_MS_MIN: u64 = 32;

/// How long a writer that combines waits for those whose offers it took last: they
/// come back after a round trip, if they do.
pub(super) const COMBINE_AFTER: RangeInclusive<u64> = 80..=100;

/// The least wait between an offer and the first look at what became of it. A look
/// that comes too early costs a request, and one that comes late makes the next
/// offer miss its combination, so the wait is adapted.
const LOOK_AFTER: u64 = 20;
const LATER_FIRST: u64 = 40;
const LATER_MAX: u64 = 400;
const LATER_STEP_UP: u64 = 20;
const LATER_STEP_DOWN: u64 = 2;

/// The same among writers that know nothing of each other: one of them has to list,
/// read the newest header, and write.
pub(super) const LOOK_AFTER_AMONG_STRANGERS: RangeInclusive<u64> = 200..=210;

/// Of writers that know nothing of each other, so many combine at once, on average.
/// If none does, all wait in vain; of two, one writes in vain.
const VOLUNTEERS: u64 = 3;

/// The wait after a look that found nothing yet; twice as long after each further one.
const MISS_AFTER: u64 = 30;

/// After so many looks that found nothing, a writer combines.
pub(super) const MISSES_MAX: u32 = 4;

/// How long the next slot is taken to need.
const SLOT_AFTER: u64 = 75;

/// A writer that went straight in so often, in quick succession, looks whether
/// others wait: it would win every race against them, and never learn of it. A new
/// one looks soon, and after each look that shows nobody goes on for twice as long.
const STRAIGHT_FIRST: u32 = 4;
const STRAIGHT_MAX: u32 = 32;

/// After so many combinations without an offer, a writer takes itself for alone.
const IDLE_MAX: u8 = 4;

/// What an instance does with its next batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Puts it into the next slot, without a look at what others do.
    #[default]
    Straight,
    /// Offers it.
    Offer,
    /// Puts it into the next slot together with the offers of others. So many times
    /// there were none.
    Combine { idle: u8 },
}

/// What an instance has learnt about others who append to one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    mode: Mode,
    /// When it was learnt, by the instance's clock.
    at_ms: u64,
    /// Appends in a row that went straight in, and after how many to look.
    straight: u32,
    straight_max: u32,
    /// By how many hundredths of a round trip the first look behind an offer should
    /// come later than [`LOOK_AFTER`].
    later: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            mode: Mode::Straight,
            at_ms: 0,
            straight: 0,
            straight_max: STRAIGHT_FIRST,
            later: LATER_FIRST,
        }
    }
}

impl Pace {
    /// What to do now.
    pub(super) fn mode(self, now_ms: u64, round_trip_us: u64) -> Mode {
        if now_ms.saturating_sub(self.at_ms) > memory_ms(round_trip_us) {
            Mode::Straight
        } else if self.straight >= self.straight_max {
            Mode::Combine { idle: IDLE_MAX }
        } else {
            self.mode
        }
    }

    /// A batch went straight in, with requests since `began_ms`.
    pub(super) fn went_straight(self, began_ms: u64, now_ms: u64, round_trip_us: u64) -> Pace {
        let quick = self.mode(began_ms, round_trip_us) == Mode::Straight
            && began_ms.saturating_sub(self.at_ms) <= memory_ms(round_trip_us);
        Pace {
            mode: Mode::Straight,
            at_ms: now_ms,
            straight: if quick { self.straight + 1 } else { 0 },
            ..self
        }
    }

    /// When to look what became of an offer.
    pub(super) fn look_after(self) -> RangeInclusive<u64> {
        let least = LOOK_AFTER + self.later;
        least..=least + 10
    }

    /// The first look found nothing yet.
    pub(super) fn was_early(self, _now_ms: u64) -> Pace {
        Pace {
            later: (self.later + LATER_STEP_UP).min(LATER_MAX),
            ..self
        }
    }

    /// A batch went in by way of an offer.
    pub(super) fn was_combined(self, now_ms: u64) -> Pace {
        Pace {
            mode: Mode::Offer,
            later: self.later.saturating_sub(LATER_STEP_DOWN),
            at_ms: now_ms,
            straight: 0,
            straight_max: STRAIGHT_FIRST,
        }
    }

    /// A batch went in together with others, or there were none.
    pub(super) fn has_combined(self, others: bool, now_ms: u64) -> Pace {
        let mode = match self.mode {
            _ if others => Mode::Combine { idle: 0 },
            Mode::Combine { idle } if idle < IDLE_MAX => Mode::Combine { idle: idle + 1 },
            _ => Mode::Straight,
        };
        Pace {
            mode,
            at_ms: now_ms,
            straight: 0,
            straight_max: match others {
                true => STRAIGHT_FIRST,
                false => (self.straight_max * 2).min(STRAIGHT_MAX),
            },
            ..self
        }
    }
}

/// For how long what was learnt is remembered.
fn memory_ms(round_trip_us: u64) -> u64 {
    (round_trip_us.min(ROUND_TRIP_US_MAX) * MEMORY / 100_000).max(MEMORY_MS_MIN)
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    /// What to do now.
    pub(super) fn mode(&self) -> Mode {
        let store = self.store();
        self.pace()
            .mode(store.monotonic_ms(), store.round_trip_us())
    }

    /// Notes how a batch got in.
    pub(super) fn note(&self, change: impl FnOnce(Pace, u64) -> Pace) {
        let now_ms = self.store().monotonic_ms();
        self.set_pace(change(self.pace(), now_ms));
    }

    /// Whether to combine at once, among so many that know nothing of each other.
    pub(super) fn volunteers(&self, among: u64) -> bool {
        self.store().draw_below(among) < VOLUNTEERS
    }
}

/// How long to wait after so many looks that found nothing.
pub(super) fn miss_after(misses: u32) -> RangeInclusive<u64> {
    let least = MISS_AFTER << misses.saturating_sub(1).min(8);
    least..=least + least / 2
}

/// How long so many slots are taken to need.
pub(super) fn slots_after(slots: u64) -> RangeInclusive<u64> {
    let least = slots.saturating_mul(SLOT_AFTER);
    least..=least + least / 5
}
