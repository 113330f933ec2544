//! Where it is measured: a store, and how long each request to it takes.

use crate::front::{Backend, Front};
use anyhow::{Context, Result};
use host_test::clock::WorldClock;
use host_test::seaweed::Seaweed;
use host_test::store::{Options, SharedStore, Totals};
use host_test::wire::Wire;
use host_test::world::{Endpoint, Site, World};
use std::sync::Arc;
use std::time::Duration;

const SEED: u64 = 1;

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The harness's, called as a function.
    Process,
    /// The same over HTTP on loopback, on a thread of its own.
    Loopback,
    /// SeaweedFS on loopback, on a disk of this machine.
    Seaweed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Process, Self::Loopback, Self::Seaweed];

    /// What a person types, and reads in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Loopback => "loopback",
            Self::Seaweed => "seaweed",
        }
    }
}

/// A store with a latency.
pub struct Place {
    /// Which store.
    pub kind: Kind,
    /// What is added to each request.
    pub latency: Duration,
    /// Where components run: on a host that makes a connection for each request, as
    /// the usual one does.
    pub guests: Site,
    /// Where native code runs. It keeps connections, as native clients do.
    pub natives: Site,
    /// How other processes reach the store, if they can.
    pub endpoint: Option<Endpoint>,
    store: Behind,
}

enum Behind {
    World(Box<World>),
    Front(Front),
}

impl Place {
    /// Opens a place, without its latency yet.
    pub fn open(kind: Kind, latency: Duration) -> Result<Self> {
        let endpoint = match kind {
            Kind::Process => {
                let world = World::in_process(SEED);
                return Ok(Self {
                    kind,
                    latency,
                    guests: world.site().clone(),
                    natives: world.site().clone(),
                    endpoint: None,
                    store: Behind::World(Box::new(world)),
                });
            }
            Kind::Loopback => {
                let options = Options::default();
                Endpoint {
                    url: String::new(),
                    bucket: options.buckets.first().context("no bucket")?.clone(),
                    region: options.region.clone(),
                    credential: options.credentials.first().context("no key")?.clone(),
                }
            }
            Kind::Seaweed => Seaweed::shared()?.endpoint(),
        };
        let front = Front::start(match kind {
            Kind::Seaweed => Backend::Server(endpoint.url.replace("http://", "")),
            _ => Backend::Store(SharedStore::in_memory(Options::default())),
        })?;
        let endpoint = Endpoint {
            url: front.url(),
            ..endpoint
        };
        let clock = WorldClock::of_machine();
        let kept = Wire::to_sockets(clock, SEED).keeping_connections();
        let prefix = format!("bench-{}", latency.as_millis());
        let named = |site: Site| site.with("IFMATCH_PREFIX", &prefix);
        Ok(Self {
            kind,
            latency,
            guests: named(Site::on_sockets(&endpoint, clock, SEED)),
            natives: named(Site::on_wire(&endpoint, clock, Arc::new(kept), SEED)),
            endpoint: Some(endpoint),
            store: Behind::Front(front),
        })
    }

    /// Lets requests take their time from now on, or not, while something is prepared.
    pub fn set_slow(&self, slow: bool) {
        let latency = if slow { self.latency } else { Duration::ZERO };
        match &self.store {
            Behind::World(world) => {
                world.faults().latency(latency);
            }
            Behind::Front(front) => front.set_latency(latency),
        }
    }

    /// What reached the store so far.
    pub fn totals(&self) -> Totals {
        match &self.store {
            Behind::World(world) => world.store().totals(),
            Behind::Front(front) => front.totals(),
        }
    }

    /// Processor time that the store took on the thread of the clients.
    pub fn busy(&self) -> Duration {
        match &self.store {
            Behind::World(world) => world.store().busy(),
            Behind::Front(_) => Duration::ZERO,
        }
    }
}
