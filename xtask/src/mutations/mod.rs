//! `simulate --mutations`: shows for each safety guard what goes wrong without it.
//!
//! The tests of the core are compiled once, with a feature that no artifact has, and
//! run with one guard after the other switched off. First those that caught it last
//! time, according to `docs/MUTATIONS.md`; then all, until one fails. A guard that
//! nothing catches is not needed, or a test is missing. If asked to, the simulator
//! then runs seeds on a component without the guard.

mod guards;
mod seeds;
mod suites;
mod table;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::args::Args;
use crate::cli::{Action, Command};
use guards::Guard;
use seeds::{Seeds, Simulator};
use suites::{Ended, Suite};

/// The flag that asks for this in place of a simulation.
const FLAG: &str = "--mutations";

/// What `simulate --mutations --help` says.
const HELP: &str = "\
usage: cargo xtask simulate --mutations [GUARD...] [OPTION...]

Switches off the safety guards of src/guards.rs, one at a time, in a build that is
only for this, and shows which tests catch it. All guards if none is named.
Results are also in docs/MUTATIONS.md.

  --seeds N     simulate up to N seeds of each of three scenarios as well, on a
                component without the guard
  --json        print the results as JSON
  --threads N   so many guards at once (2)
  --write       write the table in docs/MUTATIONS.md, which needs all guards

Fails if no test catches a guard.
";

/// `cargo xtask simulate`, of which the harness carries out the rest.
pub const COMMAND: Command = Command {
    name: "simulate",
    summary: "Look for mistakes in a world where everything goes wrong",
    action: Action::HarnessUnless(
        FLAG,
        &Action::Here {
            help: HELP,
            check: |args| parse(args).map(drop),
            run,
        },
    ),
};

/// Guards at once, unless somebody says otherwise.
const THREADS: usize = 2;

/// So many tests are named that caught a guard.
const CATCHERS_MAX: usize = 3;

/// What became of one guard.
#[derive(Clone, Debug)]
pub struct Row {
    guard: Guard,
    /// The tests that failed without it and pass with it, as `suite::test`.
    by: Vec<String>,
    seeds: Seeds,
    took: Duration,
}

impl Row {
    fn new(guard: Guard, by: Vec<String>) -> Row {
        Row {
            guard,
            by,
            seeds: Seeds::Untried,
            took: Duration::ZERO,
        }
    }

    fn line(&self) -> String {
        let seeds = match self.seeds {
            Seeds::Untried => String::new(),
            Seeds::Passed(_) => "no seed ".to_owned(),
            Seeds::Caught(count, scenario) => format!("{count} seeds of {scenario} "),
        };
        let by = match self.by.is_empty() {
            true => "SURVIVED".to_owned(),
            false => self.by.join(" "),
        };
        let seconds = self.took.as_secs_f64();
        format!("{:22} {seconds:5.1} s  {seeds}{by}", self.guard.name)
    }
}

struct Options {
    guards: Vec<Guard>,
    json: bool,
    threads: usize,
    /// How many seeds to simulate without each guard.
    seeds: Option<u32>,
    write: bool,
}

fn parse(mut args: Args) -> Result<Options> {
    args.flag(FLAG);
    let threads = match args.option("--threads")? {
        Some(number) => number.parse().context("--threads needs a number")?,
        None => THREADS,
    };
    let seeds = args.option("--seeds")?;
    let seeds = seeds.map(|number| number.parse().context("--seeds needs a number"));
    let (json, write) = (args.flag("--json"), args.flag("--write"));
    let names = args.words();
    args.finish()?;
    if threads == 0 {
        bail!("--threads is at least 1");
    }
    if write && !names.is_empty() {
        bail!("--write needs all guards");
    }
    Ok(Options {
        guards: guards::select(guards::all()?, &names)?,
        json,
        threads,
        seeds: seeds.transpose()?,
        write,
    })
}

fn run(args: Args) -> Result<ExitCode> {
    let options = parse(args)?;
    let start = Instant::now();
    let simulator = options.seeds.map(Simulator::build).transpose()?;
    let hunt = Hunt {
        simulator,
        threads: options.threads,
        shows: !options.json,
    };
    let rows = hunt.run(options.guards)?;
    let caught = rows.iter().filter(|row| !row.by.is_empty()).count();
    if options.json {
        println!("{:#}", report(&rows));
    } else {
        println!(
            "{caught} of {} mutations caught in {} s",
            rows.len(),
            start.elapsed().as_secs()
        );
        let seeds = || rows.iter().map(|row| row.seeds);
        if let Some(median) = seeds::median(seeds()) {
            let caught = seeds().filter(|seeds| matches!(seeds, Seeds::Caught(..)));
            println!(
                "{} by seeds as well, the median by {median}",
                caught.count()
            );
        }
    }
    if caught < rows.len() {
        return Ok(ExitCode::FAILURE);
    }
    if options.write {
        table::write(&rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Guards that a few tests catch in an instant: one of each part. `cargo xtask test`
/// shows with them that the mutations still are what they say.
const QUICK: &[&str] = &[
    "CommitIdCompared",
    "WatermarkAfterWrite",
    "EpochRule",
    "NewestKept",
    "DeadlineFromFirstSend",
    "ConflictSeen",
    "FloorBeforeSweep",
];

/// Switches off a few guards, and tells how many were caught.
pub fn quick() -> Result<usize> {
    let names: Vec<String> = QUICK.iter().map(|&name| name.to_owned()).collect();
    let hunt = Hunt {
        simulator: None,
        threads: THREADS,
        shows: true,
    };
    let rows = hunt.run(guards::select(guards::all()?, &names)?)?;
    match rows.iter().find(|row| row.by.is_empty()) {
        Some(row) => bail!("no test catches that {} is off", row.guard.name),
        None => Ok(rows.len()),
    }
}

fn report(rows: &[Row]) -> serde_json::Value {
    let row = |row: &Row| {
        json!({
            "guard": row.guard.name,
            "what": row.guard.what,
            "area": row.guard.area,
            "caught_by": row.by,
            "seeds": match row.seeds {
                Seeds::Caught(count, scenario) => json!({ scenario: count }),
                Seeds::Passed(_) | Seeds::Untried => json!(null),
            },
            "seconds": row.took.as_secs_f64(),
        })
    };
    let caught = rows.iter().filter(|row| !row.by.is_empty()).count();
    json!({
        "guards": rows.iter().map(row).collect::<Vec<_>>(),
        "caught": caught,
        "survived": rows.len() - caught,
        "median_seeds": seeds::median(rows.iter().map(|row| row.seeds)),
    })
}

/// How guards are hunted.
struct Hunt {
    simulator: Option<Simulator>,
    /// So many at once.
    threads: usize,
    /// Whether each is shown as soon as its fate is known.
    shows: bool,
}

impl Hunt {
    /// Hunts guards, and gives what became of them in their order.
    fn run(&self, guards: Vec<Guard>) -> Result<Vec<Row>> {
        let suites = suites::compile()?;
        let queue = Mutex::new(guards.into_iter().enumerate());
        let worker = || {
            let mut rows = Vec::new();
            loop {
                let next = queue.lock().ok().and_then(|mut queue| queue.next());
                let Some((at, guard)) = next else {
                    return Ok::<_, anyhow::Error>(rows);
                };
                rows.push((at, self.row(guard, &suites)?));
            }
        };
        let mut rows = Vec::new();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads).map(|_| scope.spawn(worker)).collect();
            for worker in workers {
                match worker.join() {
                    Ok(some) => rows.extend(some?),
                    Err(_) => bail!("a thread of this program has panicked"),
                }
            }
            Ok(())
        })?;
        rows.sort_by_key(|(at, _)| *at);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    fn row(&self, guard: Guard, suites: &[Suite]) -> Result<Row> {
        let start = Instant::now();
        let mut row = Row::new(guard, Vec::new());
        row.by = catch(suites, &row.guard.name)?;
        if let Some(simulator) = &self.simulator {
            row.seeds = simulator.run(Some(&row.guard.name))?;
        }
        row.took = start.elapsed();
        if self.shows {
            println!("{}", row.line());
        }
        Ok(row)
    }
}

/// The tests that catch that a guard is off, none if there are none.
fn catch(suites: &[Suite], guard: &str) -> Result<Vec<String>> {
    let known = table::catchers(guard)?;
    for suite in suites {
        let own = |name: &String| {
            Some(
                name.strip_prefix(&suite.name)?
                    .strip_prefix("::")?
                    .to_owned(),
            )
        };
        let tests: Vec<String> = known.iter().filter_map(own).collect();
        if !tests.is_empty()
            // An error where one of them has another name by now: then all are run.
            && let Some(by) = caught_by(suite, &tests, guard).unwrap_or_default()
        {
            return Ok(by);
        }
    }
    for suite in suites {
        if let Some(by) = caught_by(suite, &[], guard)? {
            return Ok(by);
        }
    }
    Ok(Vec::new())
}

/// Those of the tests that fail without the guard and pass with it.
fn caught_by(suite: &Suite, tests: &[String], guard: &str) -> Result<Option<Vec<String>>> {
    let mut failed = match suite.run(tests, Some(guard))? {
        Ended::Passed => return Ok(None),
        Ended::Failed(failed) => failed,
        Ended::Stopped => tests.to_vec(),
    };
    failed.truncate(CATCHERS_MAX);
    if suite.run(&failed, None)? != Ended::Passed {
        bail!(
            "{}: {failed:?} fail with every guard on as well",
            suite.name
        );
    }
    let name = |test: &String| format!("{}::{test}", suite.name);
    Ok(Some(match failed.is_empty() {
        // Which of them did not end is not known.
        true => Vec::from([suite.name.clone()]),
        false => failed.iter().map(name).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        parse(Args::new(
            line.split_whitespace().map(str::to_owned).collect(),
        ))
    }

    #[test]
    fn arguments() {
        let some = options("--mutations EpochRule --json --threads 1").unwrap();
        assert_eq!((some.guards.len(), some.threads, some.json), (1, 1, true));
        assert!(options("--mutations").unwrap().guards.len() > 40);
        assert!(options("--mutations Epoch").is_err());
        assert!(options("--mutations --threads 0").is_err());
        assert!(options("--mutations EpochRule --write").is_err());
    }

    #[test]
    fn the_quick_ones_exist() {
        let names: Vec<String> = QUICK.iter().map(|&name| name.to_owned()).collect();
        let some = guards::select(guards::all().unwrap(), &names).unwrap();
        assert_eq!(some.len(), QUICK.len());
    }
}
