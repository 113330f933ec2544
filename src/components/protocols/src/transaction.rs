//! The interface `transaction`.

use ifmatch::list::try_list;
use ifmatch::manifest as core;

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::transaction::{
    Conflicting, Expiring, Fencing, Guest, Outcome, PartResult as Part,
};
use crate::convert::to_token;
use crate::error::{Error, to_error};
use crate::instance::run;
use crate::manifest::{from_change, to_conflict};

impl Guest for Component {
    fn commit(parts: Vec<Part>) -> Result<Outcome, Error> {
        let part = |part: Part| {
            Ok(core::Part {
                name: part.manifest,
                change: from_change(part.change)?,
            })
        };
        try_list(parts.into_iter().map(part))
            .and_then(|parts| run(|instance| instance.manifests.transact(&parts)))
            .map(to_outcome)
            .map_err(to_error)
    }
}

fn to_outcome(outcome: core::TransactionOutcome) -> Outcome {
    match outcome {
        core::TransactionOutcome::Committed(versions) => Outcome::Committed(versions),
        core::TransactionOutcome::Conflict(manifest, conflict) => Outcome::Conflict(Conflicting {
            manifest,
            conflict: to_conflict(conflict),
        }),
        core::TransactionOutcome::Fenced(manifest, epoch) => Outcome::Fenced(Fencing {
            manifest,
            token: to_token(epoch),
        }),
        core::TransactionOutcome::Expired(manifest, generation) => Outcome::Expired(Expiring {
            manifest,
            generation: generation.0,
        }),
        core::TransactionOutcome::Aborted => Outcome::Aborted,
        core::TransactionOutcome::Indeterminate(why) => Outcome::Indeterminate(why),
    }
}
