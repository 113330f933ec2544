//! The interface `doctor`.

use ifmatch::doctor as core;
use ifmatch::list::list;

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::doctor::{
    Check, Finding, Guest, Report, Verdict,
};
use crate::error::{Error, to_error};
use crate::instance::run;

impl Guest for Component {
    fn examine() -> Result<Report, Error> {
        let report = run(|instance| instance.store.examine()).map_err(to_error)?;
        Ok(Report {
            verdict: to_verdict(report.verdict()),
            findings: list(report.findings.into_iter().map(to_finding)),
        })
    }
}

fn to_finding(finding: core::Finding) -> Finding {
    Finding {
        check: match finding.check {
            core::Check::Create => Check::Create,
            core::Check::Replace => Check::Replace,
            core::Check::RacingCreates => Check::RacingCreates,
            core::Check::RacingReplaces => Check::RacingReplaces,
            core::Check::Read => Check::Read,
            core::Check::UnchangedRead => Check::UnchangedRead,
            core::Check::Time => Check::Time,
            core::Check::Listing => Check::Listing,
            core::Check::Deletion => Check::Deletion,
        },
        verdict: to_verdict(finding.verdict),
        detail: finding.detail.to_owned(),
    }
}

fn to_verdict(verdict: core::Verdict) -> Verdict {
    match verdict {
        core::Verdict::Passed => Verdict::Passed,
        core::Verdict::Limited => Verdict::Limited,
        core::Verdict::Unclear => Verdict::Unclear,
        core::Verdict::Failed => Verdict::Failed,
    }
}
