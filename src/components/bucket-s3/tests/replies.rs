//! Every reply in `fixtures/replies` leads to the outcome that its file states.
//!
//! A file is one call: its source, the request, the outcome, and the replies
//! that the store gives in turn, the last one for ever. In an outcome, the first
//! word is the case and the rest must occur in its details. `requests` is how
//! many requests the call sends, 1 if not stated; `never` is what no detail may
//! contain.
//! `end: broken` means that the connection broke within the body.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test"
)]

mod script;

use std::fs;
use std::path::{Path, PathBuf};

use bucket_s3::s3::port::{
    Error, Found, Object, Page, Precondition, PutOutcome, Read, Reply, Span, StoreTime, Version,
    Write,
};
use bucket_s3::s3::time::http_date_ms;
use script::{Raw, Script, bucket, run};

struct Fixture {
    name: String,
    directives: Vec<(String, String)>,
    replies: Vec<Raw>,
}

impl Fixture {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let comment: String = text
            .split_inclusive('\n')
            .take_while(|line| line.starts_with("# "))
            .collect();
        let directives: Vec<(String, String)> = comment
            .lines()
            .map(|line| {
                line[2..]
                    .split_once(": ")
                    .unwrap_or_else(|| panic!("{line}"))
            })
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let is_broken = directives
            .iter()
            .any(|(name, value)| name == "end" && value == "broken");
        let replies = text[comment.len()..]
            .split("\n--- next reply ---\n")
            .map(|reply| Raw {
                is_broken,
                ..Raw::parse(reply)
            })
            .collect();
        let name = path.strip_prefix(folder()).unwrap().display().to_string();
        Self {
            name,
            directives,
            replies,
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.directives
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name)
            .next()
            .unwrap_or_else(|| panic!("{} has no {name}", self.name))
    }

    fn run(&self) -> (String, usize) {
        let date = self.replies[0]
            .header("date")
            .and_then(|date| http_date_ms(&date));
        let script = Script::new(
            self.replies.iter().cloned().map(Ok),
            date.unwrap_or(1_795_292_144_000),
        );
        let bucket = bucket(script, &[]);
        let budget = bucket.budget();
        let words: Vec<&str> = self.get("request").split(' ').collect();
        let outcome = match words[..] {
            ["put", precondition] => {
                let write = Write {
                    key: "log/1".to_owned(),
                    body: b"hello".to_vec(),
                    precondition: match precondition {
                        "absent" => Precondition::Absent,
                        _ => Precondition::Matches(deadbeef()),
                    },
                };
                run(bucket.put(&write)).map(put_text)
            }
            ["get", "all", ..] | ["get", "first", ..] => {
                let span = match words[1] {
                    "all" => Span::All,
                    _ => Span::First(words[2].parse().unwrap()),
                };
                let unless = words.contains(&"unless").then(deadbeef);
                run(bucket.get(
                    &Read {
                        key: "log/1".to_owned(),
                        span,
                        unless,
                    },
                    &budget,
                ))
                .map(get_text)
            }
            ["list", prefix, limit] => {
                run(bucket.list(prefix, None, limit.parse().unwrap())).map(list_text)
            }
            ["list", prefix, limit, "after", key] => {
                run(bucket.list(prefix, Some(key), limit.parse().unwrap())).map(list_text)
            }
            ["delete"] => {
                run(bucket.delete_many(&["a/1".to_owned()])).map(|()| "deleted".to_owned())
            }
            _ => panic!("{}: unknown request", self.name),
        };
        let sent = bucket.http().sent.borrow().len();
        (outcome.unwrap_or_else(error_text), sent)
    }
}

fn deadbeef() -> Version {
    Version("deadbeef".to_owned())
}

fn time(at: Option<StoreTime>) -> String {
    at.map_or("-".to_owned(), |time| time.unix_ms.to_string())
}

fn put_text(outcome: PutOutcome) -> String {
    match outcome {
        PutOutcome::Written {
            version,
            observed_at,
        } => {
            format!("written {} at {}", version.0, time(observed_at))
        }
        PutOutcome::PreconditionFailed => "precondition-failed".to_owned(),
        PutOutcome::Indeterminate(why) => format!("indeterminate {why}"),
    }
}

fn get_text(reply: Reply) -> String {
    let at = time(reply.observed_at);
    match reply.found {
        Found::Absent => format!("absent at {at}"),
        Found::Unchanged => format!("unchanged at {at}"),
        Found::Object(Object { metadata, body }) => format!(
            "object {} size {} {} at {at} modified {}",
            metadata.version.0,
            metadata.size_bytes,
            String::from_utf8(body).unwrap(),
            time(metadata.modified_at)
        ),
    }
}

fn list_text(page: Page) -> String {
    let keys: Vec<_> = page
        .objects
        .iter()
        .map(|object| object.key.as_str())
        .collect();
    let modified = page.objects.first().and_then(|object| object.modified_at);
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

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures/replies")
}

fn fixtures(action: &str) -> Vec<Fixture> {
    let mut paths: Vec<_> = fs::read_dir(folder().join(action))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| Fixture::read(path)).collect()
}

fn check(action: &str, at_least: usize) {
    let fixtures = fixtures(action);
    assert!(fixtures.len() >= at_least, "fixtures are missing");
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        let (outcome, requests) = fixture.run();
        let (case, detail) = fixture
            .get("outcome")
            .split_once(' ')
            .unwrap_or((fixture.get("outcome"), ""));
        let is_case = outcome.split(' ').next() == Some(case);
        let expected: usize = fixture
            .all("requests")
            .next()
            .map_or(1, |n| n.parse().unwrap());
        let leak = fixture.all("never").find(|secret| outcome.contains(secret));
        if !is_case || !outcome.contains(detail) || requests != expected || leak.is_some() {
            wrong.push(format!(
                "{}: {outcome} ({requests} requests, leak {leak:?})",
                fixture.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn replies_to_a_read() {
    check("get", 30);
}

#[test]
fn replies_to_a_write() {
    check("put", 45);
}

#[test]
fn replies_to_a_listing() {
    check("list", 25);
}

#[test]
fn replies_to_a_delete() {
    check("delete", 11);
}

/// No prefix of a listing that breaks off, and none of an error document, is
/// taken for something else; nothing panics.
#[test]
fn truncated_bodies_are_errors() {
    for action in ["list", "delete"] {
        for fixture in fixtures(action) {
            let reply = fixture.replies.last().unwrap();
            if reply.status != 200 || reply.header("content-length").is_none() {
                continue;
            }
            for end in 0..reply.body.len() {
                let mut cut = reply.clone();
                cut.body.truncate(end);
                cut.headers.retain(|(name, _)| name != "content-length");
                let directives = fixture.directives.clone();
                let cut = Fixture {
                    name: fixture.name.clone(),
                    directives,
                    replies: vec![cut],
                };
                let (outcome, _) = cut.run();
                let is_error = !outcome.starts_with("page") && !outcome.starts_with("deleted");
                // Only white space after the root may be missing.
                let rest = &reply.body[end..];
                assert!(
                    is_error || rest.iter().all(u8::is_ascii_whitespace),
                    "{} {end}: {outcome}",
                    fixture.name
                );
            }
        }
    }
}
