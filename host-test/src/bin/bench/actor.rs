//! The contestants.

use crate::native::{self, NativeBucket, NativeLogs};
use crate::peer::Peer;
use crate::place::Place;
use crate::sample::Reported;
use anyhow::{Result, anyhow, bail, ensure};
use host_test::artifact::Artifact;
use host_test::bindings::bucket as port;
use host_test::bindings::log::{AppendOptions, AppendOutcome, ReadOutcome, Writer};
use host_test::host::Instance;
use host_test::readback::{ALL, START};
use ifmatch::bucket::{Bucket, Precondition, PutOutcome, Write};
use ifmatch::log as core;

/// Who does it.
pub enum Actor {
    /// One signed request, natively.
    NativeFloor(NativeBucket),
    /// One signed request, from `floor.wasm`.
    GuestFloor(Box<Instance>),
    /// Conditional writes and overlapped reads of `bucket-s3.wasm`, without protocols.
    Port(Box<Instance>),
    /// `ifmatch.wasm`, or the composition.
    Guest(Box<Instance>),
    /// The core, natively.
    Core(Box<NativeLogs>),
    /// What one would write in an afternoon: a native loop that puts each record under
    /// the next free number, and does not look at what is there.
    ByHand(NativeBucket, u64),
    /// Somebody in another process.
    Peer(Box<Peer>),
}

/// Objects that the port is asked for at once: as many as it has under way by default,
/// and not more bytes than one of its answers may hold.
const PORT_BATCH: usize = 16;

const SHARED: AppendOptions = AppendOptions {
    writer: Writer::Shared,
    expected: None,
    producer: None,
};

/// Which contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    NativeFloor,
    GuestFloor,
    Port,
    Ifmatch,
    Composed,
    Core,
    ByHand,
}

impl Who {
    /// In tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::NativeFloor => "floor, native",
            Self::GuestFloor => "floor.wasm",
            Self::Port => "bucket-s3.wasm",
            Self::Ifmatch => "ifmatch.wasm",
            Self::Composed => "ifmatch-composed.wasm",
            Self::Core => "core, native",
            Self::ByHand => "by hand, native",
        }
    }

    /// Starts a fresh one.
    pub async fn start(self, place: &Place, name: &str) -> Result<Actor> {
        let instance = async |artifact| -> Result<Box<Instance>> {
            let started = place.guests.instance(name).artifact(artifact).await?;
            Ok(Box::new(started))
        };
        Ok(match self {
            Self::NativeFloor => Actor::NativeFloor(NativeBucket::new(&place.natives, name)?),
            Self::GuestFloor => Actor::GuestFloor(instance(Artifact::Floor).await?),
            Self::Port => Actor::Port(instance(Artifact::BucketS3).await?),
            Self::Ifmatch => Actor::Guest(instance(Artifact::Ifmatch).await?),
            Self::Composed => Actor::Guest(instance(Artifact::IfmatchComposed).await?),
            Self::Core => Actor::Core(Box::new(native::logs(&place.natives, name)?)),
            Self::ByHand => Actor::ByHand(NativeBucket::new(&place.natives, name)?, 0),
        })
    }
}

impl Actor {
    /// Appends to a log, or writes a new object with as many bytes. `number` differs
    /// from call to call.
    pub async fn append(
        &mut self,
        log: &str,
        number: usize,
        records: &[Vec<u8>],
    ) -> Result<Option<Reported>> {
        let key = || format!("floor/{log}/{number}");
        match self {
            Self::NativeFloor(bucket) => {
                let outcome = put(bucket, key(), records.concat()).await?;
                ensure!(matches!(outcome, PutOutcome::Written { .. }), "{outcome:?}");
            }
            Self::GuestFloor(instance) => {
                let status = instance.floor().put(&key(), &records.concat()).await?;
                let status = status.map_err(|error| anyhow!(error))?;
                ensure!(status == 200, "HTTP {status}");
            }
            Self::Port(instance) => {
                let write = port::Write {
                    key: key(),
                    body: records.concat(),
                    precondition: port::Precondition::Absent,
                };
                let outcome = instance.bucket().put(&write).await??;
                ensure!(
                    matches!(outcome, port::PutOutcome::Written(_)),
                    "{outcome:?}"
                );
            }
            Self::Guest(instance) => match instance.log().append(log, records, &SHARED).await?? {
                AppendOutcome::Appended(_) => {}
                other => bail!("{other:?}"),
            },
            Self::Core(logs) => {
                let options = core::AppendOptions::SHARED;
                let outcome = logs.append(log, records, &options).await;
                match outcome.map_err(|error| anyhow!("{error}"))? {
                    core::AppendOutcome::Appended(_) => {}
                    other => bail!("{other:?}"),
                }
            }
            Self::ByHand(bucket, next) => loop {
                // Newest last, as everybody does who counts upwards.
                let key = format!("by-hand/{log}/{next:020}");
                *next += 1;
                match put(bucket, key, records.concat()).await? {
                    PutOutcome::Written { .. } => break,
                    PutOutcome::PreconditionFailed => {}
                    PutOutcome::Indeterminate(why) => bail!("{why}"),
                }
            },
            Self::Peer(peer) => {
                let bytes = records.first().map_or(0, Vec::len);
                return peer.append(records.len(), bytes).map(Some);
            }
        }
        Ok(None)
    }

    /// Finds the tail of a log. Who knows nothing of logs reads one object.
    pub async fn tail(&mut self, log: &str, key: &str, expected: u64) -> Result<()> {
        let found = match self {
            Self::NativeFloor(_) | Self::GuestFloor(_) | Self::Port(_) => {
                self.read_objects(&[key.to_owned()]).await?;
                return Ok(());
            }
            Self::Guest(instance) => instance.log().tail(log).await??.offset,
            Self::Core(logs) => {
                let cursor = logs.tail(log).await;
                cursor.map_err(|error| anyhow!("{error}"))?.offset
            }
            Self::ByHand(..) | Self::Peer(_) => bail!("it has no logs"),
        };
        ensure!(found == expected, "the tail is at {found}");
        Ok(())
    }

    /// Reads a log of so many records from its start to its end. Who knows nothing of
    /// logs reads the objects. Gives the bytes of all records or objects.
    pub async fn replay(&mut self, log: &str, keys: &[String], records: u64) -> Result<u64> {
        match self {
            Self::NativeFloor(_) | Self::GuestFloor(_) | Self::Port(_) => {
                self.read_objects(keys).await
            }
            Self::Guest(instance) => {
                let (mut cursor, mut bytes) = (START, 0);
                while cursor.offset < records {
                    cursor = match instance.log().read(log, cursor, ALL).await?? {
                        ReadOutcome::Records(batch) if !batch.entries.is_empty() => {
                            bytes += batch
                                .entries
                                .iter()
                                .map(|e| e.body.len() as u64)
                                .sum::<u64>();
                            batch.next
                        }
                        other => bail!("{other:?}"),
                    }
                }
                Ok(bytes)
            }
            Self::Core(logs) => {
                let (mut cursor, mut bytes) = (core::Cursor::at(0), 0);
                let limit = core::ReadLimit {
                    records: u32::MAX,
                    bytes: u32::MAX,
                };
                while cursor.offset < records {
                    let outcome = logs.read(log, cursor, limit).await;
                    cursor = match outcome.map_err(|error| anyhow!("{error}"))? {
                        core::ReadOutcome::Records(entries, next) if !entries.is_empty() => {
                            bytes += entries.iter().map(|e| e.body.len() as u64).sum::<u64>();
                            next
                        }
                        other => bail!("{other:?}"),
                    }
                }
                Ok(bytes)
            }
            Self::ByHand(..) | Self::Peer(_) => bail!("it has no logs"),
        }
    }

    /// Reads objects whole: as many at once as the port does, but `floor.wasm` one by
    /// one.
    async fn read_objects(&mut self, keys: &[String]) -> Result<u64> {
        let mut bytes = 0;
        match self {
            Self::NativeFloor(bucket) => return native::read_all(bucket, keys).await,
            Self::GuestFloor(instance) => {
                for key in keys {
                    let body = instance.floor().get(key).await?;
                    bytes += body.map_err(|error| anyhow!(error))?.len() as u64;
                }
            }
            Self::Port(instance) => {
                for keys in keys.chunks(PORT_BATCH) {
                    let reads = keys.iter().map(|key| port::Read {
                        key: key.clone(),
                        span: port::Span::All,
                        unless: None,
                    });
                    let replies = instance
                        .bucket()
                        .get_many(&reads.collect::<Vec<_>>())
                        .await?;
                    for reply in replies {
                        match reply?.found {
                            port::Found::Object(object) => bytes += object.body.len() as u64,
                            other => bail!("{other:?}"),
                        }
                    }
                }
            }
            _ => bail!("it reads no objects"),
        }
        Ok(bytes)
    }

    /// WebAssembly instructions that it used so far.
    pub fn fuel(&self) -> Option<u64> {
        self.instance().map(Instance::fuel_used)
    }

    /// Linear memory that it has.
    pub fn memory_bytes(&self) -> Option<usize> {
        self.instance().map(Instance::memory_bytes)
    }

    /// The instance, if it is a component.
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::GuestFloor(instance) | Self::Port(instance) | Self::Guest(instance) => {
                Some(instance)
            }
            _ => None,
        }
    }

    /// The instance of somebody who knows leases and manifests.
    pub fn guest(&mut self) -> Option<&mut Instance> {
        match self {
            Self::Guest(instance) => Some(instance),
            _ => None,
        }
    }
}

async fn put(bucket: &NativeBucket, key: String, body: Vec<u8>) -> Result<PutOutcome> {
    let write = Write {
        key,
        body,
        precondition: Precondition::Absent,
    };
    let outcome = bucket.put(&write).await;
    outcome.map_err(|error| anyhow!("{error}"))
}
