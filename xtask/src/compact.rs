//! Takes off a component the long names by which its parts are linked.
//!
//! The core modules import and export by the names of interfaces and functions, and
//! so do the nested components that `wit-component` makes to name types. Nobody sees
//! these names from outside, and each of them stands there twice.

use std::collections::HashMap;
use std::convert::Infallible;

use anyhow::{Context, Result};
use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, component_utils};
use wasm_encoder::{
    Alias, Component, ComponentAliasSection, ComponentImportSection, ComponentInstanceSection,
    ExportSection, ImportSection, InstanceSection, ModuleArg,
};
use wasmparser::{
    ComponentAlias, ComponentAliasSectionReader, ComponentImportSectionReader, ComponentInstance,
    Export, ImportSectionReader, Instance, Parser,
};

/// The same component, with short names inside.
pub fn compact(component: &[u8]) -> Result<Vec<u8>> {
    let mut compacted = Component::new();
    Renaming::default()
        .parse_component(&mut compacted, Parser::new(0), component)
        .context("cannot shorten the names in the component")?;
    Ok(compacted.finish())
}

/// Goes through a component that `wit-component` made of one core module.
#[derive(Default)]
struct Renaming {
    /// The short names, by the long ones.
    names: HashMap<String, String>,
    /// How many components the current one is in.
    depth: usize,
}

impl Renaming {
    /// The short name. Different names stay different.
    fn short(&mut self, name: &str) -> String {
        let next = label(self.names.len());
        self.names.entry(name.to_owned()).or_insert(next).clone()
    }
}

/// A name of letters only, as the import of a component needs it, for each number:
/// `a` to `z`, `aa`, `ba` and so on.
fn label(mut number: usize) -> String {
    let letters: Vec<char> = ('a'..='z').collect();
    let mut label = String::new();
    loop {
        label.push(letters[number % letters.len()]);
        match (number / letters.len()).checked_sub(1) {
            Some(rest) => number = rest,
            None => return label,
        }
    }
}

impl Reencode for Renaming {
    type Error = Infallible;

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Result<(), Error> {
        for import in section.into_imports() {
            let import = import?;
            let (module, name) = (self.short(import.module), self.short(import.name));
            imports.import(&module, &name, self.entity_type(import.ty)?);
        }
        Ok(())
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: Export<'_>,
    ) -> Result<(), Error> {
        let name = self.short(export.name);
        exports.export(
            &name,
            self.export_kind(export.kind)?,
            self.external_index(export.kind, export.index)?,
        );
        Ok(())
    }
}

impl ReencodeComponent for Renaming {
    fn push_depth(&mut self) {
        self.depth += 1;
    }

    fn pop_depth(&mut self) {
        self.depth -= 1;
    }

    /// What the outermost component imports, the world sees.
    fn parse_component_import_section(
        &mut self,
        imports: &mut ComponentImportSection,
        section: ComponentImportSectionReader<'_>,
    ) -> Result<(), Error> {
        if self.depth == 0 {
            return component_utils::parse_component_import_section(self, imports, section);
        }
        for import in section {
            let import = import?;
            let name = self.short(import.name.name);
            imports.import(&*name, self.component_type_ref(import.ty)?);
        }
        Ok(())
    }

    fn parse_component_instance(
        &mut self,
        instances: &mut ComponentInstanceSection,
        instance: ComponentInstance<'_>,
    ) -> Result<(), Error> {
        let ComponentInstance::Instantiate {
            component_index,
            args,
        } = instance
        else {
            return component_utils::parse_component_instance(self, instances, instance);
        };
        let args: Vec<_> = args
            .iter()
            .map(|arg| (self.short(arg.name), arg.kind.into(), arg.index))
            .collect();
        instances.instantiate(component_index, args);
        Ok(())
    }

    fn parse_component_alias_section(
        &mut self,
        aliases: &mut ComponentAliasSection,
        section: ComponentAliasSectionReader<'_>,
    ) -> Result<(), Error> {
        for alias in section {
            match alias? {
                ComponentAlias::CoreInstanceExport {
                    kind,
                    instance_index,
                    name,
                } => aliases.alias(Alias::CoreInstanceExport {
                    instance: instance_index,
                    kind: kind.into(),
                    name: &self.short(name),
                }),
                other => aliases.alias(self.component_alias(other)?),
            };
        }
        Ok(())
    }

    fn parse_instance(
        &mut self,
        instances: &mut InstanceSection,
        instance: Instance<'_>,
    ) -> Result<(), Error> {
        match instance {
            Instance::Instantiate { module_index, args } => {
                let args: Vec<_> = args
                    .iter()
                    .map(|arg| (self.short(arg.name), ModuleArg::Instance(arg.index)))
                    .collect();
                instances.instantiate(module_index, args);
            }
            Instance::FromExports(exports) => {
                let exports: Vec<_> = exports
                    .iter()
                    .map(|export| (self.short(export.name), export.kind.into(), export.index))
                    .collect();
                instances.export_items(exports);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use wasm_encoder::{
        CanonicalFunctionSection, CodeSection, ComponentExportKind, ComponentExportSection,
        ComponentTypeSection, ExportKind, Function, FunctionSection, Module, ModuleSection,
        TypeSection,
    };

    /// A component that exports the only function of its only module.
    fn example() -> Vec<u8> {
        let mut module = Module::new();
        let mut types = TypeSection::new();
        types.ty().function([], []);
        module.section(&types);
        let mut functions = FunctionSection::new();
        functions.function(0);
        module.section(&functions);
        let mut exports = ExportSection::new();
        exports.export("the-name-inside", ExportKind::Func, 0);
        module.section(&exports);
        let mut code = CodeSection::new();
        let mut function = Function::new([]);
        function.instructions().end();
        code.function(&function);
        module.section(&code);

        let mut component = Component::new();
        component.section(&ModuleSection(&module));
        let mut instances = InstanceSection::new();
        instances.instantiate(0, [("the-argument", ModuleArg::Instance(0)); 0]);
        component.section(&instances);
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::CoreInstanceExport {
            instance: 0,
            kind: ExportKind::Func,
            name: "the-name-inside",
        });
        component.section(&aliases);
        let mut types = ComponentTypeSection::new();
        types
            .function()
            .params([("the-parameter", wasm_encoder::PrimitiveValType::U32); 0])
            .result(None);
        component.section(&types);
        let mut functions = CanonicalFunctionSection::new();
        functions.lift(0, 0, []);
        component.section(&functions);
        let mut exports = ComponentExportSection::new();
        exports.export("the-name-outside", ComponentExportKind::Func, 0, None);
        component.section(&exports);
        component.finish()
    }

    #[test]
    fn names_inside_are_short_and_those_outside_stay() {
        let long = example();
        wasmparser::validate(&long).unwrap();
        let compacted = compact(&long).unwrap();
        wasmparser::validate(&compacted).unwrap();
        let has = |name: &str| {
            compacted
                .windows(name.len())
                .any(|at| at == name.as_bytes())
        };
        assert!(has("the-name-outside"));
        assert!(!has("the-name-inside"));
    }

    #[test]
    fn different_names_stay_different() {
        let mut renaming = Renaming::default();
        let names: Vec<_> = ["a", "b", "a"].map(|name| renaming.short(name)).into();
        assert_eq!(names, ["a", "b", "a"]);
        let labels: HashSet<_> = (0..1000).map(label).collect();
        assert_eq!(labels.len(), 1000);
        assert_eq!([label(25), label(26), label(27)], ["z", "aa", "ba"]);
    }
}
