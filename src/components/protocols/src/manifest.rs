//! The interface `manifest`.

use ifmatch::error;
use ifmatch::list::{list, try_list};
use ifmatch::manifest as core;

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::manifest::{
    AtOutcome, ChangeResult as Change, CommitOutcome, Conflict, CreateOutcome,
    DependencyResult as Dependency, EditResult as Edit, ForkOutcome, Guest, ItemResult as Item,
    PinOutcome, Settings, Snapshot, Summary, VersionPin, VersionState,
};
use crate::blob::{from_references, to_reference};
use crate::convert::{from_writer, to_token};
use crate::error::{Error, to_error};
use crate::instance::run;
use crate::log::{from_settings, to_create_outcome};

impl Guest for Component {
    fn create(name: String, settings: Settings) -> Result<CreateOutcome, Error> {
        let grace = from_settings(settings);
        run(|instance| instance.manifests.create(&name, grace))
            .map(to_create_outcome)
            .map_err(to_error)
    }

    fn fork(name: String, version: u64, fork: String) -> Result<ForkOutcome, Error> {
        run(|instance| instance.manifests.fork(&name, version, &fork))
            .map(|outcome| match outcome {
                core::ForkOutcome::Forked => ForkOutcome::Forked,
                core::ForkOutcome::Exists => ForkOutcome::Exists,
                core::ForkOutcome::Absent => ForkOutcome::Absent,
                core::ForkOutcome::Trimmed(first_kept) => ForkOutcome::Trimmed(first_kept),
                core::ForkOutcome::Indeterminate(why) => ForkOutcome::Indeterminate(why),
            })
            .map_err(to_error)
    }

    fn pin(name: String, reader: String, version: u64, ttl_ms: u32) -> Result<PinOutcome, Error> {
        run(|instance| instance.manifests.pin(&name, &reader, version, ttl_ms))
            .map(|outcome| match outcome {
                core::VersionPin::Pinned(until) => PinOutcome::Pinned(until.unix_ms),
                core::VersionPin::Trimmed(first_kept) => PinOutcome::Trimmed(first_kept),
                core::VersionPin::Indeterminate(why) => PinOutcome::Indeterminate(why),
            })
            .map_err(to_error)
    }

    fn unpin(name: String, reader: String) -> Result<(), Error> {
        run(|instance| instance.manifests.unpin(&name, &reader)).map_err(to_error)
    }

    fn pins(name: String) -> Result<Vec<VersionPin>, Error> {
        let pins = run(|instance| instance.manifests.pins(&name)).map_err(to_error)?;
        Ok(list(pins.into_iter().map(|pin| VersionPin {
            reader: pin.reader,
            version: pin.offset,
            expires_at: pin.expires_at.unix_ms,
        })))
    }

    fn latest(name: String) -> Result<Option<Snapshot>, Error> {
        run(|instance| instance.manifests.latest(&name))
            .map(|snapshot| snapshot.map(to_snapshot))
            .map_err(to_error)
    }

    fn at(name: String, version: u64, reader: Option<String>) -> Result<AtOutcome, Error> {
        run(|instance| instance.manifests.at(&name, version, reader.as_deref()))
            .map(|outcome| match outcome {
                core::At::Snapshot(snapshot) => AtOutcome::Snapshot(to_snapshot(snapshot)),
                core::At::Absent => AtOutcome::Absent,
                core::At::Trimmed(first_kept) => AtOutcome::Trimmed(first_kept),
                core::At::PinExpired => AtOutcome::PinExpired,
            })
            .map_err(to_error)
    }

    fn commit(name: String, change: Change) -> Result<CommitOutcome, Error> {
        from_change(change)
            .and_then(|change| run(|instance| instance.manifests.commit(&name, &change)))
            .map(to_outcome)
            .map_err(to_error)
    }

    fn history(name: String, before: Option<u64>, limit: u32) -> Result<Vec<Summary>, Error> {
        run(|instance| instance.manifests.history(&name, before, limit))
            .map(|summaries| list(summaries.into_iter().map(to_summary)))
            .map_err(to_error)
    }
}

pub(crate) fn from_change(change: Change) -> Result<core::Change, error::Error> {
    Ok(core::Change {
        base: change.base,
        depends_on: match change.depends_on {
            Dependency::Nothing => core::Dependency::Nothing,
            Dependency::Edits => core::Dependency::Edits,
            Dependency::Keys(keys) => core::Dependency::Keys(keys),
            Dependency::All => core::Dependency::All,
        },
        edits: try_list(change.edits.into_iter().map(from_edit))?,
        writer: from_writer(change.writer),
        author: change.author,
        message: change.message,
        id: change.id,
    })
}

fn from_edit(edit: Edit) -> Result<core::Edit, error::Error> {
    Ok(match edit {
        Edit::Set(item) => core::Edit {
            key: item.key,
            value: Some(item.value),
            blobs: from_references(&item.blobs)?,
        },
        Edit::Remove(key) => core::Edit {
            key,
            value: None,
            blobs: Vec::new(),
        },
    })
}

fn to_outcome(outcome: core::CommitOutcome) -> CommitOutcome {
    match outcome {
        core::CommitOutcome::Committed(version) => CommitOutcome::Committed(version),
        core::CommitOutcome::Conflict(conflict) => CommitOutcome::Conflict(to_conflict(conflict)),
        core::CommitOutcome::Expired(generation) => CommitOutcome::Expired(generation.0),
        core::CommitOutcome::Fenced(epoch) => CommitOutcome::Fenced(to_token(epoch)),
        core::CommitOutcome::Indeterminate(why) => CommitOutcome::Indeterminate(why),
    }
}

pub(crate) fn to_conflict(conflict: core::Conflict) -> Conflict {
    Conflict {
        latest: conflict.latest,
        keys: conflict.keys,
    }
}

fn to_snapshot(snapshot: core::Snapshot) -> Snapshot {
    Snapshot {
        summary: to_summary(snapshot.summary),
        items: list(snapshot.items.into_iter().map(|item| Item {
            key: item.key,
            value: item.value,
            blobs: list(item.blobs.into_iter().map(to_reference)),
        })),
    }
}

fn to_summary(summary: core::Summary) -> Summary {
    Summary {
        version: summary.version,
        token: summary.epoch.map(to_token),
        committed_at: summary.committed_at.map(|time| time.unix_ms),
        author: summary.author,
        message: summary.message,
        state: match summary.state {
            core::State::Committed => VersionState::Committed,
            core::State::Pending => VersionState::Pending,
            core::State::Aborted => VersionState::Aborted,
        },
        generation: summary.generation.0,
    }
}
