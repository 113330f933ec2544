//! What the protocols cost beside what cannot be avoided, and beside others.
//!
//! One thread runs all contestants, in turns, and one their requests, so that processor
//! time is told apart from that of the store; stores behind HTTP have a thread of their
//! own. Requests and bytes are counted at the store, fuel and memory in the engine.

mod actor;
mod arguments;
mod cold;
mod front;
mod goals;
mod native;
mod peer;
mod place;
mod plot;
mod report;
mod sample;
mod sizes;
mod works;

use anyhow::{Context, Result};
use arguments::{Arguments, HELP};
use host_test::artifact::target;
use peer::Program;
use place::{Kind, Place};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use works::{Book, Scale, Subject};

/// Latencies that are added to each request.
const LATENCIES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(20)];
/// Names the programs of contestants in processes of their own: `NAME=PROGRAM ARGUMENT`
/// lines, or `NAME!REASON` for one that is left out. `cargo xtask bench` sets it.
const PEERS_VARIABLE: &str = "IFMATCH_BENCH_PEERS";

/// Longer than any run: a thread that ended would take its processor time along.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some(arguments)) => match run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let scale = if arguments.quick {
        Scale::QUICK
    } else {
        Scale::WHOLE
    };
    let mut book = Book::default();
    let peers = programs(&mut book)?;
    // As hosts usually are: requests under way go on while a guest computes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(sample::count_this_thread)
        .thread_keep_alive(FOREVER)
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let cold = local.block_on(&runtime, cold::starts())?;
    for kind in &arguments.stores {
        for latency in LATENCIES {
            let name = format!("{}, {} ms", kind.name(), latency.as_millis());
            let _guard = runtime.enter();
            let place = Place::open(*kind, latency).with_context(|| name.clone())?;
            for subject in &arguments.subjects {
                let now = began.elapsed().as_secs_f64();
                eprintln!("{now:5.0} s  {name}: {}", subject.name());
                let measured = subject.measure(&mut book, &place, scale, &peers);
                local
                    .block_on(&runtime, measured)
                    .with_context(|| name.clone())?;
            }
        }
    }
    if arguments.stores.contains(&Kind::Process) && !peers.is_empty() {
        let who = "other programs, on the store in the process".to_owned();
        book.left_out.push((who, "they need HTTP".to_owned()));
    }
    for latency in LATENCIES {
        if arguments.subjects.contains(&Subject::Leases) {
            works::take_over(&mut book, latency)?;
        }
    }
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let sizes = sizes::read(&folder.join("sizes.txt"))?;
    let report = report::Report {
        book: &book,
        goals: goals::goals(&book, &cold, &sizes),
        cold: &cold,
        sizes: &sizes,
        quick: arguments.quick,
        took: began.elapsed(),
    };
    print!("{}", report.text());
    fs::write(folder.join("results.json"), report.json())?;
    println!("{}", folder.join("results.json").display());
    if arguments.docs {
        let docs = target()
            .parent()
            .map(PathBuf::from)
            .context("no workspace")?
            .join("docs");
        report.write_documents(&docs)?;
        println!("{}", docs.join("BENCHMARKS.md").display());
    }
    Ok(())
}

fn programs(book: &mut Book) -> Result<Vec<Program>> {
    let given = std::env::var(PEERS_VARIABLE).unwrap_or_default();
    let mut programs = Vec::new();
    for line in given.lines() {
        if let Some((name, command)) = line.split_once('=') {
            let Some((name, competes)) = known(name) else {
                anyhow::bail!("{PEERS_VARIABLE} names {name}");
            };
            programs.push(Program {
                name,
                competes,
                command: command.split_whitespace().map(str::to_owned).collect(),
            });
        } else if let Some((name, reason)) = line.split_once('!') {
            book.left_out.push((name.to_owned(), reason.to_owned()));
        }
    }
    if given.is_empty() {
        let reason = "not built: `cargo xtask bench` builds them";
        book.left_out
            .push(("all other programs".to_owned(), reason.to_owned()));
    }
    Ok(programs)
}

/// Contestants in other processes, and whether several can append to one log.
fn known(name: &str) -> Option<(&'static str, bool)> {
    const KNOWN: [(&str, bool); 3] = [
        ("by hand, object_store", true),
        ("SlateDB", false),
        ("delta-rs", false),
    ];
    KNOWN.into_iter().find(|(known, _)| *known == name)
}
