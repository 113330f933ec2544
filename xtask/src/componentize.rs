//! A core module and the type that wit-bindgen embedded in it, as a component.

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

use crate::compact::compact;

/// Makes a component of a core module.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder
        .module(module)
        .context("cannot read the component type of the module")?;
    let component = encoder.encode().context(
        "cannot make a component of the module. An import that is not in its world comes from a \
         dependency that expects another host, such as JavaScript",
    )?;
    compact(&component)
}
