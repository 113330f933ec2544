//! What goes wrong between a component and its store, and when.
//!
//! A plan has rules, which say what happens to a certain request, and rates,
//! which say how often something happens to any. The dice depend on the seed and
//! on the number of the request alone, so that a rule more or less does not shift
//! them.

use crate::random::Seeded;
use crate::store::{Condition, Facts, Kind};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How a caller learns that it gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The connection is reset at once.
    Reset,
    /// Nothing arrives until the caller gives up.
    Silence,
}

/// A time for which an instance and its host stand still, together with the
/// time-outs that they keep. The store and everybody else go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it begins.
    pub moment: Moment,
    /// How long it is.
    pub length: Duration,
    /// What the instance's clocks do meanwhile.
    pub clocks: Clocks,
}

/// When a pause begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the request leaves. It leaves at the end of the pause, and the
    /// instance sees the reply when it goes on.
    BeforeSending,
    /// When the request has been applied, before the instance sees the reply.
    AfterApplying,
}

/// What clocks do in a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// They run on, as in a stopped process.
    Run,
    /// They stand still too, as in a frozen virtual machine.
    Stop,
}

/// One thing that goes wrong with one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The connection is refused. Nothing was sent.
    Refuse,
    /// The request is lost on its way.
    LoseRequest(Loss),
    /// The request is applied; its reply is lost.
    LoseReply(Loss),
    /// The request is applied, and once more after this time.
    Duplicate(Duration),
    /// The caller hears nothing; the request is applied after this time.
    Late(Duration),
    /// 409 `ConditionalRequestConflict`. Nothing is applied.
    Conflict,
    /// `SlowDown` with this status, 429 or 503. Nothing is applied.
    SlowDown(u16),
    /// This status, 500 or 503. Nothing is applied.
    FailBefore(u16),
    /// This status, 500 or 503, although the request is applied.
    FailAfter(u16),
    /// The body of the reply ends in the middle.
    TruncateReply,
    /// The connection is reset in the middle of the reply's body.
    BreakReply,
    /// One bit of the reply's body is flipped.
    CorruptReply,
    /// The reply has no `Date`.
    OmitDate,
    /// A page holds at most this many keys, and says that there are more.
    ShortPage(usize),
    /// The request leaves after this time.
    HoldRequest(Duration),
    /// The request is applied at once; the reply arrives after this time.
    HoldReply(Duration),
    /// The instance and its host stand still.
    Pause(Pause),
    /// The store's front end answers with a clock that is off by this much.
    SkewStoreMs(i64),
    /// The credentials that signed the request have expired, for good.
    ExpireCredentials,
}

impl Fault {
    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::LoseRequest(_) => "lose-request",
            Self::LoseReply(_) => "lose-reply",
            Self::Duplicate(_) => "duplicate",
            Self::Late(_) => "late",
            Self::Conflict => "conflict",
            Self::SlowDown(_) => "slow-down",
            Self::FailBefore(_) => "fail-before",
            Self::FailAfter(_) => "fail-after",
            Self::TruncateReply => "truncate-reply",
            Self::BreakReply => "break-reply",
            Self::CorruptReply => "corrupt-reply",
            Self::OmitDate => "omit-date",
            Self::ShortPage(_) => "short-page",
            Self::HoldRequest(_) => "hold-request",
            Self::HoldReply(_) => "hold-reply",
            Self::Pause(_) => "pause",
            Self::SkewStoreMs(_) => "skew-store",
            Self::ExpireCredentials => "expire-credentials",
        }
    }

    /// Whether it means anything for such a request.
    fn suits(&self, facts: &Facts) -> bool {
        let writes = matches!(facts.kind, Kind::Put | Kind::Delete | Kind::DeleteMany);
        match self {
            Self::Duplicate(_) | Self::Late(_) | Self::FailAfter(_) => writes,
            Self::Conflict => facts.kind == Kind::Put && facts.condition != Condition::None,
            Self::TruncateReply | Self::BreakReply => {
                matches!(facts.kind, Kind::Get | Kind::List)
            }
            // Objects carry checksums. A listing has none: what its bytes are worth,
            // they owe to TLS.
            Self::CorruptReply => facts.kind == Kind::Get,
            Self::ShortPage(_) => facts.kind == Kind::List,
            _ => true,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Says what happens to certain requests.
#[derive(Clone, Debug)]
pub struct Rule {
    kind: Kind,
    prefix: String,
    instance: Option<String>,
    skip: u32,
    times: u32,
    fault: Fault,
}

/// A rule that does not say yet what happens.
#[derive(Clone, Debug)]
pub struct Matching {
    kind: Kind,
    prefix: String,
    instance: Option<String>,
    skip: u32,
    times: u32,
}

/// The first request of a kind. The methods narrow it down.
pub fn on(kind: Kind) -> Matching {
    Matching {
        kind,
        prefix: String::new(),
        instance: None,
        skip: 0,
        times: 1,
    }
}

impl Matching {
    /// Only requests whose key starts with `prefix`. The prefix of the
    /// installation is part of the key.
    pub fn under(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    /// Only requests of one instance.
    pub fn by(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    /// Not the first of them but the `n`th, counted from 1.
    pub fn nth(mut self, n: u32) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// Not once but for so many requests in a row.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// From then on, always.
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// What happens.
    pub fn then(self, fault: Fault) -> Rule {
        let Self {
            kind,
            prefix,
            instance,
            skip,
            times,
        } = self;
        Rule {
            kind,
            prefix,
            instance,
            skip,
            times,
            fault,
        }
    }
}

impl Rule {
    /// Whether the rule applies to this request. Counts it.
    fn strikes(&mut self, instance: &str, facts: &Facts) -> bool {
        let matches = self.kind == facts.kind
            && facts.key.starts_with(&self.prefix)
            && self.instance.as_deref().is_none_or(|name| name == instance);
        if !matches || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times != u32::MAX {
            self.times -= 1;
        }
        true
    }
}

/// How often things go wrong: for each, a share of the requests that it suits.
/// Together at most 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// See [`Fault::Refuse`].
    pub refuse: f64,
    /// See [`Fault::LoseRequest`].
    pub lose_request: f64,
    /// See [`Fault::LoseReply`].
    pub lose_reply: f64,
    /// See [`Fault::Duplicate`].
    pub duplicate: f64,
    /// See [`Fault::Late`].
    pub late: f64,
    /// See [`Fault::Conflict`].
    pub conflict: f64,
    /// See [`Fault::SlowDown`].
    pub slow_down: f64,
    /// See [`Fault::FailBefore`].
    pub fail_before: f64,
    /// See [`Fault::FailAfter`].
    pub fail_after: f64,
    /// See [`Fault::TruncateReply`].
    pub truncate_reply: f64,
    /// See [`Fault::BreakReply`].
    pub break_reply: f64,
    /// See [`Fault::CorruptReply`].
    pub corrupt_reply: f64,
    /// See [`Fault::OmitDate`].
    pub omit_date: f64,
    /// See [`Fault::ShortPage`].
    pub short_page: f64,
    /// See [`Fault::Pause`].
    pub pause: f64,
    /// See [`Fault::SkewStoreMs`].
    pub skew_store: f64,
}

impl Rates {
    /// Every kind of fault that a real store shows on a very bad day. Bodies are
    /// not corrupted: that is answered by an error, and not by going on.
    pub fn bad_day() -> Self {
        Self {
            refuse: 0.01,
            lose_request: 0.02,
            lose_reply: 0.03,
            duplicate: 0.02,
            late: 0.02,
            conflict: 0.02,
            slow_down: 0.02,
            fail_before: 0.02,
            fail_after: 0.02,
            truncate_reply: 0.01,
            break_reply: 0.01,
            corrupt_reply: 0.0,
            omit_date: 0.01,
            short_page: 0.05,
            pause: 0.01,
            skew_store: 0.05,
        }
    }
}

impl Rates {
    /// All of them, so many times as high.
    pub fn times(self, factor: f64) -> Self {
        Self {
            refuse: self.refuse * factor,
            lose_request: self.lose_request * factor,
            lose_reply: self.lose_reply * factor,
            duplicate: self.duplicate * factor,
            late: self.late * factor,
            conflict: self.conflict * factor,
            slow_down: self.slow_down * factor,
            fail_before: self.fail_before * factor,
            fail_after: self.fail_after * factor,
            truncate_reply: self.truncate_reply * factor,
            break_reply: self.break_reply * factor,
            corrupt_reply: self.corrupt_reply * factor,
            omit_date: self.omit_date * factor,
            short_page: self.short_page * factor,
            pause: self.pause * factor,
            skew_store: self.skew_store * factor,
        }
    }
}

/// Time ranges from which the dice draw.
#[derive(Clone, Debug)]
pub struct Spans {
    /// On the way to the store.
    pub request: RangeInclusive<Duration>,
    /// On the way back.
    pub reply: RangeInclusive<Duration>,
    /// Until a duplicate or late request arrives.
    pub late: RangeInclusive<Duration>,
    /// For which an instance stands still.
    pub pause: RangeInclusive<Duration>,
    /// By how much a front end's clock is off, either way.
    pub skew: Duration,
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            request: Duration::ZERO..=Duration::ZERO,
            reply: Duration::ZERO..=Duration::ZERO,
            late: Duration::from_millis(1)..=Duration::from_secs(600),
            pause: Duration::from_secs(1)..=Duration::from_secs(7200),
            skew: Duration::from_secs(2),
        }
    }
}

/// One request in so many meets a fault that is owed.
const OWED_ONE_IN: u64 = 6;

/// What happens to one request.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What goes wrong, if anything.
    pub fault: Option<Fault>,
    /// Time on the way to the store.
    pub request_delay: Duration,
    /// Time on the way back.
    pub reply_delay: Duration,
    /// For choices that do not matter to the plan, such as which bit to flip.
    pub dice: u64,
}

/// Everything that goes wrong in one run.
#[derive(Debug)]
pub struct Plan {
    seed: u64,
    rules: Vec<Rule>,
    rates: Rates,
    spans: Spans,
    owed: Vec<Fault>,
    write_interval: Option<Duration>,
    last_writes: BTreeMap<String, Duration>,
    asked: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Plan {
    /// A plan in which nothing goes wrong and nothing takes time.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            rules: Vec::new(),
            rates: Rates::default(),
            spans: Spans::default(),
            owed: Vec::new(),
            write_interval: None,
            last_writes: BTreeMap::new(),
            asked: 0,
            counts: BTreeMap::new(),
        }
    }

    /// Adds a rule. Of several that apply, the first added wins.
    pub fn script(&mut self, rule: Rule) -> &mut Self {
        self.rules.push(rule);
        self
    }

    /// Lets each of these happen once, to some request that it suits. Rates say
    /// what is likely; this says what a run must not be without.
    pub fn owe(&mut self, faults: impl IntoIterator<Item = Fault>) -> &mut Self {
        self.owed.extend(faults);
        self
    }

    /// How many of the owed faults have not happened yet.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Sets how often things go wrong from now on.
    pub fn rates(&mut self, rates: Rates) -> &mut Self {
        self.rates = rates;
        self
    }

    /// Sets the time ranges from now on.
    pub fn spans(&mut self, spans: Spans) -> &mut Self {
        self.spans = spans;
        self
    }

    /// Makes every request take this long, half of it in either direction.
    pub fn latency(&mut self, whole: Duration) -> &mut Self {
        self.spans.request = whole / 2..=whole / 2;
        self.spans.reply = whole - whole / 2..=whole - whole / 2;
        self
    }

    /// Lets at most one write for each key through in such a time; the others
    /// get 429. R2 and GCS do so, every second.
    pub fn one_write_per_key_in(&mut self, interval: Option<Duration>) -> &mut Self {
        self.write_interval = interval;
        self
    }

    /// Forgets rules and rates: from now on nothing goes wrong.
    pub fn calm(&mut self) -> &mut Self {
        self.rules.clear();
        self.rates = Rates::default();
        self.owed.clear();
        self.write_interval = None;
        self
    }

    /// What went wrong so far, and how often.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// How often one thing went wrong so far.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Decides about the next request.
    pub fn decide(&mut self, instance: &str, facts: &Facts) -> Decision {
        self.asked += 1;
        let mut dice = Seeded::new(self.seed ^ self.asked.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let diced = self.dice_fault(&mut dice, facts);
        let mut ruled = None;
        for rule in &mut self.rules {
            // Every rule counts the request, also behind one that strikes.
            if rule.strikes(instance, facts) && ruled.is_none() {
                ruled = Some(rule.fault.clone());
            }
        }
        let fault = ruled.or_else(|| self.pay(facts)).or(diced);
        if let Some(fault) = &fault {
            *self.counts.entry(fault.name()).or_default() += 1;
        }
        Decision {
            fault,
            request_delay: within(&mut dice, &self.spans.request),
            reply_delay: within(&mut dice, &self.spans.reply),
            dice: dice.draw(),
        }
    }

    /// Whether a write that arrives at `now` comes too soon after another one.
    pub fn write_comes_too_soon(&mut self, facts: &Facts, now: Duration) -> bool {
        let Some(interval) = self.write_interval.filter(|_| facts.kind == Kind::Put) else {
            return false;
        };
        let last = self.last_writes.get(&facts.key);
        if last.is_some_and(|last| now < *last + interval) {
            *self.counts.entry("write-too-soon").or_default() += 1;
            return true;
        }
        self.last_writes.insert(facts.key.clone(), now);
        false
    }

    /// One of the owed faults that suits, now and then.
    fn pay(&mut self, facts: &Facts) -> Option<Fault> {
        let mut dice = Seeded::new(self.seed ^ self.asked.wrapping_mul(0xd1b5_4a32_d192_ed03));
        if self.owed.is_empty() || dice.below(OWED_ONE_IN) > 0 {
            return None;
        }
        let at = self.owed.iter().position(|fault| fault.suits(facts))?;
        Some(self.owed.remove(at))
    }

    fn dice_fault(&self, dice: &mut Seeded, facts: &Facts) -> Option<Fault> {
        // Drawn in any case, so that what is drawn later does not depend on it.
        let mut chance = dice.unit();
        let loss = if dice.below(2) == 0 {
            Loss::Reset
        } else {
            Loss::Silence
        };
        let failure = if dice.below(2) == 0 { 500 } else { 503 };
        let slow = if dice.below(2) == 0 { 429 } else { 503 };
        let late = within(dice, &self.spans.late);
        let pause = Pause {
            moment: if dice.below(2) == 0 {
                Moment::BeforeSending
            } else {
                Moment::AfterApplying
            },
            length: within(dice, &self.spans.pause),
            clocks: if dice.below(2) == 0 {
                Clocks::Run
            } else {
                Clocks::Stop
            },
        };
        let keys = 1 + dice.below(3) as usize;
        let widest = self.spans.skew.as_millis() as i64;
        let skew = dice.below(2 * widest as u64 + 1) as i64 - widest;
        let rates = &self.rates;
        let table = [
            (rates.refuse, Fault::Refuse),
            (rates.lose_request, Fault::LoseRequest(loss)),
            (rates.lose_reply, Fault::LoseReply(loss)),
            (rates.duplicate, Fault::Duplicate(late)),
            (rates.late, Fault::Late(late)),
            (rates.conflict, Fault::Conflict),
            (rates.slow_down, Fault::SlowDown(slow)),
            (rates.fail_before, Fault::FailBefore(failure)),
            (rates.fail_after, Fault::FailAfter(failure)),
            (rates.truncate_reply, Fault::TruncateReply),
            (rates.break_reply, Fault::BreakReply),
            (rates.corrupt_reply, Fault::CorruptReply),
            (rates.omit_date, Fault::OmitDate),
            (rates.short_page, Fault::ShortPage(keys)),
            (rates.pause, Fault::Pause(pause)),
            (rates.skew_store, Fault::SkewStoreMs(skew)),
        ];
        for (rate, fault) in table {
            if chance < rate {
                return Some(fault).filter(|fault| fault.suits(facts));
            }
            chance -= rate;
        }
        None
    }
}

/// A time from a range, to the microsecond.
fn within(dice: &mut Seeded, range: &RangeInclusive<Duration>) -> Duration {
    let width = range.end().saturating_sub(*range.start()).as_micros() as u64;
    *range.start() + Duration::from_micros(dice.below(width + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str) -> Facts {
        Facts {
            kind: Kind::Put,
            key: key.to_owned(),
            condition: Condition::Absent,
            bytes_in: 0,
        }
    }

    #[test]
    fn rules_strike_the_requests_that_they_name() {
        let mut plan = Plan::new(1);
        plan.script(
            on(Kind::Put)
                .under("p/")
                .nth(3)
                .times(2)
                .then(Fault::Conflict),
        );
        plan.script(on(Kind::Put).by("b").always().then(Fault::Refuse));
        let struck: Vec<bool> = (0..6)
            .map(|_| plan.decide("a", &put("p/k")).fault.is_some())
            .collect();
        assert_eq!(struck, [false, false, true, true, false, false]);
        assert_eq!(plan.decide("a", &put("q")).fault, None);
        assert_eq!(plan.decide("b", &put("q")).fault, Some(Fault::Refuse));
        assert_eq!((plan.count("conflict"), plan.count("refuse")), (2, 1));
    }

    #[test]
    fn a_seed_repeats_and_a_rule_does_not_shift_the_dice() {
        let run = |seed, scripted: bool| {
            let mut plan = Plan::new(seed);
            plan.rates(Rates::bad_day());
            if scripted {
                plan.script(on(Kind::Put).nth(5).then(Fault::Conflict));
            }
            let mut faults: Vec<_> = (0..500)
                .map(|_| plan.decide("a", &put("k")).fault)
                .collect();
            faults.remove(4);
            (faults, plan.counts().values().sum::<u64>())
        };
        assert_eq!(run(7, false).0, run(7, true).0);
        assert_ne!(run(7, false).0, run(8, false).0);
        let (_, struck) = run(7, false);
        assert!(
            (50..150).contains(&struck),
            "{struck} of 500 at a rate of about a fifth"
        );
    }

    #[test]
    fn what_is_owed_happens_once_to_what_it_suits() {
        let mut plan = Plan::new(1);
        plan.owe([Fault::ShortPage(1), Fault::Conflict, Fault::Conflict]);
        let faults: Vec<_> = (0..100)
            .filter_map(|_| plan.decide("a", &put("k")).fault)
            .collect();
        assert_eq!(faults, [Fault::Conflict, Fault::Conflict]);
        assert_eq!(plan.owed(), 1, "a write has no pages");
        assert_eq!(plan.calm().owed(), 0);
    }

    #[test]
    fn writes_to_one_key_can_be_limited() {
        let mut plan = Plan::new(1);
        plan.one_write_per_key_in(Some(Duration::from_secs(1)));
        let mut soon = |key, ms| plan.write_comes_too_soon(&put(key), Duration::from_millis(ms));
        assert!(!soon("a", 0) && soon("a", 999) && !soon("b", 999) && !soon("a", 1000));
    }
}
