//! Goal: what is stored as a blob is there, whole, and cannot be anything else.
//!
//! Method: the shipped component, on the store of this process with faults, and on
//! a real SeaweedFS where it matters what a store refuses by itself.

use anyhow::{Context, Result, ensure};
use host_test::bindings::blob::{Error, Reference};
use host_test::bindings::bucket::presign::Upload;
use host_test::conformance::to_http;
use host_test::faults::Rates;
use host_test::host::Instance;
use host_test::seaweed::Seaweed;
use host_test::world::{Site, simulate};

const SPACE: &str = "files";

async fn get(instance: &mut Instance, blob: &Reference) -> Result<Option<Vec<u8>>> {
    let blobs = std::slice::from_ref(blob);
    let mut bodies = instance.blob().get(SPACE, blobs).await??;
    ensure!(bodies.len() == 1, "{bodies:?}");
    Ok(bodies.remove(0))
}

#[test]
fn on_a_bad_day_an_acknowledged_blob_is_there() -> Result<()> {
    simulate(11, async |world| {
        world.faults().rates(Rates::bad_day());
        let mut writer = world.instance("writer").await?;
        let mut acknowledged = Vec::new();
        for round in 0..60_u32 {
            // Some new, some that are there already.
            let bodies: Vec<Vec<u8>> = (round..round + 4)
                .map(|number| format!("blob {number}").into_bytes())
                .collect();
            if let Ok(references) = writer.blob().put(SPACE, 0, &bodies).await? {
                acknowledged.extend(references.into_iter().zip(bodies));
            }
        }
        assert!(acknowledged.len() > 200, "{}", acknowledged.len());
        let spoilt: u64 = world.faults().counts().values().sum();
        assert!(spoilt > 20, "{spoilt}");
        world.faults().calm();
        let mut reader = world.instance("reader").await?;
        for (reference, body) in &acknowledged {
            assert_eq!(get(&mut reader, reference).await?.as_ref(), Some(body));
        }
        Ok(())
    })
}

#[test]
fn a_large_blob_goes_through_the_component() -> Result<()> {
    simulate(12, async |world| {
        let mut instance = world.instance("a").await?;
        let body: Vec<u8> = (0..16 << 20).map(|at: u32| (at % 251) as u8).collect();
        let one = std::slice::from_ref(&body);
        let references = instance.blob().put(SPACE, 0, one).await??;
        assert!(get(&mut instance, &references[0]).await? == Some(body.clone()));
        let more = [body.clone(), body.clone(), body.clone(), body, vec![0]];
        let refused = instance.blob().put(SPACE, 0, &more).await?;
        assert!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "{refused:?}"
        );
        Ok(())
    })
}

/// Somebody without credentials uploads a blob: the store takes exactly the bytes
/// that the digest names, once.
async fn upload_by_somebody_else(site: &Site) -> Result<()> {
    let mut instance = site.instance("a").await?;
    let body = "exactly these bytes";
    // `printf 'exactly these bytes' | sha256sum`
    let digits = "8caeb825d18bf46f2c5042f7e012500188e5a65e5020ec2fc9831fb747ad9a36";
    let blob = Reference {
        generation: 3,
        digest: format!("sha256:{digits}"),
    };
    let key = instance.blob().key(SPACE, &blob).await??;
    let upload = Upload {
        key,
        sha256: digits.to_owned(),
        expires_in_s: 300,
    };
    let request = instance.presign().presign_put(&upload).await??;
    for wrong in ["exactly these byteS", "exactly these bytes and more", ""] {
        let response = site.send(to_http(&request, wrong)?).await?;
        ensure!(
            response.status().is_client_error(),
            "{wrong:?} was not refused: {response:?}"
        );
        let stored = get(&mut instance, &blob).await?;
        ensure!(stored.is_none(), "{wrong:?} was stored");
    }
    let response = site.send(to_http(&request, body)?).await?;
    ensure!(response.status() == 200, "{response:?}");
    let stored = get(&mut instance, &blob)
        .await?
        .context("it is not stored")?;
    ensure!(stored == body.as_bytes(), "{stored:?}");
    let response = site.send(to_http(&request, body)?).await?;
    ensure!(response.status() == 412, "a second time: {response:?}");
    // For the component it is a blob like any other.
    let bodies = [body.as_bytes().to_vec()];
    let again = instance.blob().put(SPACE, 3, &bodies).await??;
    ensure!(again == [blob], "{again:?}");
    Ok(())
}

#[test]
fn the_store_in_this_process_refuses_an_upload_of_other_bytes() -> Result<()> {
    simulate(13, async |world| {
        upload_by_somebody_else(world.site()).await
    })
}

#[tokio::test]
async fn seaweedfs_refuses_an_upload_of_other_bytes() -> Result<()> {
    let site = Site::on_this_machine(&Seaweed::shared()?.endpoint(), 14);
    upload_by_somebody_else(&site.with("IFMATCH_PREFIX", "blobs/")).await
}
