//! `cargo xtask simulate`: the shipped component in a world where everything goes
//! wrong, seed after seed.

mod arguments;

use anyhow::{Result, bail};
use arguments::{Arguments, Wish};
use host_test::sim::report::{Run, Summary, VIOLATED};
use host_test::sim::{self, Extent};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Progress is shown so often.
const PROGRESS: Duration = Duration::from_secs(5);
/// The lines of a failed run that are shown.
const TRACE_LINES: usize = 60;

fn main() -> ExitCode {
    let wish = match arguments::parse(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(error) => {
            eprintln!("error: {error:#}\n\n{}", arguments::HELP);
            return ExitCode::FAILURE;
        }
    };
    let result = match wish {
        Wish::Help => {
            print!("{}", arguments::help());
            return ExitCode::SUCCESS;
        }
        Wish::Run(arguments) => simulate(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the seeds, and tells whether all of them passed.
fn simulate(arguments: &Arguments) -> Result<bool> {
    let began = Instant::now();
    let next = AtomicU64::new(arguments.first_seed);
    let board = Mutex::new(Board::default());
    let may_go_on = || {
        let failed = u64::try_from(lock(&board).summary.failed.len()).unwrap_or(u64::MAX);
        let time_left = arguments.time.is_none_or(|time| began.elapsed() < time);
        failed < arguments.failures && time_left
    };
    let worker = || -> Result<()> {
        while may_go_on() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if arguments
                .seeds
                .is_some_and(|seeds| seed >= arguments.first_seed + seeds)
            {
                return Ok(());
            }
            let run = sim::run(seed, arguments.scenario, &Extent::default())?;
            if arguments.trace {
                println!("{}", run.trace.join("\n"));
            }
            if arguments.twice {
                repeat(&run, arguments)?;
            }
            show(&run, arguments);
            let mut board = lock(&board);
            board.summary.add(&run);
            board.progress(arguments, began);
        }
        Ok(())
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.threads)
            .map(|_| scope.spawn(worker))
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|result| result.unwrap_or_else(|_| bail!("a worker panicked")))
            .collect()
    });
    for result in results {
        result?;
    }
    let summary = &lock(&board).summary;
    match arguments.json {
        true => println!("{}", summary.json(began.elapsed())),
        false => print!("{}", summary.text(began.elapsed())),
    }
    Ok(summary.failed.is_empty() && summary.seeds > 0)
}

/// The same seed must give the same history, byte for byte.
fn repeat(run: &Run, arguments: &Arguments) -> Result<()> {
    let again = sim::run(run.seed, arguments.scenario, &Extent::default())?;
    if again.digest == run.digest {
        return Ok(());
    }
    let differs = run
        .trace
        .iter()
        .zip(&again.trace)
        .find(|(one, two)| one != two);
    bail!(
        "seed {} gives two histories; they part at {differs:#?}",
        run.seed
    );
}

fn show(run: &Run, arguments: &Arguments) {
    if run.violations.is_empty() {
        return;
    }
    let first = run.trace.iter().position(|line| line.contains(VIOLATED));
    let upto = first.map_or(run.trace.len(), |at| at + 1);
    let end = run
        .trace
        .get(upto.saturating_sub(TRACE_LINES)..upto)
        .unwrap_or_default();
    eprintln!(
        "\nseed {} FAILED\n  {}\n\nthe lines up to the first violation:\n{}\n\n\
         run it again, with all lines:\n  {}\n",
        run.seed,
        run.violations.join("\n  "),
        end.join("\n"),
        arguments.replay(run.seed)
    );
}

fn lock(board: &Mutex<Board>) -> std::sync::MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Board {
    summary: Summary,
    shown: Option<Instant>,
}

impl Board {
    fn progress(&mut self, arguments: &Arguments, began: Instant) {
        if arguments.json || self.shown.unwrap_or(began).elapsed() < PROGRESS {
            return;
        }
        self.shown = Some(Instant::now());
        eprintln!(
            "{:6.0} s  {} seeds, {} failed, {} calls",
            began.elapsed().as_secs_f64(),
            self.summary.seeds,
            self.summary.failed.len(),
            self.summary.calls()
        );
    }
}
