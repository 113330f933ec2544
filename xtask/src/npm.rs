//! The JavaScript packages of this repository, and what they depend on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::tally::Tally;
use crate::{build, process, workspace};

/// How long an installation or a script may take.
const LIMIT: Duration = Duration::from_secs(900);

/// Every script that must succeed, with the folder of its package.
const CHECKS: &[(&str, &str)] = &[
    ("js", "build"),
    ("js", "types"),
    ("js", "test"),
    ("examples/worker-r2", "test"),
    ("examples/playground", "test"),
    ("examples/switches", "test"),
];

/// The folders with a `package.json`.
const FOLDERS: &[&str] = &[
    "",
    "js",
    "hosts",
    "examples/worker-r2",
    "examples/playground",
    "examples/switches",
];

/// Installs what every `package.json` names, unless that is here, and returns the
/// folder with all packages.
///
/// Without a lock file: npm leaves the packages for other platforms than its
/// writer's out of it, and then does not install them.
pub fn install() -> Result<PathBuf> {
    let root = workspace::root();
    let packages = root.join("node_modules");
    let mut wanted = Vec::new();
    for folder in FOLDERS {
        wanted.extend(fs::read(root.join(folder).join("package.json"))?);
    }
    let done = packages.join(".installed");
    if fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(packages);
    }
    eprintln!("installing npm packages");
    let mut npm = npm();
    // No package needs its scripts: programs come as packages of their own.
    npm.args([
        "install",
        "--no-save",
        "--no-package-lock",
        "--ignore-scripts",
    ]);
    npm.args(["--no-audit", "--no-fund"]);
    // What it prints must not end up among results.
    npm.stdout(Stdio::null());
    process::run_within(&mut npm, LIMIT)
        .context("the npm packages cannot be installed (npm comes with node)")?;
    fs::write(done, wanted)?;
    Ok(packages)
}

/// The version of an installed package.
pub fn version(packages: &Path, name: &str) -> Result<String> {
    let manifest = fs::read_to_string(packages.join(name).join("package.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let version = manifest["version"].as_str();
    Ok(version
        .with_context(|| format!("{name} has no version"))?
        .to_owned())
}

/// Types and tests of everything in JavaScript, each script a check.
pub fn checks() -> Result<Tally> {
    build::bring_up_to_date()?;
    install()?;
    let mut tally = Tally::default();
    for (package, script) in CHECKS {
        println!("npm run {script} in {package}");
        let mut npm = npm();
        npm.env("CARGO", workspace::cargo());
        npm.args(["run", "--silent", script, "--workspace", package]);
        tally.add(process::run_within(&mut npm, LIMIT));
    }
    Ok(tally)
}

fn npm() -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(workspace::root());
    npm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_with_tests_is_checked() {
        let root = workspace::root();
        let manifest = fs::read_to_string(root.join("package.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let packages = manifest["workspaces"].as_array().unwrap();
        assert!(!packages.is_empty());
        for package in packages {
            let package = package.as_str().unwrap();
            let own = fs::read_to_string(root.join(package).join("package.json")).unwrap();
            let own: serde_json::Value = serde_json::from_str(&own).unwrap();
            let tested = own["scripts"]["test"].is_string();
            assert_eq!(CHECKS.contains(&(package, "test")), tested, "{package}");
        }
    }
}
