//! What happened, in one run and over all of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Begins the line of a history that tells what must not be.
pub const VIOLATED: &str = "VIOLATED";

/// What a long simulation should meet: every answer that a call has besides errors, and
/// the ways that lead there.
const BRANCHES: &[&str] = &[
    "acquire Ok Acquired",
    "acquire Ok Held",
    "acquire Ok Indeterminate",
    "append Ok Appended",
    "append Ok Fenced",
    "append Ok Indeterminate",
    "append Ok Mismatch",
    "append Ok OutOfSequence Forgotten",
    "append Ok OutOfSequence Gap",
    "append Ok OutOfSequence Superseded",
    "append looked at the watermark",
    "append lost a race",
    "append sent again",
    "append: offers were taken",
    "at Ok Absent",
    "at Ok PinExpired",
    "at Ok Snapshot",
    "at Ok Trimmed",
    "blob get Ok",
    "blob put Ok",
    "campaign Ok Acquired",
    "campaign Ok Held",
    "campaign Ok Indeterminate",
    "claim Ok Appended",
    "claim Ok Fenced",
    "claim Ok Indeterminate",
    "commit Ok Committed",
    "commit Ok Conflict",
    "commit Ok Expired",
    "commit Ok Fenced",
    "commit Ok Indeterminate",
    "commit looked at the watermark",
    "commit lost a race",
    "create Ok Created",
    "create Ok Exists",
    "create Ok Indeterminate",
    "decisions are collected",
    "fork Ok Absent",
    "fork Ok Exists",
    "fork Ok Forked",
    "fork Ok Indeterminate",
    "fork Ok Trimmed",
    "history Ok",
    "latest Ok None",
    "latest Ok Some",
    "locate Ok",
    "manifest create Ok Created",
    "manifest create Ok Exists",
    "manifest create Ok Indeterminate",
    "manifest pin Ok Indeterminate",
    "manifest pin Ok Pinned",
    "manifest pin Ok Trimmed",
    "manifest unpin Ok",
    "merge Ok",
    "merge deletes",
    "merge makes packs",
    "observe Ok None",
    "observe Ok Some",
    "pin Ok Indeterminate",
    "pin Ok Pinned",
    "pin Ok Trimmed",
    "pins Ok",
    "plan Ok",
    "plan for decisions Ok",
    "plan of a trim Ok",
    "read Ok Records",
    "read Ok Trimmed",
    "release Ok Indeterminate",
    "release Ok Lost Some",
    "release Ok Released",
    "remaining-ms Ok",
    "renew Ok Indeterminate",
    "renew Ok Lost Some",
    "renew Ok Renewed",
    "sweep Ok",
    "sweep deletes",
    "sweep of decisions Ok",
    "tail Ok",
    "transaction Ok Aborted",
    "transaction Ok Committed",
    "transaction Ok Conflict",
    "transaction Ok Expired",
    "transaction Ok Indeterminate",
    "trim Ok",
    "trim deletes what is merged",
    "trim deletes",
    "trim of versions Ok",
    "trim of versions deletes",
    "unpin Ok",
    "wait Ok Records",
    "wait Ok Trimmed",
];

/// What happened in one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What everything was drawn from.
    pub seed: u64,
    /// Calls that ended, by name.
    pub calls: BTreeMap<&'static str, u64>,
    /// Ways in which they ended, and ways that they took.
    pub branches: BTreeMap<String, u64>,
    /// What went wrong, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Requests that reached the store.
    pub requests: u64,
    /// How long it took, in its own time.
    pub virtual_time: Duration,
    /// Of the whole history.
    pub digest: String,
    /// What must not be.
    pub violations: Vec<String>,
    /// The whole history.
    pub trace: Vec<String>,
}

/// What happened over all runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Seeds that found something.
    pub failed: Vec<u64>,
    /// The fewest calls of one run.
    pub fewest_calls: u64,
    calls: BTreeMap<&'static str, u64>,
    branches: BTreeMap<String, u64>,
    faults: BTreeMap<&'static str, u64>,
    requests: u64,
    virtual_time: Duration,
}

fn add<K: Ord + Clone>(sums: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (name, count) in more {
        *sums.entry(name.clone()).or_default() += count;
    }
}

impl Run {
    /// Calls that ended.
    pub fn calls(&self) -> u64 {
        self.calls.values().sum()
    }
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, run: &Run) {
        let calls = run.calls();
        self.fewest_calls = match self.seeds {
            0 => calls,
            _ => self.fewest_calls.min(calls),
        };
        self.seeds += 1;
        if !run.violations.is_empty() {
            self.failed.push(run.seed);
        }
        add(&mut self.calls, &run.calls);
        add(&mut self.branches, &run.branches);
        add(&mut self.faults, &run.faults);
        self.requests += run.requests;
        self.virtual_time += run.virtual_time;
    }

    /// Calls that ended.
    pub fn calls(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Ways in which calls ended, and ways that they took.
    pub fn branches(&self) -> &BTreeMap<String, u64> {
        &self.branches
    }

    /// What of [`BRANCHES`] was not met.
    fn missed(&self) -> Vec<&'static str> {
        let missed = BRANCHES.iter().copied();
        missed
            .filter(|branch| !self.branches.contains_key(*branch))
            .collect()
    }

    /// For people.
    pub fn text(&self, took: Duration) -> String {
        let mut text = String::new();
        let minutes = took.as_secs_f64() / 60.0;
        let days = self.virtual_time.as_secs_f64() / 86_400.0;
        let _ = writeln!(
            text,
            "{} seeds, {} failed; {} calls ({:.0} per minute, at least {} in each seed), {} requests, \
             {days:.1} days of virtual time, {:.1} s",
            self.seeds,
            self.failed.len(),
            self.calls(),
            self.calls() as f64 / minutes,
            self.fewest_calls,
            self.requests,
            took.as_secs_f64(),
        );
        for (title, counts) in [("calls", &self.calls), ("what went wrong", &self.faults)] {
            let _ = writeln!(text, "\n{title}");
            for (name, count) in counts {
                let _ = writeln!(text, "  {name:20} {count:9}");
            }
        }
        let missed = self.missed();
        let _ = writeln!(
            text,
            "\nbranches of the protocols: {} of {} met; not met: {}",
            BRANCHES.len() - missed.len(),
            BRANCHES.len(),
            match missed.is_empty() {
                true => "none".to_owned(),
                false => missed.join(", "),
            }
        );
        for (name, count) in &self.branches {
            let _ = writeln!(text, "  {name:40} {count:9}");
        }
        text
    }

    /// For programs.
    pub fn json(&self, took: Duration) -> String {
        let failed: Vec<String> = self.failed.iter().map(u64::to_string).collect();
        format!(
            "{{\"seeds\":{},\"failed\":[{}],\"calls\":{},\"fewest_calls\":{},\"requests\":{},\
             \"virtual_s\":{},\"real_ms\":{},\"by_call\":{},\"faults\":{},\"branches\":{},\
             \"branches_missed\":[{}]}}",
            self.seeds,
            failed.join(","),
            self.calls(),
            self.fewest_calls,
            self.requests,
            self.virtual_time.as_secs(),
            took.as_millis(),
            object(&self.calls),
            object(&self.faults),
            object(&self.branches),
            self.missed()
                .iter()
                .map(|name| format!("\"{name}\""))
                .collect::<Vec<_>>()
                .join(","),
        )
    }
}

/// Names here are words, so nothing has to be escaped.
fn object<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let members = counts
        .iter()
        .map(|(name, count)| format!("\"{name}\":{count}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
