//! Serves the harness's S3 store on loopback until it is stopped.
//!
//! `serve-store [--port N] [--folder PATH]`; without a port it takes any that is
//! free, without a folder it forgets everything. Prints the settings with which
//! components find it, one `NAME=value` a line.

use anyhow::{Context, Result, bail};
use host_test::clock::WorldClock;
use host_test::serve::Server;
use host_test::store::{Options, SharedStore};
use std::io::Write;
use std::path::PathBuf;

struct Arguments {
    port: u16,
    folder: Option<PathBuf>,
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments {
        port: 0,
        folder: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--port" => parsed.port = value.parse().context("--port must be a number")?,
            "--folder" => parsed.folder = Some(PathBuf::from(value)),
            _ => bail!("unknown argument {word}: serve-store [--port N] [--folder PATH]"),
        }
    }
    Ok(parsed)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { port, folder } = arguments()?;
    let options = Options::default();
    let store = match folder {
        Some(folder) => SharedStore::in_folder(options.clone(), &folder)?,
        None => SharedStore::in_memory(options.clone()),
    };
    let server = Server::start(store, WorldClock::of_machine(), port).await?;
    let mut out = std::io::stdout().lock();
    for (name, value) in server.endpoint(&options)?.settings() {
        writeln!(out, "{name}={value}")?;
    }
    out.flush()?;
    drop(out);
    server.forever().await
}
