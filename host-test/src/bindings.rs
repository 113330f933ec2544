//! The interfaces that the components export, as Rust types and calls.

#[allow(missing_docs, reason = "the documentation of these items is in WIT")]
mod generated {
    wasmtime::component::bindgen!({
        path: ["../wit/bucket", "../wit/protocols", "../examples/orders/wit", "../examples/acid-table/wit", "../bench/floor/wit/floor.wit"],
        inline: "
            package ifmatch:harness;
            world components {
                export ifmatch:bucket/bucket@0.1.0;
                export ifmatch:bucket/deletion@0.1.0;
                export ifmatch:bucket/presign@0.1.0;
                export ifmatch:protocols/log@0.1.0;
                export ifmatch:protocols/retention@0.1.0;
                export ifmatch:protocols/lease@0.1.0;
                export ifmatch:protocols/blob@0.1.0;
                export ifmatch:protocols/collection@0.1.0;
                export ifmatch:protocols/manifest@0.1.0;
                export ifmatch:protocols/transaction@0.1.0;
                export ifmatch:protocols/doctor@0.1.0;
                export ifmatch:protocols/receipts@0.1.0;
                export example:orders/orders@0.1.0;
                export example:acid-table/tables@0.1.0;
                export ifmatch:bench/floor@0.1.0;
            }
        ",
        world: "ifmatch:harness/components",
        exports: { default: async },
        additional_derives: [PartialEq, Eq],
    });
}

/// `ifmatch:bucket`: the port.
pub mod bucket {
    pub use super::generated::exports::ifmatch::bucket::bucket::*;
    /// The interface that deletes.
    pub use super::generated::exports::ifmatch::bucket::deletion;
    /// The interface that signs requests for others.
    pub use super::generated::exports::ifmatch::bucket::presign;
    pub use super::generated::ifmatch::bucket::types::Error;
}

/// `ifmatch:protocols/log`.
pub mod log {
    pub use super::generated::exports::ifmatch::protocols::log::*;
    pub use super::generated::ifmatch::protocols::types::{Error, Token, Writer};
}

impl log::Cursor {
    /// A place of which nothing but the offset is known.
    pub fn at(offset: log::Offset) -> Self {
        Self {
            offset,
            slot: None,
            absent_until: None,
        }
    }
}

/// `ifmatch:protocols/retention`.
pub mod retention {
    pub use super::generated::exports::ifmatch::protocols::retention::*;
    pub use super::generated::ifmatch::protocols::types::Error;
}

/// `example:orders/orders`, of `examples/orders`.
pub mod orders {
    pub use super::generated::exports::example::orders::orders::*;
}

/// `example:acid-table/tables`, of `examples/acid-table`.
pub mod tables {
    pub use super::generated::exports::example::acid_table::tables::*;
}

/// `ifmatch:bench/floor`, of `bench/floor`.
pub mod floor {
    pub use super::generated::exports::ifmatch::bench::floor::*;
}

/// `ifmatch:protocols/lease`.
pub mod lease {
    pub use super::generated::exports::ifmatch::protocols::lease::*;
    pub use super::generated::ifmatch::protocols::types::{Error, Token};
}

/// `ifmatch:protocols/blob`.
pub mod blob {
    pub use super::generated::exports::ifmatch::protocols::blob::*;
    pub use super::generated::ifmatch::protocols::types::Error;
}

/// `ifmatch:protocols/manifest`.
pub mod manifest {
    pub use super::generated::exports::ifmatch::protocols::manifest::*;
    pub use super::generated::ifmatch::protocols::types::{Error, Token, Writer};
}

/// `ifmatch:protocols/transaction`.
pub mod transaction {
    pub use super::generated::exports::ifmatch::protocols::transaction::*;
}

/// `ifmatch:protocols/collection`.
pub mod collection {
    pub use super::generated::exports::ifmatch::protocols::collection::*;
    pub use super::generated::ifmatch::protocols::types::Error;
}

/// `ifmatch:protocols/doctor`.
pub mod doctor {
    pub use super::generated::exports::ifmatch::protocols::doctor::*;
    pub use super::generated::ifmatch::protocols::types::Error;
}

impl collection::Target {
    /// A log, of which this is kept.
    pub fn log(name: &str, keep: collection::Keep) -> Self {
        Self::Log(collection::LogTarget {
            name: name.to_owned(),
            keep,
        })
    }

    /// A manifest, of which these versions are kept.
    pub fn manifest(name: &str, keep: collection::KeepVersions) -> Self {
        Self::Manifest(collection::ManifestTarget {
            name: name.to_owned(),
            keep,
        })
    }
}

impl collection::Report {
    /// How many objects go.
    pub fn objects(&self) -> u64 {
        self.removals.iter().map(|removal| removal.objects).sum()
    }

    /// How many go for one reason.
    pub fn count(&self, reason: collection::Reason) -> u64 {
        let removals = self.removals.iter();
        removals
            .filter(|removal| removal.reason == reason)
            .map(|removal| removal.objects)
            .sum()
    }
}

/// `ifmatch:protocols/receipts`.
pub mod receipts {
    pub use super::generated::exports::ifmatch::protocols::receipts::*;
}
