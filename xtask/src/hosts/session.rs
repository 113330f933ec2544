//! A host that is ready to call the script.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::call::Call;
use crate::process;

/// No call takes longer unless it hangs.
pub const CALL_LIMIT: Duration = Duration::from_secs(120);

/// A host that is ready. Several threads may call it at once; each call is one of a
/// new instance, or may be.
pub trait Session: Sync {
    /// Calls the script. An error has the text of the script's error, or says what
    /// the host said.
    fn call(&self, call: &Call) -> Result<String>;
}

/// A program that makes one call each time it is run.
///
/// What the call gives is on its standard output. An error is on its standard error,
/// and its status is not 0.
pub struct Program {
    /// The program.
    pub program: OsString,
    /// What stands before the call.
    pub arguments: Vec<OsString>,
    /// Environment variables besides those of this process.
    pub variables: Vec<(String, String)>,
}

impl Program {
    /// Runs the program with these words at the end of its command line.
    pub fn run(&self, words: &[String]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(words);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = process::output_within(command.stdin(Stdio::null()), CALL_LIMIT)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("{}", text.trim());
        }
        String::from_utf8(output.stdout).context("the output is not UTF-8")
    }
}

impl Session for Program {
    fn call(&self, call: &Call) -> Result<String> {
        self.run(&call.words())
    }
}
