//! `bench`: the binary of `host-test` on an optimised host, and the programs that take
//! part beside it.
//!
//! Those have heavy dependencies and a workspace of their own, which nothing else
//! compiles. One that cannot be built or installed is left out, and the result says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode};

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::cli::{Action, Command};
use crate::{build, process, workspace};

/// `cargo xtask bench`.
pub const COMMAND: Command = Command {
    name: "bench",
    summary: "Measure what the protocols cost, beside others",
    action: Action::Here {
        help: HELP,
        check: |args| parse(args).map(drop),
        run,
    },
};

const HELP: &str = "\
usage: cargo xtask bench [--quick] [--store LIST] [--only LIST] [--docs] [--without-peers]

Measures what the protocols cost beside what cannot be avoided (one signed request,
natively and from a minimal component) and beside what others cost, in turns, in one
run. Prints tables, and writes target/bench/results.json.

  --quick          few repetitions and small logs: about three minutes once
                   everything is built
  --store LIST     of process (the store of the harness, as a function), loopback (the
                   same over HTTP) and seaweed (a SeaweedFS); all if it is not given
  --only LIST      of appends, leases, manifests, writers (that compete), reads and
                   starts; all if it is not given
  --docs           write docs/BENCHMARKS.md and its pictures, as a run of everything
                   without --quick does
  --without-peers  only what is in this repository: SlateDB, object_store and delta-rs
                   take minutes to build

Measure on a machine that does nothing else.
";

/// The artifacts that are measured.
const ARTIFACTS: [&str; 6] = [
    "bucket-s3",
    "ifmatch",
    "ifmatch-log",
    "ifmatch-manifest",
    "ifmatch-composed",
    "floor",
];
/// The Python package of delta-rs.
const DELTALAKE: &str = "deltalake==1.6.6";
/// Arrow arrays for it.
const ARRO3: &str = "arro3-core==0.9.1";
/// Stores and kinds of work that can be named.
const LISTS: [(&str, &[&str]); 2] = [
    ("--store", &["process", "loopback", "seaweed"]),
    (
        "--only",
        &[
            "appends",
            "leases",
            "manifests",
            "writers",
            "reads",
            "starts",
        ],
    ),
];

/// What was asked for.
struct Options {
    peers: bool,
    /// For the binary.
    passed_on: Vec<String>,
}

fn parse(mut args: Args) -> Result<Options> {
    let peers = !args.flag("--without-peers");
    let mut passed_on = Vec::new();
    for flag in ["--quick", "--docs"] {
        if args.flag(flag) {
            passed_on.push(flag.to_owned());
        }
    }
    for (option, known) in LISTS {
        if let Some(list) = args.option(option)? {
            if let Some(unknown) = list.split(',').find(|name| !known.contains(name)) {
                bail!("{option} knows no `{unknown}`, only {}", known.join(", "));
            }
            passed_on.push(format!("{option}={list}"));
        }
    }
    args.finish()?;
    Ok(Options { peers, passed_on })
}

fn run(args: Args) -> Result<ExitCode> {
    let options = parse(args)?;
    build::bring_up(&ARTIFACTS.map(str::to_owned))?;
    let peers = match options.peers {
        true => peers()?,
        false => "all other programs!not asked for".to_owned(),
    };
    let mut program = Program::new(workspace::cargo());
    program
        .current_dir(workspace::root())
        .args(["run", "--quiet", "--release"])
        .args(["--package", "host-test", "--bin", "bench", "--"])
        .args(options.passed_on)
        .env("IFMATCH_BENCH_PEERS", peers);
    process::run(&mut program)?;
    Ok(ExitCode::SUCCESS)
}

/// Other clients of S3, compiled to the target of the components, with the flags that
/// make their crates compile there.
const CLIENTS: [(&str, &str, &str); 2] = [
    (
        "aws-sdk-s3, with the transport of its host",
        "client-aws-sdk-s3",
        "--cfg getrandom_backend=\"custom\"",
    ),
    ("rusty-s3, without a transport", "client-rusty-s3", ""),
];

/// Notes how large other clients are, for the binary. One that does not compile is
/// named where it is read.
fn sizes() -> Result<Vec<String>> {
    let root = workspace::root();
    let target = root.join("target/clients");
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for (name, package, flags) in CLIENTS {
        let mut cargo = Program::new(workspace::cargo());
        cargo
            .current_dir(root.join("bench/clients"))
            .args(["build", "--quiet", "--release", "--locked"])
            .args(["--target", "wasm32-unknown-unknown", "--package", package])
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", flags);
        match process::run(&mut cargo) {
            Ok(()) => {
                let module = package.replace('-', "_");
                let path = format!("wasm32-unknown-unknown/release/{module}.wasm");
                let bytes = fs::metadata(target.join(path))?.len();
                lines.push(format!("{name} {bytes}"));
            }
            Err(error) => failed.push(format!("the size of {name}!{error:#}")),
        }
    }
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder).context("cannot create target/bench")?;
    fs::write(folder.join("sizes.txt"), lines.join("\n")).context("cannot note sizes")?;
    Ok(failed)
}

/// The programs that take part, as the binary reads them: `NAME=PROGRAM ARGUMENT`, or
/// `NAME!REASON`, one a line.
fn peers() -> Result<String> {
    let mut lines = sizes()?;
    match rust_peers() {
        Ok(program) => {
            lines.push(format!(
                "by hand, object_store={} by-hand",
                program.display()
            ));
            lines.push(format!("SlateDB={} slatedb", program.display()));
        }
        Err(error) => lines.push(format!("by hand, object_store, and SlateDB!{error:#}")),
    }
    match delta() {
        Ok((python, script)) => lines.push(format!(
            "delta-rs={} {}",
            python.display(),
            script.display()
        )),
        Err(error) => lines.push(format!("delta-rs!{error:#}")),
    }
    Ok(lines.join("\n"))
}

fn rust_peers() -> Result<PathBuf> {
    let target = workspace::root().join("target/peers");
    let mut cargo = Program::new(workspace::cargo());
    cargo
        .current_dir(workspace::root().join("bench/peers"))
        .args(["build", "--quiet", "--release", "--locked"])
        .env("CARGO_TARGET_DIR", &target);
    process::run(&mut cargo)?;
    Ok(target.join("release/bench-peers"))
}

/// Python with delta-rs, installed if it is missing, and the script.
fn delta() -> Result<(PathBuf, PathBuf)> {
    let folder = workspace::root().join("target/bench/delta");
    let python = folder.join("bin/python");
    let installed = folder.join("installed");
    let wanted = [DELTALAKE, ARRO3].join(" ");
    if fs::read_to_string(&installed).is_ok_and(|present| present == wanted) {
        return Ok((python, script()));
    }
    let create = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(create).context("cannot create target/bench")?;
    process::run(Program::new("python3").args(["-m", "venv"]).arg(&folder))?;
    process::run(
        Program::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", DELTALAKE, ARRO3]),
    )?;
    fs::write(&installed, wanted).context("cannot note what is installed")?;
    Ok((python, script()))
}

fn script() -> PathBuf {
    workspace::root().join("bench/peers/delta.py")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        let words = line.split_whitespace().map(str::to_owned);
        parse(Args::new(words.collect()))
    }

    #[test]
    fn what_the_binary_understands_is_passed_on() {
        let asked = options("--quick --store loopback,seaweed --without-peers").unwrap();
        assert_eq!(asked.passed_on, ["--quick", "--store=loopback,seaweed"]);
        assert!(!asked.peers && options("").unwrap().peers);
    }

    #[test]
    fn an_unknown_store_is_refused_before_anything_is_built() {
        assert!(options("--store aws").is_err());
        assert!(options("--only everything").is_err());
        assert!(options("--fast").is_err());
    }
}
