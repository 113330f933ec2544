//! The tests of the core, compiled so that guards can be switched off.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, workspace};

/// The environment variable that names the guard to switch off.
const OFF_VARIABLE: &str = "IFMATCH_GUARD_OFF";

/// How long compilation may take, from nothing and on a slow machine.
const COMPILE_LIMIT: Duration = Duration::from_secs(1200);

/// How long a suite may take. Code without one of its guards may run for ever.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// Runs a program with 4 GiB of memory at most, where the shell can limit it.
const LIMITED: &str = "ulimit -v 4194304 2>/dev/null; exec \"$0\" \"$@\"";

/// Those that take longest come last.
const SLOW: &[&str] = &[
    "log_contention",
    "log_random",
    "log_merge",
    "exhaustive",
    "lease_simulation",
    "log_schedules",
    "manifest_simulation",
];

/// One test program.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The name of the file of its tests, or of the crate.
    pub name: String,
    program: PathBuf,
}

/// How a run of tests ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// All passed.
    Passed,
    /// These did not.
    Failed(Vec<String>),
    /// The program took too long, or too much memory.
    Stopped,
}

/// Compiles all suites, and gives them in the order in which to run them.
pub fn compile() -> Result<Vec<Suite>> {
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root());
    cargo.args(["test", "--quiet", "--no-run", "--message-format", "json"]);
    cargo.args(["--package", "ifmatch", "--features", "mutations"]);
    let output = process::output_within(&mut cargo, COMPILE_LIMIT)?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("`{}` failed", process::line(&cargo));
    }
    let mut suites = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).context("cargo speaks no JSON")?;
        let name = message["target"]["name"].as_str();
        if let (Some(name), Some(program)) = (name, message["executable"].as_str()) {
            suites.push(Suite {
                name: name.to_owned(),
                program: program.into(),
            });
        }
    }
    if suites.is_empty() {
        bail!("`{}` names no test programs", process::line(&cargo));
    }
    suites.sort_by_key(|suite| SLOW.iter().position(|slow| *slow == suite.name));
    Ok(suites)
}

impl Suite {
    /// Runs some of its tests, or all if none is named, without a guard.
    pub fn run(&self, tests: &[String], off: Option<&str>) -> Result<Ended> {
        let mut program = Command::new("sh");
        program.args(["-c", LIMITED]).arg(&self.program);
        program.current_dir(workspace::root()).args(tests);
        if !tests.is_empty() {
            program.arg("--exact");
        }
        program.env_remove(OFF_VARIABLE);
        if let Some(guard) = off {
            program.env(OFF_VARIABLE, guard);
        }
        // There is no other error once the shell runs.
        let Ok(output) = process::output_within(&mut program, RUN_LIMIT) else {
            return Ok(Ended::Stopped);
        };
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.contains("test result: ") {
            return Ok(Ended::Stopped);
        }
        if !tests.is_empty() && text.contains("running 0 tests") {
            bail!("{} has none of the tests {tests:?}", self.name);
        }
        Ok(match output.status.success() {
            true => Ended::Passed,
            false => Ended::Failed(failed(&text)),
        })
    }
}

/// The names of the tests that failed, from what the program prints.
fn failed(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        Some(name.to_owned())
    };
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_failures() {
        let text = "test a ... ok\ntest b::c ... FAILED\ntest result: FAILED. 1 passed";
        assert_eq!(failed(text), ["b::c"]);
    }

    #[test]
    fn a_program_without_results_was_stopped() {
        let suite = Suite {
            name: "false".to_owned(),
            program: "false".into(),
        };
        assert_eq!(suite.run(&[], None).unwrap(), Ended::Stopped);
    }
}
