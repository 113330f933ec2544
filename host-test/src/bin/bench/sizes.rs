//! How large other clients of S3 are, compiled to the same target.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// One client.
pub struct Size {
    /// Its name.
    pub name: String,
    /// Bytes of its module.
    pub bytes: u64,
    /// Whether it is a general client of S3, and not ours.
    pub is_general: bool,
}

/// What `cargo xtask bench` found, one `NAME BYTES` a line.
pub fn read(path: &Path) -> Result<Vec<Size>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("cannot read the sizes"),
    };
    let mut sizes = Vec::new();
    for line in text.lines() {
        let (name, bytes) = line.rsplit_once(' ').context("a line without a size")?;
        sizes.push(Size {
            name: name.to_owned(),
            bytes: bytes.parse()?,
            // Without a transport it is a part of one.
            is_general: !name.contains("without"),
        });
    }
    Ok(sizes)
}
