//! `example`: builds an example and runs it, on a store in another process.

use std::path::PathBuf;
use std::process::{Command as Program, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::cli::{Action, Command};
use crate::compose::{Part, compose};
use crate::hosts::install;
use crate::hosts::store::Store;
use crate::interface::Interface;
use crate::tally::Tally;
use crate::{build, process, workspace};

/// `cargo xtask example`.
pub const COMMAND: Command = Command {
    name: "example",
    summary: "Build an example and run it",
    action: Action::Here {
        help: HELP,
        check: |args| parse(args).map(drop),
        run: |args| {
            (parse(args)?.run)()?;
            Ok(ExitCode::SUCCESS)
        },
    },
};

const HELP: &str = "\
usage: cargo xtask example NAME

  NAME  ledger: accounts, in Python

Installs what the example needs into target/hosts, builds it, composes it with
ifmatch.wasm, and runs it on a store on this machine. Fails if it does not do what its
README says.
";

struct Example {
    name: &'static str,
    run: fn() -> Result<()>,
}

const EXAMPLES: &[Example] = &[Example {
    name: "ledger",
    run: ledger,
}];

/// How long building or running an example may take.
const LIMIT: Duration = Duration::from_secs(600);

/// The Python packages that make and run components.
const COMPONENTIZE: &str = "componentize-py==0.25.1";
const WASMTIME: &str = "wasmtime==50.0.1";

fn parse(mut args: Args) -> Result<&'static Example> {
    let names = args.words();
    args.finish()?;
    let known: Vec<_> = EXAMPLES.iter().map(|example| example.name).collect();
    let [name] = names.as_slice() else {
        bail!("which example? {}", known.join(", "));
    };
    let example = EXAMPLES.iter().find(|example| example.name == name);
    example.with_context(|| format!("there is no example `{name}`, only {}", known.join(", ")))
}

/// All of them, as a step of `test`.
pub fn tally() -> Result<Tally> {
    let mut tally = Tally::default();
    for example in EXAMPLES {
        let ran = (example.run)();
        tally.add(ran.with_context(|| format!("the example {}", example.name)));
    }
    Ok(tally)
}

/// A component in Python.
fn ledger() -> Result<()> {
    build::bring_up_to_date()?;
    let folder = workspace::root().join("examples/ledger");
    let output = workspace::root().join("target/examples");
    std::fs::create_dir_all(&output)?;
    let guest = output.join("ledger.wasm");

    let environment = install::python(COMPONENTIZE)?;
    let mut componentize = Program::new(environment.join("bin/componentize-py"));
    componentize.current_dir(&folder);
    componentize.args(["-d", "../../wit/protocols", "-d", "wit"]);
    // Nothing of WASI is left to the application: neither files nor credentials.
    componentize.args([
        "-w",
        "example:ledger/app",
        "componentize",
        "--stub-wasi",
        "app",
    ]);
    process::run_within(componentize.arg("-o").arg(&guest), LIMIT)?;

    let composed = with_ifmatch(&guest, output.join("ledger-app.wasm"))?;
    let environment = install::python(WASMTIME)?;
    let store = Store::start()?;
    let mut workers = Program::new(environment.join("bin/python"));
    workers.arg(folder.join("workers.py")).arg(composed);
    process::run_within(workers.envs(store.settings()), LIMIT)
}

/// Composes an application with `ifmatch.wasm`. It must not import anything that
/// `ifmatch.wasm` does not.
fn with_ifmatch(guest: &PathBuf, output: PathBuf) -> Result<PathBuf> {
    let ifmatch = std::fs::read(workspace::components().join("ifmatch.wasm"))?;
    let guest = std::fs::read(guest)?;
    let part = |name, bytes| Part { name, bytes };
    let composed = compose(&part("app", &guest), &[part("ifmatch", &ifmatch)], &[])?;
    let allowed = Interface::parse(&ifmatch)?.imports;
    let more = Interface::parse(&composed)?.imports;
    if let Some(import) = more.iter().find(|import| !allowed.contains(*import)) {
        bail!("the composed application imports {import}");
    }
    std::fs::write(&output, composed)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_named_and_found() {
        for example in EXAMPLES {
            assert!(HELP.contains(&format!("{}: ", example.name)));
            let args = Args::new(vec![example.name.to_owned()]);
            assert_eq!(parse(args).map(|found| found.name).unwrap(), example.name);
        }
        assert!(parse(Args::new(vec![])).is_err());
        assert!(parse(Args::new(vec!["other".to_owned()])).is_err());
    }
}
