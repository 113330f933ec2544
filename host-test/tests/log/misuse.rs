//! Wrong settings and wrong arguments: each leads to an error that says what to fix,
//! and to nothing else.

use crate::calls::{SHARED, append, batch, contents, on_seaweedfs, produced, said, words};
use anyhow::{Result, ensure};
use host_test::bindings::collection::Keep;
use host_test::bindings::log::{AppendOptions, Cursor, Error, ReadLimit, Settings, Token, Writer};
use host_test::host::Instance;
use host_test::readback::{ALL, START};
use host_test::world::{InstanceBuilder, Site, simulate};

/// The error of every function, by name.
async fn errors(mut instance: Instance) -> Result<Vec<(&'static str, Error)>> {
    let settings = Settings {
        grace_ms: 60_000,
        clock_margin_ms: 0,
    };
    let results = [
        ("create", instance.log().create("l", settings).await?.err()),
        (
            "append",
            instance
                .log()
                .append("l", &batch("x"), &SHARED)
                .await?
                .err(),
        ),
        (
            "claim",
            instance.log().claim("l", Token { epoch: 1 }).await?.err(),
        ),
        ("read", instance.log().read("l", START, ALL).await?.err()),
        (
            "wait",
            instance.log().wait("l", START, ALL, 10).await?.err(),
        ),
        ("tail", instance.log().tail("l").await?.err()),
        ("locate", instance.log().locate("l", 0).await?.err()),
        (
            "trim",
            instance
                .collection()
                .trim("l", Keep::Records(1))
                .await?
                .err()
                .map(from_retention),
        ),
        (
            "pins",
            instance
                .retention()
                .pins("l")
                .await?
                .err()
                .map(from_retention),
        ),
    ];
    let mut errors = Vec::new();
    for (function, error) in results {
        let error = error.ok_or_else(|| anyhow::anyhow!("{function} succeeded"))?;
        errors.push((function, error));
    }
    Ok(errors)
}

/// Both interfaces use the same type.
fn from_retention(error: host_test::bindings::retention::Error) -> Error {
    error
}

/// Checks that every function of an instance fails with this, and says these words.
async fn refused(instance: InstanceBuilder, kind: &str, words: &[&str]) -> Result<()> {
    for (function, error) in errors(instance.await?).await? {
        let text = said(&error);
        ensure!(text.starts_with(kind), "{function}: {text}");
        for word in words {
            ensure!(
                text.contains(word),
                "{function} does not say {word}: {text}"
            );
        }
    }
    Ok(())
}

/// What can be wrong with the way to any store.
async fn wrong_settings(site: &Site) -> Result<()> {
    let mut right = site.instance("right").await?;
    append(&mut right, "l", "a b").await?;
    let wrong = |name, value| site.instance("wrong").with(name, value);
    refused(
        wrong("AWS_SECRET_ACCESS_KEY", "not-the-secret"),
        "access-denied",
        &["AWS_SECRET_ACCESS_KEY"],
    )
    .await?;
    refused(
        wrong("AWS_ACCESS_KEY_ID", "NOBODY"),
        "access-denied",
        &["AWS_ACCESS_KEY_ID"],
    )
    .await?;
    refused(
        wrong("IFMATCH_BUCKET", "no-such-bucket"),
        "misconfigured",
        &["no-such-bucket"],
    )
    .await?;
    refused(
        wrong("IFMATCH_PREFIX", "/a//b"),
        "misconfigured",
        &["IFMATCH_PREFIX"],
    )
    .await?;
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "IFMATCH_BUCKET",
    ] {
        refused(
            site.instance("wrong").without(name),
            "misconfigured",
            &[name],
        )
        .await?;
    }
    // The others' mistakes left everything as it was.
    ensure!(append(&mut right, "l", "c").await? == (2, 3));
    ensure!(words(&contents(site, "l").await?) == "a b c");
    Ok(())
}

#[test]
fn wrong_settings_are_named() -> Result<()> {
    simulate(1, async |world| wrong_settings(world.site()).await)
}

#[test]
fn wrong_settings_are_named_on_a_real_server() -> Result<()> {
    on_seaweedfs("settings", async |site| wrong_settings(site).await)
}

/// A port where nobody listens. The key tells which object could not be reached.
#[test]
fn a_refused_connection_is_unavailable() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        drop(listener);
        let endpoint = host_test::world::Endpoint {
            url: url.clone(),
            bucket: "bucket".to_owned(),
            region: "us-east-1".to_owned(),
            credential: host_test::store::Credential::lasting("key", "secret"),
        };
        let site = Site::on_this_machine(&endpoint, 2);
        refused(site.instance("lost"), "unavailable", &[]).await
    })
}

/// What a caller can get wrong. Nothing is sent.
#[test]
fn wrong_arguments_are_refused_before_anything_is_sent() -> Result<()> {
    simulate(3, async |world| {
        let mut a = world.instance("a").await?;
        append(&mut a, "l", "a").await?;
        let before = world.store().totals().all();
        let mut wrong: Vec<(String, Option<Error>)> = Vec::new();
        let long = "x".repeat(201);
        for name in [
            "",
            "A",
            "a_b",
            "a.b",
            "/a",
            "a/",
            "a//b",
            "ä",
            "a b",
            "../a",
            long.as_str(),
        ] {
            wrong.push((
                format!("append to {name:?}"),
                a.log().append(name, &batch("x"), &SHARED).await?.err(),
            ));
            wrong.push((
                format!("read of {name:?}"),
                a.log().read(name, START, ALL).await?.err(),
            ));
            wrong.push((format!("tail of {name:?}"), a.log().tail(name).await?.err()));
            wrong.push((
                format!("trim of {name:?}"),
                a.collection().trim(name, Keep::Records(1)).await?.err(),
            ));
        }
        let settings = |grace_ms, clock_margin_ms| Settings {
            grace_ms,
            clock_margin_ms,
        };
        for settings in [
            settings(999, 0),
            settings(604_800_001, 0),
            settings(2_000, 1_001),
            settings(0, 1),
        ] {
            wrong.push((
                format!("{settings:?}"),
                a.log().create("n", settings).await?.err(),
            ));
        }
        let batches = [
            ("no records", Vec::new()),
            ("10001 records", vec![vec![b'x']; 10_001]),
            (
                "a byte over 8 MiB",
                vec![vec![b'x'; 4 << 20], vec![b'x'; 4 << 20], vec![b'x']],
            ),
        ];
        for (name, records) in batches {
            wrong.push((
                name.to_owned(),
                a.log().append("l", &records, &SHARED).await?.err(),
            ));
        }
        let zero = AppendOptions {
            writer: Writer::Fenced(Token { epoch: 0 }),
            ..SHARED
        };
        wrong.push((
            "epoch 0".to_owned(),
            a.log().append("l", &batch("x"), &zero).await?.err(),
        ));
        wrong.push((
            "claim of 0".to_owned(),
            a.log().claim("l", Token { epoch: 0 }).await?.err(),
        ));
        let long_id = "p".repeat(65);
        for id in ["", "a b", "ä", "a/b", long_id.as_str()] {
            let options = produced(id, 0);
            wrong.push((
                format!("producer {id:?}"),
                a.log().append("l", &batch("x"), &options).await?.err(),
            ));
        }
        for (records, bytes) in [(0, 1), (1, 0)] {
            let limit = ReadLimit { records, bytes };
            wrong.push((
                format!("{limit:?}"),
                a.log().read("l", START, limit).await?.err(),
            ));
        }
        wrong.push((
            "a long wait".to_owned(),
            a.log().wait("l", START, ALL, 300_001).await?.err(),
        ));
        for (reader, ttl_ms) in [
            ("", 5_000),
            ("a b", 5_000),
            ("r", 999),
            ("r", 2_592_000_001),
        ] {
            let pinned = a.retention().pin("l", reader, START, ttl_ms).await?;
            wrong.push((format!("pin {reader:?} {ttl_ms}"), pinned.err()));
        }
        for (what, error) in wrong {
            let text = error.as_ref().map(said).unwrap_or_default();
            ensure!(text.starts_with("invalid-argument: "), "{what}: {text}");
        }
        ensure!(world.store().totals().all() == before, "something was sent");
        ensure!(words(&contents(world.site(), "l").await?) == "a");
        Ok(())
    })
}

/// The limits themselves are allowed.
#[test]
fn the_largest_batches_are_accepted() -> Result<()> {
    simulate(4, async |world| {
        let mut a = world.instance("a").await?;
        let many = vec![b"r".to_vec(); 10_000];
        let large = vec![vec![b'x'; 8 << 20]];
        for records in [many, large] {
            crate::calls::appended(a.log().append("l", &records, &SHARED).await?)?;
        }
        let log = contents(world.site(), "l").await?;
        ensure!(log.len() == 10_001 && log[10_000].len() == 8 << 20);
        Ok(())
    })
}

/// A cursor of a caller's making never shows records where they are not.
#[test]
fn a_wrong_cursor_finds_the_right_record() -> Result<()> {
    simulate(5, async |world| {
        let mut a = world.instance("a").await?;
        for text in ["a b", "c", "d e f", "g"] {
            append(&mut a, "l", text).await?;
        }
        for offset in 0..7 {
            for slot in 0..6 {
                for absent_until in [None, Some(0), Some(u64::MAX)] {
                    let cursor = Cursor {
                        offset,
                        slot: Some(slot),
                        absent_until,
                    };
                    let mut fresh = world.instance("fresh").await?;
                    let (read, _) = crate::calls::entries(
                        fresh
                            .log()
                            .read("l", cursor, crate::calls::first(1))
                            .await?,
                    )?;
                    // Somebody who claims that nothing can have been trimmed since is
                    // believed that an empty slot is the tail.
                    let believed = slot >= 4 && absent_until == Some(u64::MAX);
                    match read.first() {
                        Some(entry) => {
                            let right = [b"abcdefg"[usize::try_from(offset)?]];
                            ensure!(entry.offset == offset && entry.body == right, "{cursor:?}");
                        }
                        None => ensure!(believed, "{cursor:?}: nothing"),
                    }
                }
            }
        }
        Ok(())
    })
}
