//! The calls of logs as data, and how many requests each may take.

use super::LOG;
use crate::bindings::collection::{Keep, MergeOptions, MergeReport, Report, Target};
use crate::bindings::log::{
    AppendOptions, AppendOutcome, CreateOutcome, Cursor, Error, ReadLimit, ReadOutcome, Settings,
    Token, Writer,
};
use crate::bindings::retention::{PinOutcome, PinnedReader};
use crate::host::Instance;
use crate::sim::actor::Call;
use crate::sim::chain;
use anyhow::Result;
use ifmatch::keys::ChainKeys;
use std::fmt;

/// For how long a reader waits at the tail.
const WAIT_MS: u32 = 1_000;

/// A shared writer.
pub const SHARED: AppendOptions = AppendOptions {
    writer: Writer::Shared,
    expected: None,
    producer: None,
};

/// `log.create`.
#[derive(Clone, Debug)]
pub struct Create {
    /// Which log.
    pub log: &'static str,
    /// With what.
    pub settings: Settings,
}

/// `log.append`.
#[derive(Clone)]
pub struct Append {
    /// Which log.
    pub log: &'static str,
    /// What.
    pub records: Vec<Vec<u8>>,
    /// How.
    pub options: AppendOptions,
}

/// `log.claim`.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Which log.
    pub log: &'static str,
    /// For whom.
    pub token: Token,
}

/// `log.tail`.
#[derive(Clone, Debug)]
pub struct Tail(pub &'static str);

/// `log.read`.
#[derive(Clone, Debug)]
pub struct Read {
    /// Which log.
    pub log: &'static str,
    /// From where.
    pub start: Cursor,
    /// How much.
    pub limit: ReadLimit,
}

/// `log.wait`.
#[derive(Clone, Debug)]
pub(super) struct Wait(pub(super) Read);

/// `log.locate`.
#[derive(Clone, Debug)]
pub(super) struct Locate(pub(super) u64);

/// `collection.sweep`.
#[derive(Clone, Debug)]
pub(super) struct Trim(pub(super) Keep);

/// `collection.plan`.
#[derive(Clone, Debug)]
pub(super) struct PlanTrim(pub(super) Keep);

/// `collection.merge`.
#[derive(Clone, Debug)]
pub(super) struct Merge(pub(super) &'static str, pub(super) MergeOptions);

/// `retention.pin`.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub(super) reader: String,
    pub(super) at: Cursor,
    pub(super) ttl_ms: u32,
}

/// `retention.unpin`.
#[derive(Clone, Debug)]
pub(super) struct Unpin(pub(super) String);

/// `retention.pins`.
#[derive(Clone, Debug)]
pub(super) struct ListPins;

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self
            .records
            .iter()
            .map(|body| String::from_utf8_lossy(body));
        let texts: Vec<_> = texts.collect();
        let AppendOptions {
            writer,
            expected,
            producer,
        } = &self.options;
        write!(f, "Append {} {texts:?} {writer:?}", self.log)?;
        if let Some(expected) = expected {
            write!(f, " at {expected}")?;
        }
        match producer {
            Some(producer) => write!(f, " {} {}", producer.id, producer.sequence),
            None => Ok(()),
        }
    }
}

impl Call for Create {
    type Answer = Result<CreateOutcome, Error>;
    const NAME: &'static str = "create";
    const CREATES: bool = true;
    // With the note that the store was examined.
    const REQUESTS: u32 = 4;

    fn chains(&self) -> Vec<ChainKeys> {
        chain::keys(self.log).into_iter().collect()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.log().create(self.log, self.settings).await
    }
}

impl Call for Append {
    type Answer = Result<AppendOutcome, Error>;
    const NAME: &'static str = "append";
    const CREATES: bool = true;
    // Cold, three. One that believes that others are about leaves an offer, looks for
    // it four times, lists, and writes with the header of the tail at hand: eight. An
    // offer at a tail that is long past was looked for four times before that.
    const REQUESTS: u32 = 14;
    // Up to four looks before it is there and one when it is, a combination that
    // comes too late, and an offer that was not taken with a listing for the next.
    const REQUESTS_PER_RIVAL: u32 = 8;

    fn chains(&self) -> Vec<ChainKeys> {
        chain::keys(self.log).into_iter().collect()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let mut log = instance.log();
        log.append(self.log, &self.records, &self.options).await
    }
}

impl Call for Claim {
    type Answer = Result<AppendOutcome, Error>;
    const NAME: &'static str = "claim";
    const CREATES: bool = true;
    // Cold; or warm behind a tail that is not any more the tail.
    const REQUESTS: u32 = 6;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.log().claim(self.log, self.token).await
    }
}

impl Call for Tail {
    type Answer = Result<Cursor, Error>;
    const NAME: &'static str = "tail";
    // Up to three that others appended, the watermark, a listing and a header.
    const REQUESTS: u32 = 8;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.log().tail(self.0).await
    }
}

impl Call for Read {
    type Answer = Result<ReadOutcome, Error>;
    const NAME: &'static str = "read";
    // Finding the place, in packs too; each segment with its offers; and what is read ahead.
    const REQUESTS: u32 = 30;
    const REQUESTS_PER_SLOT: u32 = 2;

    fn chains(&self) -> Vec<ChainKeys> {
        chain::keys(self.log).into_iter().collect()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.log().read(self.log, self.start, self.limit).await
    }
}

impl Call for Wait {
    type Answer = Result<ReadOutcome, Error>;
    const NAME: &'static str = "wait";
    // Finding the place, in packs too; each segment with its offers; and polls.
    const REQUESTS: u32 = 40;
    const REQUESTS_PER_SLOT: u32 = 2;

    fn chains(&self) -> Vec<ChainKeys> {
        chain::keys(self.0.log).into_iter().collect()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let Read { log, start, limit } = self.0;
        instance.log().wait(log, start, limit, WAIT_MS).await
    }
}

impl Call for Locate {
    type Answer = Result<Cursor, Error>;
    const NAME: &'static str = "locate";
    const REQUESTS: u32 = 30;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.log().locate(LOG, self.0).await
    }
}

impl Call for Trim {
    type Answer = Result<Report, Error>;
    const NAME: &'static str = "trim";
    // "About four, and two for each 1000 objects; more if the place has to be
    // searched"; and pages cut short.
    const REQUESTS: u32 = 100;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.collection().trim(LOG, self.0).await
    }
}

impl Call for PlanTrim {
    type Answer = Result<Report, Error>;
    const NAME: &'static str = "plan of a trim";
    const REQUESTS: u32 = Trim::REQUESTS;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let target = Target::log(LOG, self.0);
        instance.collection().plan(&target).await
    }
}

impl Call for Merge {
    type Answer = Result<MergeReport, Error>;
    const NAME: &'static str = "merge";
    // The place, the plan, and what is listed and deleted, in pages cut short.
    const REQUESTS: u32 = 100;
    // Each is read with the offers that it takes, and again where others changed the
    // plan meanwhile.
    const REQUESTS_PER_SLOT: u32 = 4;

    fn chains(&self) -> Vec<ChainKeys> {
        chain::keys(self.0).into_iter().collect()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.collection().merge(self.0, self.1).await
    }
}

impl Call for Pin {
    type Answer = Result<PinOutcome, Error>;
    const NAME: &'static str = "pin";
    const REQUESTS: u32 = 30;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let mut retention = instance.retention();
        retention.pin(LOG, &self.reader, self.at, self.ttl_ms).await
    }
}

impl Call for Unpin {
    type Answer = Result<(), Error>;
    const NAME: &'static str = "unpin";
    const REQUESTS: u32 = 30;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.retention().unpin(LOG, &self.0).await
    }
}

impl Call for ListPins {
    type Answer = Result<Vec<PinnedReader>, Error>;
    const NAME: &'static str = "pins";
    const REQUESTS: u32 = 1;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.retention().pins(LOG).await
    }
}
