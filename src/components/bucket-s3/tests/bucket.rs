//! What the bucket sends, how often, and what it does without an answer.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test"
)]

mod script;

use bucket_s3::s3::bucket::Bucket;
use bucket_s3::s3::port::{Error, Found, Precondition, PutOutcome, Read, Span, Version, Write};
use bucket_s3::s3::response::{Budget, Failure};
use script::{Raw, Script, bucket, run};

/// Sat, 21 Nov 2026 20:15:44 GMT
const STORE_MS: u64 = 1_795_292_144_000;
const DAY_MS: u64 = 86_400_000;
const WRITTEN: &str =
    "HTTP/1.1 200 OK\nDate: Sat, 21 Nov 2026 20:15:44 GMT\nETag: \"v\"\nContent-Length: 0\n\n";
const SKEWED: &str = "HTTP/1.1 403 Forbidden\nDate: Sat, 21 Nov 2026 20:15:44 GMT\n\n<Error><Code>RequestTimeTooSkewed</Code></Error>";
const ABSENT: &str = "HTTP/1.1 404 Not Found\n\n<Error><Code>NoSuchKey</Code></Error>";
const CONFLICT: &str =
    "HTTP/1.1 409 Conflict\n\n<Error><Code>ConditionalRequestConflict</Code></Error>";
const EMPTY_LIST: &str =
    "HTTP/1.1 200 OK\n\n<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";

fn raw(texts: &[&str]) -> Vec<Result<Raw, Failure>> {
    texts.iter().map(|text| Ok(Raw::parse(text))).collect()
}

fn scripted(texts: &[&str], wall_ms: u64) -> Bucket<Script> {
    bucket(Script::new(raw(texts), wall_ms), &[])
}

fn create(bucket: &Bucket<Script>) -> Result<PutOutcome, Error> {
    put(bucket, Precondition::Absent)
}

fn put(bucket: &Bucket<Script>, precondition: Precondition) -> Result<PutOutcome, Error> {
    let write = Write {
        key: "log/1".to_owned(),
        body: b"hello".to_vec(),
        precondition,
    };
    run(bucket.put(&write))
}

fn read(span: Span, unless: Option<&str>) -> Read {
    Read {
        key: "log/1".to_owned(),
        span,
        unless: unless.map(|token| Version(token.to_owned())),
    }
}

fn sent(bucket: &Bucket<Script>) -> usize {
    bucket.http().sent.borrow().len()
}

fn sent_date(bucket: &Bucket<Script>, index: usize) -> String {
    bucket.http().sent.borrow()[index]
        .header("x-amz-date")
        .unwrap()
        .to_owned()
}

fn is_written(outcome: &Result<PutOutcome, Error>) -> bool {
    matches!(outcome, Ok(PutOutcome::Written { .. }))
}

#[test]
fn a_wrong_clock_costs_one_request_once() {
    for wall_ms in [STORE_MS - DAY_MS, STORE_MS + DAY_MS, 0, u64::MAX] {
        let bucket = scripted(&[SKEWED, WRITTEN], wall_ms);
        assert!(is_written(&create(&bucket)), "{wall_ms}");
        assert_eq!(sent(&bucket), 2, "{wall_ms}");
        assert!(is_written(&create(&bucket)));
        assert_eq!(sent(&bucket), 3, "the offset is kept");
        if wall_ms < u64::MAX {
            assert_eq!(sent_date(&bucket, 2), "20261121T201544Z");
            let url = bucket.presign_get("a", 60).unwrap().url;
            assert!(url.contains("X-Amz-Date=20261121T201544Z"), "{url}");
        }
    }
}

#[test]
fn a_clock_that_jumps_later_is_learned_again() {
    let bucket = scripted(&[WRITTEN, SKEWED, WRITTEN], STORE_MS);
    assert!(is_written(&create(&bucket)));
    bucket.http().wall_ms.set(STORE_MS + DAY_MS);
    assert!(is_written(&create(&bucket)));
    assert_eq!(sent_date(&bucket, 1), "20261122T201544Z");
    assert_eq!(sent_date(&bucket, 2), "20261121T201544Z");
}

#[test]
fn a_refused_time_is_learned_whatever_the_store_calls_it() {
    let by_date = "HTTP/1.1 403 Forbidden\nDate: Sat, 21 Nov 2026 20:15:44 GMT\n\n<Error><Code>AccessDenied</Code></Error>";
    let by_document = "HTTP/1.1 403 Forbidden\n\n<Error><Code>RequestTimeTooSkewed</Code><ServerTime>2026-11-21T20:15:44Z</ServerTime></Error>";
    let with_millis = by_document.replace("44Z", "44.999Z");
    for refusal in [by_date, by_document, &with_millis] {
        let bucket = scripted(&[refusal, WRITTEN], STORE_MS - DAY_MS);
        assert!(is_written(&create(&bucket)));
        assert_eq!(sent_date(&bucket, 1), "20261121T201544Z");
    }
}

#[test]
fn a_refusal_with_the_right_clock_is_final() {
    let denied = "HTTP/1.1 403 Forbidden\nDate: Sat, 21 Nov 2026 20:15:44 GMT\n\n<Error><Code>AccessDenied</Code></Error>";
    let bucket = scripted(&[denied, WRITTEN], STORE_MS + 60_000);
    assert!(matches!(create(&bucket), Err(Error::AccessDenied(_))));
    assert_eq!(sent(&bucket), 1);
    // And one that persists is not tried a fourth time.
    let bucket = scripted(&[SKEWED], STORE_MS + DAY_MS);
    assert!(matches!(create(&bucket), Err(Error::AccessDenied(_))));
    assert_eq!(sent(&bucket), 3);
}

/// The host stops the instance twice, each time between signing and sending.
#[test]
fn a_signature_that_grows_too_old_on_its_way_is_renewed() {
    let later = SKEWED.replace("21 Nov 2026 20:15", "21 Nov 2026 21:15");
    for (refusals, requests) in [([SKEWED, &later], 3), ([&later, SKEWED], 3)] {
        let bucket = scripted(&[refusals[0], refusals[1], WRITTEN], STORE_MS - DAY_MS);
        assert!(is_written(&create(&bucket)));
        assert_eq!(sent(&bucket), requests);
        assert_ne!(sent_date(&bucket, 1), sent_date(&bucket, 2));
    }
}

#[test]
fn a_write_without_an_answer_is_never_sent_again() {
    let lost = || Err(Failure::Lost("reset".to_owned()));
    let unsent = || Err(Failure::Unsent("refused".to_owned()));
    let denied = || Err(Failure::Denied("host".to_owned()));
    let bucket = |reply| bucket(Script::new([reply, Ok(Raw::parse(WRITTEN))], STORE_MS), &[]);
    let (by_loss, by_refusal, by_host) = (bucket(lost()), bucket(unsent()), bucket(denied()));
    assert_eq!(
        create(&by_loss),
        Ok(PutOutcome::Indeterminate("reset".to_owned()))
    );
    assert_eq!(
        create(&by_refusal),
        Err(Error::Unavailable("refused".to_owned()))
    );
    assert_eq!(
        create(&by_host),
        Err(Error::AccessDenied("host".to_owned()))
    );
    for bucket in [&by_loss, &by_refusal, &by_host] {
        assert_eq!(sent(bucket), 1);
    }
    // A read without an answer changed nothing.
    let by_loss = self::bucket(Script::new([lost()], STORE_MS), &[]);
    let outcome = run(by_loss.get(&read(Span::All, None), &by_loss.budget()));
    assert_eq!(outcome, Err(Error::Unavailable("reset".to_owned())));
}

#[test]
fn conflicts_are_waited_out_within_bounds() {
    let persistent = scripted(&[CONFLICT], STORE_MS);
    assert_eq!(create(&persistent), Err(Error::Throttled(500)));
    assert_eq!(*persistent.http().waits_ms.borrow(), [20, 80, 320]);
    assert_eq!(sent(&persistent), 4);
    // What was lost after a conflict may have been applied.
    let replies = [
        Ok(Raw::parse(CONFLICT)),
        Err(Failure::Lost("reset".to_owned())),
    ];
    let lost = bucket(Script::new(replies, STORE_MS), &[]);
    assert_eq!(
        create(&lost),
        Ok(PutOutcome::Indeterminate("reset".to_owned()))
    );
    assert_eq!(sent(&lost), 2);
}

#[test]
fn a_write_carries_its_condition_under_the_signature() {
    let quoted = bucket(
        Script::new(raw(&[WRITTEN]), STORE_MS),
        &[("IFMATCH_PREFIX", "it"), ("AWS_SESSION_TOKEN", "token")],
    );
    create(&quoted).unwrap();
    put(&quoted, Precondition::Matches(Version("abc".to_owned()))).unwrap();
    let sent = quoted.http().sent.borrow();
    assert_eq!(
        (sent[0].method, sent[0].target.as_str()),
        ("PUT", "/data/it/log/1")
    );
    assert_eq!(sent[0].body.as_deref(), Some(b"hello".as_slice()));
    assert_eq!(sent[0].header("if-none-match"), Some("*"));
    assert_eq!(sent[0].header("if-match"), None);
    assert_eq!(sent[0].header("content-length"), Some("5"));
    assert_eq!(sent[0].header("x-amz-security-token"), Some("token"));
    assert_eq!(sent[0].header("host"), None, "a guest cannot set it");
    assert_eq!(sent[1].header("if-match"), Some("\"abc\""));
    assert_eq!(sent[1].header("if-none-match"), None);
    for (request, condition) in [(&sent[0], "if-none-match"), (&sent[1], "if-match")] {
        let authorization = request.header("authorization").unwrap();
        let signed = format!(
            "SignedHeaders=host;{condition};x-amz-content-sha256;x-amz-date;x-amz-security-token,"
        );
        assert!(authorization.contains(&signed), "{authorization}");
    }
    let unquoted = bucket(
        Script::new(raw(&[WRITTEN]), STORE_MS),
        &[("IFMATCH_ETAG", "unquoted")],
    );
    put(&unquoted, Precondition::Matches(Version("abc".to_owned()))).unwrap();
    assert_eq!(
        unquoted.http().sent.borrow()[0].header("if-match"),
        Some("abc")
    );
}

#[test]
fn a_read_asks_for_no_more_than_it_needs() {
    let bucket = scripted(&[ABSENT], STORE_MS);
    let budget = bucket.budget();
    for (span, unless) in [
        (Span::All, None),
        (Span::First(1), None),
        (Span::First(100), Some("abc")),
    ] {
        let reply = run(bucket.get(&read(span, unless), &budget)).unwrap();
        assert_eq!(reply.found, Found::Absent);
        assert_eq!(reply.observed_at, None);
    }
    let sent = bucket.http().sent.borrow();
    let headers = |index: usize| {
        (
            sent[index].header("range"),
            sent[index].header("if-none-match"),
        )
    };
    assert_eq!(headers(0), (None, None));
    assert_eq!(headers(1), (Some("bytes=0-0"), None));
    assert_eq!(headers(2), (Some("bytes=0-99"), Some("\"abc\"")));
    assert!(
        sent.iter()
            .all(|request| request.body.is_none() && request.header("content-length").is_none())
    );
}

#[test]
fn a_range_above_the_limit_is_too_large_only_if_the_object_is() {
    let long = format!(
        "HTTP/1.1 206 Partial Content\nETag: \"v\"\nContent-Range: bytes 0-1999/5000\nContent-Length: 2000\n\n{}",
        "x".repeat(2000)
    );
    let short = "HTTP/1.1 206 Partial Content\nETag: \"v\"\nContent-Range: bytes 0-4/5\nContent-Length: 5\n\nhello";
    let bucket = scripted(&[&long, short], STORE_MS);
    let budget = bucket.budget();
    assert_eq!(
        run(bucket.get(&read(Span::First(2000), None), &budget)),
        Err(Error::TooLarge(1024))
    );
    assert!(matches!(
        run(bucket.get(&read(Span::First(2000), None), &budget))
            .unwrap()
            .found,
        Found::Object(_)
    ));
}

#[test]
fn a_reply_that_a_cache_kept_is_refused() {
    let aged = |age: &str| EMPTY_LIST.replace("\n\n", &format!("\nAge: {age}\n\n"));
    let absent = |age: &str| ABSENT.replace("\n\n", &format!("\nAge: {age}\n\n"));
    for (age, is_fresh) in [("0", true), ("1", false), ("x", false)] {
        let bucket = scripted(&[&aged(age), &absent(age)], STORE_MS);
        assert_eq!(run(bucket.list("a", None, 1)).is_ok(), is_fresh, "{age}");
        let outcome = run(bucket.get(&read(Span::All, None), &bucket.budget()));
        assert_eq!(outcome.is_ok(), is_fresh, "{age}");
        let sent = bucket.http().sent.borrow();
        assert!(
            sent.iter()
                .all(|request| request.header("cache-control") == Some("no-cache"))
        );
    }
}

#[test]
fn the_replies_of_one_call_share_their_bytes() {
    let object =
        "HTTP/1.1 200 OK\nETag: \"v\"\nContent-Length: 600\n\n".to_owned() + &"x".repeat(600);
    let settings = [("IFMATCH_MAX_BATCH_BYTES", "1025")];
    let bucket = bucket(Script::new(raw(&[&object]), STORE_MS), &settings);
    let budget = bucket.budget();
    assert!(run(bucket.get(&read(Span::All, None), &budget)).is_ok());
    assert_eq!(
        run(bucket.get(&read(Span::All, None), &budget)),
        Err(Error::TooLarge(1025))
    );
    assert!(
        run(bucket.get(&read(Span::All, None), &bucket.budget())).is_ok(),
        "the next call"
    );
    // An answer without a body needs none of it.
    let absent = scripted(&[ABSENT], STORE_MS);
    assert!(run(absent.get(&read(Span::All, None), &Budget::new(0))).is_ok());
}

#[test]
fn a_listing_is_asked_for_below_the_prefix_of_the_installation() {
    let first = "HTTP/1.1 200 OK\n\n<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a+b/c=</NextContinuationToken></ListBucketResult>";
    let second = "HTTP/1.1 200 OK\n\n<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>it/log/7</Key><ETag>\"v\"</ETag><Size>3</Size></Contents></ListBucketResult>";
    let bucket = bucket(
        Script::new(raw(&[first, second]), STORE_MS),
        &[("IFMATCH_PREFIX", "it")],
    );
    let page = run(bucket.list("log/", Some("log/5"), 1)).unwrap();
    assert_eq!(page.objects[0].key, "log/7");
    assert!(!page.more);
    let sent = bucket.http().sent.borrow();
    assert_eq!(
        sent[0].target,
        "/data?encoding-type=url&list-type=2&max-keys=1&prefix=it%2Flog%2F&start-after=it%2Flog%2F5"
    );
    assert_eq!(
        sent[1].target,
        "/data?continuation-token=a%2Bb%2Fc%3D&encoding-type=url&list-type=2&max-keys=1000&prefix=it%2Flog%2F"
    );
}

#[test]
fn a_delete_names_its_keys_once_and_is_checked() {
    let deleted = "HTTP/1.1 200 OK\n\n<DeleteResult/>";
    let bucket = bucket(
        Script::new(raw(&[deleted]), STORE_MS),
        &[("IFMATCH_PREFIX", "it")],
    );
    run(bucket.delete_many(&["a/1".to_owned(), "b=2".to_owned()])).unwrap();
    let sent = bucket.http().sent.borrow();
    assert_eq!(
        (sent[0].method, sent[0].target.as_str()),
        ("POST", "/data?delete=")
    );
    let body = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>\
                <Object><Key>it/a/1</Key></Object><Object><Key>it/b=2</Key></Object></Delete>";
    assert_eq!(sent[0].body.as_deref(), Some(body.as_bytes()));
    // `printf ... | openssl md5 -binary | base64` of that body.
    assert_eq!(
        sent[0].header("content-md5"),
        Some("PIogi+vB2UsCBm2fBXWw9g==")
    );
}

#[test]
fn wrong_arguments_send_nothing() {
    let bucket = scripted(&[EMPTY_LIST], STORE_MS);
    let budget = bucket.budget();
    let is_invalid = |error: Error| matches!(error, Error::InvalidArgument(_));
    let keyed = |key: &str| Read {
        key: key.to_owned(),
        span: Span::All,
        unless: None,
    };
    assert!(is_invalid(
        run(bucket.get(&keyed("../a"), &budget)).unwrap_err()
    ));
    assert!(is_invalid(
        run(bucket.get(&read(Span::First(0), None), &budget)).unwrap_err()
    ));
    assert!(is_invalid(
        run(bucket.get(&read(Span::All, Some("a\"b")), &budget)).unwrap_err()
    ));
    assert!(is_invalid(
        put(
            &bucket,
            Precondition::Matches(Version("a\r\nx: y".to_owned()))
        )
        .unwrap_err()
    ));
    assert!(is_invalid(
        put(&bucket, Precondition::Matches(Version(String::new()))).unwrap_err()
    ));
    for (prefix, after, limit) in [
        ("a b", None, 1),
        ("a", Some("a//b"), 1),
        ("a", None, 0),
        ("a", None, 1001),
    ] {
        assert!(is_invalid(
            run(bucket.list(prefix, after, limit)).unwrap_err()
        ));
    }
    assert!(is_invalid(
        run(bucket.delete_many(&["a".to_owned(), "b ".to_owned()])).unwrap_err()
    ));
    assert!(is_invalid(
        run(bucket.delete_many(&vec!["a".to_owned(); 1001])).unwrap_err()
    ));
    let large = Write {
        key: "a".to_owned(),
        body: vec![0; 1025],
        precondition: Precondition::Absent,
    };
    assert_eq!(run(bucket.put(&large)), Err(Error::TooLarge(1024)));
    for (key, digest, expires) in [
        ("a/", "00", 1),
        ("a", "00", 1),
        ("a", &*"0".repeat(64), 0),
        ("a", &*"0".repeat(64), 604_801),
    ] {
        assert!(is_invalid(
            bucket.presign_put(key, digest, expires).unwrap_err()
        ));
    }
    assert!(is_invalid(bucket.presign_get("a", 604_801).unwrap_err()));
    assert_eq!(run(bucket.delete_many(&[])), Ok(()));
    assert_eq!(sent(&bucket), 0);
}

#[test]
fn no_log_of_a_request_shows_the_secret() {
    let bucket = scripted(&[WRITTEN], STORE_MS);
    create(&bucket).unwrap();
    let text = format!("{:?} {:?}", bucket.http().sent.borrow(), bucket.config());
    assert!(!text.contains(script::SECRET));
}
