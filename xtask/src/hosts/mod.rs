//! `hosts`: one script on every host, with the components as they are shipped.
//!
//! To add a host: a file here with a [`Host`], a line in [`HOSTS`], and, if it takes
//! more than a command line to call the script there, a folder in `hosts/`.

mod call;
pub mod install;
mod javascript;
mod matrix;
mod python;
mod server;
mod session;
mod spin;
pub mod store;
mod trial;
mod wash;
mod wasmtime_cli;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::cli::{Action, Command};
use crate::report::Report;
use crate::tally::Tally;
use crate::{build, workspace};

use install::Installed;
use session::Session;
use store::Store;
use trial::Row;

/// Every host, in the order of the table.
const HOSTS: &[Host] = &[
    wasmtime_cli::RUN,
    wasmtime_cli::SERVE,
    wash::COMPOSED,
    wash::LINKED,
    python::HOST,
    javascript::NODE,
    javascript::WORKERS,
    javascript::WORKERS_R2,
    javascript::BROWSER,
];

/// A host, and how the script is called on it.
pub struct Host {
    /// What a person types.
    pub name: &'static str,
    /// What it is, and how the components get there.
    pub title: &'static str,
    /// How requests reach the store.
    pub route: &'static str,
    /// The shipped artifact that is shown to work.
    pub shipped: &'static str,
    /// The composition that is run: the script with the shipped artifact.
    pub artifact: &'static str,
    /// Several instances append to one log at once.
    pub contest: Contest,
    /// What the error about a missing setting must name: the setting, and the place
    /// where this host takes settings from. Empty if there are none.
    pub settings: &'static [&'static str],
    /// What the error must name when the host lets no request out, or `None` if it
    /// cannot refuse requests.
    pub refusal: Option<&'static str>,
    /// Brings it here.
    pub install: fn() -> Result<Installed>,
    /// Gets it ready to call the script.
    pub open: fn(&Installed, &Situation) -> Result<Box<dyn Session>>,
}

/// How many instances append at once, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Contest {
    /// Instances.
    pub contenders: u32,
    /// Records of each.
    pub records: u32,
}

/// What a host is started with.
pub struct Situation {
    /// The component: [`Host::artifact`].
    pub component: PathBuf,
    /// The settings, as environment variables of the component.
    pub settings: Vec<(String, String)>,
    /// Whether requests may reach the store.
    pub network: bool,
    /// An empty folder of this session's own.
    pub folder: PathBuf,
}

/// `cargo xtask hosts`.
pub const COMMAND: Command = Command {
    name: "hosts",
    summary: "Run one script on every host, with the components as they are shipped",
    action: Action::Here {
        help: HELP,
        check: |args| parse(args).map(drop),
        run,
    },
};

const HELP: &str = "\
usage: cargo xtask hosts [HOST...] [--json] [--appends N]

  HOST         those to run (--list names them); all if none is named
  --list       only names the hosts
  --json       prints the results as JSON
  --appends N  how many appends are timed on each host; 300 if it is not given

Installs the hosts into target/hosts (Python packages, npm packages), starts a store on
this machine, and runs the script of hosts/guests/acceptance on each host. Without a
name, the tables of docs/HOSTS.md are written anew. Fails if anything failed on any
host, or a host could not be installed.
";

const APPENDS: u32 = 300;

struct Options {
    hosts: Vec<&'static Host>,
    all: bool,
    list: bool,
    json: bool,
    appends: u32,
}

fn parse(mut args: Args) -> Result<Options> {
    let (json, list) = (args.flag("--json"), args.flag("--list"));
    let appends = match args.option("--appends")? {
        Some(count) => count.parse()?,
        None => APPENDS,
    };
    let names = args.words();
    args.finish()?;
    for name in &names {
        if HOSTS.iter().all(|host| host.name != name) {
            let known: Vec<_> = HOSTS.iter().map(|host| host.name).collect();
            bail!("there is no host `{name}`, only {}", known.join(", "));
        }
    }
    let wanted = |host: &&Host| names.is_empty() || names.iter().any(|name| name == host.name);
    Ok(Options {
        hosts: HOSTS.iter().filter(wanted).collect(),
        all: names.is_empty(),
        list,
        json,
        appends,
    })
}

fn run(args: Args) -> Result<ExitCode> {
    let options = parse(args)?;
    if options.list {
        for host in HOSTS {
            println!("{:16}  {}", host.name, host.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows = rows(&options.hosts, options.appends)?;
    if options.json {
        println!("{:#}", matrix::json(&rows));
    } else {
        print!("{}", matrix::text(&rows));
    }
    if options.all {
        matrix::write(&rows, &spin::check()?)?;
    }
    let failed = rows.iter().any(|row| !row.faults().is_empty());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The same as a step of `test`: every feature on every host is a check. Leaves
/// docs/HOSTS.md alone.
pub fn tally() -> Result<Tally> {
    const FEW_APPENDS: u32 = 50;
    let rows = rows(&HOSTS.iter().collect::<Vec<_>>(), FEW_APPENDS)?;
    print!("{}", matrix::text(&rows));
    let mut tally = Tally::default();
    tally.add(spin::check().map(drop));
    for row in &rows {
        tally.passed += row.passed();
        for fault in row.faults() {
            tally.fail(format!("{}: {fault}", row.host.name));
        }
    }
    Ok(tally.note(format!("{} hosts", rows.len())))
}

fn rows(hosts: &[&'static Host], appends: u32) -> Result<Vec<Row>> {
    let reports = build::bring_up_to_date()?;
    let store = Store::start()?;
    hosts
        .iter()
        .map(|host| {
            let start = Instant::now();
            let row = trial::run(host, &store, shipped(host, &reports)?, appends);
            eprintln!(
                "{:16}  {} in order, {} not, {:.1} s",
                host.name,
                row.passed(),
                row.faults().len(),
                start.elapsed().as_secs_f64()
            );
            Ok(row)
        })
        .collect()
}

fn shipped<'a>(host: &Host, reports: &'a [Report]) -> Result<&'a Report> {
    match reports.iter().find(|report| report.name == host.shipped) {
        Some(report) => Ok(report),
        None => bail!("{} was not built", host.shipped),
    }
}

/// Where everything about hosts goes.
fn home() -> PathBuf {
    workspace::root().join("target/hosts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts;

    #[test]
    fn hosts_have_names_of_their_own_and_artifacts_that_exist() {
        for (at, host) in HOSTS.iter().enumerate() {
            assert!(HOSTS[..at].iter().all(|other| other.name != host.name));
            artifacts::find(host.shipped).unwrap();
            artifacts::find(host.artifact).unwrap();
            assert!(host.contest.contenders > 1, "{}: nobody races", host.name);
        }
    }

    #[test]
    fn arguments() {
        let parse = |line: &str| {
            parse(Args::new(
                line.split_whitespace().map(str::to_owned).collect(),
            ))
        };
        assert!(parse("").unwrap().all);
        let options = parse("wasmtime-run --json --appends 7").unwrap();
        assert!(options.json && !options.all);
        assert_eq!((options.hosts.len(), options.appends), (1, 7));
        assert!(parse("wasmtime").is_err());
        assert!(parse("--appends many").is_err());
    }
}
