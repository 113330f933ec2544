//! How an instance gets on with others who commit to the same manifest.
//!
//! A commit right behind an own one needs one request, and one behind that of somebody
//! else at least two, one after the other. So who competes takes turns of several
//! commits, stays away between them, and tells in each version how many more it will
//! put behind it: the others know when to come, and read one version for all that they
//! missed.
//!
//! Liveness and cost only. Whatever is wrong here, nothing is lost or doubled.

use maybe_async::maybe_async;

use super::Manifest;
use super::commit::Place;
use super::known::Known;
use super::recent::Recent;
use crate::bucket::Bucket;
use crate::env::Env;
use crate::error::Error;
use crate::store::ROUND_TRIP_US_MAX;

/// So many commits are a turn, if they follow each other within a round trip.
const TURN: u32 = 8;

/// Who commits so often in a row and knows of nobody looks whether others wait: it
/// would win every race against them, and never learn of it. After each look that
/// shows nobody it goes on for twice as long.
const STRAIGHT_FIRST: u32 = 4;
const STRAIGHT_MAX: u32 = 32;

/// How often a commit waits before it tries for a slot.
const LOOKS_MAX: u32 = 8;

/// A commit does not wait for others later than this after it began.
const WAITS_MS_MAX: u64 = 30_000;

/// Who has not had a turn, and goes on losing races, leaves up to so many turns to
/// others.
const SKIPPED_MAX: u64 = 20;

/// Among others, what was read longer ago than this, in hundredths of a round trip, is
/// no longer the newest version.
const NEWS: u64 = 250;

/// What is further away than this is looked at again on the way.
const FAR: u64 = 1_000;

/// How long it takes from one turn to the next, in hundredths of a round trip.
const BETWEEN: u64 = 200;

/// Others are remembered for so many hundredths of a round trip.
const MEMORY: u64 = 6_400;

/// What to do before a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Go on behind what is known.
    Straight,
    /// Look for what others have committed.
    Look,
    /// Wait until it is one's turn again.
    Queue,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When others were met last, by the instance's clock.
    met_ms: Option<u64>,
    /// When the last commit ended.
    last_ms: u64,
    /// Commits in a row, and after how many to look if nobody is known of.
    run: u32,
    run_max: u32,
    /// Whether the caller commits again within a round trip.
    comes_back: bool,
    /// What tells this instance from others, or 0 as long as it met none.
    pub(super) instance: u32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            met_ms: None,
            last_ms: 0,
            run: 0,
            run_max: STRAIGHT_FIRST,
            comes_back: false,
            instance: 0,
        }
    }
}

/// The time, and how long a request takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) ms: u64,
    pub(super) round_trip_us: u64,
}

impl Now {
    /// The time since then, in hundredths of a round trip. A timer is exact to a
    /// millisecond.
    fn since(self, ms: u64) -> u64 {
        self.hundredths(self.ms.saturating_sub(ms))
    }

    fn hundredths(self, ms: u64) -> u64 {
        ms.saturating_mul(100_000) / self.round_trip_us.clamp(1_000, ROUND_TRIP_US_MAX)
    }
}

impl Pace {
    fn meets(self, now: Now) -> bool {
        self.met_ms
            .is_some_and(|met_ms| now.since(met_ms) <= MEMORY)
    }

    fn run_max(self, now: Now) -> u32 {
        match self.meets(now) {
            true => TURN,
            false => self.run_max,
        }
    }

    /// A commit begins.
    pub(super) fn begin(&mut self, now: Now) -> Step {
        let since = now.since(self.last_ms);
        let quick = since <= 100 && self.run > 0;
        let (is_over, meets) = (self.run >= self.run_max(now), self.meets(now));
        if quick && !is_over {
            self.comes_back = true;
            return Step::Straight;
        }
        self.run = 0;
        self.comes_back = is_over;
        match (meets, is_over) {
            (true, true) => Step::Queue,
            (true, false) => Step::Look,
            (false, _) if quick => {
                self.run_max = (self.run_max * 2).min(STRAIGHT_MAX);
                Step::Look
            }
            (false, _) => {
                self.run_max = STRAIGHT_FIRST;
                Step::Straight
            }
        }
    }

    /// How many more commits probably follow at once on the one that is made now, and
    /// of how many versions it should tell, if it tells anything.
    pub(super) fn tells(self, now: Now, recent: &Recent) -> Option<(u8, usize)> {
        let meets = self.meets(now);
        let rank = recent.rank(self.instance);
        let goes_on = match meets {
            // Who has not had a turn yet will do as others do.
            true => self.comes_back || rank.before.is_none() && rank.turn > u64::from(TURN / 2),
            // Who has met nobody says nothing before it has looked for others.
            false => self.comes_back && self.run_max > STRAIGHT_FIRST,
        };
        let left = match goes_on {
            true => self.run_max(now).saturating_sub(self.run + 1),
            false => 0,
        };
        let told = match (meets, left) {
            (true, _) => usize::MAX,
            // Those of the turn, at the end of it.
            (false, 0) => usize::try_from(self.run).unwrap_or_default(),
            (false, _) => 0,
        };
        (meets || goes_on).then_some((u8::try_from(left).unwrap_or(u8::MAX), told))
    }

    /// Others have committed.
    pub(super) fn has_met(&mut self, now: Now) {
        self.met_ms = Some(now.ms);
        self.run_max = STRAIGHT_FIRST;
    }

    /// A commit was made.
    pub(super) fn has_committed(&mut self, now: Now) {
        self.run += 1;
        self.last_ms = now.ms;
    }
}

/// How far a commit has come with its wait for a slot.
pub(super) struct Turn {
    /// The races that it lost.
    race: u32,
    /// How often it has waited.
    looks: u32,
    /// Whether it has just read what it knows.
    fresh: bool,
}

impl Turn {
    pub(super) fn new(race: u32, fresh: bool) -> Turn {
        Turn {
            race,
            looks: 0,
            fresh: fresh || race > 0,
        }
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifest<'_, B, E> {
    /// Waits as long as it is the turn of others, and goes on behind them. Whether it
    /// did, and so should be asked again.
    ///
    /// Liveness only: who comes too early loses a race.
    pub(super) async fn waits_for_turn(
        &self,
        place: &mut Place,
        turn: &mut Turn,
    ) -> Result<bool, Error> {
        let Some(known) = &mut place.known else {
            return Ok(false);
        };
        let look = turn.looks;
        turn.looks += 1;
        if look == 0 && turn.race == 0 {
            let step = known.pace.begin(self.now());
            if known.pace.run > 0 {
                self.name_instance(known);
            }
            match step {
                Step::Straight if !turn.fresh => return Ok(false),
                Step::Straight if known.tells_of_others() => self.meet(known),
                Step::Look => {
                    self.rediscover(place).await?;
                    return Ok(true);
                }
                _ => {}
            }
        }
        let waited_ms = self.store().monotonic_ms().saturating_sub(place.began_ms);
        let after_max = self
            .now()
            .hundredths(WAITS_MS_MAX.saturating_sub(waited_ms));
        if look >= LOOKS_MAX || after_max == 0 {
            return Ok(false);
        }
        let left = 100 * u64::from(known.left);
        let rank = known.recent.rank(known.pace.instance);
        let turns = match rank.before {
            Some(before) => before,
            // Who goes on losing leaves more and more turns to others.
            None if look == 0 => {
                let skipped = u64::from(turn.race * turn.race / 4);
                self.store().draw_below(1 + skipped.min(SKIPPED_MAX))
            }
            None => 0,
        };
        let slot = known.slot;
        if turns > 0 {
            // Into the middle of the turn before.
            let takes = BETWEEN + 100 * rank.turn;
            let after = (left + turns * takes - takes / 2).min(after_max);
            let width = if rank.before.is_none() { takes / 2 } else { 0 };
            self.store().pause(after..=after + width).await;
            self.rediscover(place).await?;
        } else if left > FAR {
            self.store().pause(left * 3 / 4..=left * 3 / 4).await;
            self.rediscover(place).await?;
        } else if (left > 0 || turn.race > 0 && self.now().since(place.seen_ms) > NEWS)
            && let Some(known) = place.known.take()
        {
            // When the last of them is there, going by when the first was.
            let after = left.saturating_sub(self.now().since(place.seen_ms));
            self.store().pause(after.saturating_sub(30)..=after).await;
            let pace = known.pace;
            place.seen_ms = self.store().monotonic_ms();
            place.known = self.leap(known, (left / 100).max(1)).await?;
            if let Some(known) = &mut place.known {
                known.pace = pace;
                self.meet(known);
            }
        } else {
            if look == 0 && turn.race > 0 && rank.before.is_none() {
                // So that two who lost together do not lose together again.
                self.store().pause(0..=100).await;
            }
            return Ok(false);
        }
        if place.known.as_ref().map(|known| known.slot) == Some(slot) {
            // Nobody goes on, so there is nobody to wait for.
            turn.looks = LOOKS_MAX;
        }
        Ok(true)
    }

    /// Takes note that others have committed.
    pub(super) fn meet(&self, known: &mut Known) {
        known.pace.has_met(self.now());
        self.name_instance(known);
    }

    fn name_instance(&self, known: &mut Known) {
        if known.pace.instance == 0 {
            let drawn = self.store().draw_below(u64::from(u32::MAX));
            known.pace.instance = u32::try_from(drawn + 1).unwrap_or(1);
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            ms: self.store().monotonic_ms(),
            round_trip_us: self.store().round_trip_us(),
        }
    }
}
