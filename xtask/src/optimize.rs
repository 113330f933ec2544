//! Makes core modules smaller with `wasm-opt` of Binaryen.
//!
//! It takes off a tenth of what the compiler makes. Where it is missing and cannot
//! be installed, the build goes on without it and says so: what the components do
//! is the same.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::copies::outline;
use crate::{process, toolchain};

const PROGRAM: &str = "wasm-opt";

/// Debian's package of it.
const PACKAGE: &str = "binaryen";

/// Older releases do not know all that the compiler uses.
const VERSION_MIN: u32 = 108;

/// What of WebAssembly the compiler uses, and no more: hosts must not need more
/// than they did before.
const FEATURES: &[&str] = &[
    "--mvp-features",
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-simd",
];

/// For size, compressed before bare. Found by trying.
const PASSES: &[&str] = &[
    // The lowest 1024 bytes are the far end of the stack, or nothing.
    "--low-memory-unused",
    // Long functions with one caller stay functions: alike, they compress better.
    "--one-caller-inline-max-function-size=20",
    "-Oz",
    "--flatten",
    "--rereloop",
    "--dae-optimizing",
    "-Oz",
    "--converge",
];

/// The optimiser of this machine.
#[derive(Clone, Debug)]
pub struct Optimizer {
    version: u32,
}

impl Optimizer {
    /// Finds the optimiser, or installs it where that is possible.
    pub fn find() -> Option<Self> {
        let probe = || {
            let version = version(&process::output(Command::new(PROGRAM).arg("--version"))?)?;
            (version >= VERSION_MIN).then_some(Optimizer { version })
        };
        if let Some(found) = probe() {
            return Some(found);
        }
        if toolchain::can_install()
            && let Err(error) = toolchain::install(&[PACKAGE])
        {
            eprintln!("warning: {error:#}");
        }
        let found = probe();
        if found.is_none() {
            eprintln!(
                "warning: without {PROGRAM} {VERSION_MIN} or newer (Debian: {PACKAGE}), the \
                 components are about a tenth larger"
            );
        }
        found
    }

    /// The module at `path`, optimised. What was optimised before is taken from
    /// beside it.
    pub fn optimize(&self, path: &Path) -> Result<Vec<u8>> {
        let module = read(path)?;
        let stamp = format!(
            "{} {} copies {:x?}\n",
            self.version,
            PASSES.join(" "),
            Sha256::digest(&module).as_slice()
        );
        let (output, stamp_path) = (with_suffix(path, ".opt"), with_suffix(path, ".opt-of"));
        if fs::read_to_string(&stamp_path).is_ok_and(|present| present == stamp) {
            return read(&output);
        }
        process::run(
            Command::new(PROGRAM)
                .args(FEATURES)
                .args(PASSES)
                .arg(path)
                .arg("-o")
                .arg(&output),
        )?;
        let optimized = outline(&read(&output)?)?;
        fs::write(&output, &optimized)
            .with_context(|| format!("cannot write {}", output.display()))?;
        fs::write(&stamp_path, stamp)
            .with_context(|| format!("cannot write {}", stamp_path.display()))?;
        Ok(optimized)
    }
}

/// Reads `wasm-opt version 108`, with or without what may follow.
fn version(text: &str) -> Option<u32> {
    let number = text.trim().strip_prefix("wasm-opt version ")?;
    number.split_whitespace().next()?.parse().ok()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("wasm-opt version 108\n"), Some(108));
        assert_eq!(version("wasm-opt version 121 (version_121)\n"), Some(121));
        assert_eq!(version("wasm-opt\n"), None);
    }
}
