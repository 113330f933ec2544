//! Copies of running instances.
//!
//! A host may copy a running instance, as it copies a virtual machine. The runtime
//! here cannot; but a component is deterministic, so an instance that is given the
//! same calls, replies, times and random bytes as another is a copy of it. A tape
//! holds what the first was given.

use crate::wire::Answer;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the host gave to one instance, in order.
#[derive(Debug, Default)]
pub struct Tape {
    inner: Mutex<Inner>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    sent: Vec<(String, Option<Answer>)>,
    monotonic_ns: Vec<u64>,
    wall: Vec<Duration>,
    /// Of each timer, whether it ran out.
    timers: Vec<bool>,
    replay: Option<Heads>,
}

/// How far a replay has come.
#[derive(Clone, Debug, Default)]
struct Heads {
    sent: usize,
    monotonic_ns: usize,
    wall: usize,
    timers: usize,
    /// How the copy went its own way.
    diverged: Option<String>,
}

/// What the tape says of a request.
pub(crate) enum Sent {
    /// It is new, and noted in this place.
    Noted(usize),
    /// It was sent before, and answered so; `None` if the instance did not wait.
    Before(Option<Answer>),
}

impl Tape {
    /// The same tape, from its start, for a copy to be given.
    pub fn rewound(&self) -> Self {
        let mut inner = self.inner().clone();
        inner.replay = Some(Heads::default());
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// Ends a replay. What comes next is recorded behind it.
    ///
    /// # Errors
    /// If the instance is not a copy of the other: it asked for something else.
    pub fn end_replay(&self) -> Result<(), String> {
        let mut inner = self.inner();
        let lengths = (inner.sent.len(), inner.monotonic_ns.len(), inner.wall.len());
        let Some(heads) = inner.replay.take() else {
            return Ok(());
        };
        let reached = (heads.sent, heads.monotonic_ns, heads.wall);
        match heads.diverged {
            Some(how) => Err(how),
            None if reached != lengths => Err(format!("{reached:?} of {lengths:?} replayed")),
            None => Ok(()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request is sent; or, in a replay, finds it.
    pub(crate) fn send(&self, request: String) -> Sent {
        let mut inner = self.inner();
        let Inner { sent, replay, .. } = &mut *inner;
        let Some(heads) = replay else {
            sent.push((request, None));
            return Sent::Noted(sent.len() - 1);
        };
        let recorded = sent.get(heads.sent);
        heads.sent += 1;
        match recorded {
            Some((same, answer)) if *same == request => Sent::Before(answer.clone()),
            other => {
                let expected = other.map_or("nothing", |(request, _)| request);
                heads.diverged = Some(format!("sent {request} instead of {expected}"));
                Sent::Before(Some(Err(crate::wire::Failure::Refused)))
            }
        }
    }

    /// Notes the answer to a request.
    pub(crate) fn answered(&self, place: usize, answer: &Answer) {
        if let Some((_, noted)) = self.inner().sent.get_mut(place) {
            *noted = Some(answer.clone());
        }
    }

    /// What the monotonic clock shows.
    pub(crate) fn monotonic_ns(&self, now: u64) -> u64 {
        let mut inner = self.inner();
        let Inner {
            monotonic_ns,
            replay,
            ..
        } = &mut *inner;
        match replay {
            None => monotonic_ns.push(now),
            Some(heads) => {
                heads.monotonic_ns += 1;
                if let Some(shown) = monotonic_ns.get(heads.monotonic_ns - 1) {
                    return *shown;
                }
                heads.diverged = Some("looked at the clock once more".to_owned());
            }
        }
        now
    }

    /// What the wall clock shows.
    pub(crate) fn wall(&self, now: Duration) -> Duration {
        let mut inner = self.inner();
        let Inner { wall, replay, .. } = &mut *inner;
        match replay {
            None => wall.push(now),
            Some(heads) => {
                heads.wall += 1;
                if let Some(shown) = wall.get(heads.wall - 1) {
                    return *shown;
                }
                heads.diverged = Some("looked at the wall clock once more".to_owned());
            }
        }
        now
    }

    /// The place of a timer that is begun.
    pub(crate) fn new_timer(&self) -> usize {
        let mut inner = self.inner();
        let Inner { timers, replay, .. } = &mut *inner;
        match replay {
            None => {
                timers.push(false);
                timers.len() - 1
            }
            Some(heads) => {
                heads.timers += 1;
                heads.timers - 1
            }
        }
    }

    /// Notes that a timer ran out.
    pub(crate) fn ran_out(&self, place: usize) {
        if let Some(timer) = self.inner().timers.get_mut(place) {
            *timer = true;
        }
    }

    /// In a replay, whether the timer in this place ran out.
    pub(crate) fn replay_timer(&self, place: usize) -> Option<bool> {
        let inner = self.inner();
        inner.replay.as_ref()?;
        Some(inner.timers.get(place).copied().unwrap_or(true))
    }
}
