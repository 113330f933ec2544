//! The components as they are shipped, compiled once.

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

/// Names the folder that holds the components, in place of `target/components`.
pub const FOLDER_VARIABLE: &str = "IFMATCH_COMPONENTS";

/// One of the built components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// The port on S3, alone.
    BucketS3,
    /// The protocols, alone. They need a provider of the port.
    Protocols,
    /// The protocols composed with the port on S3.
    Ifmatch,
    /// Of these the log and its leases.
    IfmatchLog,
    /// Of these manifests, transactions, blobs and leases.
    IfmatchManifest,
    /// The whole, of two components.
    IfmatchComposed,
    /// One signed request, to compare with.
    Floor,
    /// The example `examples/orders`, composed with all that it needs.
    OrdersApp,
    /// The example `examples/acid-table`, composed with all that it needs.
    AcidTableApp,
}

impl Artifact {
    /// How many there are.
    pub const COUNT: usize = Self::AcidTableApp as usize + 1;

    /// Its file.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::BucketS3 => "bucket-s3.wasm",
            Self::Protocols => "protocols.wasm",
            Self::Ifmatch => "ifmatch.wasm",
            Self::IfmatchLog => "ifmatch-log.wasm",
            Self::IfmatchManifest => "ifmatch-manifest.wasm",
            Self::IfmatchComposed => "ifmatch-composed.wasm",
            Self::Floor => "floor.wasm",
            Self::OrdersApp => "orders-app.wasm",
            Self::AcidTableApp => "acid-table-app.wasm",
        }
    }

    /// Where its file is expected.
    pub fn path(self) -> PathBuf {
        let folder = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
        folder
            .unwrap_or_else(|| target().join("components"))
            .join(self.file_name())
    }

    /// Its bytes.
    pub fn read(self) -> Result<Vec<u8>> {
        let path = self.path();
        fs::read(&path).with_context(|| {
            format!(
                "cannot read {}: run `cargo xtask build` first, or let {FOLDER_VARIABLE} name \
                 the folder of the built components",
                path.display()
            )
        })
    }

    /// The component, compiled for [`engine`]. The compiled form is kept under
    /// `target/`, so that only the first process after a build compiles.
    pub fn compile(self) -> Result<Component> {
        let wasm = self.read()?;
        let engine = engine()?;
        let cache = target().join("host-test-cache");
        let compiled = cache.join(format!("{}.cwasm", cache_key(engine, &wasm)));
        if let Some(component) = load(engine, &compiled) {
            return Ok(component);
        }
        let component = Component::from_binary(engine, &wasm)
            .map_err(|error| anyhow!("{} is not a valid component: {error:?}", self.file_name()))?;
        store(&component, &cache, &compiled).context("cannot keep a compiled component")?;
        Ok(component)
    }
}

/// The build folder of this workspace.
pub fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace.unwrap_or(Path::new(".")).join("target")
}

/// The engine of this process. It counts fuel, which bounds and measures calls.
pub fn engine() -> Result<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config.wasm_component_model(true).consume_fuel(true);
        Engine::new(&config).map_err(|error| format!("{error:?}"))
    });
    engine
        .as_ref()
        .map_err(|error| anyhow!("cannot start the engine: {error}"))
}

/// Changes with the component, and with everything that compiled code depends on.
fn cache_key(engine: &Engine, wasm: &[u8]) -> String {
    struct Digester(Sha256);
    impl Hasher for Digester {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut digester = Digester(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digester);
    digester.0.update(wasm);
    crate::store::auth::hex(&digester.0.finalize())
}

fn load(engine: &Engine, path: &Path) -> Option<Component> {
    if !path.exists() {
        return None;
    }
    // SAFETY: the file was made by `store` below from a component that this
    // engine had compiled: it is written whole under another name and renamed,
    // and the build folder belongs to the user who runs this.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

fn store(component: &Component, folder: &Path, path: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    // Several tests may compile at once, in one process or in several: each writes
    // a file of its own, the last one wins, and all of them wrote the same.
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let draft = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let unfinished = path.with_extension(format!("{}-{draft}.unfinished", std::process::id()));
    let bytes = component
        .serialize()
        .map_err(|error| anyhow!("{error:?}"))?;
    fs::write(&unfinished, bytes)?;
    fs::rename(&unfinished, path)?;
    Ok(())
}
