//! Brings hosts here, from the registries of their languages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::home;
use crate::process;

/// How long one step of an installation may take.
const LIMIT: Duration = Duration::from_secs(300);

/// A host that is here.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The program to run.
    pub program: PathBuf,
    /// As it says itself.
    pub version: String,
}

impl Installed {
    /// A program that tells its version when asked with `--version`, as the second
    /// word of the first line.
    pub fn of(program: PathBuf) -> Result<Self> {
        let printed = process::output(Command::new(&program).arg("--version"));
        let version = printed
            .as_deref()
            .and_then(|text| text.split_whitespace().nth(1))
            .with_context(|| format!("{} does not tell its version", program.display()))?
            .to_owned();
        Ok(Installed { program, version })
    }
}

/// A Python environment with exactly one package, and what that depends on.
pub fn python(package: &str) -> Result<PathBuf> {
    folder(&package.replace("==", "-"), |folder| {
        process::run_within(
            Command::new("python3").args(["-m", "venv"]).arg(folder),
            LIMIT,
        )?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        process::run_within(pip.arg(package), LIMIT)
    })
}

/// A folder below `target/hosts` that is filled once. If that fails, nothing of it
/// stays.
pub fn folder(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = home().join(name);
    let done = folder.join(".complete");
    if done.exists() {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    eprintln!("installing {name}");
    if let Err(error) = fill(&folder) {
        fs::remove_dir_all(&folder)?;
        return Err(error.context(format!("cannot install {name}")));
    }
    fs::write(done, "")?;
    Ok(folder)
}

/// The only file with this name below `lib` of a Python environment, made executable:
/// some packages bring a program without the right to run it.
pub fn program_in(environment: &Path, package: &str, name: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let lib = environment.join("lib");
    let python = fs::read_dir(&lib)?
        .next()
        .context("an empty environment")??;
    let program = python.path().join("site-packages").join(package).join(name);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("there is no {}", program.display()))?;
    Ok(program)
}
