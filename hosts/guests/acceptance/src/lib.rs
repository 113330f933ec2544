//! `acceptance.wasm`: what every host runs to show that the protocols work on it.
//!
//! One script, the same bytes everywhere, and nothing of any host in it. Composed
//! with `ifmatch.wasm` it imports WASI only; composed with `protocols.wasm` it takes
//! its bucket from the host. Races are meant: a second instance with a memory of its
//! own, the rival, writes between two calls of the
//! first.

#![cfg(target_family = "wasm")]

wit_bindgen::generate!({
    path: [
        "../../../wit/deps/io",
        "../../../wit/deps/clocks",
        "../../../wit/bucket",
        "../../../wit/protocols",
        "../wit",
    ],
    world: "ifmatch:acceptance/acceptance",
    generate_all,
});

mod contest;
mod json;
mod measure;
mod steps;

use exports::ifmatch::acceptance::script::Guest;
use ifmatch::protocols::log;
use wasi::clocks::monotonic_clock;

struct Script;

impl Guest for Script {
    fn run(prefix: String) -> String {
        let steps = steps::STEPS.iter().map(|(name, step)| {
            let start = monotonic_clock::now();
            let outcome = step(&prefix);
            let us = monotonic_clock::now().saturating_sub(start) / 1000;
            let (ok, note) = match outcome {
                Ok(note) => (true, note),
                Err(why) => (false, why),
            };
            format!(
                "{{\"step\":{},\"ok\":{ok},\"us\":{us},\"note\":{}}}",
                json::string(name),
                json::string(&note)
            )
        });
        format!("[{}]", steps.collect::<Vec<_>>().join(",\n "))
    }

    fn contend(prefix: String, who: String, count: u32) -> Result<String, String> {
        contest::contend(&prefix, &who, count)
    }

    fn audit(prefix: String, records: u32) -> Result<String, String> {
        contest::audit(&prefix, records)
    }

    fn measure(prefix: String, count: u32) -> Result<String, String> {
        measure::measure(&prefix, count)
    }

    fn probe() -> Result<String, String> {
        let tail = log::tail("probe").map_err(|error| format!("{error:?}"))?;
        Ok(format!("the tail is {}", tail.offset))
    }
}

export!(Script);
