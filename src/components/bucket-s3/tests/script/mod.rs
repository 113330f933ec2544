//! A store that answers from a script, and a clock that stands still.

#![allow(dead_code, reason = "each test uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bucket_s3::s3::bucket::{Bucket, Http};
use bucket_s3::s3::config::Config;
use bucket_s3::s3::request::SignedRequest;
use bucket_s3::s3::response::{Collector, End, Failure, Headers, Reading, Response};

pub const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
pub const SECRET: &str = "c2VjcmV0/+EXAMPLE";

/// A reply as it is written down: status line, headers, blank line, body.
#[derive(Clone, Debug)]
pub struct Raw {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub is_broken: bool,
}

impl Raw {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text
            .split_once("\n\n")
            .unwrap_or_else(|| panic!("no blank line: {text}"));
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line}")))
            .map(|(name, value)| (name.to_lowercase(), value.as_bytes().to_vec()))
            .collect();
        Self {
            status,
            headers,
            body: body.as_bytes().to_vec(),
            is_broken: false,
        }
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn response(&self, reading: Reading<'_>) -> Response {
        let headers = Headers::collect(&|name| {
            let values = self.headers.iter().filter(|(key, _)| key == name);
            values.map(|(_, value)| value.clone()).collect()
        });
        let mut collector = Collector::new(self.status, &headers, reading);
        // A few bytes at a time, as a slow network would.
        for chunk in self.body.chunks(7) {
            let wanted = usize::try_from(collector.wanted()).unwrap_or(usize::MAX);
            if wanted == 0 {
                break;
            }
            collector.push(&chunk[..chunk.len().min(wanted)]);
        }
        let end = if self.is_broken {
            End::Broken("reset".to_owned())
        } else {
            End::Complete
        };
        collector.finish(self.status, headers, end)
    }
}

/// What was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Sent {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }
}

/// Gives its replies in order, the last one for ever.
pub struct Script {
    pub replies: RefCell<VecDeque<Result<Raw, Failure>>>,
    pub sent: RefCell<Vec<Sent>>,
    pub waits_ms: RefCell<Vec<u32>>,
    pub wall_ms: Cell<u64>,
}

impl Script {
    pub fn new(replies: impl IntoIterator<Item = Result<Raw, Failure>>, wall_ms: u64) -> Self {
        Self {
            replies: RefCell::new(replies.into_iter().collect()),
            sent: RefCell::default(),
            waits_ms: RefCell::default(),
            wall_ms: Cell::new(wall_ms),
        }
    }
}

impl Http for Script {
    async fn exchange(
        &self,
        request: &SignedRequest<'_>,
        reading: Reading<'_>,
    ) -> Result<Response, Failure> {
        self.sent.borrow_mut().push(Sent {
            method: request.method.as_str(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            body: request.body.map(<[u8]>::to_vec),
        });
        let mut replies = self.replies.borrow_mut();
        let reply = if replies.len() > 1 {
            replies.pop_front()
        } else {
            replies.front().cloned()
        };
        reply.unwrap().map(|raw| raw.response(reading))
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms.get()
    }

    async fn sleep(&self, ms: u32) {
        self.waits_ms.borrow_mut().push(ms);
    }
}

/// A bucket named `data`, whose objects have at most 1024 bytes.
pub fn bucket(script: Script, settings: &[(&str, &str)]) -> Bucket<Script> {
    let mut variables: Vec<(String, String)> = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:5503"),
        ("IFMATCH_BUCKET", "data"),
        ("IFMATCH_MAX_OBJECT_BYTES", "1024"),
    ]
    .iter()
    .filter(|(name, _)| settings.iter().all(|(other, _)| other != name))
    .chain(settings)
    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    .collect();
    variables.sort();
    Bucket::new(Config::from_variables(&variables).unwrap(), script)
}

/// Runs a task that never has to wait.
pub fn run<T>(task: impl Future<Output = T>) -> T {
    match pin!(task).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the script has nothing to wait for"),
    }
}
