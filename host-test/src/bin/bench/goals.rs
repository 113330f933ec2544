//! The figures that are to be reached, and whether they are.

use crate::actor::Who;
use crate::cold::Cold;
use crate::place::Kind;
use crate::sizes::Size;
use crate::works::{Book, Row};
use std::time::Duration;

/// One figure.
pub struct Goal {
    /// What is compared.
    pub what: String,
    /// What it should be.
    pub target: &'static str,
    /// What it is.
    pub measured: String,
    /// Whether that is as it should be.
    pub met: bool,
}

/// The latency of the figures that depend on one.
const SLOW: Duration = Duration::from_millis(20);
const SINGLE: &str = "append 1 KiB";
const BATCH: &str = "append 100 x 1 KiB";
const CONTESTED: &str = "append 1 KiB, 16 competing writers";

impl Book {
    /// The line of somebody.
    pub fn row(&self, work: &str, who: &str, kind: Kind, latency: Duration) -> Option<&Row> {
        self.rows.iter().find(|row| {
            row.work == work && row.who == who && row.kind == kind && row.latency == latency
        })
    }
}

/// The whole, and the parts of it that an application takes instead.
const SHIPPED: [&str; 3] = ["ifmatch.wasm", "ifmatch-log.wasm", "ifmatch-manifest.wasm"];

/// The figures, as far as they were measured.
pub fn goals(book: &Book, cold: &[Cold], sizes: &[Size]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for kind in Kind::ALL {
        on_store(book, kind, &mut goals);
    }
    for shipped in cold.iter().filter(|cold| SHIPPED.contains(&cold.name)) {
        goals.push(Goal {
            what: format!("{}: size", shipped.name),
            target: "<= 300 kB",
            measured: format!("{:.1} kB", shipped.bytes as f64 / 1e3),
            met: shipped.bytes <= 300_000,
        });
    }
    if let Some(cold) = cold.iter().find(|cold| cold.name == "ifmatch.wasm") {
        let us = cold.instantiate.as_micros();
        goals.push(Goal {
            what: "ifmatch.wasm: instantiation".to_owned(),
            target: "<= 100 µs",
            measured: format!("{us} µs"),
            met: us <= 100,
        });
        let general = sizes.iter().filter(|size| size.is_general);
        if let Some(least) = general.min_by_key(|size| size.bytes) {
            let share = cold.bytes as f64 / least.bytes as f64;
            goals.push(Goal {
                what: format!("ifmatch.wasm: size beside {}", least.name),
                target: "<= 0.33",
                measured: format!("{share:.2}"),
                met: share <= 1.0 / 3.0,
            });
        }
    }
    goals
}

fn on_store(book: &Book, kind: Kind, goals: &mut Vec<Goal>) {
    let name = kind.name();
    let row = |work: &str, who: Who, latency| book.row(work, who.name(), kind, latency);
    let p50 = |row: &Row| row.sample.quantile(0.5).as_secs_f64();
    if let (Some(ours), Some(floor)) = (
        row(SINGLE, Who::Ifmatch, SLOW),
        row(SINGLE, Who::NativeFloor, SLOW),
    ) {
        let ratio = p50(ours) / p50(floor);
        goals.push(Goal {
            what: format!("{name}, 20 ms: append 1 KiB, p50 beside the native PUT"),
            target: "<= 1.05",
            measured: format!("{ratio:.3}"),
            met: ratio <= 1.05,
        });
    }
    if let (Some(ours), Some(floor)) = (
        row(SINGLE, Who::Ifmatch, Duration::ZERO),
        row(SINGLE, Who::GuestFloor, Duration::ZERO),
    ) {
        let each = |row: &Row| row.sample.cpu.as_secs_f64() / row.sample.operations() as f64;
        let ratio = each(ours) / each(floor);
        goals.push(Goal {
            what: format!("{name}: append 1 KiB, CPU beside floor.wasm"),
            target: "<= 2",
            measured: format!("{ratio:.2}"),
            met: ratio <= 2.0,
        });
    }
    if let (Some(batch), Some(single)) = (
        row(BATCH, Who::Ifmatch, SLOW),
        row(SINGLE, Who::Ifmatch, SLOW),
    ) {
        let gain = batch.sample.per_second() * 100.0 / single.sample.per_second();
        goals.push(Goal {
            what: format!("{name}, 20 ms: records in batches of 100 beside one by one"),
            target: ">= 50",
            measured: format!("{gain:.0}"),
            met: gain >= 50.0,
        });
    }
    if let (Some(ours), Some(theirs)) = (
        row(CONTESTED, Who::Ifmatch, SLOW),
        row(CONTESTED, Who::ByHand, SLOW),
    ) {
        let gain = ours.sample.per_second() / theirs.sample.per_second();
        goals.push(Goal {
            what: format!("{name}, 20 ms: 16 writers, appends beside those by hand"),
            target: ">= 3",
            measured: format!("{gain:.1}"),
            met: gain >= 3.0,
        });
        let requests = ours.sample.counted.requests() as f64 / ours.sample.operations() as f64;
        goals.push(Goal {
            what: format!("{name}, 20 ms: 16 writers, requests per append"),
            target: "<= 3",
            measured: format!("{requests:.2}"),
            met: requests <= 3.0,
        });
    }
    let replays = book.rows.iter().filter(|row| {
        row.kind == kind && row.work.ends_with("MiB") && row.who == Who::Ifmatch.name()
    });
    for ours in replays {
        if let Some(floor) = row(&ours.work, Who::NativeFloor, ours.latency) {
            let share = floor.sample.elapsed.as_secs_f64() / ours.sample.elapsed.as_secs_f64();
            let ms = ours.latency.as_millis();
            goals.push(Goal {
                what: format!("{name}, {ms} ms: {} beside native parallel GETs", ours.work),
                target: ">= 0.8",
                measured: format!("{share:.2}"),
                met: share >= 0.8,
            });
        }
    }
}
