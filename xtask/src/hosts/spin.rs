//! Spin, which no registry has: what can be checked of its project without it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::compose::{Part, compose};
use crate::interface::Interface;
use crate::workspace;

/// The folder of the project.
pub const FOLDER: &str = "hosts/spin";

/// What `spin.toml` says about its only component.
#[derive(Debug, Default, PartialEq, Eq)]
struct Project {
    source: Option<String>,
    hosts: bool,
    environment: bool,
    inherits: bool,
    /// Names of packages or interfaces, and the files that serve them.
    dependencies: Vec<(String, String)>,
}

/// Checks the project, composes its components as Spin does when it starts, and tells
/// what was checked.
pub fn check() -> Result<String> {
    let folder = workspace::root().join(FOLDER);
    let text = fs::read_to_string(folder.join("spin.toml"))?;
    let project = parse(&text).context("hosts/spin/spin.toml")?;
    if !(project.hosts && project.environment && project.inherits) {
        bail!("spin.toml lacks hosts, environment or inheritance");
    }
    let source = project.source.context("spin.toml names no component")?;
    let socket = fs::read(folder.join(&source)).with_context(|| source.clone())?;
    let mut plugs: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, path) in &project.dependencies {
        let wasm = fs::read(folder.join(path)).with_context(|| path.clone())?;
        for (side, names) in [
            ("does not import", Interface::parse(&socket)?.imports),
            ("does not get it", Interface::parse(&wasm)?.exports),
        ] {
            if !names.iter().any(|interface| belongs(interface, name)) {
                bail!("{name}: the component {side}");
            }
        }
        plugs.push((file_name(path), wasm));
    }
    let parts: Vec<_> = plugs
        .iter()
        .map(|(name, bytes)| Part { name, bytes })
        .collect();
    let socket = Part {
        name: "application",
        bytes: &socket,
    };
    let composed = Interface::read(&compose(&socket, &parts, &[])?)?;
    let foreign = |import: &&String| !(import.starts_with("wasi:") && import.ends_with("@0.2.0"));
    if let Some(import) = composed.imports.iter().find(foreign) {
        bail!("Spin has no {import}");
    }
    Ok(format!(
        "the project in {FOLDER} names {} dependencies, which fit and compose",
        plugs.len()
    ))
}

fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().map(PathBuf::from);
    name.unwrap_or_default().display().to_string()
}

/// Whether a dependency, the name of a package or an interface, includes this interface.
fn belongs(interface: &str, dependency: &str) -> bool {
    let (interface, _version) = interface.split_once('@').unwrap_or((interface, ""));
    match interface.strip_prefix(dependency) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// Reads the tables that matter. Each value stands on one line.
fn parse(text: &str) -> Result<Project> {
    let mut project = Project::default();
    let mut table = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']');
            continue;
        }
        let Some((name, value)) = line.split_once(" = ") else {
            continue;
        };
        match (table, name) {
            _ if line.starts_with('#') => {}
            ("component.script", "source") => project.source = Some(unquoted(value)?),
            ("component.script", "allowed_outbound_hosts") => project.hosts = value != "[]",
            ("component.script", "environment") => project.environment = value != "{}",
            ("component.script", "dependencies_inherit_configuration") => {
                project.inherits = value == "true";
            }
            ("component.script.dependencies", name) => {
                let path = value
                    .strip_prefix("{ path = ")
                    .and_then(|v| v.strip_suffix(" }"));
                let path = path.with_context(|| format!("{name} has no path"))?;
                project
                    .dependencies
                    .push((unquoted(name)?, unquoted(path)?));
            }
            _ => {}
        }
    }
    Ok(project)
}

fn unquoted(value: &str) -> Result<String> {
    let inside = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Ok(inside
        .with_context(|| format!("{value} is no string"))?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_that_matter_are_read() {
        let text = "[component.script]\nsource = \"a.wasm\"\n# environment = {}\n\
                    allowed_outbound_hosts = [\"x\"]\nenvironment = { A = \"b\" }\n\
                    dependencies_inherit_configuration = true\n\
                    [component.script.dependencies]\n\"a:b\" = { path = \"c.wasm\" }\n";
        let project = parse(text).unwrap();
        assert_eq!(project.source.as_deref(), Some("a.wasm"));
        assert!(project.hosts && project.environment && project.inherits);
        assert_eq!(
            project.dependencies,
            [("a:b".to_owned(), "c.wasm".to_owned())]
        );
        let without = parse(&text.replace("= true", "= false")).unwrap();
        assert!(!without.inherits);
        assert!(parse(&text.replace("{ path = \"c.wasm\" }", "\"1.0\"")).is_err());
    }

    #[test]
    fn a_package_includes_its_interfaces() {
        assert!(belongs("a:b/c@0.1.0", "a:b"));
        assert!(belongs("a:b/c@0.1.0", "a:b/c"));
        assert!(!belongs("a:bb/c@0.1.0", "a:b"));
        assert!(!belongs("a:b/cc@0.1.0", "a:b/c"));
    }
}
