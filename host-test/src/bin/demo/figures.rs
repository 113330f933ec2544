//! The figures of a run.

use crate::screen::{Screen, Tone};
use crate::stage::Requests;
use host_test::history::Verdict;
use host_test::store::Kind;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Violations that are printed in full.
const VIOLATIONS_SHOWN: usize = 20;

/// What happened, and what was found afterwards.
pub struct Figures {
    /// What the check of the history found.
    pub verdict: Verdict,
    /// Records in the log.
    pub records: usize,
    /// Records that the reader saw while the log grew.
    pub tailed: usize,
    /// Requests of the writers.
    pub requests: Requests,
    /// What went wrong, and how often.
    pub faults: BTreeMap<&'static str, u64>,
    /// How long the writers went on.
    pub time: Duration,
    /// What must hold besides.
    pub broken: Vec<String>,
}

/// The requests that people pay for, in the order in which they are shown.
const KINDS: [(&str, &[Kind]); 4] = [
    ("get", &[Kind::Get, Kind::Head]),
    ("put", &[Kind::Put]),
    ("list", &[Kind::List]),
    ("delete", &[Kind::Delete, Kind::DeleteMany]),
];

/// What the faults are called where people see them.
const FAULTS: [(&str, &str); 13] = [
    ("lose-reply", "applied, and the reply lost"),
    ("lose-request", "request lost"),
    ("fail-after", "500 or 503 although applied"),
    ("fail-before", "500 or 503, not applied"),
    ("slow-down", "429 or 503 SlowDown"),
    ("duplicate", "delivered twice, the copy late"),
    ("late", "given up, and applied later"),
    ("conflict", "409 conflict"),
    ("refuse", "connection refused"),
    ("truncate-reply", "reply cut short"),
    ("break-reply", "connection reset in a reply"),
    ("pause", "instance stood still"),
    ("kill", "writer killed and replaced"),
];

impl Figures {
    /// Whether everything that had to hold did.
    pub fn is_clean(&self) -> bool {
        let Verdict {
            acknowledged,
            found,
            ..
        } = self.verdict;
        self.verdict.is_clean() && self.broken.is_empty() && acknowledged == found
    }

    fn requests_of(&self, kinds: &[Kind]) -> u64 {
        kinds
            .iter()
            .filter_map(|kind| self.requests.get(kind))
            .sum()
    }

    fn per_append(&self, requests: u64) -> f64 {
        requests as f64 / self.verdict.acknowledged.max(1) as f64
    }

    fn all_requests(&self) -> u64 {
        self.requests.values().sum()
    }

    /// One line of JSON, with more members if there are any.
    pub fn json(&self, more: Option<&str>) -> String {
        let more = more.map_or(String::new(), |more| format!(",{more}"));
        let requests =
            KINDS.map(|(name, kinds)| format!(r#""{name}":{}"#, self.requests_of(kinds)));
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(name, count)| format!(r#""{name}":{count}"#))
            .collect();
        let Verdict {
            attempts,
            acknowledged,
            found,
            lost,
            duplicated,
            ..
        } = self.verdict;
        format!(
            r#"{{"appends":{attempts},"acknowledged":{acknowledged},"found":{found},"lost":{lost},"duplicated":{duplicated},"requests":{{{}}},"requests_per_append":{:.2},"faults":{{{}}},"seconds":{:.1}{more}}}"#,
            requests.join(","),
            self.per_append(self.all_requests()),
            faults.join(","),
            self.time.as_secs_f64(),
        )
    }

    /// The closing table.
    pub fn table(&self, screen: &Screen) -> String {
        let Verdict {
            attempts,
            acknowledged,
            found,
            lost,
            duplicated,
            surfaced,
            ..
        } = self.verdict;
        let mut text = String::new();
        let mut row = |name: &str, value: String, note: String| {
            let line = format!("  {name:<22}{value:>8}  {note}");
            let _ = writeln!(text, "{}", line.trim_end());
        };
        let judged = |count: usize| match count {
            0 => screen.toned(Tone::Good, "none"),
            _ => screen.toned(Tone::Bad, "THIS MUST NOT HAPPEN"),
        };
        row(
            "appends",
            attempts.to_string(),
            format!("{} records in the log", self.records),
        );
        row("acknowledged", acknowledged.to_string(), String::new());
        row(
            "found in the log",
            found.to_string(),
            "each once, where its writer was told".into(),
        );
        row("lost", lost.to_string(), judged(lost));
        row("duplicated", duplicated.to_string(), judged(duplicated));
        if attempts > acknowledged {
            let note = format!("{surfaced} of them in the log, which is allowed");
            row(
                "never answered",
                (attempts - acknowledged).to_string(),
                note,
            );
        }
        row(
            "read live",
            self.tailed.to_string(),
            "records, in order, while they came".into(),
        );
        let each = KINDS.map(|(name, kinds)| {
            let per_append = self.per_append(self.requests_of(kinds));
            format!("{per_append:.2} {}", name.to_uppercase())
        });
        let per_append = self.per_append(self.all_requests());
        row(
            "requests per append",
            format!("{per_append:.2}"),
            each.join(" + "),
        );
        let rate = acknowledged as f64 / self.time.as_secs_f64().max(0.001);
        row(
            "time",
            format!("{:.1} s", self.time.as_secs_f64()),
            format!("{rate:.0} appends/s"),
        );
        let injected: u64 = self.faults.values().sum();
        row("faults injected", injected.to_string(), String::new());
        let mut faults: Vec<_> = self
            .faults
            .iter()
            .filter(|(_, count)| **count > 0)
            .collect();
        faults.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (name, count) in faults {
            let known = FAULTS.iter().find(|(other, _)| other == name);
            let shown = known.map_or(*name, |(_, shown)| *shown);
            row("", count.to_string(), screen.toned(Tone::Faint, shown));
        }
        let broken: Vec<&String> = self.verdict.violations.iter().chain(&self.broken).collect();
        for violation in broken.iter().take(VIOLATIONS_SHOWN) {
            let _ = writeln!(text, "  {}", screen.toned(Tone::Bad, violation));
        }
        if broken.len() > VIOLATIONS_SHOWN {
            let _ = writeln!(text, "  and {} more", broken.len() - VIOLATIONS_SHOWN);
        }
        let _ = match self.is_clean() {
            true => write!(
                text,
                "\n{}",
                screen.toned(
                    Tone::Good,
                    "Nothing lost, nothing doubled, nothing moved: checked by an instance that \
                     took no part,\nand once more from the raw objects."
                )
            ),
            false => write!(
                text,
                "\n{}",
                screen.toned(Tone::Bad, "The log is not what it should be.")
            ),
        };
        text
    }
}
