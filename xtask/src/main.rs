//! Every command that a person or CI runs in this repository.
//!
//! `cargo xtask help` lists them. One module per command, and one per thing that
//! commands share.

mod api;
mod args;
mod artifacts;
mod bench;
mod build;
mod cli;
mod compact;
mod componentize;
mod compose;
mod copies;
mod documents;
mod examples;
mod fuzz;
mod harness;
mod hosts;
mod interface;
mod mutations;
mod npm;
mod optimize;
mod package;
mod process;
mod report;
mod sections;
mod sizes;
mod slice;
mod tally;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use cli::Command;

/// All commands, in the order in which `help` lists them. A binary of the
/// harness becomes a command by one line here, and is listed once it exists.
const COMMANDS: &[Command] = &[
    build::COMMAND,
    test::COMMAND,
    hosts::COMMAND,
    examples::COMMAND,
    api::COMMAND,
    package::COMMAND,
    compose::COMMAND,
    bench::COMMAND,
    sizes::COMMAND,
    fuzz::COMMAND,
    Command::harness("demo", "Show the protocols at work on a store of their own"),
    mutations::COMMAND,
    Command::harness(
        "counts",
        "Compare requests, bytes and fuel with what they were",
    ),
    Command::harness("budget", "Print the requests that each operation costs"),
];

fn main() -> ExitCode {
    match cli::run(COMMANDS, std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
