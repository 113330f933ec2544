//! An S3 store in this process.
//!
//! [`Store::handle`] is the whole store: a function of the objects that it holds,
//! a request and a time. It does no I/O and reads no clock, so one seed gives one
//! run. [`SharedStore`] puts it behind a lock, and on disk if wanted.

pub mod auth;
mod date;
mod disk;
mod error;
mod list;
mod object;
mod shared;
pub mod traffic;
mod uri;
mod xml;

pub use auth::Credential;
pub use error::S3Error;
pub use object::Object;
pub use shared::SharedStore;
pub use traffic::{Condition, Entry, Facts, Kind, Totals};

use crate::clock::UnixMs;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use traffic::Traffic;
use uri::Target;

/// A request with its whole body.
pub type Request = http::Request<Bytes>;
/// A response with its whole body.
pub type Response = http::Response<Bytes>;

/// What a store is set up with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The buckets that exist.
    pub buckets: Vec<String>,
    /// The key pairs that may do everything.
    pub credentials: Vec<Credential>,
    /// The region that signatures must name.
    pub region: String,
    /// Under which host name `bucket.host` names a bucket.
    pub domain: Option<String>,
    /// Largest object that is accepted.
    pub max_object_bytes: usize,
    /// Most keys on a page, however many a request asks for.
    pub max_page_keys: usize,
    /// In what it differs from Amazon's store.
    pub quirks: BTreeSet<Quirk>,
}

/// The bucket, the region and the host of a store that nobody configured.
pub const BUCKET: &str = "bucket";
/// See [`BUCKET`].
pub const REGION: &str = "us-east-1";
/// See [`BUCKET`].
pub const DOMAIN: &str = "s3.test";

impl Default for Options {
    fn default() -> Self {
        Self {
            buckets: vec![BUCKET.to_owned()],
            credentials: vec![Credential::lasting(
                "harness-access-key",
                "harness/secret+key",
            )],
            region: REGION.to_owned(),
            domain: Some(DOMAIN.to_owned()),
            max_object_bytes: 64 << 20,
            max_page_keys: 1000,
            quirks: BTreeSet::new(),
        }
    }
}

/// One way in which stores in the field differ from Amazon's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quirk {
    /// `If-None-Match: *` is accepted, and the object is written all the same.
    IgnoresIfNoneMatch,
    /// `If-Match` is accepted, and the object is written all the same.
    IgnoresIfMatch,
    /// A condition is checked against the object as it was this long ago: one
    /// request after the other is right, but racing ones all win.
    ChecksConditionsLate(Duration),
    /// `If-Match` on a missing key is 412 rather than 404.
    MissingKeyFailsPrecondition,
    /// `If-Match` holds only for the entity tag without its quotes.
    ComparesIfMatchLiterally,
    /// Entity tags are not digests of the content.
    OpaqueEtags,
    /// Listings are in no order.
    UnsortedListings,
    /// `max-keys` is ignored.
    IgnoresMaxKeys,
    /// Replies have no `Date`.
    TellsNoTime,
}

/// What a request did to the objects.
#[derive(Clone, Debug)]
pub enum Change {
    /// Wrote an object: bucket, key, object.
    Put(String, String, Object),
    /// Deleted an object: bucket, key.
    Delete(String, String),
}

/// A change that was made to one object.
#[derive(Clone, Debug)]
pub struct Deed {
    /// When, by the clock of the front end that made it.
    pub at: UnixMs,
    /// Which object.
    pub key: String,
    /// What was written; nothing if it was deleted.
    pub body: Option<Bytes>,
}

/// What stood at a key before the write that made its present state.
#[derive(Clone, Debug)]
struct Replaced {
    object: Option<Object>,
    at: UnixMs,
}

/// Buckets, objects, and what was asked about them.
#[derive(Clone, Debug)]
pub struct Store {
    options: Options,
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    replaced: BTreeMap<(String, String), Replaced>,
    traffic: Traffic,
    changes: Vec<Change>,
    diary: Option<Vec<Deed>>,
    now: UnixMs,
}

impl Store {
    /// A store without objects.
    pub fn new(options: Options) -> Self {
        let buckets = options
            .buckets
            .iter()
            .map(|name| (name.clone(), BTreeMap::new()))
            .collect();
        Self {
            options,
            buckets,
            replaced: BTreeMap::new(),
            traffic: Traffic::default(),
            changes: Vec::new(),
            diary: None,
            now: UnixMs::default(),
        }
    }

    /// Answers a request at a time.
    pub fn handle(&mut self, request: &Request, now: UnixMs) -> Response {
        self.handle_admitted(request, now, now)
    }

    /// Answers a request that a front end admitted at one time and that is applied
    /// at a later one: its signature is judged by the first.
    pub fn handle_admitted(
        &mut self,
        request: &Request,
        admitted_at: UnixMs,
        now: UnixMs,
    ) -> Response {
        self.now = now;
        let facts = self.facts(request);
        let path = request.uri().path();
        let answer = self.answer(request, &facts, admitted_at, now);
        let mut response = answer.unwrap_or_else(|error| error.into_response(path));
        self.finish(request, &mut response, now);
        let bytes_out = response.body().len() as u64;
        self.traffic
            .add(now, facts, response.status().as_u16(), bytes_out);
        response
    }

    /// Answers in place of the store, as a front end does that never reaches it.
    pub fn refuse(&mut self, request: &Request, error: S3Error, now: UnixMs) -> Response {
        let mut response = error.into_response(request.uri().path());
        self.finish(request, &mut response, now);
        response
    }

    fn finish(&self, request: &Request, response: &mut Response, now: UnixMs) {
        let length = response.body().len().to_string();
        let has_body = !matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        if has_body {
            set(response, header::CONTENT_LENGTH, &length);
        }
        if request.method() == Method::HEAD {
            *response.body_mut() = Bytes::new();
        }
        if !self.has(&Quirk::TellsNoTime) {
            set(response, header::DATE, &date::http(now));
        }
        let id = format!("{:016X}", self.traffic.next_number());
        set(response, HeaderName::from_static("x-amz-request-id"), &id);
        set(response, header::SERVER, "ifmatch-harness");
    }

    /// What a request is, also if it will be refused.
    pub fn facts(&self, request: &Request) -> Facts {
        Facts::of(request, request.body(), self.options.domain.as_deref())
    }

    fn answer(
        &mut self,
        request: &Request,
        facts: &Facts,
        admitted_at: UnixMs,
        now: UnixMs,
    ) -> Result<Response, S3Error> {
        let target = Target::of(request, self.options.domain.as_deref())?;
        let verifier = auth::Verifier {
            credentials: &self.options.credentials,
            region: &self.options.region,
            now: admitted_at,
        };
        verifier.verify(request, &target.query)?;
        let Target { bucket, key, query } = &target;
        if bucket.is_empty() {
            return Err(S3Error::not_implemented("This request to the service"));
        }
        if !self.buckets.contains_key(bucket) {
            return Err(S3Error::no_such_bucket(bucket));
        }
        check_parameters(facts.kind, query)?;
        match facts.kind {
            Kind::Put => self.put_object(request, bucket, key, now),
            Kind::Get | Kind::Head => self.get_object(request, bucket, key),
            Kind::Delete => self.delete_object(request, bucket, key),
            Kind::List => self.list_objects(bucket, query),
            Kind::DeleteMany => self.delete_objects(request, bucket),
            Kind::Other if key.is_empty() && request.method() == Method::HEAD => {
                Ok(Response::new(Bytes::new()))
            }
            Kind::Other => Err(S3Error::not_implemented("This request")),
        }
    }

    fn apply(&mut self, change: Change) {
        let (bucket, key) = match &change {
            Change::Put(bucket, key, _) | Change::Delete(bucket, key) => {
                (bucket.clone(), key.clone())
            }
        };
        if let Some(diary) = &mut self.diary {
            let body = match &change {
                Change::Put(_, _, object) => Some(object.body.clone()),
                Change::Delete(..) => None,
            };
            diary.push(Deed {
                at: self.now,
                key: key.clone(),
                body,
            });
        }
        let objects = self.buckets.entry(bucket.clone()).or_default();
        let before = match &change {
            Change::Put(_, _, object) => objects.insert(key.clone(), object.clone()),
            Change::Delete(..) => objects.remove(&key),
        };
        if self
            .options
            .quirks
            .iter()
            .any(|quirk| matches!(quirk, Quirk::ChecksConditionsLate(_)))
        {
            self.replaced.insert(
                (bucket, key),
                Replaced {
                    object: before,
                    at: self.now,
                },
            );
        }
        self.changes.push(change);
    }

    fn has(&self, quirk: &Quirk) -> bool {
        self.options.quirks.contains(quirk)
    }

    /// The object that a condition is checked against.
    fn object_seen_by_conditions(&self, bucket: &str, key: &str, now: UnixMs) -> Option<&Object> {
        let late = self.options.quirks.iter().find_map(|quirk| match quirk {
            Quirk::ChecksConditionsLate(by) => Some(by.as_millis() as u64),
            _ => None,
        });
        let replaced = self.replaced.get(&(bucket.to_owned(), key.to_owned()));
        match (late, replaced) {
            (Some(late), Some(replaced)) if now.0 < replaced.at.0 + late => {
                replaced.object.as_ref()
            }
            _ => self.object(bucket, key),
        }
    }

    /// One object.
    pub fn object(&self, bucket: &str, key: &str) -> Option<&Object> {
        self.buckets.get(bucket)?.get(key)
    }

    /// Every object of a bucket, in order of key.
    pub fn objects(&self, bucket: &str) -> impl Iterator<Item = (&str, &Object)> {
        let objects = self.buckets.get(bucket).into_iter().flatten();
        objects.map(|(key, object)| (key.as_str(), object))
    }

    /// Puts an object in place, as an operator does behind everybody's back.
    pub fn place(&mut self, bucket: &str, key: &str, body: impl Into<Bytes>, modified_at: UnixMs) {
        let body = body.into();
        let etag = format!(
            "\"{}\"",
            auth::hex(&<md5::Md5 as md5::Digest>::digest(&body))
        );
        let object = Object {
            body,
            etag,
            modified_at,
        };
        self.apply(Change::Put(bucket.to_owned(), key.to_owned(), object));
    }

    /// Removes an object, as an operator does behind everybody's back.
    pub fn remove(&mut self, bucket: &str, key: &str) -> Option<Object> {
        let before = self.object(bucket, key).cloned();
        self.apply(Change::Delete(bucket.to_owned(), key.to_owned()));
        before
    }

    /// From now on, keeps everything that is written and deleted.
    pub fn keep_diary(&mut self) {
        self.diary.get_or_insert_default();
    }

    /// Everything that was written and deleted since a diary is kept, in order.
    pub fn diary(&self) -> &[Deed] {
        self.diary.as_deref().unwrap_or_default()
    }

    /// Lets the credentials expire that signed a request.
    pub fn expire_credentials_of(&mut self, request: &Request) {
        let now = self.now;
        let signed = |credential: &&mut Credential| {
            let value = request.headers().get(header::AUTHORIZATION);
            let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
            text.contains(&format!("Credential={}/", credential.access_key))
        };
        if let Some(credential) = self.options.credentials.iter_mut().find(signed) {
            credential.expires_at = Some(now);
        }
    }

    /// What was asked so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The set-up, to change it while the store runs.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Changes since the last call, for whoever keeps them.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

/// Refuses parameters that would change what a request means.
fn check_parameters(kind: Kind, query: &uri::Query) -> Result<(), S3Error> {
    let known: &[&str] = match kind {
        Kind::List => &[
            "list-type",
            "prefix",
            "start-after",
            "continuation-token",
            "max-keys",
            "encoding-type",
            "delimiter",
            "fetch-owner",
        ],
        Kind::DeleteMany => &["delete"],
        // SDKs name their operation in `x-id`.
        _ => &["x-id"],
    };
    let unknown = query
        .0
        .iter()
        .map(|(name, _)| name.as_str())
        .find(|name| !known.contains(name) && !name.starts_with("X-Amz-"));
    match unknown {
        Some(name) => Err(S3Error::not_implemented(format!("The parameter {name}"))),
        None => Ok(()),
    }
}

/// Sets a header, unless its value cannot stand in one.
pub(crate) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests;
