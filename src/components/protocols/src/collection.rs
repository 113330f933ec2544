//! The interface `collection`.

use ifmatch::manifest as core;

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::collection::{Guest, SweepReport};
use crate::bindings::exports::ifmatch::protocols::types::Error;
use crate::blob::to_reference;
use crate::convert::to_error;
use crate::instance::run;

impl Guest for Component {
    fn plan(name: String) -> Result<SweepReport, Error> {
        run(|instance| instance.manifests.plan(&name))
            .map(to_report)
            .map_err(to_error)
    }

    fn sweep(name: String) -> Result<SweepReport, Error> {
        run(|instance| instance.manifests.sweep(&name))
            .map(to_report)
            .map_err(to_error)
    }
}

fn to_report(report: core::SweepReport) -> SweepReport {
    SweepReport {
        generation: report.generation.0,
        named: report.named,
        unnamed: report.unnamed,
        unnamed_bytes: report.unnamed_bytes,
        blobs: report.blobs.into_iter().map(to_reference).collect(),
        more: report.more,
    }
}
