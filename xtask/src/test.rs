//! `test`: everything that must hold before a change is accepted.
//!
//! A step is one check or a few (each of which counts as one passed or failed), or
//! a run of tests, whose own numbers count. All steps run, whatever the earlier ones found. A run
//! that finds no tests has failed: it shows that something is wired wrongly.

use std::io::{BufRead, BufReader};
use std::process::{Command as Program, ExitCode};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::artifacts::{ARTIFACTS, Source};
use crate::cli::{Action, Command};
use crate::tally::Tally;
use crate::toolchain::{self, Toolchain, Wish};
use crate::{build, documents, examples, fuzz, harness, hosts, mutations, npm, process, workspace};

/// `cargo xtask test`.
pub const COMMAND: Command = Command {
    name: "test",
    summary: "Build the components and run every check and test",
    action: Action::Here {
        help: HELP,
        check: |args| parse(args).map(drop),
        run,
    },
};

const HELP: &str = "\
usage: cargo xtask test [STEP...]

Runs the named steps; all of them if none is named:

  build      the components, as `cargo xtask build`
  format     rustfmt
  lint       clippy, natively and for WebAssembly
  core       tests of the core and of its component
  bucket-s3  tests of the S3 component
  xtask      tests of these commands
  fuzz       a moment of `cargo xtask fuzz` for each decoder
  host-test  tests of the finished components in the harness
  simulate   a short `cargo xtask simulate`
  mutations  a short `cargo xtask simulate --mutations`
  budget     what every operation costs, as `cargo xtask budget`
  counts     nothing costs more than it did, as `cargo xtask counts`
  demo       a short `cargo xtask demo`
  examples   every `cargo xtask example`
  javascript  types and tests of everything in JavaScript
  hosts      the script of `cargo xtask hosts` on every host
  doc        the documentation of all crates builds without warnings
  documents  commands and links in Markdown files

The last line says how many checks and tests passed and failed.
";

/// How long one run of tests may take, compilation from scratch included. Only
/// tests that hang take longer.
const TESTS_LIMIT: Duration = Duration::from_secs(40 * 60);

struct Step {
    name: &'static str,
    run: fn() -> Result<Tally>,
}

/// All packages, in groups that are compiled together.
///
/// Never all at once: cargo then joins the features that they ask of the crates
/// they share, and compiles the largest of those anew, which takes minutes.
const GROUPS: &[&[&str]] = &[CORE, BUCKET_S3, XTASK, HOST_TEST];
const CORE: &[&str] = &[
    "ifmatch",
    "protocols",
    "orders",
    "acid-table",
    "acceptance",
    "rival",
    "front",
    "floor",
];
const BUCKET_S3: &[&str] = &["bucket-s3"];
const XTASK: &[&str] = &["xtask"];
const HOST_TEST: &[&str] = &["host-test"];

/// All steps. Those that fail fastest come first.
const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "documents",
        run: documents,
    },
    Step {
        name: "build",
        run: build,
    },
    Step {
        name: "xtask",
        run: || tests(XTASK),
    },
    Step {
        name: "core",
        run: || tests(CORE),
    },
    Step {
        name: "bucket-s3",
        run: || tests(BUCKET_S3),
    },
    Step {
        name: "fuzz",
        run: fuzz::tally,
    },
    Step {
        name: "host-test",
        run: finished,
    },
    Step {
        name: "simulate",
        run: || command("simulate", &["--seeds", "60", "--twice"]),
    },
    Step {
        name: "mutations",
        run: mutated,
    },
    Step {
        name: "budget",
        run: || command("budget", &[]),
    },
    Step {
        name: "counts",
        run: || command("counts", &[]),
    },
    Step {
        name: "demo",
        run: || command("demo", &["--seconds", "3"]),
    },
    Step {
        name: "examples",
        run: examples::tally,
    },
    Step {
        name: "javascript",
        run: npm::checks,
    },
    Step {
        name: "hosts",
        run: hosts::tally,
    },
    Step {
        name: "lint",
        run: lint,
    },
    Step {
        name: "doc",
        run: doc,
    },
];

fn parse(mut args: Args) -> Result<Vec<&'static Step>> {
    let names = args.words();
    args.finish()?;
    if let Some(name) = names
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        let steps: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!("there is no step `{name}`, only {}", steps.join(", "));
    }
    let wanted = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(wanted).collect())
}

fn run(args: Args) -> Result<ExitCode> {
    let steps = parse(args)?;
    let mut results = Vec::new();
    for step in steps {
        println!("\n=== {}", step.name);
        let start = Instant::now();
        let tally = (step.run)().unwrap_or_else(|error| Tally::fault(format!("{error:#}")));
        for fault in &tally.faults {
            println!("FAILED: {}: {fault}", step.name);
        }
        results.push((step.name, tally, start.elapsed()));
    }
    print!("{}", summary(&results));
    let failed = results.iter().any(|(_, tally, _)| tally.failed > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn summary(results: &[(&str, Tally, Duration)]) -> String {
    let mut text = String::from("\n=== summary\n");
    let mut total = Tally::default();
    for (name, tally, time) in results {
        let mut line = format!(
            "{name:10} {:5} passed {:3} failed {:3} ignored {:6.1} s",
            tally.passed,
            tally.failed,
            tally.ignored,
            time.as_secs_f64()
        );
        for note in &tally.notes {
            line.push_str(&format!("  {note}"));
        }
        text.push_str(&line);
        text.push('\n');
        for fault in &tally.faults {
            text.push_str(&format!("           FAILED: {fault}\n"));
        }
        total.passed += tally.passed;
        total.failed += tally.failed;
    }
    let time: Duration = results.iter().map(|(_, _, time)| *time).sum();
    text.push_str(&format!("{:.1} s in all\n", time.as_secs_f64()));
    text.push_str(&format!(
        "{} passed, {} failed\n",
        total.passed, total.failed
    ));
    text
}

fn cargo(arguments: &[&str]) -> Program {
    let mut cargo = Program::new(workspace::cargo());
    cargo.current_dir(workspace::root()).args(arguments);
    cargo
}

fn format() -> Result<Tally> {
    let mut tally = Tally::default();
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let check = ["fmt", "--all", "--check", "--manifest-path", manifest];
        tally.add(process::run(&mut cargo(&check)));
    }
    Ok(tally)
}

fn documents() -> Result<Tally> {
    let known = documents::check()?;
    Ok(Tally::check().note(format!(
        "{} commands, {} links",
        known.commands, known.links
    )))
}

fn build() -> Result<Tally> {
    let mut tally = Tally::check();
    for report in build::bring_up_to_date()? {
        print!("{}", report.text());
        tally = tally.note(format!("{} {} B", report.name, report.bytes));
    }
    Ok(tally)
}

fn lint() -> Result<Tally> {
    const DENY: &[&str] = &["--", "-D", "warnings"];
    let mut tally = Tally::default();
    for packages in GROUPS {
        let mut native = cargo(&["clippy", "--all-targets"]);
        select(&mut native, packages);
        tally.add(process::run(native.args(DENY)));
    }

    // What exists only on WebAssembly: the bindings and what stands between them
    // and the rest.
    let toolchain = toolchain::find(Wish::Any)?;
    if !matches!(toolchain, Toolchain::Active { .. }) {
        return Ok(tally.note("not for WebAssembly: Debian has no clippy".to_owned()));
    }
    let mut wasm = toolchain.cargo("clippy");
    let crates = ARTIFACTS
        .iter()
        .filter(|artifact| matches!(artifact.source, Source::Crate));
    select(
        &mut wasm,
        &crates.map(|artifact| artifact.name).collect::<Vec<_>>(),
    );
    wasm.args(["--profile", build::PROFILE, "--lib"]);
    tally.add(process::run(wasm.args(DENY)));
    for artifact in ARTIFACTS {
        if let Source::Variant { package, features } = artifact.source {
            let mut variant = toolchain.cargo("clippy");
            select(&mut variant, &[package]);
            variant.args(["--features", &features.join(",")]);
            variant.args(["--profile", build::PROFILE, "--lib"]);
            tally.add(process::run(variant.args(DENY)));
        }
    }
    Ok(tally)
}

fn doc() -> Result<Tally> {
    let mut tally = Tally::default();
    for packages in GROUPS {
        let mut doc = cargo(&["doc", "--no-deps", "--document-private-items"]);
        select(&mut doc, packages);
        tally.add(process::run(doc.env("RUSTDOCFLAGS", "-D warnings")));
    }
    Ok(tally)
}

/// Never on components that are out of date.
fn finished() -> Result<Tally> {
    build::bring_up_to_date()?;
    tests(HOST_TEST)
}

/// Switches off a few safety guards.
fn mutated() -> Result<Tally> {
    let caught = mutations::quick()?;
    Ok(Tally::check().note(format!("{caught} mutations caught")))
}

/// Runs a command of the harness, which must succeed.
fn command(name: &str, arguments: &[&str]) -> Result<Tally> {
    let arguments = arguments.iter().map(|&argument| argument.to_owned());
    let status = harness::status(name, arguments.collect())?;
    if !status.success() {
        bail!("`cargo xtask {name}` failed: {status}");
    }
    Ok(Tally::check())
}

/// Whether everything that must hold includes that this command succeeds.
pub fn includes(command: &str) -> bool {
    command == COMMAND.name || STEPS.iter().any(|step| step.name == command)
}

fn select(program: &mut Program, packages: &[&str]) {
    for package in packages {
        program.args(["--package", package]);
    }
}

/// Runs the tests of some packages, shows what they print, and counts.
fn tests(packages: &[&str]) -> Result<Tally> {
    let mut program = cargo(&["test", "--no-fail-fast"]);
    select(&mut program, packages);
    // One pipe for both streams keeps the name of each suite, which cargo prints on
    // one, before its results, which the suite prints on the other.
    let (reader, writer) = std::io::pipe().context("cannot create a pipe")?;
    program.stdout(writer.try_clone()?).stderr(writer);
    let line = process::line(&program);
    let mut child = program
        .spawn()
        .with_context(|| format!("cannot run `{line}`"))?;
    // Our own copies of the pipe's end must go, or it would never end.
    drop(program);

    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n') {
            // Nobody listens any more once the limit has passed.
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + TESTS_LIMIT;
    let mut tally = Tally::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                // Tests may print anything.
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                tally.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // Fails only if it has just ended by itself.
                let _ = child.kill();
                tally.fail(format!("no end after {} s", TESTS_LIMIT.as_secs()));
                break;
            }
        }
    }
    tally.end(child.wait()?.success());
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(line: &str) -> Result<Vec<&'static str>> {
        let args = Args::new(line.split_whitespace().map(str::to_owned).collect());
        Ok(parse(args)?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_can_be_chosen() {
        assert_eq!(steps("").unwrap().len(), STEPS.len());
        assert_eq!(steps("build format").unwrap(), ["format", "build"]);
        assert!(steps("formats").is_err());
        assert!(steps("--fast").is_err());
    }

    #[test]
    fn every_package_of_the_workspace_is_in_a_group() {
        let manifest = std::fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap();
        let (_, rest) = manifest.split_once("\nmembers = [").unwrap();
        let (members, _) = rest.split_once(']').unwrap();
        let paths: Vec<_> = members.split('"').skip(1).step_by(2).collect();
        assert!(!paths.is_empty());
        for path in paths {
            let package = if path == "." {
                "ifmatch"
            } else {
                path.rsplit('/').next().unwrap()
            };
            assert!(GROUPS.concat().contains(&package), "{package}");
        }
    }

    #[test]
    fn help_names_every_step() {
        for step in STEPS {
            assert!(
                HELP.contains(&format!("\n  {:9}  ", step.name)),
                "{}",
                step.name
            );
        }
    }

    #[test]
    fn the_last_line_adds_everything_up() {
        let mut tests = Tally::default();
        tests.read("test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured");
        tests.end(false);
        let results = [
            ("check", Tally::check(), Duration::from_millis(1500)),
            ("broken", Tally::fault("no".into()), Duration::ZERO),
            ("tests", tests, Duration::ZERO),
        ];
        let text = summary(&results);
        assert!(
            text.ends_with("1.5 s in all\n6 passed, 3 failed\n"),
            "{text}"
        );
        assert!(text.contains("FAILED: no\n"), "{text}");
    }
}
