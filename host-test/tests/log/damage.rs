//! Objects that are not what they should be. Nothing is passed over in silence:
//! whoever meets one is told its key, and nothing is acknowledged behind it.

use crate::calls::{SHARED, append, batch, contents, entries, on_seaweedfs, said, words};
use anyhow::{Context, Result, bail, ensure};
use host_test::artifact::Artifact;
use host_test::bindings::bucket::{Found, Precondition, PutOutcome, Read, Span, Write};
use host_test::bindings::log::{Cursor, Error};
use host_test::host::Instance;
use host_test::readback::{ALL, START, slot_key};
use host_test::world::{Site, simulate};

/// The port, as an operator has it who repairs or spoils a bucket.
async fn operator(site: &Site) -> Result<Instance> {
    site.instance("operator").artifact(Artifact::BucketS3).await
}

/// Replaces an object, and returns what was there.
async fn replace(operator: &mut Instance, key: &str, body: &[u8]) -> Result<Vec<u8>> {
    let read = Read {
        key: key.to_owned(),
        span: Span::All,
        unless: None,
    };
    let Found::Object(object) = operator.bucket().get(&read).await??.found else {
        bail!("there is no {key}");
    };
    let write = Write {
        key: key.to_owned(),
        body: body.to_vec(),
        precondition: Precondition::Matches(object.metadata.version),
    };
    match operator.bucket().put(&write).await?? {
        PutOutcome::Written(_) => Ok(object.body),
        other => bail!("{other:?}"),
    }
}

async fn plant(operator: &mut Instance, key: &str, body: &[u8]) -> Result<()> {
    let write = Write {
        key: key.to_owned(),
        body: body.to_vec(),
        precondition: Precondition::Absent,
    };
    match operator.bucket().put(&write).await?? {
        PutOutcome::Written(_) => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// Checks that an error names a damaged object.
fn is_corrupt<T: std::fmt::Debug>(result: Result<T, Error>, key: &str) -> Result<()> {
    let text = match &result {
        Err(error) => said(error),
        Ok(value) => bail!("nobody noticed: {value:?}"),
    };
    // Damage to the version of the format, or to its flags, looks like a format of
    // the future.
    let future = text.starts_with("unsupported: ") && text.contains("this version");
    ensure!(
        (text.starts_with("corrupt: ") || future) && text.contains(key),
        "{text}"
    );
    Ok(())
}

/// A log of five segments: `a b`, `c`, `d e`, `f`, `g`.
async fn a_log(site: &Site, name: &str) -> Result<()> {
    let mut writer = site.instance("writer").await?;
    for text in ["a b", "c", "d e", "f", "g"] {
        append(&mut writer, name, text).await?;
    }
    Ok(())
}

/// What may stand where segment 2 or 4 of a log should.
fn spoilt(body: &[u8], others: [Vec<u8>; 2]) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("nothing in it".to_owned(), Vec::new()),
        (
            "a foreign object".to_owned(),
            b"<html>hello</html>".to_vec(),
        ),
        ("a byte too many".to_owned(), [body, b"x"].concat()),
        ("a segment of another slot".to_owned(), others[0].clone()),
        ("a segment of another log".to_owned(), others[1].clone()),
    ];
    for length in [1, 7, 60, 127, 128, body.len() - 1] {
        all.push((format!("{length} bytes of it"), body[..length].to_vec()));
    }
    for byte in (0..body.len()).step_by(5).chain([body.len() - 1]) {
        let mut flipped = body.to_vec();
        flipped[byte] ^= 1 << (byte % 8);
        all.push((format!("byte {byte} flipped"), flipped));
    }
    all
}

/// Damage in the middle of a log: what lies before it is read, it is named, and when
/// it is repaired, everything is there.
async fn in_the_middle(site: &Site, every: usize) -> Result<()> {
    a_log(site, "m").await?;
    a_log(site, "other").await?;
    let mut operator = operator(site).await?;
    let key = slot_key("m", 2)?;
    let body = get(&mut operator, &key).await?;
    let others = [
        get(&mut operator, &slot_key("m", 3)?).await?,
        get(&mut operator, &slot_key("other", 2)?).await?,
    ];
    for (what, bytes) in spoilt(&body, others).into_iter().step_by(every) {
        replace(&mut operator, &key, &bytes).await?;
        let checked = async {
            let mut reader = site.instance("reader").await?;
            let (before, next) = entries(reader.log().read("m", START, ALL).await?)?;
            ensure!(
                before.len() == 3 && next.offset == 3,
                "{} before it",
                before.len()
            );
            is_corrupt(reader.log().read("m", next, ALL).await?, &key)?;
            // Also to somebody who searches for the place.
            let mut searcher = site.instance("searcher").await?;
            let place = Cursor { offset: 3, ..START };
            is_corrupt(searcher.log().read("m", place, ALL).await?, &key)
        };
        let checked: Result<()> = checked.await;
        checked.context(what)?;
        replace(&mut operator, &key, &body).await?;
    }
    ensure!(words(&contents(site, "m").await?) == "a b c d e f g");
    Ok(())
}

/// Damage at the tail: nobody appends behind it, or over it.
async fn at_the_tail(site: &Site, every: usize) -> Result<()> {
    a_log(site, "t").await?;
    a_log(site, "other").await?;
    let mut operator = operator(site).await?;
    let key = slot_key("t", 4)?;
    let body = get(&mut operator, &key).await?;
    let others = [
        get(&mut operator, &slot_key("t", 3)?).await?,
        get(&mut operator, &slot_key("other", 4)?).await?,
    ];
    for (what, bytes) in spoilt(&body, others).into_iter().step_by(every) {
        let mut warm = site.instance("warm").await?;
        let end = warm.log().tail("t").await??;
        replace(&mut operator, &key, &bytes).await?;
        let checked = async {
            let mut cold = site.instance("cold").await?;
            // What is wrong with the payload alone shows to whoever reads it.
            let header_bytes = u32::from_le_bytes(body[20..24].try_into()?) as usize;
            let in_header =
                bytes.len() != body.len() || bytes[..header_bytes] != body[..header_bytes];
            if in_header {
                is_corrupt(cold.log().tail("t").await?, &key)?;
                is_corrupt(cold.log().append("t", &batch("x"), &SHARED).await?, &key)?;
            }
            let place = Cursor {
                offset: 6,
                slot: Some(4),
                absent_until: None,
            };
            is_corrupt(cold.log().read("t", place, ALL).await?, &key)?;
            ensure!(end.offset == 7);
            ensure!(
                get(&mut operator, &key).await? == bytes,
                "it was overwritten"
            );
            Ok(())
        };
        let checked: Result<()> = checked.await;
        checked.context(what)?;
        replace(&mut operator, &key, &body).await?;
    }
    let mut next = site.instance("next").await?;
    ensure!(append(&mut next, "t", "h").await? == (7, 8));
    ensure!(words(&contents(site, "t").await?) == "a b c d e f g h");
    Ok(())
}

/// A foreign object where the next segment should go: the append that meets it is not
/// acknowledged, and goes through when it is gone.
async fn in_the_next_slot(site: &Site) -> Result<()> {
    a_log(site, "n").await?;
    let mut operator = operator(site).await?;
    let mut warm = site.instance("warm").await?;
    warm.log().tail("n").await??;
    let key = slot_key("n", 5)?;
    plant(&mut operator, &key, b"somebody's notes").await?;
    for instance in [&mut warm, &mut site.instance("cold").await?] {
        is_corrupt(
            instance.log().append("n", &batch("x"), &SHARED).await?,
            &key,
        )?;
        is_corrupt(instance.log().tail("n").await?, &key)?;
    }
    let mut reader = site.instance("reader").await?;
    let place = Cursor {
        offset: 7,
        slot: Some(5),
        absent_until: None,
    };
    is_corrupt(reader.log().read("n", place, ALL).await?, &key)?;
    operator.deletion().delete_many(&[key]).await??;
    ensure!(append(&mut warm, "n", "h").await? == (7, 8));
    ensure!(words(&contents(site, "n").await?) == "a b c d e f g h");
    Ok(())
}

/// A segment that is gone is missing, not the end of the log, and not skipped.
async fn missing(site: &Site) -> Result<()> {
    a_log(site, "g").await?;
    let mut operator = operator(site).await?;
    let key = slot_key("g", 2)?;
    let body = get(&mut operator, &key).await?;
    operator
        .deletion()
        .delete_many(std::slice::from_ref(&key))
        .await??;
    for start in [
        Cursor { offset: 3, ..START },
        Cursor {
            offset: 3,
            slot: Some(2),
            absent_until: None,
        },
    ] {
        let mut reader = site.instance("reader").await?;
        is_corrupt(reader.log().read("g", start, ALL).await?, &key)?;
    }
    // The log goes on at its end meanwhile, and the gap is never filled by it.
    let mut writer = site.instance("writer").await?;
    ensure!(append(&mut writer, "g", "h").await? == (7, 8));
    plant(&mut operator, &key, &body).await?;
    ensure!(words(&contents(site, "g").await?) == "a b c d e f g h");
    Ok(())
}

/// A key under the log's prefix that is no slot's.
async fn foreign_key(site: &Site) -> Result<()> {
    a_log(site, "k").await?;
    let mut operator = operator(site).await?;
    let key = "log/k/_slot/0-notes".to_owned();
    plant(&mut operator, &key, b"somebody's notes").await?;
    let mut cold = site.instance("cold").await?;
    is_corrupt(cold.log().tail("k").await?, &key)?;
    is_corrupt(cold.log().append("k", &batch("x"), &SHARED).await?, &key)?;
    operator.deletion().delete_many(&[key]).await??;
    ensure!(append(&mut cold, "k", "h").await? == (7, 8));
    Ok(())
}

/// The watermark's object.
async fn in_the_state(site: &Site) -> Result<()> {
    a_log(site, "s").await?;
    let mut operator = operator(site).await?;
    let key = "log/s/_state".to_owned();
    plant(&mut operator, &key, b"somebody's notes").await?;
    let mut reader = site.instance("reader").await?;
    is_corrupt(
        reader
            .log()
            .read("s", Cursor { offset: 3, ..START }, ALL)
            .await?,
        &key,
    )?;
    is_corrupt(reader.retention().pins("s").await?, &key)?;
    operator.deletion().delete_many(&[key]).await??;
    ensure!(words(&contents(site, "s").await?) == "a b c d e f g");
    Ok(())
}

async fn get(operator: &mut Instance, key: &str) -> Result<Vec<u8>> {
    let read = Read {
        key: key.to_owned(),
        span: Span::All,
        unless: None,
    };
    match operator.bucket().get(&read).await??.found {
        Found::Object(object) => Ok(object.body),
        other => bail!("{key}: {other:?}"),
    }
}

async fn all(site: &Site, every: usize) -> Result<()> {
    in_the_middle(site, every).await.context("in the middle")?;
    at_the_tail(site, every).await.context("at the tail")?;
    in_the_next_slot(site).await.context("in the next slot")?;
    missing(site).await.context("missing")?;
    foreign_key(site).await.context("a foreign key")?;
    in_the_state(site).await.context("in the state")
}

/// Scenario 21.
#[test]
fn damage_is_named() -> Result<()> {
    simulate(1, async |world| all(world.site(), 1).await)
}

#[test]
fn damage_is_named_on_a_real_server() -> Result<()> {
    on_seaweedfs("damage", async |site| all(site, 7).await)
}
