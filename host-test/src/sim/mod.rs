//! Simulation: many instances of the shipped component in one thread, in virtual
//! time, on a store where everything goes wrong that can, all drawn from one seed.
//!
//! * [`stage`]: what the actors of one run share; [`actor`]: an instance that makes
//!   calls, and what befalls it; [`weather`]: what goes wrong in a run.
//! * [`log`], [`lease`], [`manifest`]: one family of calls each, with the actors that
//!   make them and the checks of what they were told. A further family is a further
//!   module and a line in [`SCENARIOS`].
//! * [`chain`], [`versions`] and what they share, [`slots`]; [`pins`], [`reigns`]:
//!   checks that know the promises and not how they are kept.
//! * [`report`]: what happened, over all runs.

pub mod actor;
pub mod chain;
pub mod lease;
pub mod log;
pub mod manifest;
pub mod pins;
pub mod reigns;
pub mod report;
pub mod slots;
pub mod stage;
pub mod versions;
pub mod weather;

use crate::random::Seeded;
use crate::store::{Options, Quirk};
use crate::world::World;
use anyhow::{Context, Result};
use report::Run;
use stage::{Part, Stage};
use std::collections::BTreeSet;
use std::rc::Rc;
use tokio::task::LocalSet;
use weather::Weather;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub summary: &'static str,
    /// Its families.
    pub parts: &'static [Part],
    /// What is special about its weather.
    pub bend: fn(&mut Weather),
}

/// Every family.
const ALL: &[Part] = &[log::PART, lease::PART, manifest::PART];

/// The weather as it was drawn.
fn as_drawn(_: &mut Weather) {}

/// Every scenario. The first is the one that runs unless another is named.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "mixed",
        summary: "everything at once",
        parts: ALL,
        bend: as_drawn,
    },
    Scenario {
        name: "sleepers",
        summary: "everything at once, where much sleeps and little has to age",
        parts: ALL,
        bend: Weather::sleepy,
    },
    Scenario {
        name: "crowd",
        summary: "everything at once, by writers who hurry, far from the store",
        parts: ALL,
        bend: Weather::crowd,
    },
    Scenario {
        name: "log",
        summary: "a log of shared writers, readers, collectors and merges",
        parts: &[log::PART],
        bend: as_drawn,
    },
    Scenario {
        name: "lease",
        summary: "leaders of a lease, who write to a log",
        parts: &[lease::PART],
        bend: as_drawn,
    },
    Scenario {
        name: "manifest",
        summary: "commits and transactions over two manifests, forks, blobs, trims and sweeps",
        parts: &[manifest::PART],
        bend: as_drawn,
    },
];

/// How large a run is, and where it takes place.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Calls after which actors stop, once everything has gone wrong that must.
    pub calls: u64,
    /// Calls after which they stop in any case.
    pub calls_max: u64,
    /// In what the store differs from Amazon's.
    pub quirks: BTreeSet<Quirk>,
}

impl Default for Extent {
    fn default() -> Self {
        Self {
            calls: 150,
            calls_max: 2_000,
            quirks: BTreeSet::new(),
        }
    }
}

/// Runs one seed. What it finds wrong is in the result.
///
/// # Errors
/// If the harness itself fails.
pub fn run(seed: u64, scenario: &Scenario, extent: &Extent) -> Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    let actors = LocalSet::new();
    let run = actors.run_until(async {
        let options = Options {
            quirks: extent.quirks.clone(),
            ..Options::default()
        };
        let world = Rc::new(World::with_options(seed, options));
        let mut weather = Weather::drawn(&mut Seeded::fork(seed, "weather"));
        (scenario.bend)(&mut weather);
        let stage = Stage::new(world, weather, extent.clone());
        let found = play(&stage, scenario).await;
        stage.finish(found)
    });
    Ok(runtime.block_on(run))
}

async fn play(stage: &Rc<Stage>, scenario: &Scenario) -> Result<()> {
    stage.break_out();
    let mut acts = Vec::new();
    for part in scenario.parts {
        acts.push((part.begin)(stage.clone()).await?);
    }
    stage.all_done().await?;
    stage.calm_down().await;
    for act in &acts {
        act.judge(stage).await.context(act.name())?;
    }
    Ok(())
}
