//! What goes wrong in one run, drawn from its seed.

use crate::faults::{Clocks, Fault, Loss, Moment, Pause, Rates, Spans};
use crate::random::Seeded;
use std::time::Duration;

/// What befalls an actor between its calls, or in the middle of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Its instance is killed in the middle of a call, and started anew.
    Kill,
    /// Its instance is stopped between two calls, and started anew.
    Restart,
    /// Its host copies the running instance, and both go on.
    Clone,
    /// Its wall clock jumps by up to a day, either way.
    ClockJump,
}

impl Mishap {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Restart, Self::Clone, Self::ClockJump];

    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Clone => "clone",
            Self::ClockJump => "clock-jump",
        }
    }
}

/// The name under which instances are counted whose clocks run wrong.
pub const CLOCK_RATE: &str = "clock-rate";

/// The name under which replies are counted that a front end sent whose clock is off.
const SKEW: &str = "skew-store";

/// The name under which writes are counted that come too soon behind another to
/// their key.
const WRITE_TOO_SOON: &str = "write-too-soon";

/// Everything that must go wrong in every run, under the names of its counters.
pub const KINDS: [&str; 23] = [
    "break-reply",
    "clock-jump",
    CLOCK_RATE,
    "clone",
    "conflict",
    "corrupt-reply",
    "duplicate",
    "expire-credentials",
    "fail-after",
    "fail-before",
    "kill",
    "late",
    "lose-reply",
    "lose-request",
    "omit-date",
    "pause",
    "refuse",
    "restart",
    "short-page",
    SKEW,
    "slow-down",
    "truncate-reply",
    WRITE_TOO_SOON,
];

/// The weather of one run.
#[derive(Clone, Debug)]
pub struct Weather {
    /// How often requests go wrong.
    pub rates: Rates,
    /// Time ranges of what goes wrong.
    pub spans: Spans,
    /// What goes wrong with some request in any case.
    pub owed: Vec<Fault>,
    /// At most one write to one key in this time.
    pub write_interval: Duration,
    /// One call in so many is cut off by a killing.
    pub killed_one_in: u64,
    /// By how many millionths clocks may run wrong.
    pub rate_ppm: u32,
    /// The grace and the clock margin of the logs.
    pub grace_ms: (u32, u32),
    /// The clock margin of the leases.
    pub lease_margin_ms: u32,
    /// The longest pause of a writer for thought.
    pub thought_ms: u64,
    /// The longest pause of whoever trims, merges or sweeps.
    pub collect_ms: u64,
}

const HOUR_MS: u64 = 3_600_000;

impl Weather {
    /// The weather of a seed.
    pub fn drawn(dice: &mut Seeded) -> Self {
        let mut pick = |from: &[u64]| {
            let at = usize::try_from(dice.below(from.len() as u64)).unwrap_or(0);
            from.get(at).copied().unwrap_or_default()
        };
        // From quiet to rough: what goes wrong now and then leaves room for what
        // needs several calls to go well.
        let strength = pick(&[1, 5, 10, 15]) as f64 / 10.0;
        let late_ms = pick(&[2_000, 60_000, 600_000, 3 * HOUR_MS]);
        let pause_ms = pick(&[5_000, 60_000, HOUR_MS, 3 * HOUR_MS]);
        let grace_ms = pick(&[8_000, 30_000, 600_000, HOUR_MS]);
        let margin_ms = (grace_ms / 4).min(300_000);
        let skew_ms = pick(&[50, 400]).min((margin_ms - 1_000) / 2);
        let rate_ppm = pick(&[500, 100_000, 300_000]);
        let write_interval = pick(&[50, 200, 1_000]);
        let killed_one_in = pick(&[12, 40]);
        let rates = Rates {
            corrupt_reply: 0.003,
            ..Rates::bad_day()
        };
        let owed = owed(dice, late_ms, pause_ms);
        Self {
            rates: rates.times(strength),
            spans: Spans {
                request: Duration::from_millis(1)..=Duration::from_millis(40),
                reply: Duration::from_millis(1)..=Duration::from_millis(40),
                late: Duration::from_millis(1)..=Duration::from_millis(late_ms),
                pause: Duration::from_millis(100)..=Duration::from_millis(pause_ms),
                skew: Duration::from_millis(skew_ms),
            },
            owed,
            write_interval: Duration::from_millis(write_interval),
            killed_one_in,
            rate_ppm: rate_ppm as u32,
            grace_ms: (grace_ms as u32, margin_ms as u32),
            lease_margin_ms: 1_000 + 2 * skew_ms as u32,
            thought_ms: 4_000,
            collect_ms: 60_000,
        }
    }

    /// Much sleeps and arrives late, where little has to age before it goes.
    pub fn sleepy(&mut self) {
        const LONG_MS: u64 = 600_000;
        self.rates = Rates {
            pause: 0.05,
            late: 0.05,
            duplicate: 0.05,
            corrupt_reply: 0.0,
            ..Rates::bad_day().times(0.2)
        };
        self.spans.pause = Duration::from_secs(5)..=Duration::from_millis(LONG_MS);
        self.spans.late = Duration::from_secs(5)..=Duration::from_millis(LONG_MS);
        self.spans.skew = Duration::from_millis(50);
        self.lease_margin_ms = 1_100;
        self.grace_ms = (8_000, 2_000);
        self.killed_one_in = 40;
        self.collect_ms = 10_000;
    }

    /// Everybody writes as fast as they can, to a store that is far away.
    pub fn crowd(&mut self) {
        let way = Duration::from_millis(20)..=Duration::from_millis(120);
        self.rates = Rates::bad_day().times(0.3);
        (self.spans.request, self.spans.reply) = (way.clone(), way);
        self.killed_one_in = 40;
        self.write_interval = Duration::from_millis(50);
        self.thought_ms = 300;
        self.collect_ms = 10_000;
    }
}

/// One of each kind, in an order of the seed's.
fn owed(dice: &mut Seeded, late_ms: u64, pause_ms: u64) -> Vec<Fault> {
    let mut late = |most_ms: u64| Duration::from_millis(1 + dice.below(most_ms));
    let (soon, later, hours) = (late(late_ms), late(late_ms), late(3 * HOUR_MS));
    let pause = |moment, length, clocks| {
        Fault::Pause(Pause {
            moment,
            length,
            clocks,
        })
    };
    let (short, long) = (late(pause_ms), late(3 * HOUR_MS));
    let mut owed = vec![
        Fault::Refuse,
        Fault::LoseRequest(Loss::Reset),
        Fault::LoseRequest(Loss::Silence),
        Fault::LoseReply(Loss::Reset),
        Fault::LoseReply(Loss::Silence),
        Fault::Duplicate(soon),
        Fault::Late(later),
        Fault::Late(hours),
        Fault::Conflict,
        Fault::SlowDown(429),
        Fault::SlowDown(503),
        Fault::FailBefore(500),
        Fault::FailBefore(503),
        Fault::FailAfter(500),
        Fault::FailAfter(503),
        Fault::TruncateReply,
        Fault::BreakReply,
        Fault::CorruptReply,
        Fault::OmitDate,
        Fault::ShortPage(1),
        Fault::ExpireCredentials,
        pause(Moment::BeforeSending, short, Clocks::Stop),
        pause(Moment::AfterApplying, long, Clocks::Run),
    ];
    for end in (1..owed.len()).rev() {
        let other = usize::try_from(dice.below(end as u64 + 1)).unwrap_or(0);
        owed.swap(end, other);
    }
    owed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn everything_that_must_happen_is_owed() {
        let bends: [fn(&mut Weather); 3] = [|_| {}, Weather::sleepy, Weather::crowd];
        for (seed, bend) in (0..60).zip(bends.into_iter().cycle()) {
            let mut weather = Weather::drawn(&mut Seeded::new(seed));
            bend(&mut weather);
            let mut names: BTreeSet<&str> = weather.owed.iter().map(Fault::name).collect();
            names.extend(Mishap::ALL.map(Mishap::name));
            names.extend([CLOCK_RATE, SKEW, WRITE_TOO_SOON]);
            assert_eq!(names, BTreeSet::from(KINDS));
            assert!(weather.grace_ms.1 <= weather.grace_ms.0 / 4);
            let skew_ms = weather.spans.skew.as_millis() as u32;
            assert!(2 * skew_ms + 1_000 <= weather.grace_ms.1.min(weather.lease_margin_ms));
        }
    }
}
