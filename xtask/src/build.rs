//! `build`: the component crates, as components, and what is composed of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::artifacts::{self, Artifact, Source};
use crate::cli::{Action, Command};
use crate::componentize::componentize;
use crate::compose::{Part, compose};
use crate::interface::Interface;
use crate::optimize::Optimizer;
use crate::report::Report;
use crate::slice::slice;
use crate::toolchain::{self, Toolchain, Wish};
use crate::{process, sections, workspace};

/// `cargo xtask build`.
pub const COMMAND: Command = Command {
    name: "build",
    summary: "Build the components into target/components",
    action: Action::Here {
        help: HELP,
        check: |args| parse(args).map(drop),
        run,
    },
};

const HELP: &str = "\
usage: cargo xtask build [ARTIFACT...] [--json] [--toolchain any|active|debian]

  ARTIFACT     such as protocols, bucket-s3 or ifmatch (the two linked into one);
               all if none is named
  --json       print the report as JSON
  --toolchain  active: the Rust toolchain in use, with the WebAssembly target,
               which rustup adds if it is missing; debian: the packages of
               Debian, which apt-get installs if they are missing; any (the
               default): the first of these that works

Fails if an artifact is not valid, or imports or exports an interface that the
list in xtask/src/artifacts.rs does not name, or is larger than it says.
";

/// The cargo profile of the core modules.
pub const PROFILE: &str = "component";

struct Options {
    artifacts: Vec<&'static Artifact>,
    json: bool,
    wish: Wish,
}

fn parse(mut args: Args) -> Result<Options> {
    let json = args.flag("--json");
    let wish = Wish::parse(args.option("--toolchain")?.as_deref())?;
    let artifacts = artifacts::select(&args.words())?;
    args.finish()?;
    Ok(Options {
        artifacts,
        json,
        wish,
    })
}

fn run(args: Args) -> Result<ExitCode> {
    let options = parse(args)?;
    let reports = build(&options.artifacts, options.wish)?;
    if options.json {
        let reports: Vec<_> = reports.iter().map(Report::json).collect();
        println!("{:#}", serde_json::Value::from(reports));
    } else {
        reports
            .iter()
            .for_each(|report| print!("{}", report.text()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds every artifact that is out of date.
pub fn bring_up_to_date() -> Result<Vec<Report>> {
    bring_up(&[])
}

/// Builds those of the named artifacts, or of all, that are out of date.
pub fn bring_up(names: &[String]) -> Result<Vec<Report>> {
    build(&artifacts::select(names)?, Wish::Any)
}

/// Whether components are built with everything that makes them smaller.
pub fn is_smallest() -> Result<bool> {
    let toolchain = toolchain::find(Wish::Any)?;
    Ok(toolchain.builds_the_standard_library() && Optimizer::find().is_some())
}

fn build(artifacts: &[&'static Artifact], wish: Wish) -> Result<Vec<Report>> {
    let toolchain = toolchain::find(wish)?;
    compile(&toolchain, artifacts)?;
    let optimizer = Optimizer::find();
    let mut finished: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut reports = Vec::new();
    for artifact in artifacts {
        let component = match artifact.source {
            Source::Crate => {
                let path = toolchain.output(PROFILE, artifact.name);
                componentize(&module(&optimizer, &path)?)
            }
            Source::Variant { package, features } => {
                let path = variant(&toolchain, artifact.name, package, features)?;
                componentize(&module(&optimizer, &path)?)
            }
            Source::Slice {
                of,
                interfaces,
                types,
            } => {
                let whole = read(&toolchain.output(PROFILE, of))?;
                let path = toolchain.output(PROFILE, artifact.name);
                replace(&path, &slice(&whole, interfaces, types)?)?;
                componentize(&module(&optimizer, &path)?)
            }
            Source::Composition {
                socket,
                plugs,
                besides,
            } => {
                let plugs = plugs.iter().map(|plug| part(&finished, plug));
                compose(
                    &part(&finished, socket)?,
                    &plugs.collect::<Result<Vec<_>>>()?,
                    besides,
                )
            }
        };
        let component = component
            .and_then(|component| sections::tidy(&component, artifact))
            .with_context(|| format!("cannot build {}.wasm", artifact.name))?;
        let interface = Interface::read(&component)
            .with_context(|| format!("cannot build {}.wasm", artifact.name))?;
        interface.check(artifact)?;
        let path = workspace::components()
            .join(artifact.name)
            .with_extension("wasm");
        replace(&path, &component)?;
        let path = path
            .strip_prefix(workspace::root())
            .unwrap_or(&path)
            .display()
            .to_string();
        let report = Report::new(artifact.name, path, &component, interface)?;
        if optimizer.is_some() && toolchain.builds_the_standard_library() {
            check_size(artifact, &report)?;
        }
        reports.push(report);
        finished.push((artifact.name, component));
    }
    Ok(reports)
}

/// The component `ifmatch` with guards that can be switched off. It is no artifact.
pub fn mutable() -> Result<Vec<u8>> {
    let toolchain = toolchain::find(Wish::Any)?;
    let path = variant(&toolchain, "mutable", "protocols", &["s3", "mutations"])?;
    componentize(&module(&Optimizer::find(), &path)?)
}

/// The core module of an artifact that is a crate, as the compiler left it.
pub fn compiled(name: &str) -> Result<Vec<u8>> {
    read(&toolchain::find(Wish::Any)?.output(PROFILE, name))
}

/// The component of the core module at `path`, finished like an artifact.
pub fn finished(path: &Path, artifact: &Artifact) -> Result<Vec<u8>> {
    let component = componentize(&module(&Optimizer::find(), path)?)?;
    sections::tidy(&component, artifact)
}

/// The finished core module that the compiler left at `path`.
fn module(optimizer: &Option<Optimizer>, path: &Path) -> Result<Vec<u8>> {
    match optimizer {
        Some(optimizer) => optimizer.optimize(path),
        None => read(path),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Compiles a crate with other features. What the compiler leaves has the name of
/// the package, and is put where the crate of this name would be.
fn variant(toolchain: &Toolchain, name: &str, package: &str, features: &[&str]) -> Result<PathBuf> {
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--profile", PROFILE, "--lib", "--package", package]);
    cargo.args(["--features", &features.join(",")]);
    process::run(&mut cargo).with_context(|| format!("cannot compile with {toolchain}"))?;
    let path = toolchain.output(PROFILE, package);
    let module = read(&path)?;
    let path = toolchain.output(PROFILE, name);
    replace(&path, &module)?;
    Ok(path)
}

/// Everybody who uses a component pays for its size at each start.
fn check_size(artifact: &Artifact, report: &Report) -> Result<()> {
    let (bytes, gzip_bytes) = artifact.bytes_max;
    if report.bytes > bytes || report.gzip_bytes > gzip_bytes {
        bail!(
            "{}.wasm has {} bytes, {} with gzip; at most {bytes} and {gzip_bytes} are allowed \
             (xtask/src/artifacts.rs)",
            artifact.name,
            report.bytes,
            report.gzip_bytes,
        );
    }
    Ok(())
}

fn compile(toolchain: &Toolchain, artifacts: &[&Artifact]) -> Result<()> {
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--profile", PROFILE, "--lib"]);
    for artifact in artifacts {
        if matches!(artifact.source, Source::Crate) {
            cargo.args(["--package", artifact.name]);
        }
    }
    process::run(&mut cargo).with_context(|| format!("cannot compile with {toolchain}"))
}

fn part<'a>(finished: &'a [(&str, Vec<u8>)], name: &'a str) -> Result<Part<'a>> {
    match finished.iter().find(|(finished, _)| *finished == name) {
        Some((_, bytes)) => Ok(Part { name, bytes }),
        None => bail!("{name} is not built before what is composed of it"),
    }
}

/// Writes a file so that nobody ever sees a part of it, and leaves it alone if it
/// has these contents already.
fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    let write = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        // Two builds at once must not write to the same file.
        let draft = path.with_extension(format!("wasm.{}", std::process::id()));
        fs::write(&draft, contents)?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_if_it_differs() {
        let directory = std::env::temp_dir().join(format!("xtask-build-{}", std::process::id()));
        let path = directory.join("example.wasm");
        replace(&path, b"one").unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        replace(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn arguments() {
        let parse = |line: &str| {
            parse(Args::new(
                line.split_whitespace().map(str::to_owned).collect(),
            ))
        };
        let options = parse("bucket-s3 --json --toolchain debian").unwrap();
        assert_eq!(options.artifacts.len(), 1);
        assert!(options.json);
        assert_eq!(options.wish, Wish::Debian);
        assert!(parse("buckets").is_err());
        assert!(parse("--toolchain nightly").is_err());
        assert!(parse("--release").is_err());
    }
}
