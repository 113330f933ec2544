//! The interface `log`.

use ifmatch::bucket::StoreTime;
use ifmatch::keys::Slot;
use ifmatch::list::list;
use ifmatch::log as core;
use ifmatch::slots::Grace;
use ifmatch::token;

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::log::{
    AppendOptionsResult as AppendOptions, AppendOutcome, Batch, CreateOutcome, Cursor, Entry,
    Extent, Guest, ReadLimit, ReadOutcome, SequenceProblem, Settings,
};
use crate::bindings::exports::ifmatch::protocols::types::Token;
use crate::convert::{from_writer, to_token};
use crate::error::{Error, to_error};
use crate::instance::run;

impl Guest for Component {
    fn create(name: String, settings: Settings) -> Result<CreateOutcome, Error> {
        let grace = from_settings(settings);
        run(|instance| instance.logs.create(&name, grace))
            .map(to_create_outcome)
            .map_err(to_error)
    }

    fn append(
        name: String,
        records: Vec<Vec<u8>>,
        options: AppendOptions,
    ) -> Result<AppendOutcome, Error> {
        let options = from_options(options);
        run(|instance| instance.logs.append(&name, &records, &options))
            .map(to_append_outcome)
            .map_err(to_error)
    }

    fn claim(name: String, token: Token) -> Result<AppendOutcome, Error> {
        run(|instance| instance.logs.claim(&name, token::Epoch(token.epoch)))
            .map(to_append_outcome)
            .map_err(to_error)
    }

    fn read(name: String, start: Cursor, limit: ReadLimit) -> Result<ReadOutcome, Error> {
        run(|instance| {
            instance
                .logs
                .read(&name, from_cursor(start), from_limit(limit))
        })
        .map(to_read_outcome)
        .map_err(to_error)
    }

    fn wait(
        name: String,
        start: Cursor,
        limit: ReadLimit,
        timeout_ms: u32,
    ) -> Result<ReadOutcome, Error> {
        run(|instance| {
            instance
                .logs
                .wait(&name, from_cursor(start), from_limit(limit), timeout_ms)
        })
        .map(to_read_outcome)
        .map_err(to_error)
    }

    fn tail(name: String) -> Result<Cursor, Error> {
        run(|instance| instance.logs.tail(&name))
            .map(to_cursor)
            .map_err(to_error)
    }

    fn locate(name: String, time: u64) -> Result<Cursor, Error> {
        let time = StoreTime { unix_ms: time };
        run(|instance| instance.logs.locate(&name, time))
            .map(to_cursor)
            .map_err(to_error)
    }
}

pub(crate) fn from_settings(settings: Settings) -> Grace {
    Grace {
        period_ms: settings.grace_ms,
        margin_ms: settings.clock_margin_ms,
    }
}

fn from_options(options: AppendOptions) -> core::AppendOptions {
    core::AppendOptions {
        writer: from_writer(options.writer),
        expected: options.expected,
        producer: options.producer.map(|producer| core::Producer {
            id: producer.id,
            sequence: producer.sequence,
            started_at: producer.started_at,
        }),
    }
}

fn from_limit(limit: ReadLimit) -> core::ReadLimit {
    core::ReadLimit {
        records: limit.records,
        bytes: limit.bytes,
    }
}

pub(crate) fn from_cursor(cursor: Cursor) -> core::Cursor {
    core::Cursor {
        offset: cursor.offset,
        slot: cursor.slot.map(Slot),
        absent_until: cursor.absent_until.map(|unix_ms| StoreTime { unix_ms }),
    }
}

pub(crate) fn to_cursor(cursor: core::Cursor) -> Cursor {
    Cursor {
        offset: cursor.offset,
        slot: cursor.slot.map(|slot| slot.0),
        absent_until: cursor.absent_until.map(|time| time.unix_ms),
    }
}

pub(crate) fn to_create_outcome(outcome: core::CreateOutcome) -> CreateOutcome {
    match outcome {
        core::CreateOutcome::Created => CreateOutcome::Created,
        core::CreateOutcome::Exists(grace) => CreateOutcome::Exists(Settings {
            grace_ms: grace.period_ms,
            clock_margin_ms: grace.margin_ms,
        }),
        core::CreateOutcome::Indeterminate(why) => CreateOutcome::Indeterminate(why),
    }
}

fn to_append_outcome(outcome: core::AppendOutcome) -> AppendOutcome {
    match outcome {
        core::AppendOutcome::Appended(extent) => AppendOutcome::Appended(Extent {
            start: extent.start,
            end: extent.end,
        }),
        core::AppendOutcome::Mismatch(tail) => AppendOutcome::Mismatch(tail),
        core::AppendOutcome::Fenced(epoch) => AppendOutcome::Fenced(to_token(epoch)),
        core::AppendOutcome::OutOfSequence(problem) => {
            AppendOutcome::OutOfSequence(match problem {
                core::SequenceProblem::Superseded(last) => SequenceProblem::Superseded(last),
                core::SequenceProblem::Gap(next) => SequenceProblem::Gap(next),
                core::SequenceProblem::Forgotten => SequenceProblem::Forgotten,
            })
        }
        core::AppendOutcome::Indeterminate(why) => AppendOutcome::Indeterminate(why),
    }
}

fn to_read_outcome(outcome: core::ReadOutcome) -> ReadOutcome {
    match outcome {
        core::ReadOutcome::Records(entries, next) => ReadOutcome::Records(Batch {
            entries: list(entries.into_iter().map(to_entry)),
            next: to_cursor(next),
        }),
        core::ReadOutcome::Trimmed(kept) => ReadOutcome::Trimmed(to_cursor(kept)),
    }
}

fn to_entry(entry: core::Entry) -> Entry {
    Entry {
        offset: entry.offset,
        token: entry.epoch.map(to_token),
        appended_at: entry.appended_at.map(|time| time.unix_ms),
        body: entry.body,
    }
}
