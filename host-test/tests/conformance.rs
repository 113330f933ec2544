//! Goal: `bucket-s3.wasm` keeps every promise of the port, on any store.
//!
//! Method: one suite (`host_test::conformance`), run against the store in this
//! process in virtual time, against the same store over loopback HTTP, and against
//! a real SeaweedFS.

use anyhow::Result;
use host_test::clock::WorldClock;
use host_test::conformance::{Effort, run};
use host_test::seaweed::Seaweed;
use host_test::serve::Server;
use host_test::store::{Options, Quirk, SharedStore};
use host_test::world::{Site, World, simulate};
use std::time::Duration;

fn in_virtual_time<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(test)
}

#[test]
fn the_store_in_this_process() -> Result<()> {
    simulate(1, async |world| {
        world.faults().latency(Duration::from_millis(20));
        let report = run(
            world.site(),
            Effort {
                rounds: 50,
                listed: 1200,
                ..Effort::default()
            },
        )
        .await?;
        println!("{}", report.into_result()?);
        let totals = world.store().totals();
        assert_eq!(totals.unconditional_puts, 0, "{totals}");
        Ok(())
    })
}

/// Stores differ where the contract lets them.
#[test]
fn stores_with_quirks() -> Result<()> {
    let quirks = [
        vec![Quirk::MissingKeyFailsPrecondition],
        vec![Quirk::OpaqueEtags],
        vec![Quirk::TellsNoTime],
        vec![Quirk::IgnoresMaxKeys],
    ];
    for quirks in quirks {
        in_virtual_time(async {
            let options = Options {
                quirks: quirks.clone().into_iter().collect(),
                ..Options::default()
            };
            let world = World::with_options(2, options);
            run(world.site(), Effort::default())
                .await?
                .into_result()
                .map(drop)
        })
        .map_err(|error| error.context(format!("{quirks:?}")))?;
    }
    Ok(())
}

#[test]
fn an_unquoted_entity_tag_can_be_asked_for() -> Result<()> {
    in_virtual_time(async {
        let options = Options {
            quirks: [Quirk::ComparesIfMatchLiterally].into_iter().collect(),
            ..Options::default()
        };
        let world = World::with_options(3, options);
        let site = world.site().clone().with("IFMATCH_ETAG", "unquoted");
        run(&site, Effort::default()).await?.into_result().map(drop)
    })
}

/// The suite itself must notice a store that breaks the contract.
#[test]
fn broken_stores_are_noticed() -> Result<()> {
    let cases = [
        (Quirk::IgnoresIfNoneMatch, "create_wins_once"),
        (Quirk::IgnoresIfMatch, "replace_needs_the_version"),
        (
            Quirk::ChecksConditionsLate(Duration::from_millis(15)),
            "racing_creates",
        ),
        (
            Quirk::ChecksConditionsLate(Duration::from_millis(15)),
            "racing_replaces",
        ),
        (Quirk::ComparesIfMatchLiterally, "replace_needs_the_version"),
        (Quirk::UnsortedListings, "listings_in_pages"),
    ];
    for (quirk, check) in cases {
        let report = in_virtual_time(async {
            let options = Options {
                quirks: [quirk.clone()].into_iter().collect(),
                ..Options::default()
            };
            let world = World::with_options(4, options);
            world.faults().latency(Duration::from_millis(20));
            run(world.site(), Effort::default()).await
        })?;
        assert!(
            report.is_broken(check),
            "{quirk:?} passed {check}\n{report}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_store_over_loopback() -> Result<()> {
    let options = Options::default();
    let store = SharedStore::in_memory(options.clone());
    let server = Server::start(store, WorldClock::of_machine(), 0).await?;
    let site = Site::on_this_machine(&server.endpoint(&options)?, 5);
    println!("{}", run(&site, Effort::default()).await?.into_result()?);
    Ok(())
}

#[tokio::test]
async fn seaweedfs() -> Result<()> {
    let site = Site::on_this_machine(&Seaweed::shared()?.endpoint(), 6);
    // On one hot key its losers wait about a second for each waiter before them.
    let site = site.with("IFMATCH_REQUEST_TIMEOUT_MS", "60000");
    let effort = Effort {
        racers: 4,
        rounds: 2,
        // Keys are paths to it. Where a key of an object is the folder of another,
        // it takes the folder for an object; and its listings follow folders:
        // everything under `a/` before `a-b`, although `-` sorts before `/`.
        known_differences: &["keys_that_others_continue", "listings_across_folders"],
        ..Effort::default()
    };
    println!("{}", run(&site, effort).await?.into_result()?);
    Ok(())
}
