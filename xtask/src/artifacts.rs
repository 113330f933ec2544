//! What is built, and what each artifact may import and must export.
//!
//! To add a component, add an entry to [`ARTIFACTS`]: everything else follows.

use anyhow::{Result, bail};

/// A component that `build` writes to `target/components/NAME.wasm`.
#[derive(Debug)]
pub struct Artifact {
    /// Its name. For a crate, also the name of its package.
    pub name: &'static str,
    /// What it is, for the metadata of the component.
    pub description: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// Interfaces that it may import. Any other import fails the build.
    ///
    /// With a version, exactly that version; without one, any. WASI interfaces
    /// have one: a higher one would shut out older hosts without anybody noticing.
    pub imports: &'static [&'static str],
    /// Interfaces that it must export. Any other export fails the build. `*` at
    /// the end stands for one or more interfaces.
    pub exports: &'static [&'static str],
    /// How large it may be, as it is and with gzip, where everything that makes
    /// components smaller is at hand.
    pub bytes_max: (usize, usize),
}

/// Where a component comes from.
#[derive(Debug)]
pub enum Source {
    /// The crate of the same name.
    Crate,
    /// A crate of another name, with features that change what it is.
    Variant {
        /// The name of its package.
        package: &'static str,
        /// What is switched on.
        features: &'static [&'static str],
    },
    /// Some of the interfaces of a crate's artifact: what its other exports need is
    /// left out.
    Slice {
        /// That artifact, built before, and before another variant of its crate.
        of: &'static str,
        /// What is exported, without versions.
        interfaces: &'static [&'static str],
        /// Interfaces of which only the types are exported, because others use them.
        types: &'static [&'static str],
    },
    /// Other artifacts. Exports of the plugs satisfy imports of the socket.
    Composition {
        /// The artifact whose exports are kept.
        socket: &'static str,
        /// The artifacts that serve it.
        plugs: &'static [&'static str],
        /// Exports of the plugs that are exported besides those of the socket.
        besides: &'static [&'static str],
    },
}

/// What whatever has the protocols and S3 in it asks of its host.
const HOST: &[&str] = &[
    "wasi:cli/environment@0.2.0",
    "wasi:clocks/monotonic-clock@0.2.0",
    "wasi:clocks/wall-clock@0.2.0",
    "wasi:http/outgoing-handler@0.2.0",
    "wasi:http/types@0.2.0",
    "wasi:io/error@0.2.0",
    "wasi:io/poll@0.2.0",
    "wasi:io/streams@0.2.0",
    "wasi:random/random@0.2.0",
];

/// What the acceptance script asks of a host that has the protocols itself.
const SCRIPT_ON_A_BUCKET: &[&str] = &[
    "ifmatch:acceptance/rival",
    "ifmatch:protocols/blob",
    "ifmatch:protocols/collection",
    "ifmatch:protocols/lease",
    "ifmatch:protocols/log",
    "ifmatch:protocols/manifest",
    "ifmatch:protocols/receipts",
    "ifmatch:protocols/types",
    "wasi:cli/environment@0.2.0",
    "wasi:clocks/monotonic-clock@0.2.0",
    "wasi:clocks/wall-clock@0.2.0",
    "wasi:http/outgoing-handler@0.2.0",
    "wasi:http/types@0.2.0",
    "wasi:io/error@0.2.0",
    "wasi:io/poll@0.2.0",
    "wasi:io/streams@0.2.0",
];

/// What an application needs that appends under a lease.
const LOG: &[&str] = &[
    "ifmatch:protocols/types",
    "ifmatch:protocols/log",
    "ifmatch:protocols/lease",
    "ifmatch:protocols/receipts",
];

/// What an application needs that commits manifests, of tables or of anything else.
const MANIFEST: &[&str] = &[
    "ifmatch:bucket/presign",
    "ifmatch:bucket/types",
    "ifmatch:protocols/types",
    "ifmatch:protocols/manifest",
    "ifmatch:protocols/blob",
    "ifmatch:protocols/lease",
    "ifmatch:protocols/receipts",
    "ifmatch:protocols/transaction",
];

/// Every artifact, those that others are composed of first.
pub const ARTIFACTS: &[Artifact] = &[
    Artifact {
        name: "bucket-s3",
        description: "ifmatch:bucket on any S3-compatible store",
        source: Source::Crate,
        imports: &[
            "wasi:cli/environment@0.2.0",
            "wasi:clocks/monotonic-clock@0.2.0",
            "wasi:clocks/wall-clock@0.2.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:http/types@0.2.0",
            "wasi:io/error@0.2.0",
            "wasi:io/poll@0.2.0",
            "wasi:io/streams@0.2.0",
        ],
        exports: &["ifmatch:bucket/*"],
        bytes_max: (115_000, 51_800),
    },
    Artifact {
        name: "protocols",
        description: "ifmatch:protocols on any provider of ifmatch:bucket",
        source: Source::Crate,
        imports: &[
            "ifmatch:bucket/bucket",
            "ifmatch:bucket/deletion",
            "ifmatch:bucket/types",
            "wasi:clocks/monotonic-clock@0.2.0",
            "wasi:io/poll@0.2.0",
            "wasi:random/random@0.2.0",
        ],
        exports: &["ifmatch:protocols/*"],
        bytes_max: (322_800, 138_100),
    },
    Artifact {
        name: "protocols-log",
        description: "Of ifmatch:protocols the log and its leases, on any provider of ifmatch:bucket",
        source: Source::Slice {
            of: "protocols",
            interfaces: LOG,
            types: &[],
        },
        imports: &[
            "ifmatch:bucket/bucket",
            "ifmatch:bucket/types",
            "wasi:clocks/monotonic-clock@0.2.0",
            "wasi:io/poll@0.2.0",
            "wasi:random/random@0.2.0",
        ],
        exports: &["ifmatch:protocols/*"],
        bytes_max: (169_600, 74_500),
    },
    Artifact {
        name: "ifmatch",
        description: "ifmatch:protocols on any S3-compatible store",
        source: Source::Variant {
            package: "protocols",
            features: &["s3"],
        },
        imports: HOST,
        exports: &[
            "ifmatch:bucket/presign",
            "ifmatch:bucket/types",
            "ifmatch:protocols/*",
        ],
        bytes_max: (406_800, 175_200),
    },
    Artifact {
        name: "ifmatch-log",
        description: "Of ifmatch:protocols the log and its leases, on any S3-compatible store",
        source: Source::Slice {
            of: "ifmatch",
            interfaces: LOG,
            types: &[],
        },
        imports: HOST,
        exports: &["ifmatch:protocols/*"],
        bytes_max: (242_300, 106_900),
    },
    Artifact {
        name: "ifmatch-manifest",
        description: "Of ifmatch:protocols manifests, transactions, blobs and leases, on any S3-compatible store",
        source: Source::Slice {
            of: "ifmatch",
            interfaces: MANIFEST,
            // Settings, and how a creation ends.
            types: &["ifmatch:protocols/log"],
        },
        imports: HOST,
        exports: &[
            "ifmatch:bucket/presign",
            "ifmatch:bucket/types",
            "ifmatch:protocols/*",
        ],
        bytes_max: (283_400, 122_400),
    },
    Artifact {
        name: "ifmatch-composed",
        description: "The same, of two components: credentials in a memory of their own",
        source: Source::Composition {
            socket: "protocols",
            plugs: &["bucket-s3"],
            besides: &["ifmatch:bucket/types@0.1.0", "ifmatch:bucket/presign@0.1.0"],
        },
        imports: HOST,
        exports: &[
            "ifmatch:bucket/presign",
            "ifmatch:bucket/types",
            "ifmatch:protocols/*",
        ],
        bytes_max: (443_400, 189_700),
    },
    Artifact {
        name: "orders",
        description: "Example: orders that one leader at a time puts into a log",
        source: Source::Crate,
        imports: &[
            "ifmatch:protocols/blob",
            "ifmatch:protocols/lease",
            "ifmatch:protocols/log",
            "ifmatch:protocols/manifest",
            "ifmatch:protocols/types",
        ],
        exports: &["example:orders/orders"],
        bytes_max: (100_000, 50_000),
    },
    Artifact {
        name: "orders-app",
        description: "Example: the same, composed with ifmatch.wasm",
        source: Source::Composition {
            socket: "orders",
            plugs: &["ifmatch"],
            besides: &[],
        },
        imports: HOST,
        exports: &["example:orders/orders"],
        bytes_max: (444_200, 191_200),
    },
    Artifact {
        name: "acid-table",
        description: "Example: a table with transactions over many rows",
        source: Source::Crate,
        imports: &[
            "ifmatch:protocols/blob",
            "ifmatch:protocols/manifest",
            "ifmatch:protocols/types",
        ],
        exports: &["example:acid-table/tables"],
        bytes_max: (100_000, 50_000),
    },
    Artifact {
        name: "acid-table-app",
        description: "Example: the same, composed with ifmatch.wasm",
        source: Source::Composition {
            socket: "acid-table",
            plugs: &["ifmatch"],
            besides: &[],
        },
        imports: HOST,
        exports: &["example:acid-table/tables"],
        bytes_max: (461_800, 199_100),
    },
    Artifact {
        name: "floor",
        description: "Test: one signed request, to compare with",
        // By itself: together with `bucket-s3`, it would be linked with that component.
        source: Source::Variant {
            package: "floor",
            features: &[],
        },
        imports: &[
            "wasi:cli/environment@0.2.0",
            "wasi:clocks/wall-clock@0.2.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:http/types@0.2.0",
            "wasi:io/error@0.2.0",
            "wasi:io/poll@0.2.0",
            "wasi:io/streams@0.2.0",
        ],
        exports: &["ifmatch:bench/floor"],
        bytes_max: (100_000, 50_000),
    },
    Artifact {
        name: "rival",
        description: "Test: another instance of the protocols, for races",
        source: Source::Crate,
        imports: &[
            "ifmatch:protocols/blob",
            "ifmatch:protocols/lease",
            "ifmatch:protocols/log",
            "ifmatch:protocols/manifest",
            "ifmatch:protocols/types",
        ],
        exports: &["ifmatch:acceptance/rival"],
        bytes_max: (100_000, 50_000),
    },
    Artifact {
        name: "acceptance",
        description: "Test: the script that every host runs",
        source: Source::Crate,
        imports: &[
            "ifmatch:acceptance/rival",
            "ifmatch:bucket/bucket",
            "ifmatch:bucket/types",
            "ifmatch:protocols/blob",
            "ifmatch:protocols/collection",
            "ifmatch:protocols/lease",
            "ifmatch:protocols/log",
            "ifmatch:protocols/manifest",
            "ifmatch:protocols/receipts",
            "ifmatch:protocols/types",
            "wasi:clocks/monotonic-clock@0.2.0",
        ],
        exports: &["ifmatch:acceptance/script"],
        bytes_max: (150_000, 65_000),
    },
    Artifact {
        name: "front",
        description: "Test: the script over HTTP",
        source: Source::Crate,
        imports: &[
            "ifmatch:acceptance/script",
            "wasi:http/types@0.2.0",
            "wasi:io/error@0.2.0",
            "wasi:io/poll@0.2.0",
            "wasi:io/streams@0.2.0",
        ],
        exports: &["wasi:http/incoming-handler"],
        bytes_max: (100_000, 50_000),
    },
    Artifact {
        name: "acceptance-linked",
        description: "Test: the script for a host that links components",
        source: Source::Composition {
            socket: "acceptance",
            plugs: &["bucket-s3"],
            besides: &[],
        },
        imports: SCRIPT_ON_A_BUCKET,
        exports: &["ifmatch:acceptance/script"],
        bytes_max: (350_000, 150_000),
    },
    Artifact {
        name: "front-linked",
        description: "Test: the same, over HTTP",
        source: Source::Composition {
            socket: "front",
            plugs: &["acceptance-linked"],
            besides: &[],
        },
        imports: SCRIPT_ON_A_BUCKET,
        exports: &["wasi:http/incoming-handler"],
        bytes_max: (400_000, 170_000),
    },
    Artifact {
        name: "rival-s3",
        description: "Test: the rival on any S3-compatible store",
        source: Source::Composition {
            socket: "rival",
            plugs: &["ifmatch"],
            besides: &[],
        },
        imports: HOST,
        exports: &["ifmatch:acceptance/rival"],
        bytes_max: (600_000, 250_000),
    },
    Artifact {
        name: "rival-bucket",
        description: "Test: the rival on any provider of ifmatch:bucket",
        source: Source::Composition {
            socket: "rival",
            plugs: &["protocols"],
            besides: &[],
        },
        imports: &[
            "ifmatch:bucket/bucket",
            "ifmatch:bucket/deletion",
            "ifmatch:bucket/types",
            "wasi:clocks/monotonic-clock@0.2.0",
            "wasi:io/poll@0.2.0",
            "wasi:random/random@0.2.0",
        ],
        exports: &["ifmatch:acceptance/rival"],
        bytes_max: (450_000, 190_000),
    },
    Artifact {
        name: "acceptance-app",
        description: "Test: the script on any S3-compatible store",
        source: Source::Composition {
            socket: "acceptance",
            plugs: &["ifmatch", "rival-s3", "bucket-s3"],
            besides: &[],
        },
        imports: HOST,
        exports: &["ifmatch:acceptance/script"],
        bytes_max: (1_300_000, 550_000),
    },
    Artifact {
        name: "acceptance-bucket",
        description: "Test: the script on any provider of ifmatch:bucket",
        source: Source::Composition {
            socket: "acceptance",
            plugs: &["protocols", "rival-bucket"],
            besides: &[],
        },
        imports: &[
            "ifmatch:bucket/bucket",
            "ifmatch:bucket/deletion",
            "ifmatch:bucket/types",
            "wasi:clocks/monotonic-clock@0.2.0",
            "wasi:io/poll@0.2.0",
            "wasi:random/random@0.2.0",
        ],
        exports: &["ifmatch:acceptance/script"],
        bytes_max: (950_000, 400_000),
    },
    Artifact {
        name: "front-app",
        description: "Test: the script over HTTP, on any S3-compatible store",
        source: Source::Composition {
            socket: "front",
            plugs: &["acceptance-app"],
            besides: &[],
        },
        imports: HOST,
        exports: &["wasi:http/incoming-handler"],
        bytes_max: (1_400_000, 600_000),
    },
];

/// The artifact with this name.
pub fn find(name: &str) -> Result<&'static Artifact> {
    match ARTIFACTS.iter().find(|artifact| artifact.name == name) {
        Some(artifact) => Ok(artifact),
        None => {
            let names: Vec<_> = ARTIFACTS.iter().map(|artifact| artifact.name).collect();
            bail!("there is no artifact `{name}`, only {}", names.join(", "))
        }
    }
}

/// The named artifacts (all, if none is named) and what they are composed of, in
/// an order in which they can be built.
pub fn select(names: &[String]) -> Result<Vec<&'static Artifact>> {
    let mut wanted = Vec::new();
    for name in names {
        want(find(name)?, &mut wanted)?;
    }
    let all = names.is_empty();
    Ok(ARTIFACTS
        .iter()
        .filter(|artifact| all || wanted.contains(&artifact.name))
        .collect())
}

/// Adds an artifact and everything that it is made of.
fn want(artifact: &Artifact, wanted: &mut Vec<&'static str>) -> Result<()> {
    wanted.push(artifact.name);
    match artifact.source {
        Source::Composition { socket, plugs, .. } => {
            for part in plugs.iter().chain([&socket]) {
                want(find(part)?, wanted)?;
            }
        }
        Source::Slice { of, .. } => want(find(of)?, wanted)?,
        Source::Crate | Source::Variant { .. } => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<_> = wanted.iter().map(|name| name.to_string()).collect();
        select(&wanted)
            .unwrap()
            .iter()
            .map(|artifact| artifact.name)
            .collect()
    }

    #[test]
    fn nothing_named_selects_everything() {
        assert_eq!(names(&[]).len(), ARTIFACTS.len());
    }

    #[test]
    fn a_composition_brings_its_parts_first() {
        assert_eq!(
            names(&["ifmatch-composed"]),
            ["bucket-s3", "protocols", "ifmatch-composed"]
        );
        assert_eq!(names(&["bucket-s3"]), ["bucket-s3"]);
        assert!(names(&["orders-app"]).starts_with(&["ifmatch"]));
        assert!(select(&["bucket".into()]).is_err());
    }

    #[test]
    fn parts_stand_before_the_compositions_that_use_them() {
        for (at, artifact) in ARTIFACTS.iter().enumerate() {
            if let Source::Composition { socket, plugs, .. } = artifact.source {
                for part in plugs.iter().chain([&socket]) {
                    let before = &ARTIFACTS[..at];
                    assert!(before.iter().any(|other| other.name == *part), "{part}");
                }
            }
        }
    }
}
