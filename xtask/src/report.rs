//! What `build` prints about each artifact.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::interface::Interface;

/// The facts about one artifact.
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// Where it is, relative to the root of the checkout.
    pub path: String,
    /// Its length.
    pub bytes: usize,
    /// Its length on the wire.
    pub gzip_bytes: usize,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// What it imports and exports.
    pub interface: Interface,
}

impl Report {
    /// Measures an artifact.
    pub fn new(
        name: &'static str,
        path: String,
        component: &[u8],
        interface: Interface,
    ) -> Result<Self> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(component)?;
        Ok(Report {
            name,
            path,
            bytes: component.len(),
            gzip_bytes: gzip.finish()?.len(),
            sha256: hex(&Sha256::digest(component)),
            interface,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let (bytes, gzip, sha256) = (
            kilobytes(self.bytes),
            kilobytes(self.gzip_bytes),
            &self.sha256,
        );
        let mut text = format!(
            "{}  {bytes}, {gzip} with gzip\n  sha256  {sha256}\n",
            self.path
        );
        for (label, names) in [
            ("imports", &self.interface.imports),
            ("exports", &self.interface.exports),
        ] {
            for (at, name) in names.iter().enumerate() {
                let label = if at == 0 { label } else { "" };
                text.push_str(&format!("  {label:7} {name}\n"));
            }
        }
        text
    }

    /// For machines.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name,
            "path": self.path,
            "bytes": self.bytes,
            "gzip_bytes": self.gzip_bytes,
            "sha256": self.sha256,
            "imports": self.interface.imports,
            "exports": self.interface.exports,
        })
    }
}

fn kilobytes(bytes: usize) -> String {
    format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100)
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Report {
        let interface = Interface {
            imports: ["a:b/c@0.1.0", "a:b/d@0.1.0"].map(str::to_owned).into(),
            exports: ["e:f/g@0.1.0"].map(str::to_owned).into(),
        };
        Report::new(
            "example",
            "target/example.wasm".into(),
            &[7; 61_950],
            interface,
        )
        .unwrap()
    }

    #[test]
    fn text_names_every_interface_once() {
        let text = example().text();
        assert!(
            text.starts_with("target/example.wasm  61.9 kB, 0."),
            "{text}"
        );
        assert!(
            text.contains("  imports a:b/c@0.1.0\n          a:b/d@0.1.0\n"),
            "{text}"
        );
        assert!(text.contains("  exports e:f/g@0.1.0\n"), "{text}");
    }

    #[test]
    fn json_has_the_same_facts() {
        let json = example().json();
        assert_eq!(json["bytes"], 61_950);
        assert_eq!(json["imports"][1], "a:b/d@0.1.0");
        assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    }
}
