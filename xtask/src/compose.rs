//! Several components as one.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use wac_graph::{CompositionGraph, EncodeOptions, PackageId};
use wac_types::Package;

use crate::args::Args;
use crate::cli::{Action, Command};

/// `cargo xtask compose`.
pub const COMMAND: Command = Command {
    name: "compose",
    summary: "Compose a component with those that serve its imports",
    action: Action::Here {
        help: HELP,
        check: |args| parse(args).map(drop),
        run,
    },
};

const HELP: &str = "\
usage: cargo xtask compose SOCKET PLUG... --output FILE

Satisfies the imports of the component SOCKET by the exports of the components PLUG, as
`wac plug` does, and writes one component. Imports that no PLUG serves are left.
";

/// What a person asks for.
struct Wish {
    socket: PathBuf,
    plugs: Vec<PathBuf>,
    output: PathBuf,
}

fn parse(mut args: Args) -> Result<Wish> {
    let output = args.option("--output")?;
    let mut words = args.words().into_iter().map(PathBuf::from);
    args.finish()?;
    let socket = words.next();
    let plugs: Vec<_> = words.collect();
    let (Some(socket), Some(output), false) = (socket, output, plugs.is_empty()) else {
        bail!("a socket, a plug and --output are needed; see --help");
    };
    Ok(Wish {
        socket,
        plugs,
        output: output.into(),
    })
}

fn run(args: Args) -> Result<ExitCode> {
    let wish = parse(args)?;
    let mut parts = Vec::new();
    for path in [&wish.socket].into_iter().chain(&wish.plugs) {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default();
        parts.push((name.to_string_lossy().into_owned(), bytes));
    }
    let parts: Vec<_> = parts
        .iter()
        .map(|(name, bytes)| Part { name, bytes })
        .collect();
    let (socket, plugs) = parts.split_first().context("no parts")?;
    fs::write(&wish.output, compose(socket, plugs, &[])?)
        .with_context(|| format!("cannot write {}", wish.output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// A component and its name.
pub struct Part<'a> {
    /// Used in messages only.
    pub name: &'a str,
    /// The component.
    pub bytes: &'a [u8],
}

/// Satisfies imports of `socket` by exports of `plugs`, and exports what `socket`
/// exports, and besides these exports of the plugs.
///
/// Of several plugs with one export, the first serves. An import that no plug
/// serves stays an import. The check of the finished artifact's imports finds it.
pub fn compose(socket: &Part<'_>, plugs: &[Part<'_>], besides: &[&str]) -> Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let mut exporters = Vec::new();
    for plug in plugs {
        let package = register(&mut graph, plug)?;
        let names: Vec<String> = exports(&graph, package);
        exporters.push((plug.name, graph.instantiate(package), names));
    }
    let exporter = |name: &str| {
        let exports = |(_, _, names): &&(_, _, Vec<String>)| names.iter().any(|own| own == name);
        exporters.iter().find(exports)
    };
    let socket = register(&mut graph, socket)?;
    let instance = graph.instantiate(socket);
    let imports = &graph.types()[graph[socket].ty()].imports;
    let mut used = Vec::new();
    for import in imports.keys().cloned().collect::<Vec<_>>() {
        if let Some((plug, exporter, _)) = exporter(&import) {
            let export = graph.alias_instance_export(*exporter, &import)?;
            graph.set_instantiation_argument(instance, &import, export)?;
            used.push(*plug);
        }
    }
    if let Some(plug) = plugs.iter().find(|plug| !used.contains(&plug.name)) {
        bail!("{} serves no import", plug.name);
    }
    for name in exports(&graph, socket) {
        let export = graph.alias_instance_export(instance, &name)?;
        graph.export(export, &name)?;
    }
    for &name in besides {
        let (_, exporter, _) = exporter(name).with_context(|| format!("no plug exports {name}"))?;
        let export = graph.alias_instance_export(*exporter, name)?;
        graph.export(export, name)?;
    }
    graph
        .encode(EncodeOptions::default())
        .context("cannot encode the composition")
}

fn exports(graph: &CompositionGraph, package: PackageId) -> Vec<String> {
    let exports = &graph.types()[graph[package].ty()].exports;
    exports.keys().cloned().collect()
}

fn register(graph: &mut CompositionGraph, part: &Part<'_>) -> Result<PackageId> {
    let package = Package::from_bytes(part.name, None, part.bytes, graph.types_mut());
    let package = package.with_context(|| format!("cannot read the component {}", part.name))?;
    graph
        .register_package(package)
        .with_context(|| format!("cannot register {}", part.name))
}

#[cfg(test)]
mod tests {
    //! Components whose interfaces are empty are enough to tell what is wired to
    //! what.

    use super::*;
    use crate::interface::Interface;
    use wasm_encoder::{
        Component, ComponentExportKind, ComponentExportSection, ComponentImportSection,
        ComponentInstanceSection, ComponentTypeRef, ComponentTypeSection, InstanceType,
    };

    fn component(imports: &[&str], export: &str) -> Vec<u8> {
        let mut component = Component::new();
        let mut types = ComponentTypeSection::new();
        types.instance(&InstanceType::new());
        component.section(&types);
        let mut section = ComponentImportSection::new();
        for import in imports {
            section.import(*import, ComponentTypeRef::Instance(0));
        }
        component.section(&section);
        let mut instances = ComponentInstanceSection::new();
        let nothing: [(&str, ComponentExportKind, u32); 0] = [];
        instances.export_items(nothing);
        component.section(&instances);
        let mut exports = ComponentExportSection::new();
        let instance = u32::try_from(imports.len()).unwrap();
        exports.export(export, ComponentExportKind::Instance, instance, None);
        component.section(&exports);
        component.finish()
    }

    #[test]
    fn arguments() {
        let parse = |line: &str| {
            parse(Args::new(
                line.split_whitespace().map(str::to_owned).collect(),
            ))
        };
        let wish = parse("a.wasm b.wasm c.wasm --output d.wasm").unwrap();
        assert_eq!(wish.socket, PathBuf::from("a.wasm"));
        assert_eq!(
            wish.plugs,
            [PathBuf::from("b.wasm"), PathBuf::from("c.wasm")]
        );
        assert!(parse("a.wasm --output d.wasm").is_err());
        assert!(parse("a.wasm b.wasm").is_err());
        assert!(parse("a.wasm b.wasm --output d.wasm --fast").is_err());
    }

    fn part<'a>(name: &'a str, bytes: &'a [u8]) -> Part<'a> {
        Part { name, bytes }
    }

    #[test]
    fn plugs_satisfy_imports_and_what_is_left_stays() {
        let plug = component(&["host:x/net@0.2.0"], "a:port/port@0.1.0");
        let socket = component(
            &["a:port/port@0.1.0", "host:x/clock@0.2.0"],
            "a:api/api@0.1.0",
        );
        let composed = compose(&part("socket", &socket), &[part("plug", &plug)], &[]).unwrap();
        let interface = Interface::read(&composed).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let expected = Interface {
            imports: names(&["host:x/clock@0.2.0", "host:x/net@0.2.0"]),
            exports: names(&["a:api/api@0.1.0"]),
        };
        assert_eq!(interface, expected);
    }

    #[test]
    fn a_plug_that_fits_nowhere_is_an_error() {
        let plug = component(&[], "a:other/port@0.1.0");
        let socket = component(&["a:port/port@0.1.0"], "a:api/api@0.1.0");
        assert!(compose(&part("socket", &socket), &[part("plug", &plug)], &[]).is_err());
    }

    #[test]
    fn an_export_of_a_plug_can_be_exported_besides() {
        let plug = component(&["host:x/net@0.2.0"], "a:port/port@0.1.0");
        let socket = component(&["a:port/port@0.1.0"], "a:api/api@0.1.0");
        let compose = |name| {
            let besides = [name];
            compose(&part("socket", &socket), &[part("plug", &plug)], &besides)
        };
        let composed = compose("a:port/port@0.1.0").unwrap();
        let exports = Interface::read(&composed).unwrap().exports;
        assert!(exports.iter().eq(["a:api/api@0.1.0", "a:port/port@0.1.0"]));
        assert!(compose("a:port/other@0.1.0").is_err());
    }

    #[test]
    fn a_module_is_no_part() {
        let socket = component(&[], "a:api/api@0.1.0");
        assert!(
            compose(
                &part("socket", &socket),
                &[part("module", b"\0asm\x01\0\0\0")],
                &[]
            )
            .is_err()
        );
    }
}
