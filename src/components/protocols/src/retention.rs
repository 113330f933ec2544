//! The interface `retention`.

use ifmatch::log as core;
use ifmatch::manifest;

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::log::Cursor;
use crate::bindings::exports::ifmatch::protocols::retention::{
    Guest, Keep, KeepVersions, Limit, MergeOptions, MergeReport, PinOutcome, PinnedReader,
    TrimReport, VersionsReport,
};
use crate::bindings::exports::ifmatch::protocols::types::Error;
use crate::convert::to_error;
use crate::instance::run;
use crate::log::{from_cursor, to_cursor};

impl Guest for Component {
    fn trim(name: String, keep: Keep) -> Result<TrimReport, Error> {
        run(|instance| instance.logs.trim(&name, from_keep(keep)))
            .map(to_report)
            .map_err(to_error)
    }

    fn merge(name: String, options: MergeOptions) -> Result<MergeReport, Error> {
        let options = core::MergeOptions {
            spare: from_keep(options.spare),
            at_least: options.at_least,
        };
        run(|instance| instance.logs.merge(&name, &options))
            .map(|report| MergeReport {
                merged_until: report.merged_until,
                packs: report.packs,
                segments: report.segments,
                deleted: report.deleted,
                more: report.more,
            })
            .map_err(to_error)
    }

    fn trim_versions(name: String, keep: KeepVersions) -> Result<VersionsReport, Error> {
        let keep = match keep {
            KeepVersions::Start(version) => manifest::KeepVersions::From(version),
            KeepVersions::Newest(count) => manifest::KeepVersions::Newest(count),
            KeepVersions::AgeMs(age_ms) => manifest::KeepVersions::AgeMs(age_ms),
        };
        run(|instance| instance.manifests.trim(&name, keep))
            .map(|report| VersionsReport {
                first_kept: report.first_kept,
                deleted: report.deleted,
                more: report.more,
                limited_by: to_limit(report.limited_by),
            })
            .map_err(to_error)
    }

    fn pin(name: String, reader: String, at: Cursor, ttl_ms: u32) -> Result<PinOutcome, Error> {
        run(|instance| {
            let at = from_cursor(at);
            instance.logs.pin(&name, &reader, at, ttl_ms)
        })
        .map(|outcome| match outcome {
            core::PinOutcome::Pinned(until) => PinOutcome::Pinned(until.unix_ms),
            core::PinOutcome::Trimmed(kept) => PinOutcome::Trimmed(to_cursor(kept)),
            core::PinOutcome::Indeterminate(why) => PinOutcome::Indeterminate(why),
        })
        .map_err(to_error)
    }

    fn unpin(name: String, reader: String) -> Result<(), Error> {
        run(|instance| instance.logs.unpin(&name, &reader)).map_err(to_error)
    }

    fn pins(name: String) -> Result<Vec<PinnedReader>, Error> {
        let pins = run(|instance| instance.logs.pins(&name)).map_err(to_error)?;
        Ok(pins
            .into_iter()
            .map(|pin| PinnedReader {
                reader: pin.reader,
                offset: pin.offset,
                expires_at: pin.expires_at.unix_ms,
            })
            .collect())
    }
}

fn from_keep(keep: Keep) -> core::Keep {
    match keep {
        Keep::Start(offset) => core::Keep::Start(offset),
        Keep::Records(records) => core::Keep::Records(records),
        Keep::Bytes(bytes) => core::Keep::Bytes(bytes),
        Keep::AgeMs(age_ms) => core::Keep::AgeMs(age_ms),
    }
}

fn to_report(report: core::TrimReport) -> TrimReport {
    TrimReport {
        first_kept: to_cursor(report.first_kept),
        deleted: report.deleted,
        more: report.more,
        limited_by: to_limit(report.limited_by),
    }
}

fn to_limit(limit: core::TrimLimit) -> Limit {
    match limit {
        core::TrimLimit::None => Limit::None,
        core::TrimLimit::Grace => Limit::Grace,
        core::TrimLimit::Newest => Limit::Newest,
        core::TrimLimit::Pin(reader) => Limit::Pin(reader),
    }
}
