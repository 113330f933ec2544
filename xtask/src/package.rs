//! `package`: what is published, as an OCI image layout in target/package.
//!
//! Components and WIT packages, each as an OCI artifact of the kind that `wkg`, Spin,
//! wasmCloud and wasmtime's tools pull from a registry. Nothing is sent anywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wit_parser::Resolve;

use crate::args::Args;
use crate::artifacts;
use crate::build;
use crate::cli::{Action, Command};
use crate::interface::Interface;
use crate::report::hex;
use crate::workspace;

/// `cargo xtask package`.
pub const COMMAND: Command = Command {
    name: "package",
    summary: "Write what is published as an OCI image layout",
    action: Action::Here {
        help: "usage: cargo xtask package\n\nBuilds the components and writes them and the WIT \
               packages to target/package, an OCI image\nlayout that tools copy to any registry. \
               docs/PACKAGES.md says how.\n",
        check: Args::finish,
        run: |args| {
            args.finish()?;
            for package in write()? {
                println!(
                    "{}  {} bytes  sha256:{}",
                    package.name, package.bytes, package.digest
                );
            }
            Ok(ExitCode::SUCCESS)
        },
    },
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const LICENSES: &str = env!("CARGO_PKG_LICENSE");

/// The components that are published.
const COMPONENTS: &[&str] = &[
    "ifmatch",
    "ifmatch-log",
    "ifmatch-manifest",
    "protocols",
    "protocols-log",
    "bucket-s3",
];
/// The WIT packages that are published: their folders in `wit/`.
const INTERFACES: &[(&str, &str)] = &[
    ("bucket", "The port: one bucket with conditional writes"),
    ("protocols", "Logs, leases, manifests and blobs on a bucket"),
];

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM: &str = "application/wasm";

/// What was written for one package.
pub struct Package {
    /// The name to pull it by.
    pub name: String,
    /// The length of its WebAssembly.
    pub bytes: usize,
    /// SHA-256 of its manifest.
    pub digest: String,
}

/// Writes the layout anew.
pub fn write() -> Result<Vec<Package>> {
    build::bring_up_to_date()?;
    let mut layout = Layout::create(&workspace::root().join("target/package"))?;
    for name in COMPONENTS {
        let artifact = artifacts::find(name)?;
        let path = workspace::components().join(name).with_extension("wasm");
        // The component and the WIT package `protocols` must not share a name.
        let name = match *name {
            "protocols" => "protocols-component",
            other => other,
        };
        layout.add(name, artifact.description, &fs::read(path)?)?;
    }
    for (name, description) in INTERFACES {
        let wasm = interface(&workspace::root().join("wit").join(name))?;
        layout.add(name, description, &wasm)?;
    }
    layout.finish()
}

/// A WIT package in its binary form.
fn interface(folder: &Path) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?;
    // Without "canonical names", a newer form that older tools do not read.
    wit_component::encode(&resolve, package, false)
}

/// An image layout that is being written.
struct Layout {
    folder: PathBuf,
    manifests: Vec<Value>,
    packages: Vec<Package>,
}

impl Layout {
    fn create(folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        Ok(Layout {
            folder: folder.to_owned(),
            manifests: Vec::new(),
            packages: Vec::new(),
        })
    }

    fn add(&mut self, name: &str, description: &str, wasm: &[u8]) -> Result<()> {
        let layer = self.blob(WASM, wasm)?;
        let interface = Interface::read(wasm)?;
        let config = json!({
            // When it was made is not a part of what it is: the same source gives the
            // same digest.
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer["digest"]],
            "component": {"exports": interface.exports, "imports": interface.imports},
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": {
                "org.opencontainers.image.title": name,
                "org.opencontainers.image.description": description,
                "org.opencontainers.image.licenses": LICENSES,
                "org.opencontainers.image.version": VERSION,
            },
        });
        let name = format!("ifmatch/{name}:{VERSION}");
        let mut entry = self.blob(MANIFEST, manifest.to_string().as_bytes())?;
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let digest = entry["digest"].as_str().unwrap_or_default();
        self.packages.push(Package {
            name,
            bytes: wasm.len(),
            digest: digest.trim_start_matches("sha256:").to_owned(),
        });
        self.manifests.push(entry);
        Ok(())
    }

    /// Writes a blob, and describes it.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = hex(&Sha256::digest(bytes));
        fs::write(self.folder.join("blobs/sha256").join(&digest), bytes)?;
        let digest = format!("sha256:{digest}");
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }

    fn finish(self) -> Result<Vec<Package>> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.manifests,
        });
        fs::write(self.folder.join("index.json"), index.to_string())?;
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        fs::write(self.folder.join("oci-layout"), layout.to_string())?;
        Ok(self.packages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let (_, digest) = digest.split_once(':').unwrap();
        let bytes = fs::read(folder.join("blobs/sha256").join(digest)).unwrap();
        assert_eq!(hex(&Sha256::digest(&bytes)), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn everything_in_the_index_is_there_and_the_interfaces_can_be_read_back() {
        let folder = std::env::temp_dir().join(format!("xtask-package-{}", std::process::id()));
        let mut layout = Layout::create(&folder).unwrap();
        for (name, description) in INTERFACES {
            let wasm = interface(&workspace::root().join("wit").join(name)).unwrap();
            layout.add(name, description, &wasm).unwrap();
        }
        let packages = layout.finish().unwrap();
        assert_eq!(packages[1].name, format!("ifmatch/protocols:{VERSION}"));

        let index = fs::read(folder.join("index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        for entry in index["manifests"].as_array().unwrap() {
            let manifest: Value = serde_json::from_slice(&read(&folder, entry)).unwrap();
            let config = read(&folder, &manifest["config"]);
            let config: Value = serde_json::from_slice(&config).unwrap();
            assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);
            let wasm = read(&folder, &manifest["layers"][0]);
            let decoded = wit_component::decode(&wasm).unwrap();
            let name = &decoded.resolve().packages[decoded.package()].name;
            let title = &manifest["annotations"]["org.opencontainers.image.title"];
            assert_eq!(title, &name.name);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
