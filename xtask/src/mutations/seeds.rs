//! The simulator on a component whose guards can be switched off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{build, process, workspace};

/// The mark in the component behind which the name of a guard is written, and how
/// many blanks there are for it.
const MARK: &[u8] = b"IFMATCH_GUARD_OFF=";
const BLANKS: usize = 32;

/// The scenarios of which seeds are tried, one after the other.
const SCENARIOS: [&str; 3] = ["mixed", "sleepers", "crowd"];

/// How long the seeds of one scenario may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The simulator, and the component that it runs.
pub struct Simulator {
    program: PathBuf,
    component: Vec<u8>,
    /// Where the blanks in the component begin.
    at: usize,
    seeds: u32,
}

/// How the seeds went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// They were not tried.
    Untried,
    /// None of so many failed.
    Passed(u32),
    /// So many of this scenario were needed until one failed.
    Caught(u32, &'static str),
}

impl Simulator {
    /// Builds both.
    pub fn build(seeds: u32) -> Result<Simulator> {
        let component = build::mutable()?;
        let at = blanks(&component)?;
        let mut cargo = Command::new(workspace::cargo());
        cargo.current_dir(workspace::root());
        cargo.args(["build", "--quiet", "--package", "host-test"]);
        process::run(cargo.args(["--bin", "simulate"]))?;
        let program = workspace::root().join("target/debug/simulate");
        let simulator = Simulator {
            program,
            component,
            at,
            seeds,
        };
        match simulator.run(None)? {
            Seeds::Caught(seed, scenario) => bail!(
                "a seed fails with every guard on: run \
                 `cargo xtask simulate --scenario {scenario} --seed {seed}`"
            ),
            Seeds::Passed(_) | Seeds::Untried => Ok(simulator),
        }
    }

    /// Runs seeds without this guard, until one fails.
    pub fn run(&self, off: Option<&str>) -> Result<Seeds> {
        let folder = workspace::root()
            .join("target/mutations")
            .join(off.unwrap_or("none"));
        let ended = self.run_in(&folder, off.unwrap_or_default());
        // What is left of it is in nobody's way.
        let _ = fs::remove_dir_all(&folder);
        ended
    }

    fn run_in(&self, folder: &Path, off: &str) -> Result<Seeds> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("ifmatch.wasm"), self.without(off)?)?;
        for scenario in SCENARIOS {
            let seeds = self.run_scenario(folder, scenario)?;
            if let Seeds::Caught(..) = seeds {
                return Ok(seeds);
            }
        }
        Ok(Seeds::Passed(self.seeds))
    }

    fn run_scenario(&self, folder: &Path, scenario: &'static str) -> Result<Seeds> {
        let mut program = Command::new(&self.program);
        program.current_dir(workspace::root());
        program.args(["--failures", "1", "--threads", "1", "--json"]);
        program.args(["--seeds", &self.seeds.to_string(), "--scenario", scenario]);
        program.env("IFMATCH_COMPONENTS", folder);
        let output = process::output_within(&mut program, LIMIT)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let summary: Value = text
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .with_context(|| {
                let errors = String::from_utf8_lossy(&output.stderr);
                format!("the simulator gives no summary: {errors}")
            })?;
        // Seeds are numbered from 1.
        let first = summary["failed"][0].as_u64();
        Ok(match first.and_then(|seed| u32::try_from(seed).ok()) {
            Some(seed) => Seeds::Caught(seed, scenario),
            None => Seeds::Passed(self.seeds),
        })
    }

    /// The component with the name of a guard in the place for it.
    fn without(&self, off: &str) -> Result<Vec<u8>> {
        let mut component = self.component.clone();
        let place = component.get_mut(self.at..self.at + off.len());
        match place {
            Some(place) if off.len() <= BLANKS => place.copy_from_slice(off.as_bytes()),
            _ => bail!("{off} does not fit into {BLANKS} bytes"),
        }
        Ok(component)
    }
}

/// The only place in the component for a name.
fn blanks(component: &[u8]) -> Result<usize> {
    let place = [MARK, &[b' '; BLANKS]].concat();
    let mut found = component
        .windows(place.len())
        .enumerate()
        .filter(|(_, window)| *window == place);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Ok(at + MARK.len()),
        _ => bail!("the component has no place, or several, for the name of a guard"),
    }
}

/// The middle of the numbers of seeds that it took.
pub fn median(seeds: impl Iterator<Item = Seeds>) -> Option<u32> {
    let mut caught: Vec<u32> = seeds
        .filter_map(|seeds| match seeds {
            Seeds::Caught(count, _) => Some(count),
            _ => None,
        })
        .collect();
    caught.sort_unstable();
    caught.get(caught.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_written_over_the_blanks() {
        let component = [b"xx", MARK, &[b' '; BLANKS], b"yy"].concat();
        let at = blanks(&component).unwrap();
        let simulator = Simulator {
            program: PathBuf::new(),
            component,
            at,
            seeds: 1,
        };
        let written = simulator.without("EpochRule").unwrap();
        assert_eq!(written.len(), simulator.component.len());
        assert!(written.starts_with(b"xxIFMATCH_GUARD_OFF=EpochRule   "));
        assert!(simulator.without(&"x".repeat(BLANKS + 1)).is_err());
        assert!(blanks(&written).is_err());
    }

    #[test]
    fn the_median_is_of_those_that_were_caught() {
        let seeds = [5, 1, 9].map(|count| Seeds::Caught(count, SCENARIOS[0]));
        assert_eq!(
            median(seeds.into_iter().chain([Seeds::Passed(99)])),
            Some(5)
        );
        assert_eq!(median([Seeds::Untried].into_iter()), None);
    }
}
