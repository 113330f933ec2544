//! Commands that a binary of `host-test` carries out.

use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Result, bail};

use crate::{build, process, workspace};

/// Whether `host-test` has a binary with this name.
pub fn has_binary(name: &str) -> bool {
    let binaries = workspace::root().join("host-test/src/bin");
    binaries.join(format!("{name}.rs")).is_file() || binaries.join(name).join("main.rs").is_file()
}

/// Why a command cannot be run whose binary is missing.
pub fn no_such_binary(name: &str) -> String {
    format!("there is no command `{name}` in this checkout: host-test has no binary of that name")
}

/// Runs the command, and ends as it did.
pub fn run(name: &str, arguments: Vec<String>) -> Result<ExitCode> {
    let status = status(name, arguments)?;
    // A binary that a signal ended has no code of its own.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Brings the components up to date and runs a binary of `host-test` on them.
pub fn status(name: &str, arguments: Vec<String>) -> Result<ExitStatus> {
    if !has_binary(name) {
        bail!("{}", no_such_binary(name));
    }
    build::bring_up_to_date()?;
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root());
    command.args([
        "run",
        "--quiet",
        "--package",
        "host-test",
        "--bin",
        name,
        "--",
    ]);
    if build::is_smallest()? {
        command.env("IFMATCH_SMALL_BUILD", "1");
    }
    process::status(command.args(arguments))
}
