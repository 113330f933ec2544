//! Several components as one.

use anyhow::{Context, Result};
use wac_graph::{CompositionGraph, EncodeOptions, PackageId};
use wac_types::Package;

/// A component and its name.
pub struct Part<'a> {
    /// Used in messages only.
    pub name: &'a str,
    /// The component.
    pub bytes: &'a [u8],
}

/// Satisfies imports of `socket` by exports of `plugs`, and exports what `socket`
/// exports.
///
/// An import whose type differs from the plug's export stays an import. The check
/// of the finished artifact's imports finds it.
pub fn compose(socket: &Part<'_>, plugs: &[Part<'_>]) -> Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let plugs = plugs
        .iter()
        .map(|plug| register(&mut graph, plug))
        .collect::<Result<_>>()?;
    let socket = register(&mut graph, socket)?;
    wac_graph::plug(&mut graph, plugs, socket).context("cannot plug the components together")?;
    graph
        .encode(EncodeOptions::default())
        .context("cannot encode the composition")
}

fn register(graph: &mut CompositionGraph, part: &Part<'_>) -> Result<PackageId> {
    let package = Package::from_bytes(part.name, None, part.bytes, graph.types_mut());
    let package = package.with_context(|| format!("cannot read the component {}", part.name))?;
    graph
        .register_package(package)
        .with_context(|| format!("cannot register {}", part.name))
}
