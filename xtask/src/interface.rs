//! What a component imports and exports, and whether it may.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::artifacts::Artifact;

/// The interfaces of a component, such as `wasi:io/poll@0.2.0`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// What the host must provide.
    pub imports: BTreeSet<String>,
    /// What it provides.
    pub exports: BTreeSet<String>,
}

impl Interface {
    /// Validates a component and reads its interface.
    ///
    /// The component must do with WebAssembly 2.0 and the first component model:
    /// what every host has.
    pub fn read(component: &[u8]) -> Result<Self> {
        let features = WasmFeatures::WASM2 | WasmFeatures::COMPONENT_MODEL;
        let mut validator = Validator::new_with_features(features);
        validator
            .validate_all(component)
            .context("the component is not valid")?;

        Self::parse(component)
    }

    /// Reads the interface of a component of any kind.
    pub fn parse(component: &[u8]) -> Result<Self> {
        let mut interface = Interface::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        interface.imports.insert(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        interface.exports.insert(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(interface)
    }

    /// Fails unless an artifact may have this interface.
    pub fn check(&self, artifact: &Artifact) -> Result<()> {
        let mut faults = Vec::new();
        for import in &self.imports {
            if !artifact
                .imports
                .iter()
                .any(|pattern| matches(pattern, import))
            {
                faults.push(format!(
                    "imports {import}, which its allow-list does not name"
                ));
            }
        }
        for export in &self.exports {
            if !artifact
                .exports
                .iter()
                .any(|pattern| matches(pattern, export))
            {
                faults.push(format!("exports {export}, which its list does not name"));
            }
        }
        for pattern in artifact.exports {
            if !self.exports.iter().any(|export| matches(pattern, export)) {
                faults.push(format!("does not export {pattern}"));
            }
        }
        if !faults.is_empty() {
            bail!("{}.wasm {}", artifact.name, faults.join("; "));
        }
        Ok(())
    }
}

/// Whether a pattern of an [`Artifact`] names an interface.
fn matches(pattern: &str, name: &str) -> bool {
    if pattern.contains('@') {
        return pattern == name;
    }
    let name = name.split_once('@').map_or(name, |(name, _version)| name);
    match pattern.strip_suffix('*') {
        Some(start) => name.len() > start.len() && name.starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::Source;

    const ARTIFACT: Artifact = Artifact {
        name: "example",
        description: "",
        source: Source::Crate,
        imports: &["wasi:io/poll@0.2.0", "a:b/c"],
        exports: &["a:d/*"],
        bytes_max: (0, 0),
    };

    fn check(imports: &[&str], exports: &[&str]) -> Result<()> {
        let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Interface {
            imports: set(imports),
            exports: set(exports),
        }
        .check(&ARTIFACT)
    }

    #[test]
    fn fewer_imports_are_fine_and_others_are_not() {
        check(&[], &["a:d/e@0.1.0"]).unwrap();
        check(
            &["wasi:io/poll@0.2.0", "a:b/c@7.0.0"],
            &["a:d/e@0.1.0", "a:d/f@0.1.0"],
        )
        .unwrap();
        assert!(check(&["wasi:io/poll@0.2.1"], &["a:d/e@0.1.0"]).is_err());
        assert!(check(&["a:b/cc@7.0.0"], &["a:d/e@0.1.0"]).is_err());
        assert!(check(&["wasi:sockets/tcp@0.2.0"], &["a:d/e@0.1.0"]).is_err());
    }

    #[test]
    fn every_export_is_named_and_every_name_exported() {
        assert!(check(&[], &[]).is_err());
        assert!(check(&[], &["a:d/e@0.1.0", "a:b/c@0.1.0"]).is_err());
        assert!(!matches("a:d/*", "a:d/"));
    }

    #[test]
    fn a_core_module_or_garbage_is_refused() {
        assert!(Interface::read(b"\0asm").is_err());
        assert!(Interface::read(b"no wasm").is_err());
    }

    #[test]
    fn only_the_outermost_component_counts() {
        use wasm_encoder::{
            Component, ComponentImportSection, ComponentTypeRef, ComponentTypeSection,
            InstanceType, NestedComponentSection,
        };
        let mut outer = Component::new();
        let mut inner = Component::new();
        let mut types = ComponentTypeSection::new();
        types.instance(&InstanceType::new());
        inner.section(&types);
        let mut imports = ComponentImportSection::new();
        imports.import("a:b/c", ComponentTypeRef::Instance(0));
        inner.section(&imports);
        outer.section(&NestedComponentSection(&inner));
        assert_eq!(Interface::read(&inner.finish()).unwrap().imports.len(), 1);
        assert_eq!(
            Interface::read(&outer.finish()).unwrap(),
            Interface::default()
        );
    }
}
