//! `cargo xtask demo`: the protocols at work, on a store of their own or on a real
//! bucket.
//!
//! Every instance is the finished component. What is printed at the end is counted
//! afterwards, from the log as somebody else reads it.
//!
//! * [`arguments`]: the command line.
//! * [`stage`]: where the instances run, and what goes wrong there.
//! * [`competition`]: the first act, competing writers on one log.
//! * [`succession`]: the second act, leaders that are killed and frozen; [`timeline`]
//!   draws it.
//! * [`screen`]: what people see.

mod arguments;
mod competition;
mod figures;
mod screen;
mod stage;
mod succession;
mod timeline;

use anyhow::{Context, Result};
use arguments::{Arguments, Wish};
use screen::Screen;
use stage::Stage;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    match arguments::parse(std::env::args().skip(1)) {
        Ok(Wish::Help) => {
            print!("{}", arguments::HELP);
            ExitCode::SUCCESS
        }
        Ok(Wish::Run(arguments)) => match run(*arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("error: {error:#}\n\n{}", arguments::HELP);
            ExitCode::FAILURE
        }
    }
}

/// Plays all acts, and tells whether everything that had to hold did.
fn run(arguments: Arguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let screen = Arc::new(Screen::new());
    let figures = runtime.block_on(async {
        let stage = Arc::new(Stage::set(&arguments).await?);
        let played = async {
            if arguments.bucket.is_some() {
                stage.rehearse().await?;
            }
            competition::play(&arguments, &stage, &screen).await
        }
        .await;
        // A real bucket is left as it was, whatever happened.
        let cleared = stage.clear().await;
        let figures = played?;
        screen.line(&figures.table(&screen));
        cleared?;
        anyhow::Ok(figures)
    })?;
    // Its time is virtual, which a real bucket's is not.
    let succession = match arguments.bucket {
        Some(_) => None,
        None => Some(succession::play(arguments.seed, &screen)?),
    };
    if let Some(outcome) = &succession {
        screen.line(&outcome.story(&screen));
        screen.line(&outcome.table(&screen));
        screen.line(&format!(
            "The whole of it as a picture: {}",
            outcome.draw()?.display()
        ));
    }
    if arguments.json {
        let more = succession.as_ref().map(|outcome| outcome.json());
        screen.line(&figures.json(more.as_deref()));
    }
    Ok(figures.is_clean() && succession.is_none_or(|outcome| outcome.is_clean()))
}
