//! Goal: a person who has set something wrong reads the name of the setting, and
//! nobody reads a secret.
//!
//! Method: `bucket-s3.wasm` with one setting wrong at a time, against the store in
//! this process, which checks signatures, against ports where nobody listens, and one
//! setting against SeaweedFS.

use anyhow::Result;
use host_test::artifact::Artifact;
use host_test::bindings::bucket::{Error, Found, Precondition, PutOutcome, Read, Span, Write};
use host_test::clock::UnixMs;
use host_test::host::Instance;
use host_test::seaweed::Seaweed;
use host_test::store::{BUCKET, Credential, Options, REGION};
use host_test::world::{Endpoint, InstanceBuilder, NOTE_KEY, Site, World, simulate};

const SECRETS: [&str; 4] = [
    "hunter2hunter2",
    "t0ken-t0ken",
    "harness/secret+key",
    "AKIAWRONG",
];

fn builder(world: &World) -> InstanceBuilder {
    world.instance("a").artifact(Artifact::BucketS3)
}

/// Every function of the port, each with the error that it gives.
async fn errors(mut instance: Instance) -> Result<Vec<Error>> {
    let read = Read {
        key: "k".to_owned(),
        span: Span::All,
        unless: None,
    };
    let write = Write {
        key: "k".to_owned(),
        body: b"body".to_vec(),
        precondition: Precondition::Absent,
    };
    let results = [
        instance.bucket().get(&read).await?.err(),
        instance
            .bucket()
            .get_many(std::slice::from_ref(&read))
            .await?
            .remove(0)
            .err(),
        instance.bucket().put(&write).await?.err(),
        instance
            .bucket()
            .put_many(std::slice::from_ref(&write))
            .await?
            .remove(0)
            .err(),
        instance.bucket().list_objects("", None, 1).await?.err(),
        instance
            .deletion()
            .delete_many(&["k".to_owned()])
            .await?
            .err(),
    ];
    let count = results.len();
    let errors: Vec<Error> = results.into_iter().flatten().collect();
    assert_eq!(errors.len(), count, "some calls succeeded");
    for error in &errors {
        let text = format!("{error:?}");
        assert!(
            SECRETS.iter().all(|secret| !text.contains(secret)),
            "{text}"
        );
    }
    Ok(errors)
}

/// The component cannot tell on which host it runs, so it says for each of them where
/// to look.
fn names_every_host(error: &Error, words: &[&str]) {
    let text = format!("{error:?}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_missing_setting_is_named() -> Result<()> {
    simulate(1, async |world| {
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "IFMATCH_BUCKET",
        ] {
            for instance in [
                builder(world).without(name).await?,
                builder(world).with(name, "").await?,
            ] {
                for error in errors(instance).await? {
                    assert!(
                        matches!(&error, Error::Misconfigured(text) if text.contains(name)),
                        "{name}: {error:?}"
                    );
                    names_every_host(&error, &["--env", "Spin", "wasmCloud", "Workers"]);
                }
            }
        }
        let neither = builder(world)
            .without("AWS_REGION")
            .without("AWS_ENDPOINT_URL_S3")
            .await?;
        for error in errors(neither).await? {
            assert!(
                matches!(&error, Error::Misconfigured(text) if text.contains("AWS_REGION")),
                "{error:?}"
            );
        }
        assert!(world.sent().is_empty(), "something was sent");
        Ok(())
    })
}

#[test]
fn a_wrong_setting_is_named() -> Result<()> {
    let wrong = [
        ("AWS_ENDPOINT_URL_S3", "ftp://s3.test"),
        ("AWS_ENDPOINT_URL_S3", "s3.test"),
        ("AWS_ENDPOINT_URL_S3", "http://user:hunter2hunter2@s3.test"),
        ("AWS_ENDPOINT_URL_S3", "http://s3.test:99999"),
        ("AWS_ENDPOINT_URL_S3", "http://s3.test/path?query"),
        ("AWS_ENDPOINT_URL_S3", "http://s3.test\r\nx: y"),
        ("AWS_ACCESS_KEY_ID", "AKIAWRONG, x=y"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2hunter2\nx"),
        ("AWS_SESSION_TOKEN", "t0ken-t0ken\r\nx: y"),
        ("AWS_REGION", "us east 1"),
        ("IFMATCH_BUCKET", "a/b"),
        ("IFMATCH_PREFIX", "/a"),
        ("IFMATCH_PREFIX", "a/../b"),
        ("IFMATCH_ADDRESSING", "sideways"),
        ("IFMATCH_ETAG", "maybe"),
        ("IFMATCH_PAYLOAD", "unsigned"),
        ("IFMATCH_REQUEST_TIMEOUT_MS", "soon"),
        ("IFMATCH_REQUEST_TIMEOUT_MS", "-1"),
        ("IFMATCH_MAX_OBJECT_BYTES", "99999999999999999999"),
    ];
    simulate(2, async |world| {
        for (name, value) in wrong {
            for error in errors(builder(world).with(name, value).await?).await? {
                assert!(
                    matches!(&error, Error::Misconfigured(text) if text.contains(name)),
                    "{name}={value}: {error:?}"
                );
            }
        }
        assert!(world.sent().is_empty(), "something was sent");
        Ok(())
    })
}

#[test]
fn wrong_credentials_are_denied() -> Result<()> {
    let wrong = [
        ("AWS_SECRET_ACCESS_KEY", "hunter2hunter2"),
        ("AWS_ACCESS_KEY_ID", "AKIAWRONG"),
        ("AWS_SESSION_TOKEN", "t0ken-t0ken"),
    ];
    simulate(3, async |world| {
        for (name, value) in wrong {
            for error in errors(builder(world).with(name, value).await?).await? {
                assert!(
                    matches!(&error, Error::AccessDenied(text) if !text.is_empty()),
                    "{name}: {error:?}"
                );
            }
        }
        assert_eq!(world.store().keys(""), [NOTE_KEY]);
        Ok(())
    })
}

#[test]
fn expired_credentials_say_so() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let expired = Credential::temporary(
            "ASIAEXPIRED",
            "hunter2hunter2",
            "t0ken-t0ken",
            Some(UnixMs(1)),
        );
        let world = World::with_options(
            4,
            Options {
                credentials: vec![expired],
                ..Options::default()
            },
        );
        for error in errors(builder(&world).await?).await? {
            assert!(
                matches!(&error, Error::AccessDenied(text) if text.contains("expired")),
                "{error:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_missing_bucket_is_named() -> Result<()> {
    simulate(5, async |world| {
        for error in errors(builder(world).with("IFMATCH_BUCKET", "elsewhere").await?).await? {
            assert!(
                matches!(&error, Error::NoSuchBucket(text) if text.contains("elsewhere")),
                "{error:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_wrong_region_is_named() -> Result<()> {
    simulate(6, async |world| {
        for error in errors(builder(world).with("AWS_REGION", "eu-west-1").await?).await? {
            let text = format!("{error:?}");
            assert!(
                text.contains("AWS_REGION") && text.contains(REGION),
                "{text}"
            );
        }
        Ok(())
    })
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unavailable() -> Result<()> {
    // Bound and closed again: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let endpoint = Endpoint {
        url: format!("http://{free}"),
        bucket: BUCKET.to_owned(),
        region: REGION.to_owned(),
        credential: Credential::lasting("AKIAWRONG", "hunter2hunter2"),
    };
    let site = Site::on_this_machine(&endpoint, 7);
    for error in errors(site.instance("a").artifact(Artifact::BucketS3).await?).await? {
        let text = format!("{error:?}");
        assert!(matches!(error, Error::Unavailable(_)), "{text}");
        assert!(
            text.contains(&free.to_string()),
            "{text} does not say what was not reached"
        );
    }
    Ok(())
}

/// The guest's clock may be wrong: the store's time is learned from its refusal.
#[test]
fn a_wrong_wall_clock_does_not_matter() -> Result<()> {
    simulate(8, async |world| {
        for (n, hours) in [-24, -1, 1, 24, 24 * 365].into_iter().enumerate() {
            let mut instance = builder(world).await?;
            instance.clock().jump_wall_ms(hours * 3_600_000);
            let write = Write {
                key: format!("k{n}"),
                body: Vec::new(),
                precondition: Precondition::Absent,
            };
            let before = world.sent().len();
            let outcome = instance.bucket().put(&write).await?;
            assert!(
                matches!(outcome, Ok(PutOutcome::Written(_))),
                "{hours} h: {outcome:?}"
            );
            assert_eq!(
                world.sent().len() - before,
                2,
                "{hours} h: one to learn, one to write"
            );
            let read = Read {
                key: write.key,
                span: Span::All,
                unless: None,
            };
            let reply = instance.bucket().get(&read).await??;
            assert!(matches!(reply.found, Found::Object(_)));
            assert_eq!(
                world.sent().len() - before,
                3,
                "{hours} h: it learned for good"
            );
        }
        Ok(())
    })
}

#[test]
fn virtual_host_addressing_works_too() -> Result<()> {
    simulate(9, async |world| {
        let mut instance = builder(world).with("IFMATCH_ADDRESSING", "virtual").await?;
        let write = Write {
            key: "a=b/c".to_owned(),
            body: Vec::new(),
            precondition: Precondition::Absent,
        };
        instance.bucket().put(&write).await??;
        assert_eq!(world.sent()[0].authority, "bucket.s3.test");
        assert_eq!(world.store().keys(""), [NOTE_KEY, "a=b/c"]);
        Ok(())
    })
}

/// A write of 64 KiB, and the instructions that it took.
async fn put_64_kib(instance: &mut Instance, key: &str) -> Result<(PutOutcome, u64)> {
    let write = Write {
        key: key.to_owned(),
        body: vec![b'x'; 64 << 10],
        precondition: Precondition::Absent,
    };
    let before = instance.fuel_used();
    let outcome = instance.bucket().put(&write).await??;
    Ok((outcome, instance.fuel_used() - before))
}

#[test]
fn an_unsigned_payload_is_not_hashed_and_the_condition_still_holds() -> Result<()> {
    simulate(10, async |world| {
        let over_tls = || builder(world).with("AWS_ENDPOINT_URL_S3", "https://s3.test");
        let mut signs = over_tls().await?;
        let mut does_not = over_tls().with("IFMATCH_PAYLOAD", "unsigned").await?;
        let (first, signed) = put_64_kib(&mut signs, "signed").await?;
        let (second, unsigned) = put_64_kib(&mut does_not, "unsigned").await?;
        for outcome in [first, second] {
            assert!(matches!(outcome, PutOutcome::Written(_)), "{outcome:?}");
        }
        assert!(unsigned * 8 < signed, "{unsigned} of {signed}");
        let (again, _) = put_64_kib(&mut does_not, "signed").await?;
        assert!(matches!(again, PutOutcome::PreconditionFailed), "{again:?}");
        let in_plain_text = builder(world).with("IFMATCH_PAYLOAD", "unsigned").await?;
        for error in errors(in_plain_text).await? {
            assert!(
                matches!(&error, Error::Misconfigured(text) if text.contains("IFMATCH_PAYLOAD")),
                "{error:?}"
            );
        }
        Ok(())
    })
}

#[tokio::test]
async fn seaweedfs_takes_unsigned_payloads_and_keeps_their_conditions() -> Result<()> {
    let site = Site::on_this_machine(&Seaweed::shared()?.endpoint(), 1)
        .with("IFMATCH_PAYLOAD", "unsigned");
    let mut instance = site.instance("a").artifact(Artifact::BucketS3).await?;
    let (first, _) = put_64_kib(&mut instance, "settings/unsigned").await?;
    assert!(matches!(first, PutOutcome::Written(_)), "{first:?}");
    let (again, _) = put_64_kib(&mut instance, "settings/unsigned").await?;
    assert!(matches!(again, PutOutcome::PreconditionFailed), "{again:?}");
    let read = Read {
        key: "settings/unsigned".to_owned(),
        span: Span::All,
        unless: None,
    };
    match instance.bucket().get(&read).await??.found {
        Found::Object(object) => assert_eq!(object.body, vec![b'x'; 64 << 10]),
        other => panic!("{other:?}"),
    }
    Ok(())
}
