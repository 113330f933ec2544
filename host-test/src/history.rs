//! What callers of a log were told, checked against what the log holds.
//!
//! The check knows nothing of protocols: it takes the calls with their times and
//! answers, and the records as somebody else read them afterwards. Every batch is
//! recognised by its bodies, which must be unique.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// How the appending of one batch ended, as far as its caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Acknowledged at these offsets, from the first up to, not including, the second.
    Acknowledged(u64, u64),
    /// Refused: the batch is certainly not in the log.
    Rejected,
    /// Nobody said. The batch may be in the log.
    Unknown,
}

/// One batch, with all calls that were made to append it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// For people: who appended what.
    pub label: String,
    /// The records.
    pub bodies: Vec<Vec<u8>>,
    /// When the first of the calls began.
    pub began: Duration,
    /// When the last of them ended, if it did.
    pub ended: Option<Duration>,
    /// What the caller was told in the end.
    pub ending: Ending,
}

/// A statement about where the log ended, at some moment of a call.
#[derive(Clone, Debug)]
pub struct TailSeen {
    /// For people: who asked.
    pub label: String,
    /// When the call began.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
    /// The answer.
    pub offset: u64,
}

/// Records that somebody read while the log grew.
#[derive(Clone, Debug)]
pub struct Seen {
    /// For people: who read.
    pub label: String,
    /// The record's offset.
    pub offset: u64,
    /// Its body.
    pub body: Vec<u8>,
}

/// Everything that happened to one log.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Every batch that anybody tried to append.
    pub attempts: Vec<Attempt>,
    /// Every answer about the tail.
    pub tails: Vec<TailSeen>,
    /// Every record that was read on the way.
    pub seen: Vec<Seen>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Batches that somebody tried to append.
    pub attempts: usize,
    /// Batches that were acknowledged.
    pub acknowledged: usize,
    /// Batches that were acknowledged and are in the log where they should be.
    pub found: usize,
    /// Acknowledged batches that are not in the log, or not whole.
    pub lost: usize,
    /// Batches that are in the log more than once.
    pub duplicated: usize,
    /// Acknowledged batches that are elsewhere than their callers were told.
    pub moved: usize,
    /// Batches of unknown ending that are in the log.
    pub surfaced: usize,
    /// Everything that must not be, one line each.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// # Errors
    /// If anything is wrong.
    pub fn into_result(self) -> anyhow::Result<Self> {
        match self.is_clean() {
            true => Ok(self),
            false => Err(anyhow::anyhow!("{self}")),
        }
    }

    fn broken(&mut self, violation: String) {
        self.violations.push(violation);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} batches, {} acknowledged, {} found, {} lost, {} duplicated, {} moved, \
             {} of unknown ending in the log",
            self.attempts,
            self.acknowledged,
            self.found,
            self.lost,
            self.duplicated,
            self.moved,
            self.surfaced
        )?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

/// Where the batch with this ending really is.
struct Placed<'a> {
    attempt: &'a Attempt,
    start: u64,
    end: u64,
}

impl History {
    /// Checks this history against the log from offset 0 on, as it was read back:
    ///
    /// * every acknowledged batch is there once, at the offsets that its caller was
    ///   told; a rejected one is absent; one of unknown ending is there once, or
    ///   absent; all of them are there whole or not at all;
    /// * nothing else is there;
    /// * a batch that was acknowledged before another was begun stands before it;
    /// * an answer about the tail is not below what was acknowledged before the
    ///   question, nor below an earlier answer, nor beyond what was begun in time;
    /// * whatever was read on the way is what is there now.
    pub fn check(&self, log: &[Vec<u8>]) -> Verdict {
        let mut verdict = Verdict {
            attempts: self.attempts.len(),
            ..Verdict::default()
        };
        let mut places: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
        for (offset, body) in (0..).zip(log) {
            places.entry(body).or_default().push(offset);
        }
        self.check_bodies(&places, &mut verdict);
        let placed: Vec<Placed<'_>> = self
            .attempts
            .iter()
            .filter_map(|attempt| place(attempt, log, &places, &mut verdict))
            .collect();
        check_order(&placed, &mut verdict);
        self.check_tails(&placed, log.len() as u64, &mut verdict);
        self.check_seen(log, &mut verdict);
        verdict
    }

    /// Nobody's records, and bodies that two batches share.
    fn check_bodies(&self, places: &BTreeMap<&[u8], Vec<u64>>, verdict: &mut Verdict) {
        let mut known = BTreeSet::new();
        for attempt in &self.attempts {
            for body in &attempt.bodies {
                if !known.insert(body.as_slice()) {
                    verdict.broken(format!(
                        "{}: the test appends {} twice, so nothing can be told",
                        attempt.label,
                        shown(body)
                    ));
                }
            }
        }
        for (body, offsets) in places {
            if !known.contains(body) {
                verdict.broken(format!(
                    "{} at {offsets:?}, which nobody appended",
                    shown(body)
                ));
            }
        }
    }

    fn check_tails(&self, placed: &[Placed<'_>], length: u64, verdict: &mut Verdict) {
        for seen in &self.tails {
            let TailSeen {
                label,
                began,
                ended,
                offset,
            } = seen;
            // A batch of unknown ending may get into the log long after its call.
            let acknowledged = placed.iter().filter(|placed| {
                matches!(placed.attempt.ending, Ending::Acknowledged(..))
                    && placed.attempt.ended.is_some_and(|ended| ended < *began)
            });
            let least = acknowledged.map(|placed| placed.end).max().unwrap_or(0);
            if *offset < least {
                verdict.broken(format!(
                    "{label}: was told that the log ends at {offset}, after an append up to \
                     {least} had been acknowledged"
                ));
            }
            // Every record before the tail must have been begun by then.
            let later = placed.iter().filter(|placed| placed.attempt.began > *ended);
            let most = later.map(|placed| placed.start).min().unwrap_or(length);
            if *offset > most.min(length) {
                verdict.broken(format!(
                    "{label}: was told that the log ends at {offset}, when nobody had appended \
                     beyond {most}"
                ));
            }
        }
        let mut by_end: Vec<&TailSeen> = self.tails.iter().collect();
        by_end.sort_by_key(|seen| seen.ended);
        let mut by_begin: Vec<&TailSeen> = self.tails.iter().collect();
        by_begin.sort_by_key(|seen| seen.began);
        let mut earlier = by_end.into_iter().peekable();
        let mut highest = 0;
        for seen in by_begin {
            while let Some(before) = earlier.next_if(|before| before.ended < seen.began) {
                highest = highest.max(before.offset);
            }
            if seen.offset < highest {
                verdict.broken(format!(
                    "{}: was told that the log ends at {}, after somebody had been told {highest}",
                    seen.label, seen.offset
                ));
            }
        }
    }

    fn check_seen(&self, log: &[Vec<u8>], verdict: &mut Verdict) {
        for seen in &self.seen {
            let now = usize::try_from(seen.offset).ok().and_then(|at| log.get(at));
            if now != Some(&seen.body) {
                verdict.broken(format!(
                    "{}: read {} at {}, where {} is now",
                    seen.label,
                    shown(&seen.body),
                    seen.offset,
                    now.map_or("nothing".to_owned(), |body| shown(body)),
                ));
            }
        }
    }
}

/// Finds one batch, and says what is wrong with its place.
fn place<'a>(
    attempt: &'a Attempt,
    log: &[Vec<u8>],
    places: &BTreeMap<&[u8], Vec<u64>>,
    verdict: &mut Verdict,
) -> Option<Placed<'a>> {
    let label = &attempt.label;
    let count = attempt.bodies.len() as u64;
    let offsets_of = |body: &Vec<u8>| places.get(body.as_slice()).map_or(&[][..], Vec::as_slice);
    let copies = attempt.bodies.iter().map(|body| offsets_of(body).len());
    let (fewest, most) = (copies.clone().min().unwrap_or(0), copies.max().unwrap_or(0));
    let first = attempt.bodies.first().map_or(&[][..], offsets_of);
    if most > 1 {
        verdict.duplicated += 1;
        verdict.broken(format!(
            "{label}: is in the log {most} times, first at {first:?}"
        ));
    }
    if most > 0 && fewest == 0 {
        verdict.broken(format!("{label}: only a part of it is in the log"));
    }
    let start = first.first().copied();
    // In order, without gaps, from `start` on.
    let whole = |start: u64| {
        let from = usize::try_from(start).unwrap_or(usize::MAX);
        let there = log.get(from..from.saturating_add(attempt.bodies.len()));
        there == Some(attempt.bodies.as_slice())
    };
    if let Some(start) = start
        && !whole(start)
    {
        verdict.broken(format!(
            "{label}: its records do not stand together at {start}"
        ));
    }
    match &attempt.ending {
        Ending::Acknowledged(told, end) => {
            verdict.acknowledged += 1;
            if end.checked_sub(*told) != Some(count) {
                verdict.broken(format!(
                    "{label}: {count} records acknowledged at {told}..{end}"
                ));
            }
            match start {
                _ if whole(*told) => verdict.found += 1,
                Some(start) => {
                    verdict.moved += 1;
                    verdict.broken(format!("{label}: acknowledged at {told}, found at {start}"));
                }
                None => {
                    verdict.lost += 1;
                    verdict.broken(format!("{label}: acknowledged at {told}, and lost"));
                }
            }
        }
        Ending::Rejected => {
            if let Some(start) = start {
                verdict.broken(format!("{label}: rejected, and in the log at {start}"));
            }
        }
        Ending::Unknown => verdict.surfaced += usize::from(start.is_some()),
    }
    start.map(|start| Placed {
        attempt,
        start,
        end: start.saturating_add(count),
    })
}

/// Real time: what ended before something else began stands before it.
fn check_order(placed: &[Placed<'_>], verdict: &mut Verdict) {
    let mut by_end: Vec<&Placed<'_>> = placed
        .iter()
        .filter(|placed| matches!(placed.attempt.ending, Ending::Acknowledged(..)))
        .filter(|placed| placed.attempt.ended.is_some())
        .collect();
    by_end.sort_by_key(|placed| placed.attempt.ended);
    let mut by_begin: Vec<&Placed<'_>> = placed.iter().collect();
    by_begin.sort_by_key(|placed| placed.attempt.began);
    let mut earlier = by_end.into_iter().peekable();
    let mut highest: Option<&Placed<'_>> = None;
    for later in by_begin {
        while let Some(before) =
            earlier.next_if(|before| before.attempt.ended < Some(later.attempt.began))
        {
            if highest.is_none_or(|highest| highest.start < before.start) {
                highest = Some(before);
            }
        }
        if let Some(before) = highest
            && later.start < before.start
        {
            verdict.broken(format!(
                "{}: at {}, before {} at {}, which was acknowledged before it began",
                later.attempt.label, later.start, before.attempt.label, before.start
            ));
        }
    }
}

fn shown(body: &[u8]) -> String {
    const SHOWN_BYTES: usize = 40;
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn attempt(body: &str, times: (u64, u64), ending: Ending) -> Attempt {
        Attempt {
            label: body.to_owned(),
            bodies: body
                .split('+')
                .map(|body| body.as_bytes().to_vec())
                .collect(),
            began: at(times.0),
            ended: Some(at(times.1)),
            ending,
        }
    }

    fn log(text: &str) -> Vec<Vec<u8>> {
        text.split_whitespace()
            .map(|body| body.as_bytes().to_vec())
            .collect()
    }

    /// `a` and `b+c` acknowledged one after the other, `d` rejected, `e` unknown.
    fn history() -> History {
        History {
            attempts: vec![
                attempt("a", (0, 1), Ending::Acknowledged(0, 1)),
                attempt("b+c", (2, 3), Ending::Acknowledged(1, 3)),
                attempt("d", (2, 3), Ending::Rejected),
                attempt("e", (2, 9), Ending::Unknown),
            ],
            ..History::default()
        }
    }

    fn complaint(history: &History, text: &str) -> String {
        history.check(&log(text)).violations.join("\n")
    }

    #[test]
    fn a_right_history_passes() {
        for text in ["a b c", "a b c e"] {
            let verdict = history().check(&log(text));
            assert!(verdict.is_clean(), "{verdict}");
            assert_eq!((verdict.acknowledged, verdict.found), (2, 2));
        }
        assert_eq!(history().check(&log("a b c e")).surfaced, 1);
    }

    #[test]
    fn every_kind_of_damage_is_seen() {
        let counts = |text: &str| {
            let Verdict {
                lost,
                duplicated,
                moved,
                ..
            } = history().check(&log(text));
            (lost, duplicated, moved)
        };
        assert_eq!(counts("a"), (1, 0, 0));
        assert_eq!(counts("a b c a"), (0, 1, 0));
        assert_eq!(counts("a b c b c"), (0, 1, 0));
        assert_eq!(counts("e a b c"), (0, 0, 2));
        for (text, why) in [
            ("a", "b+c: acknowledged at 1, and lost"),
            ("a b", "only a part"),
            ("a b e c", "do not stand together"),
            ("a c b", "do not stand together"),
            ("a b c a", "in the log 2 times"),
            ("e a b c", "acknowledged at 0, found at 1"),
            ("a b c d", "rejected, and in the log at 3"),
            ("a b c x", "which nobody appended"),
            ("a b c e e", "e: is in the log 2 times"),
        ] {
            let said = complaint(&history(), text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn real_time_is_kept() {
        let mut reversed = history();
        reversed.attempts[0].ending = Ending::Acknowledged(2, 3);
        reversed.attempts[1].ending = Ending::Acknowledged(0, 2);
        let said = complaint(&reversed, "b c a");
        assert!(said.contains("b+c: at 0, before a at 2"), "{said}");
        // Overlapping appends may stand in any order.
        reversed.attempts[0].ended = Some(at(2));
        assert_eq!(complaint(&reversed, "b c a"), "");
        // What was begun after an acknowledgement cannot surface before it.
        let mut late = history();
        late.attempts[3].began = at(4);
        late.attempts[0].ending = Ending::Acknowledged(0, 1);
        late.attempts[1].ending = Ending::Acknowledged(2, 4);
        assert!(complaint(&late, "a e b c").contains("e: at 1, before b+c"));
    }

    #[test]
    fn tails_are_linearizable() {
        let told = |began, ended, offset| TailSeen {
            label: "r".to_owned(),
            began: at(began),
            ended: at(ended),
            offset,
        };
        let check = |tails: Vec<TailSeen>| complaint(&History { tails, ..history() }, "a b c");
        assert_eq!(check(vec![told(2, 3, 1), told(2, 3, 3), told(4, 5, 3)]), "");
        assert!(check(vec![told(4, 5, 1)]).contains("up to 3 had been acknowledged"));
        assert!(check(vec![told(0, 1, 3)]).contains("nobody had appended beyond 1"));
        assert!(check(vec![told(4, 5, 4)]).contains("beyond 3"));
        // Nobody said that `e` is in the log already.
        let mut late = history();
        late.attempts[3].ended = Some(at(3));
        late.tails = vec![told(4, 5, 3)];
        assert_eq!(complaint(&late, "a b c e"), "");
        // Both overlap the append of `b+c`, but not each other.
        let mut slow = history();
        slow.attempts[1].ended = Some(at(9));
        slow.tails = vec![told(3, 4, 3), told(5, 6, 1)];
        assert!(complaint(&slow, "a b c").contains("after somebody had been told 3"));
    }

    #[test]
    fn what_was_read_must_stay() {
        let mut read = history();
        read.seen.push(Seen {
            label: "r".to_owned(),
            offset: 1,
            body: b"b".to_vec(),
        });
        assert_eq!(complaint(&read, "a b c"), "");
        read.seen[0].offset = 2;
        assert!(complaint(&read, "a b c").contains("read \"b\" at 2, where \"c\" is now"));
        read.seen[0].offset = 3;
        assert!(complaint(&read, "a b c").contains("where nothing is now"));
    }

    /// Whether some order of the batches explains a history, by trying all of them: the
    /// definition of linearizability. Each batch has one record here.
    fn is_linearizable(history: &History, log: &[Vec<u8>]) -> bool {
        // Where a batch is said to be, or may be.
        fn places(history: &History, log: &[Vec<u8>], order: &mut Vec<usize>) -> bool {
            let attempts = &history.attempts;
            if order.len() == log.len() {
                return is_legal(history, order);
            }
            let body = &log[order.len()];
            (0..attempts.len()).any(|at| {
                if order.contains(&at) || attempts[at].bodies[0] != *body {
                    return false;
                }
                order.push(at);
                let found = places(history, log, order);
                order.pop();
                found
            })
        }
        places(history, log, &mut Vec::new())
    }

    /// Whether the batches may take effect in this order, and the others never, so that
    /// all answers are right.
    fn is_legal(history: &History, order: &[usize]) -> bool {
        let attempts = &history.attempts;
        let answers = (0..attempts.len()).all(|at| {
            let place = order.iter().position(|it| *it == at);
            match attempts[at].ending {
                Ending::Acknowledged(start, end) => {
                    place == usize::try_from(start).ok() && end == start + 1
                }
                Ending::Rejected => place.is_none(),
                Ending::Unknown => true,
            }
        });
        // A batch takes effect between its call and its answer, or any time after the
        // call if there was none. A question about the tail does the same between.
        let latest = |at: usize| match attempts[at].ending {
            Ending::Acknowledged(..) => attempts[at].ended,
            _ => None,
        };
        let mut calls: Vec<(u64, Duration, Option<Duration>)> = Vec::new();
        for (place, at) in (0..).zip(order) {
            calls.push((2 * place + 1, attempts[*at].began, latest(*at)));
        }
        for seen in &history.tails {
            // Behind the record before the tail, and before the next.
            calls.push((2 * seen.offset, seen.began, Some(seen.ended)));
            if seen.offset > order.len() as u64 {
                return false;
            }
        }
        // No call may end before one begins that comes before it in the order; of two
        // questions with one answer, either may be the first.
        answers
            && calls.iter().all(|(place, began, _)| {
                calls.iter().all(|(other, _, ended)| {
                    other <= place || ended.is_none_or(|ended| ended >= *began)
                })
            })
    }

    #[test]
    fn the_check_agrees_with_a_search_over_all_orders() {
        let mut dice = crate::random::Seeded::new(7);
        let (mut right, mut wrong) = (0, 0);
        for _ in 0..20_000 {
            let count = 1 + dice.below(4);
            let attempts = (0..count).map(|number| {
                let began = dice.below(8);
                let place = dice.below(count);
                let ending = match dice.below(6) {
                    0 => Ending::Rejected,
                    1 => Ending::Unknown,
                    _ => Ending::Acknowledged(place, place + 1),
                };
                attempt(&number.to_string(), (began, began + dice.below(6)), ending)
            });
            let attempts: Vec<Attempt> = attempts.collect();
            // Mostly what the acknowledged ones say.
            let mut places: Vec<(u64, Vec<u8>)> = Vec::new();
            for attempt in &attempts {
                let place = match attempt.ending {
                    Ending::Acknowledged(start, _) => start,
                    Ending::Unknown if dice.below(2) == 0 => dice.below(count),
                    _ if dice.below(20) == 0 => dice.below(count),
                    _ => continue,
                };
                places.push((place, attempt.bodies[0].clone()));
            }
            places.sort();
            let log: Vec<Vec<u8>> = places.into_iter().map(|(_, body)| body).collect();
            let tails = (0..dice.below(3)).map(|_| {
                let began = dice.below(10);
                TailSeen {
                    label: "r".to_owned(),
                    began: at(began),
                    ended: at(began + dice.below(4)),
                    offset: dice.below(log.len() as u64 + 1),
                }
            });
            let history = History {
                tails: tails.collect(),
                attempts,
                ..History::default()
            };
            let verdict = history.check(&log);
            let expected = is_linearizable(&history, &log);
            assert_eq!(
                verdict.is_clean(),
                expected,
                "{history:#?}\n{log:?}\n{verdict}"
            );
            match expected {
                true => right += 1,
                false => wrong += 1,
            }
        }
        assert!(right > 1_000 && wrong > 1_000, "{right} {wrong}");
    }
}
