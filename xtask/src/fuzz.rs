//! `fuzz`: searches for bytes that the decoders cannot bear.
//!
//! Each file in `fuzz/targets` is a target: a loop around one decoder, steered by which
//! branches an input takes. The engine is libFuzzer, which a C++ compiler builds; the
//! branches are counted by an LLVM pass that every compiler of Rust has.

use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::cli::{Action, Command};
use crate::tally::Tally;
use crate::{process, workspace};

/// `cargo xtask fuzz`.
pub const COMMAND: Command = Command {
    name: "fuzz",
    summary: "Search for bytes that the decoders cannot bear",
    action: Action::Here {
        help: HELP,
        check: |args| parse(args).map(drop),
        run: |args| {
            run(&parse(args)?)?;
            Ok(ExitCode::SUCCESS)
        },
    },
};

const HELP: &str = "\
usage: cargo xtask fuzz [--seconds N] [--keep] [TARGET...]

Runs the named targets, which are the files in fuzz/targets; all of them if none is
named. Each starts with what is in fixtures/fuzz/TARGET, and keeps what it finds in
target/fuzz/corpus/TARGET. Fails at the first input that breaks a promise, and says
where it is. Needs a C++ compiler.

  --seconds N  how long each target runs (60)
  --keep       add what was found, and takes new branches, to fixtures/fuzz/TARGET
";

/// How long each target runs in `cargo xtask test`.
const TEST_SECONDS: u64 = 5;

/// The longest input. Larger ones take no other branches, only more time.
const INPUT_BYTES_MAX: u32 = 4_096;

/// Building and merging may take this long.
const LIMIT: Duration = Duration::from_secs(1_800);

/// Counts the branches that are taken, and what is compared with what.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 --cfg=fuzzing";

struct Wish {
    seconds: u64,
    keep: bool,
    targets: Vec<String>,
}

fn parse(mut args: Args) -> Result<Wish> {
    let seconds = match args.option("--seconds")? {
        Some(seconds) => seconds.parse().context("--seconds needs a number")?,
        None => 60,
    };
    let keep = args.flag("--keep");
    let named = args.words();
    args.finish()?;
    let known = targets()?;
    if let Some(name) = named.iter().find(|name| !known.contains(name)) {
        bail!("there is no target `{name}`, only {}", known.join(", "));
    }
    let targets = if named.is_empty() { known } else { named };
    Ok(Wish {
        seconds,
        keep,
        targets,
    })
}

/// Every target, in order.
fn targets() -> Result<Vec<String>> {
    let folder = workspace::root().join("fuzz/targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).context("cannot read fuzz/targets")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap_or_default();
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("{} holds no target", folder.display());
    }
    Ok(names)
}

/// All of them for a moment, as a step of `test`.
pub fn tally() -> Result<Tally> {
    let binaries = build()?;
    let mut tally = Tally::default();
    for target in targets()? {
        tally.add(search(&binaries, &target, TEST_SECONDS));
    }
    Ok(tally)
}

fn run(wish: &Wish) -> Result<()> {
    let binaries = build()?;
    for target in &wish.targets {
        println!("=== {target}");
        search(&binaries, target, wish.seconds)?;
        if wish.keep {
            let mut merge = Program::new(binaries.join(target));
            merge.args(["-merge=1", &max_len()]);
            merge.args([fixtures(target), found(target)]);
            process::run_within(&mut merge, LIMIT)?;
        }
    }
    Ok(())
}

/// Builds all targets, and returns the folder that they are in.
fn build() -> Result<PathBuf> {
    let rustc = process::output(Program::new("rustc").arg("-vV")).context("cannot run rustc")?;
    let host = rustc
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not tell the name of this machine's target")?;
    let folder = scratch();
    let mut cargo = Program::new(workspace::cargo());
    cargo
        .current_dir(workspace::root().join("fuzz"))
        .args(["build", "--locked", "--bins"])
        // With a target, the flags are not for build scripts.
        .args(["--target", host])
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", INSTRUMENTATION);
    process::run_within(&mut cargo, LIMIT)?;
    Ok(folder.join(host).join("debug"))
}

fn search(binaries: &Path, target: &str, seconds: u64) -> Result<()> {
    let (found, failures) = (found(target), scratch().join("failures"));
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&failures)?;
    let prefix = failures.join(target);
    let mut program = Program::new(binaries.join(target));
    program
        .args([max_len(), format!("-max_total_time={seconds}")])
        .args(["-timeout=10", "-rss_limit_mb=1024", "-verbosity=0"])
        .args(["-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}-", prefix.display()))
        // What is found goes into the first folder.
        .args([found, fixtures(target)]);
    let limit = Duration::from_secs(seconds) + LIMIT;
    process::run_within(&mut program, limit).with_context(|| {
        format!(
            "{target}: see above for the input, which is in {}",
            failures.display()
        )
    })
}

fn max_len() -> String {
    format!("-max_len={INPUT_BYTES_MAX}")
}

fn scratch() -> PathBuf {
    workspace::root().join("target/fuzz")
}

fn found(target: &str) -> PathBuf {
    scratch().join("corpus").join(target)
}

fn fixtures(target: &str) -> PathBuf {
    workspace::root().join("fixtures/fuzz").join(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wish> {
        parse(Args::new(
            line.split_whitespace().map(str::to_owned).collect(),
        ))
    }

    #[test]
    fn every_target_has_a_binary_and_something_to_start_with() {
        let manifest = std::fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            let path = format!("path = \"targets/{target}.rs\"");
            assert!(manifest.contains(&path), "{target}");
            let inputs = std::fs::read_dir(fixtures(&target)).unwrap().count();
            assert!((1..=300).contains(&inputs), "{target}: {inputs} inputs");
        }
    }

    #[test]
    fn arguments_are_checked() {
        let wish = parsed("--seconds 3 lease --keep").unwrap();
        assert_eq!((wish.seconds, wish.keep), (3, true));
        assert_eq!(wish.targets, ["lease"]);
        assert_eq!(parsed("").unwrap().targets, targets().unwrap());
        assert!(parsed("leases").is_err());
        assert!(parsed("--seconds soon").is_err());
    }
}
