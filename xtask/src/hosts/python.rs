//! Python, with wasmtime-py.

use anyhow::Result;

use super::install::{self, Installed};
use super::session::{Program, Session};
use super::{Contest, Host, Situation};
use crate::workspace;

const VERSION: &str = "50.0.1";

/// One process for each call, with `hosts/python/call.py`.
pub const HOST: Host = Host {
    name: "python",
    title: "wasmtime-py, from Python",
    route: "wasi:http",
    shipped: "ifmatch",
    artifact: "acceptance-app",
    contest: Contest {
        contenders: 4,
        records: 10,
    },
    settings: &["IFMATCH_BUCKET", "environment"],
    // Without `add_wasi_http` there is nothing to link with; wasmtime says so itself.
    refusal: Some("wasi:http"),
    install,
    open,
};

fn install() -> Result<Installed> {
    let environment = install::python(&format!("wasmtime=={VERSION}"))?;
    Ok(Installed {
        program: environment.join("bin/python"),
        version: VERSION.to_owned(),
    })
}

fn open(installed: &Installed, situation: &Situation) -> Result<Box<dyn Session>> {
    let script = workspace::root().join("hosts/python/call.py");
    let mut variables = situation.settings.clone();
    if !situation.network {
        variables.push(("IFMATCH_NETWORK".to_owned(), "none".to_owned()));
    }
    Ok(Box::new(Program {
        program: installed.program.clone().into(),
        arguments: vec![script.into(), situation.component.clone().into()],
        variables,
    }))
}
