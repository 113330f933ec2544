//! The store that all hosts share: the S3 store of the harness, on loopback. It
//! checks signatures and conditions, and forgets everything at the end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::home;
use super::server::Process;
use crate::{process, workspace};

/// The last setting that the store prints.
const LAST: &str = "IFMATCH_BUCKET";

/// A store that is being served.
pub struct Store {
    settings: Vec<(String, String)>,
    _process: Process,
}

impl Store {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let mut cargo = Command::new(workspace::cargo());
        cargo.current_dir(workspace::root());
        let binary = ["--package", "host-test", "--bin", "serve-store"];
        process::run(cargo.args(["build", "--quiet"]).args(binary))?;

        fs::create_dir_all(home())?;
        let log = File::create(home().join("store.log"))?;
        let program = workspace::root().join("target/debug/serve-store");
        let mut process = Process::start(&Command::new(program), Stdio::piped(), log)?;
        let output = process.output().context("the store has no output")?;
        let mut settings = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line?;
            let (name, value) = line
                .split_once('=')
                .context("the store printed no setting")?;
            settings.push((name.to_owned(), value.to_owned()));
            if name == LAST {
                return Ok(Store {
                    settings,
                    _process: process,
                });
            }
        }
        bail!(
            "the store did not start: see {}",
            home().join("store.log").display()
        )
    }

    /// The settings with which components find it.
    pub fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }
}
