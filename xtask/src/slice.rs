//! A core module with fewer of its exports, so that what only the others need can
//! be left out by `wasm-opt`.

use anyhow::{Context, Result, bail};
use wasm_encoder::{ExportKind, ExportSection, Module, RawSection};
use wasmparser::{ExternalKind, Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata, metadata};
use wit_parser::{WorldItem, WorldKey};

/// Takes all exported interfaces off a core module of wit-bindgen but `interfaces`,
/// which are named without versions. Of those in `types`, the types stay, which others
/// use, but no function. The type of the module changes with it.
pub fn slice(module: &[u8], interfaces: &[&str], types: &[&str]) -> Result<Vec<u8>> {
    let (bare, mut bindings) =
        metadata::decode(module).context("cannot read the component type of the module")?;
    let bare = bare.context("the module has no component type")?;
    let exports = &bindings.resolve.worlds[bindings.world].exports;
    let names: Vec<(WorldKey, String)> = exports
        .keys()
        .map(|key| (key.clone(), bindings.resolve.name_world_key(key)))
        .collect();
    for wanted in interfaces.iter().chain(types) {
        if !names.iter().any(|(_, name)| is(name, wanted)) {
            bail!("{wanted} is not among the exports");
        }
    }
    let mut dropped = Vec::new();
    for (key, name) in names {
        if interfaces.iter().any(|wanted| is(&name, wanted)) {
            continue;
        }
        let exports = &mut bindings.resolve.worlds[bindings.world].exports;
        if !types.iter().any(|wanted| is(&name, wanted)) {
            exports.shift_remove(&key);
        } else if let Some(WorldItem::Interface { id, .. }) = exports.get(&key) {
            bindings.resolve.interfaces[*id].functions.clear();
        }
        dropped.push(name);
    }
    let mut sliced = without(&bare, &dropped)?;
    embed_component_metadata(
        &mut sliced,
        &bindings.resolve,
        bindings.world,
        StringEncoding::UTF8,
        false,
    )?;
    Ok(sliced)
}

/// An interface that a core module of wit-bindgen exports.
pub struct Export {
    /// Its name, without a version.
    pub name: String,
    /// Whether there is more in it than types.
    pub has_functions: bool,
    /// The interfaces whose types it uses.
    pub uses: Vec<String>,
}

/// All that it exports.
pub fn exports(module: &[u8]) -> Result<Vec<Export>> {
    let (_, bindings) =
        metadata::decode(module).context("cannot read the component type of the module")?;
    let resolve = &bindings.resolve;
    let mut exports = Vec::new();
    for (key, item) in &resolve.worlds[bindings.world].exports {
        let WorldItem::Interface { id, .. } = item else {
            bail!("{} is no interface", resolve.name_world_key(key));
        };
        let uses = resolve.interface_direct_deps(*id);
        let bare = |name: String| name.split('@').next().unwrap_or_default().to_owned();
        exports.push(Export {
            name: bare(resolve.name_world_key(key)),
            has_functions: !resolve.interfaces[*id].functions.is_empty(),
            uses: uses.filter_map(|id| resolve.id_of(id)).map(bare).collect(),
        });
    }
    Ok(exports)
}

/// Whether a name such as `ifmatch:protocols/log@0.1.0` is that of an interface.
fn is(name: &str, interface: &str) -> bool {
    name.split('@').next() == Some(interface)
}

/// The module without the functions of these interfaces among its exports. They are
/// called `INTERFACE#FUNCTION`, and what cleans up after them `cabi_post_` and that.
fn without(module: &[u8], interfaces: &[String]) -> Result<Vec<u8>> {
    let mut sliced = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("the module does not parse")?;
        if let Payload::ExportSection(section) = payload {
            let mut kept = ExportSection::new();
            for export in section {
                let export = export?;
                let name = export.name.trim_start_matches("cabi_post_");
                let interface = name.split('#').next().unwrap_or_default();
                if !interfaces.iter().any(|dropped| dropped == interface) {
                    kept.export(export.name, kind(export.kind)?, export.index);
                }
            }
            sliced.section(&kept);
        } else if let Some((id, range)) = payload.as_section() {
            let (start, end) = (range.start.try_into()?, range.end.try_into()?);
            let data = module
                .get::<std::ops::Range<usize>>(start..end)
                .context("a section ends too late")?;
            sliced.section(&RawSection { id, data });
        }
    }
    Ok(sliced.finish())
}

fn kind(kind: ExternalKind) -> Result<ExportKind> {
    Ok(match kind {
        ExternalKind::Func => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        other => bail!("an export of the kind {other:?} is not expected"),
    })
}
