//! The interface `collection`.

use ifmatch::{collection as core, error, log, manifest};

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::collection::{
    Guest, Keep, KeepVersions, Limit, MergeOptions, MergeReport, Reason, Removal, Report,
    TargetResult as Target,
};
use crate::error::{Error, to_error};
use crate::instance::{Instance, run};

impl Guest for Component {
    fn plan(target: Target) -> Result<Report, Error> {
        collect(target, core::Act::Plan)
    }

    fn sweep(target: Target) -> Result<Report, Error> {
        collect(target, core::Act::Sweep)
    }

    fn merge(name: String, options: MergeOptions) -> Result<MergeReport, Error> {
        let options = log::MergeOptions {
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
}

fn collect(target: Target, act: core::Act) -> Result<Report, Error> {
    let report = run(|instance| collected(instance, target, act)).map_err(to_error)?;
    let mut removals = Vec::new();
    for removal in report.removals {
        removals.push(Removal {
            reason: match removal.reason {
                core::Reason::Trimmed => Reason::Trimmed,
                core::Reason::Merged => Reason::Merged,
                core::Reason::Unnamed => Reason::Unnamed,
                core::Reason::Settled => Reason::Settled,
            },
            objects: removal.objects,
            bytes: removal.bytes,
            keys: removal.keys,
        });
    }
    Ok(Report {
        first_kept: report.first_kept,
        limited_by: match report.limited_by {
            log::TrimLimit::None => Limit::None,
            log::TrimLimit::Grace => Limit::Grace,
            log::TrimLimit::Newest => Limit::Newest,
            log::TrimLimit::Pin(reader) => Limit::Pin(reader),
        },
        ended_pins: report.ended_pins,
        removals,
        generation: report.generation.0,
        named: report.named,
        more: report.more,
    })
}

fn collected(
    instance: &Instance,
    target: Target,
    act: core::Act,
) -> Result<core::Report, error::Error> {
    match target {
        Target::Log(log) => instance.logs.collect(&log.name, from_keep(log.keep), act),
        Target::Manifest(manifest) => {
            let keep = match manifest.keep {
                KeepVersions::Start(version) => manifest::KeepVersions::From(version),
                KeepVersions::Newest(count) => manifest::KeepVersions::Newest(count),
                KeepVersions::AgeMs(age_ms) => manifest::KeepVersions::AgeMs(age_ms),
            };
            instance.manifests.collect(&manifest.name, keep, act)
        }
        Target::Decisions => instance.manifests.collect_decisions(act),
    }
}

fn from_keep(keep: Keep) -> log::Keep {
    match keep {
        Keep::Start(offset) => log::Keep::Start(offset),
        Keep::Records(records) => log::Keep::Records(records),
        Keep::Bytes(bytes) => log::Keep::Bytes(bytes),
        Keep::AgeMs(age_ms) => log::Keep::AgeMs(age_ms),
    }
}
