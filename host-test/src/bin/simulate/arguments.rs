//! The command line.

use anyhow::{Context, Result, bail, ensure};
use host_test::sim::{SCENARIOS, Scenario};
use std::time::Duration;

/// What `--help` prints, before the scenarios.
pub const HELP: &str = "\
usage: cargo xtask simulate [OPTION...]

Runs many instances of ifmatch.wasm in virtual time, on a store where requests and
replies get lost, doubled, late, refused and broken, and instances are frozen, killed,
started anew and copied. Everything that anybody is told is compared with what the
store holds in the end. One seed gives one history, byte for byte.

  --seeds N         so many seeds (100; with --minutes: until the time is over)
  --seed S          start with this seed (1); alone: run this one
  --scenario NAME   what is simulated (mixed)
  --minutes M       stop after so many minutes
  --failures N      stop after so many seeds have failed (5)
  --threads N       seeds at the same time (as many as there are processors)
  --twice           run each seed twice, and compare the histories
  --trace           print the whole history of each seed
  --json            end with the summary as one line of JSON
  --mutations       switch off one safety guard after the other, and show what
                    catches it; with --help, how
";

/// After so many failed seeds no more are tried, unless somebody says otherwise.
const FAILURES: u64 = 5;

/// Seeds unless somebody says otherwise.
const SEEDS: u64 = 100;

/// What to do.
pub enum Wish {
    /// Print the help.
    Help,
    /// Simulate.
    Run(Arguments),
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The first seed.
    pub first_seed: u64,
    /// How many seeds, if there is a number.
    pub seeds: Option<u64>,
    /// What is simulated.
    pub scenario: &'static Scenario,
    /// When to stop.
    pub time: Option<Duration>,
    /// After how many failed seeds to stop.
    pub failures: u64,
    /// Seeds at the same time.
    pub threads: usize,
    /// Whether each seed runs twice.
    pub twice: bool,
    /// Whether the histories are printed.
    pub trace: bool,
    /// Whether the summary is JSON.
    pub json: bool,
}

impl Arguments {
    /// The command that runs one seed again.
    pub fn replay(&self, seed: u64) -> String {
        let scenario = self.scenario.name;
        format!("cargo xtask simulate --scenario {scenario} --seed {seed} --trace")
    }
}

/// The help, with the scenarios.
pub fn help() -> String {
    let scenarios = SCENARIOS
        .iter()
        .map(|scenario| format!("  {:9} {}\n", scenario.name, scenario.summary));
    format!("{HELP}\nScenarios:\n\n{}", scenarios.collect::<String>())
}

/// Reads the command line.
///
/// # Errors
/// If it makes no sense.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Wish> {
    let (mut seeds, mut seed, mut minutes, mut threads) = (None, None, None, None);
    let mut failures = FAILURES;
    let (mut twice, mut trace, mut json) = (false, false, false);
    let mut scenario = SCENARIOS.first().context("there are no scenarios")?;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let flag = match name {
            "--help" | "-h" => return Ok(Wish::Help),
            "--twice" => Some(&mut twice),
            "--trace" => Some(&mut trace),
            "--json" => Some(&mut json),
            _ => None,
        };
        if let Some(flag) = flag {
            ensure!(inline.is_none(), "{name} takes no value");
            *flag = true;
            continue;
        }
        let value = inline
            .or_else(|| words.next())
            .with_context(|| format!("{name} needs a value"));
        let number = |value: Result<String>| {
            value?
                .parse::<u64>()
                .with_context(|| format!("{name} needs a number"))
        };
        match name {
            "--seeds" => seeds = Some(number(value)?),
            "--seed" => seed = Some(number(value)?),
            "--failures" => failures = number(value)?,
            "--minutes" => minutes = Some(number(value)?),
            "--threads" => threads = Some(usize::try_from(number(value)?)?),
            "--scenario" => {
                let wanted = value?;
                scenario = SCENARIOS
                    .iter()
                    .find(|scenario| scenario.name == wanted)
                    .with_context(|| format!("there is no scenario {wanted}"))?;
            }
            _ => bail!("unknown argument {name}"),
        }
    }
    let seeds = match (seeds, seed, minutes) {
        (Some(seeds), ..) => Some(seeds),
        (None, _, Some(_)) => None,
        (None, Some(_), None) => Some(1),
        (None, None, None) => Some(SEEDS),
    };
    ensure!(seeds != Some(0), "--seeds is at least 1");
    ensure!(failures != 0, "--failures is at least 1");
    ensure!(threads != Some(0), "--threads is at least 1");
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    Ok(Wish::Run(Arguments {
        first_seed: seed.unwrap_or(1),
        seeds,
        scenario,
        time: minutes.map(|minutes| Duration::from_secs(minutes * 60)),
        failures,
        threads: threads.unwrap_or(processors),
        twice,
        trace,
        json,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Option<Arguments> {
        match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(Wish::Run(arguments)) => Some(arguments),
            _ => None,
        }
    }

    #[test]
    fn a_replay_runs_the_one_seed() {
        let many = arguments("--seeds 10 --scenario=lease").unwrap();
        assert_eq!((many.first_seed, many.seeds), (1, Some(10)));
        let replay = many.replay(7);
        let again = arguments(replay.strip_prefix("cargo xtask simulate ").unwrap()).unwrap();
        assert_eq!((again.first_seed, again.seeds), (7, Some(1)));
        assert_eq!(again.scenario.name, "lease");
        assert!(again.trace);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--seeds",
            "--seeds x",
            "--seeds 0",
            "--failures 0",
            "--scenario none",
            "--loud",
            "--json=1",
        ] {
            assert!(arguments(line).is_none(), "{line}");
        }
        assert_eq!(arguments("--minutes 5").unwrap().seeds, None);
    }
}
