//! Goal: whatever a store answers, `bucket-s3.wasm` says what is certain and no
//! more, within bounds, and sends a write once.
//!
//! Method: a scripted server on loopback, reached through wasmtime's own HTTP
//! client: first the table of the port, row by row; then every recorded reply in
//! `fixtures/replies`, whose files state what they lead to; then connections that
//! misbehave.

use anyhow::{Context, Result, ensure};
use host_test::artifact::Artifact;
use host_test::bindings::bucket::{
    Error, Found, Page, Precondition, PutOutcome, Read, Reply, Span, Version, Write,
};
use host_test::clock::WorldClock;
use host_test::host::Instance;
use host_test::scripted::{Act, Scripted};
use host_test::store::Credential;
use host_test::world::{Endpoint, Site};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SECRET: &str = "c2VjcmV0/+EXAMPLE";
const DATE: (&str, &str) = ("date", "Sat, 21 Nov 2026 20:15:44 GMT");
/// The same in milliseconds, as the port tells it.
const DATE_MS: u64 = 1_795_292_144_000;
const ETAG: (&str, &str) = ("etag", "\"5d41402abc4b2a76b9719d911017c592\"");

/// A server, and a component that takes it for its store.
struct Pair {
    server: Scripted,
    instance: Instance,
    site: Site,
}

impl Pair {
    async fn start(script: impl IntoIterator<Item = Act>) -> Result<Self> {
        Self::start_at(script, DATE_MS, &[]).await
    }

    async fn start_at(
        script: impl IntoIterator<Item = Act>,
        epoch_ms: u64,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let server = Scripted::start(script).await?;
        let endpoint = Endpoint {
            url: server.url(),
            bucket: "data".to_owned(),
            region: "us-east-1".to_owned(),
            credential: Credential::lasting("AKIDEXAMPLE", SECRET),
        };
        let clock = WorldClock::starting_at(Duration::from_millis(epoch_ms));
        let site = Site::on_sockets(&endpoint, clock, 1);
        let mut builder = site
            .instance("a")
            .artifact(Artifact::BucketS3)
            .with("IFMATCH_MAX_OBJECT_BYTES", "1024");
        for (name, value) in settings {
            builder = builder.with(name, value);
        }
        let instance = builder.await?;
        Ok(Self {
            server,
            instance,
            site,
        })
    }

    async fn put(&mut self, precondition: Precondition) -> Result<String> {
        let write = Write {
            key: "log/1".to_owned(),
            body: b"hello".to_vec(),
            precondition,
        };
        let outcome = self.instance.bucket().put(&write).await?;
        Ok(outcome.map(put_text).unwrap_or_else(error_text))
    }

    async fn get(&mut self, span: Span, unless: Option<Version>) -> Result<String> {
        let read = Read {
            key: "log/1".to_owned(),
            span,
            unless,
        };
        let reply = self.instance.bucket().get(&read).await?;
        Ok(reply.map(get_text).unwrap_or_else(error_text))
    }

    async fn list(&mut self, prefix: &str, after: Option<&str>, limit: u32) -> Result<String> {
        let page = self
            .instance
            .bucket()
            .list_objects(prefix, after, limit)
            .await?;
        Ok(page.map(list_text).unwrap_or_else(error_text))
    }

    async fn delete(&mut self) -> Result<String> {
        let deleted = self
            .instance
            .deletion()
            .delete_many(&["a/1".to_owned()])
            .await?;
        Ok(deleted
            .map(|()| "deleted".to_owned())
            .unwrap_or_else(error_text))
    }
}

fn matching() -> Precondition {
    Precondition::Matches(Version {
        token: "deadbeef".to_owned(),
    })
}

fn time(at: Option<u64>) -> String {
    at.map_or("-".to_owned(), |ms| ms.to_string())
}

fn put_text(outcome: PutOutcome) -> String {
    match outcome {
        PutOutcome::Written(written) => format!(
            "written {} at {}",
            written.version.token,
            time(written.observed_at)
        ),
        PutOutcome::PreconditionFailed => "precondition-failed".to_owned(),
        PutOutcome::Indeterminate(why) => format!("indeterminate {why}"),
    }
}

fn get_text(reply: Reply) -> String {
    let at = time(reply.observed_at);
    match reply.found {
        Found::Absent => format!("absent at {at}"),
        Found::Unchanged => format!("unchanged at {at}"),
        Found::Object(object) => format!(
            "object {} size {} {} at {at} modified {}",
            object.metadata.version.token,
            object.metadata.size,
            String::from_utf8_lossy(&object.body),
            time(object.metadata.modified_at)
        ),
    }
}

fn list_text(page: Page) -> String {
    let keys: Vec<&str> = page
        .objects
        .iter()
        .map(|metadata| metadata.key.as_str())
        .collect();
    let modified = page
        .objects
        .first()
        .and_then(|metadata| metadata.modified_at);
    let (keys, at) = (keys.join(","), time(page.observed_at));
    format!(
        "page {keys} more {} at {at} modified {}",
        page.more,
        time(modified)
    )
}

fn error_text(error: Error) -> String {
    match error {
        Error::InvalidArgument(text) => format!("invalid-argument {text}"),
        Error::Misconfigured(text) => format!("misconfigured {text}"),
        Error::AccessDenied(text) => format!("access-denied {text}"),
        Error::NoSuchBucket(text) => format!("no-such-bucket {text}"),
        Error::TooLarge(bytes) => format!("too-large {bytes}"),
        Error::Throttled(ms) => format!("throttled {ms}"),
        Error::Unavailable(text) => format!("unavailable {text}"),
        Error::Unsupported(text) => format!("unsupported {text}"),
        Error::Other(text) => format!("other {text}"),
    }
}

fn s3_error(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>"
    )
}

/// One row: a status, the code in its document, the precondition, the outcome's
/// case, and how many requests may be sent.
struct Row {
    status: &'static str,
    code: &'static str,
    precondition: Precondition,
    outcome: &'static str,
    requests: usize,
}

fn row(status: &'static str, code: &'static str, outcome: &'static str) -> Row {
    Row {
        status,
        code,
        precondition: Precondition::Absent,
        outcome,
        requests: 1,
    }
}

#[tokio::test]
async fn the_table_of_the_port_holds() -> Result<()> {
    let on_match = |row: Row| Row {
        precondition: matching(),
        ..row
    };
    let rows = [
        row("200 OK", "", "written"),
        on_match(row("200 OK", "", "written")),
        row(
            "412 Precondition Failed",
            "PreconditionFailed",
            "precondition-failed",
        ),
        on_match(row(
            "412 Precondition Failed",
            "PreconditionFailed",
            "precondition-failed",
        )),
        on_match(row("404 Not Found", "NoSuchKey", "precondition-failed")),
        row("304 Not Modified", "", "precondition-failed"),
        Row {
            // Nothing was written, so it may be repeated, within bounds.
            requests: 4,
            ..row("409 Conflict", "ConditionalRequestConflict", "throttled")
        },
        row("429 Too Many Requests", "TooManyRequests", "throttled"),
        row("503 Slow Down", "SlowDown", "throttled"),
        row(
            "500 Internal Server Error",
            "InternalError",
            "indeterminate",
        ),
        row("502 Bad Gateway", "", "indeterminate"),
        row(
            "503 Service Unavailable",
            "ServiceUnavailable",
            "indeterminate",
        ),
        row("504 Gateway Timeout", "", "indeterminate"),
        row("401 Unauthorized", "", "access-denied"),
        row("403 Forbidden", "AccessDenied", "access-denied"),
        row("403 Forbidden", "SignatureDoesNotMatch", "access-denied"),
        row("400 Bad Request", "ExpiredToken", "access-denied"),
        row("404 Not Found", "NoSuchBucket", "no-such-bucket"),
        row("501 Not Implemented", "NotImplemented", "unsupported"),
    ];
    for row in rows {
        let body = if row.code.is_empty() {
            String::new()
        } else {
            s3_error(row.code)
        };
        let mut pair = Pair::start([Act::reply(row.status, &[DATE, ETAG], &body)]).await?;
        let outcome = pair.put(row.precondition).await?;
        let case = outcome.split(' ').next();
        assert_eq!(
            case,
            Some(row.outcome),
            "{} {}: {outcome}",
            row.status,
            row.code
        );
        let received = pair.server.received();
        assert_eq!(received.len(), row.requests, "{} {}", row.status, row.code);
        assert!(
            received
                .iter()
                .all(|request| request.method() == "PUT" && request.body == b"hello")
        );
        assert!(
            !outcome.contains(SECRET) && !outcome.contains("AKIDEXAMPLE"),
            "{outcome}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_expired_signature_says_so() -> Result<()> {
    let mut pair = Pair::start([Act::reply(
        "400 Bad Request",
        &[DATE],
        &s3_error("ExpiredToken"),
    )])
    .await?;
    let outcome = pair.put(Precondition::Absent).await?;
    assert!(outcome.contains("expired"), "{outcome}");
    Ok(())
}

#[tokio::test]
async fn a_request_carries_one_condition_and_no_secret() -> Result<()> {
    let mut pair = Pair::start([Act::reply("200 OK", &[DATE, ETAG], "")]).await?;
    let written = pair.put(Precondition::Absent).await?;
    assert_eq!(
        written,
        format!("written 5d41402abc4b2a76b9719d911017c592 at {DATE_MS}")
    );
    pair.put(matching()).await?;
    let received = pair.server.received();
    assert_eq!(received[0].header("if-none-match"), Some("*"));
    assert_eq!(received[0].header("if-match"), None);
    assert_eq!(received[1].header("if-match"), Some("\"deadbeef\""));
    assert_eq!(received[1].header("if-none-match"), None);
    for request in received {
        assert_eq!(request.header("content-length"), Some("5"));
        assert_eq!(
            request.header("host"),
            Some(pair.server.url().trim_start_matches("http://"))
        );
        assert!(!request.head.contains(SECRET));
    }
    Ok(())
}

/// A file of `fixtures/replies`: comments that say what it is, then raw replies.
struct Fixture {
    name: String,
    directives: Vec<(String, String)>,
    replies: Vec<String>,
}

impl Fixture {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let comment: String = text
            .split_inclusive('\n')
            .take_while(|line| line.starts_with("# "))
            .collect();
        let directives = comment
            .lines()
            .filter_map(|line| line[2..].split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            name: path.display().to_string(),
            directives,
            replies: text[comment.len()..]
                .split("\n--- next reply ---\n")
                .map(str::to_owned)
                .collect(),
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.directives.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    fn acts(&self) -> Result<Vec<Act>> {
        let broken = self.get("end") == Some("broken");
        let acts = self.replies.iter().map(|reply| {
            let (head, body) = reply.split_once("\n\n").context("no blank line")?;
            let bytes = format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n")).into_bytes();
            Ok(if broken {
                Act::ReplyThenReset(bytes)
            } else {
                Act::Reply(bytes)
            })
        });
        acts.collect()
    }

    /// The store's time when the first reply was given: skew is measured from it.
    fn epoch_ms(&self) -> u64 {
        let dates = self
            .replies
            .iter()
            .flat_map(|reply| reply.lines())
            .filter_map(|line| line.strip_prefix("Date: "));
        let date = dates
            .filter_map(|date| httpdate::parse_http_date(date).ok())
            .next();
        let since_epoch = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        since_epoch.map_or(DATE_MS, |time| time.as_millis() as u64)
    }

    /// HTTP clients themselves notice a body that is shorter than announced, or a
    /// header that no header can be, and word it their own way.
    fn is_worded_by_the_client(&self) -> bool {
        self.replies.iter().any(|reply| {
            let Some((head, body)) = reply.split_once("\n\n") else {
                return true;
            };
            let announced = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let is_short = announced
                .and_then(|length| length.parse().ok())
                .is_some_and(|length| body.len() < length);
            is_short
                || self.get("end").is_some()
                || head.contains(|c: char| c.is_control() && c != '\n')
        })
    }

    async fn play(&self) -> Result<()> {
        let mut pair = Pair::start_at(self.acts()?, self.epoch_ms(), &[]).await?;
        let request = self.get("request").context("no request")?;
        let outcome = match request.split(' ').collect::<Vec<_>>()[..] {
            ["put", "absent"] => pair.put(Precondition::Absent).await?,
            ["put", _] => pair.put(matching()).await?,
            ["get", span, ref rest @ ..] => {
                let span = match (span, rest.first()) {
                    ("first", Some(bytes)) => Span::First(bytes.parse()?),
                    _ => Span::All,
                };
                let version = Version {
                    token: "deadbeef".to_owned(),
                };
                pair.get(span, rest.contains(&"unless").then_some(version))
                    .await?
            }
            ["list", prefix, limit] => pair.list(prefix, None, limit.parse()?).await?,
            ["list", prefix, limit, "after", key] => {
                pair.list(prefix, Some(key), limit.parse()?).await?
            }
            ["delete"] => pair.delete().await?,
            _ => anyhow::bail!("unknown request {request}"),
        };
        let expected = self.get("outcome").context("no outcome")?;
        let (case, detail) = expected.split_once(' ').unwrap_or((expected, ""));
        ensure!(
            outcome.split(' ').next() == Some(case),
            "{outcome}, not {expected}"
        );
        ensure!(
            self.is_worded_by_the_client() || outcome.contains(detail),
            "{outcome}, not {expected}"
        );
        let requests: usize = self.get("requests").map_or(Ok(1), str::parse)?;
        let received = pair.server.received().len();
        ensure!(received == requests, "{received} requests, not {requests}");
        let secrets = self
            .directives
            .iter()
            .filter(|(name, _)| name == "never")
            .map(|(_, value)| value.as_str());
        for secret in secrets.chain([SECRET]) {
            ensure!(!outcome.contains(secret), "{outcome} tells {secret}");
        }
        Ok(())
    }
}

fn fixtures(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/replies")
        .join(folder);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

#[tokio::test]
async fn recorded_replies_lead_to_what_their_files_state() -> Result<()> {
    let mut wrong = Vec::new();
    let mut played = 0;
    for folder in ["put", "get", "list", "delete"] {
        for path in fixtures(folder)? {
            let fixture = Fixture::read(&path)?;
            played += 1;
            if let Err(error) = fixture.play().await {
                wrong.push(format!("{}: {error:#}", fixture.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {played}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(played > 100, "only {played} fixtures were found");
    Ok(())
}

const SHORT_TIMEOUT: (&str, &str) = ("IFMATCH_REQUEST_TIMEOUT_MS", "300");

#[tokio::test]
async fn silence_ends_with_the_time_limit() -> Result<()> {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\netag: \"e\"\r\n\r\nhal".to_vec();
    for act in [Act::Silence, Act::ReplyThenSilence(head)] {
        let mut pair = Pair::start_at([act.clone()], DATE_MS, &[SHORT_TIMEOUT]).await?;
        let began = Instant::now();
        let outcome = pair.put(Precondition::Absent).await?;
        assert!(outcome.starts_with("indeterminate"), "{act:?}: {outcome}");
        let read = pair.get(Span::All, None).await?;
        assert!(read.starts_with("unavailable"), "{act:?}: {read}");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(pair.server.received().len(), 2, "neither was repeated");
    }
    Ok(())
}

#[tokio::test]
async fn a_reset_leaves_a_write_open() -> Result<()> {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\netag: \"e\"\r\n\r\nhal".to_vec();
    for act in [
        Act::ResetAtOnce,
        Act::ReplyThenReset(Vec::new()),
        Act::ReplyThenReset(half),
        Act::Reply(Vec::new()),
    ] {
        let mut pair = Pair::start([act.clone()]).await?;
        let outcome = pair.put(Precondition::Absent).await?;
        assert!(outcome.starts_with("indeterminate"), "{act:?}: {outcome}");
        assert_eq!(pair.server.received().len(), 1, "{act:?}: sent again");
        let read = pair.get(Span::All, None).await?;
        assert!(read.starts_with("unavailable"), "{act:?}: {read}");
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_connection_sent_nothing() -> Result<()> {
    let mut pair = Pair::start([Act::Silence]).await?;
    // The port is free again, and nobody listens on it.
    let url = pair.server.url();
    drop(std::mem::replace(
        &mut pair.server,
        Scripted::start([Act::Silence]).await?,
    ));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let outcome = pair.put(Precondition::Absent).await?;
    assert!(outcome.starts_with("unavailable"), "{url}: {outcome}");
    Ok(())
}

#[tokio::test]
async fn bodies_have_a_limit() -> Result<()> {
    let announced = "HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 1073741824\r\n\r\n";
    let unannounced = "HTTP/1.1 200 OK\r\netag: \"e\"\r\n\r\n";
    for head in [announced, unannounced] {
        let mut pair = Pair::start([Act::ReplyWithoutEnd(head.as_bytes().to_vec())]).await?;
        let read = pair.get(Span::All, None).await?;
        assert_eq!(read, "too-large 1024", "{head}");
        let taken = pair.server.endless_bytes();
        assert!(taken < 16 << 20, "{taken} bytes were taken");
    }
    for (status, call) in [
        ("200 OK", "list"),
        ("500 Internal Server Error", "list"),
        ("200 OK", "put"),
        ("403 Forbidden", "put"),
    ] {
        let head = format!("HTTP/1.1 {status}\r\netag: \"e\"\r\n\r\n<Error><Code>");
        let mut pair = Pair::start([Act::ReplyWithoutEnd(head.into_bytes())]).await?;
        let outcome = match call {
            "list" => pair.list("", None, 10).await?,
            _ => pair.put(Precondition::Absent).await?,
        };
        assert!(
            !outcome.starts_with("page") && !outcome.starts_with("written"),
            "{status} {call}: {outcome}"
        );
        assert!(outcome.len() < 1000, "{} characters", outcome.len());
        let taken = pair.server.endless_bytes();
        assert!(
            taken < 64 << 20,
            "{status} {call}: {taken} bytes were taken"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_not_followed() -> Result<()> {
    let elsewhere = Scripted::start([Act::reply("200 OK", &[ETAG], "")]).await?;
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let location = format!("{}/data/log/1", elsewhere.url());
        let mut pair =
            Pair::start([Act::reply(status, &[DATE, ("location", &location)], "")]).await?;
        let outcomes = [
            pair.put(Precondition::Absent).await?,
            pair.get(Span::All, None).await?,
            pair.list("", None, 1).await?,
            pair.delete().await?,
        ];
        for outcome in &outcomes {
            let case = outcome.split(' ').next().unwrap_or_default();
            assert!(
                !["written", "object", "page", "deleted", "absent"].contains(&case),
                "{status}: {outcome}"
            );
        }
        let own = pair.server.url();
        let strayed: Vec<String> = pair
            .site
            .sent()
            .into_iter()
            .map(|sent| sent.authority)
            .filter(|to| !own.ends_with(to))
            .collect();
        assert!(strayed.is_empty(), "{strayed:?}");
        assert_eq!(pair.server.received().len(), 4);
    }
    assert!(
        elsewhere.received().is_empty(),
        "{:?}",
        elsewhere.received()
    );
    Ok(())
}

#[tokio::test]
async fn documents_that_are_not_documents_are_errors() -> Result<()> {
    let bomb = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE b [<!ENTITY a0 \"ha\">{}]><ListBucketResult><KeyCount>&a30;</KeyCount></ListBucketResult>",
        (1..=30)
            .map(|n| format!("<!ENTITY a{n} \"&a{};&a{};\">", n - 1, n - 1))
            .collect::<String>()
    );
    let bodies = [
        "",
        "<",
        "not xml at all",
        "<html><body>It works!</body></html>",
        "<ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated>",
        "<ListBucketResult><IsTruncated>false</ListBucketResult>",
        "<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>",
        "{\"IsTruncated\": false}",
        &"<a>".repeat(20_000),
        &bomb,
    ];
    for body in bodies {
        let mut pair = Pair::start([Act::reply("200 OK", &[DATE], body)]).await?;
        let fuel = pair.instance.fuel_used();
        let outcome = pair.list("", None, 10).await?;
        let start: String = body.chars().take(80).collect();
        assert!(!outcome.starts_with("page"), "{start}: {outcome}");
        assert!(
            outcome.len() < 1000,
            "{start}: {} characters",
            outcome.len()
        );
        let used = pair.instance.fuel_used() - fuel;
        assert!(used < 100_000_000, "{start}: {used} instructions");
        let deleted = pair.delete().await?;
        assert!(
            !deleted.starts_with("deleted") || body.is_empty(),
            "{start}: {deleted}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn strange_headers_are_not_taken_for_versions() -> Result<()> {
    let long = "x".repeat(5000);
    let long = format!("\"{long}\"");
    for etag in [
        "\"a\x01b\"",
        "\"caf\u{e9}\"",
        "W/\"weak\"",
        "\"",
        "",
        "\"a\"b\"",
        &long,
    ] {
        let mut pair = Pair::start([Act::reply("200 OK", &[DATE, ("etag", etag)], "")]).await?;
        let outcome = pair.put(Precondition::Absent).await?;
        assert!(outcome.starts_with("indeterminate"), "{etag:?}: {outcome}");
        assert!(outcome.chars().all(|c| !c.is_control()), "{outcome:?}");
        assert_eq!(pair.server.received().len(), 1);
    }
    // A date that is none: the store tells no time.
    for date in ["yesterday", "Sat, 99 Nov 2026 20:15:44 GMT", "\x7f"] {
        let mut pair = Pair::start([Act::reply("200 OK", &[("date", date), ETAG], "")]).await?;
        let outcome = pair.put(Precondition::Absent).await?;
        let is_safe = outcome.starts_with("written") && outcome.ends_with("at -")
            || outcome.starts_with("indeterminate");
        assert!(is_safe, "{date:?}: {outcome}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_that_a_store_says_reaches_the_caller_unchecked() -> Result<()> {
    let message = "<Error><Code>Access\x07\x1b[31mDenied</Code><Message>&#27;[2J c2VjcmV0/+EXAMPLE</Message></Error>";
    let mut pair = Pair::start([Act::reply("403 Forbidden", &[DATE], message)]).await?;
    for outcome in [
        pair.put(Precondition::Absent).await?,
        pair.get(Span::All, None).await?,
    ] {
        assert!(outcome.starts_with("access-denied"), "{outcome:?}");
        assert!(outcome.chars().all(|c| !c.is_control()), "{outcome:?}");
        assert!(!outcome.contains(SECRET), "{outcome}");
    }
    Ok(())
}
