//! Goal: the components import what they should and nothing else, and start fast.
//!
//! Method: the import lists of the built files, and the time of instantiating them
//! from their pre-linked form.

use anyhow::Result;
use host_test::artifact::Artifact;
use host_test::host::imports;
use host_test::world::World;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn interfaces(artifact: Artifact) -> Result<BTreeSet<String>> {
    let component = artifact.compile()?;
    let names = imports(&component).into_iter();
    Ok(names
        .map(|name| name.split('@').next().unwrap_or_default().to_owned())
        .collect())
}

/// What HTTP needs, and what tells the time and the settings.
const PROVIDER: [&str; 8] = [
    "wasi:cli/environment",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
];

const PROTOCOLS: [&str; 5] = [
    "ifmatch:bucket/bucket",
    "ifmatch:bucket/deletion",
    "wasi:clocks/monotonic-clock",
    "wasi:io/poll",
    "wasi:random/random",
];

fn allowed(names: impl IntoIterator<Item = &'static str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn components_import_no_more_than_they_should() -> Result<()> {
    let cases = [
        (Artifact::BucketS3, allowed(PROVIDER)),
        (Artifact::Protocols, allowed(PROTOCOLS)),
        (
            Artifact::Ifmatch,
            allowed(PROVIDER.into_iter().chain(["wasi:random/random"])),
        ),
        (
            Artifact::IfmatchLog,
            allowed(PROVIDER.into_iter().chain(["wasi:random/random"])),
        ),
        (
            Artifact::IfmatchManifest,
            allowed(PROVIDER.into_iter().chain(["wasi:random/random"])),
        ),
    ];
    for (artifact, allowed) in cases {
        let imported = interfaces(artifact)?;
        let extra: Vec<&String> = imported.difference(&allowed).collect();
        assert!(
            extra.is_empty(),
            "{} imports {extra:?}",
            artifact.file_name()
        );
    }
    Ok(())
}

#[test]
fn the_protocols_cannot_reach_secrets_or_the_network() -> Result<()> {
    let imported = interfaces(Artifact::Protocols)?;
    for forbidden in [
        "wasi:cli/",
        "wasi:http/",
        "wasi:sockets/",
        "wasi:filesystem/",
        "wasi:clocks/wall-clock",
    ] {
        assert!(
            imported.iter().all(|name| !name.starts_with(forbidden)),
            "{imported:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn instances_start_fast() -> Result<()> {
    let world = World::in_process(1);
    for artifact in [Artifact::BucketS3, Artifact::Ifmatch, Artifact::IfmatchLog] {
        let mut times = Vec::new();
        for _ in 0..201 {
            let began = Instant::now();
            let instance = world.instance("a").artifact(artifact).await?;
            times.push(began.elapsed());
            drop(instance);
        }
        times.sort();
        let (median, slowest) = (times[100], times[200]);
        println!(
            "{}: {median:?} to instantiate (median), {slowest:?} at most",
            artifact.file_name()
        );
        // Generous: this is an unoptimised build on a machine with other work.
        assert!(
            median < Duration::from_millis(5),
            "{}: {median:?}",
            artifact.file_name()
        );
    }
    Ok(())
}
