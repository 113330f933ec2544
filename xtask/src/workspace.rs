//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    // cargo sets the variable at run time too, which keeps the binary right after
    // the checkout has moved.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let manifest = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// Where finished components go.
pub fn components() -> PathBuf {
    root().join("target/components")
}

/// Cargo's home: its registry and its settings.
pub fn cargo_home() -> Option<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")),
    }
}

/// The cargo that runs this program, so that what it starts uses the same.
pub fn cargo() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
