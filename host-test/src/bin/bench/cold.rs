//! What a start costs: compilation, and an instance.

use anyhow::{Result, anyhow};
use host_test::artifact::{Artifact, engine};
use host_test::world::World;
use std::time::{Duration, Instant};
use wasmtime::component::Component;

const COMPILATIONS: usize = 3;
const STARTS: usize = 301;

/// The start of one component.
pub struct Cold {
    /// Its file.
    pub name: &'static str,
    /// Its length.
    pub bytes: usize,
    /// From bytes to machine code, on all processors, at best.
    pub compile: Duration,
    /// From machine code to an instance, in the median.
    pub instantiate: Duration,
    /// Linear memory of an instance that has done nothing.
    pub memory_bytes: usize,
}

/// Starts every component that takes part.
pub async fn starts() -> Result<Vec<Cold>> {
    let world = World::in_process(1);
    let mut all = Vec::new();
    for artifact in [
        Artifact::Floor,
        Artifact::BucketS3,
        Artifact::Ifmatch,
        Artifact::IfmatchLog,
        Artifact::IfmatchManifest,
        Artifact::IfmatchComposed,
    ] {
        let wasm = artifact.read()?;
        let mut compile = Duration::MAX;
        for _ in 0..COMPILATIONS {
            let began = Instant::now();
            Component::from_binary(engine()?, &wasm).map_err(|error| anyhow!("{error:?}"))?;
            compile = compile.min(began.elapsed());
        }
        let mut times = Vec::with_capacity(STARTS);
        let mut memory_bytes = 0;
        // The first one loads what was compiled.
        world.instance("first").artifact(artifact).await?;
        for _ in 0..STARTS {
            let began = Instant::now();
            let instance = world.instance("started").artifact(artifact).await?;
            times.push(began.elapsed());
            memory_bytes = instance.memory_bytes();
        }
        times.sort_unstable();
        all.push(Cold {
            name: artifact.file_name(),
            bytes: wasm.len(),
            compile,
            instantiate: times[STARTS / 2],
            memory_bytes,
        });
    }
    Ok(all)
}
