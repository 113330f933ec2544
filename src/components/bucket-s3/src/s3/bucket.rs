//! The port on one S3 bucket: checks arguments, sends requests, and repeats the
//! few that may be repeated.

use core::cell::Cell;

use super::config::Config;
use super::delete;
use super::error_document::ErrorDocument;
use super::get::{self, GetObject};
use super::list::{ListObjects, Part, check_order};
use super::port::{
    Error, Key, MAX_DELETE, MAX_PAGE, Page, Precondition, Presigned, PutOutcome, Read, Reply, Span,
    Version, Write, is_key_prefix, is_version, visible,
};
use super::presign::Presign;
use super::put::{self, PutObject};
use super::request::{Request, SignedRequest};
use super::response::{Budget, Failure, Reading, Response};
use super::signature::{SERVICE, Signer};

/// How long to wait before each repetition of a write that met a conflict and
/// was not applied. Without jitter: the caller's own back-off has it.
const CONFLICT_WAITS_MS: [u32; 3] = [20, 80, 320];
/// What the caller is asked to wait when the conflicts do not end.
const CONFLICT_THROTTLE_MS: u32 = 500;
/// Most requests for one page of a listing.
const MAX_LIST_REQUESTS: u32 = 16;
/// Most signatures of one request. The second has the store's own time; the third
/// is for a host that stopped this instance between signing and sending it.
const MAX_SIGNATURES: u32 = 3;
/// A signature further from the store's time than this is too old or too new,
/// whatever the store calls it. Amazon refuses from 15 minutes on.
const SKEW_MS: u64 = 5 * 60 * 1000;

/// What the outside does: one HTTP request, the time of day, waiting.
pub trait Http {
    /// Sends a request and takes the reply, within the configured time limits.
    /// Never sends twice.
    fn exchange(
        &self,
        request: &SignedRequest<'_>,
        reading: Reading<'_>,
    ) -> impl Future<Output = Result<Response, Failure>>;

    /// The host's idea of the time: milliseconds since the Unix epoch.
    fn wall_ms(&self) -> u64;

    /// Waits.
    fn sleep(&self, ms: u32) -> impl Future<Output = ()>;
}

/// One bucket.
pub struct Bucket<H> {
    config: Config,
    signer: Signer,
    http: H,
    /// The store's clock minus the host's, as far as it had to be learned.
    offset_ms: Cell<i64>,
}

impl<H: Http> Bucket<H> {
    /// A bucket with these settings, reached this way.
    #[must_use]
    pub fn new(config: Config, http: H) -> Self {
        let signer = Signer::new(
            config.credentials.secret_access_key.clone(),
            &config.region,
            SERVICE,
        );
        Self {
            config,
            signer,
            http,
            offset_ms: Cell::new(0),
        }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How the outside is reached.
    #[must_use]
    pub fn http(&self) -> &H {
        &self.http
    }

    /// Bytes that the replies of one call may hold together.
    #[must_use]
    pub fn budget(&self) -> Budget {
        Budget::new(self.config.limits.batch_bytes)
    }

    fn now_ms(&self) -> u64 {
        self.http
            .wall_ms()
            .saturating_add_signed(self.offset_ms.get())
    }

    /// Signs and sends. If the store refuses the time of the signature, which
    /// means that it did nothing, its clock is learned and the request signed
    /// anew: a wrong clock of the host changes nothing but this.
    async fn send(&self, request: &Request<'_>, reading: Reading<'_>) -> Result<Response, Failure> {
        let mut signatures = 1;
        loop {
            let signed_at = self.now_ms();
            let signed = request.sign(&self.config, &self.signer, signed_at);
            let response = self.http.exchange(&signed, reading).await?;
            let Some(store_ms) = skewed(&response, signed_at) else {
                return Ok(response);
            };
            let wall_ms = i64::try_from(self.http.wall_ms()).unwrap_or(i64::MAX);
            let store_ms = i64::try_from(store_ms).unwrap_or(i64::MAX);
            self.offset_ms.set(store_ms.saturating_sub(wall_ms));
            if signatures >= MAX_SIGNATURES {
                return Ok(response);
            }
            signatures = signatures.saturating_add(1);
        }
    }

    /// Reads one object: one request, two for the first bytes of an empty one.
    ///
    /// # Errors
    /// The errors of the port.
    pub async fn get(&self, read: &Read, budget: &Budget) -> Result<Reply, Error> {
        let get = GetObject {
            key: Key::parse(&read.key)?,
            span: read.span,
            unless: read.unless.clone(),
        };
        if let Some(version) = &get.unless {
            check_version(version)?;
        }
        if get.span == Span::First(0) {
            return Err(Error::InvalidArgument(
                "a span must be at least 1 byte".to_owned(),
            ));
        }
        let reading = get.reading(&self.config, budget);
        let mut with_range = true;
        loop {
            let mut request =
                get.request(&self.config.address, &self.config.prefix, self.config.etag);
            if !with_range {
                request.headers.retain(|(name, _)| *name != "range");
            }
            let response = self
                .send(&request, reading)
                .await
                .map_err(Failure::into_error)?;
            match get.step(response, &self.config)? {
                get::Step::Done(reply) => return Ok(reply),
                get::Step::WithoutRange if with_range => with_range = false,
                get::Step::WithoutRange => {
                    return Err(Error::Other(
                        "the store refused a range that was not asked for".to_owned(),
                    ));
                }
            }
        }
    }

    /// Writes one object. One request, and up to three more while the store says
    /// that another one is in the way and that it did nothing.
    ///
    /// # Errors
    /// The errors of the port; nothing was written then.
    pub async fn put(&self, write: &Write) -> Result<PutOutcome, Error> {
        let size = u64::try_from(write.body.len()).unwrap_or(u64::MAX);
        if size > self.config.limits.object_bytes {
            return Err(Error::TooLarge(self.config.limits.object_bytes));
        }
        let put = PutObject {
            key: Key::parse(&write.key)?,
            body: &write.body,
            precondition: &write.precondition,
        };
        if let Precondition::Matches(version) = &write.precondition {
            check_version(version)?;
        }
        let request = put.request(&self.config);
        let mut waits_ms = CONFLICT_WAITS_MS.into_iter();
        loop {
            let result = self.send(&request, PutObject::reading()).await;
            match put.step(result, &self.config)? {
                put::Step::Done(outcome) => return Ok(outcome),
                put::Step::Conflict => match waits_ms.next() {
                    Some(ms) => self.http.sleep(ms).await,
                    None => return Err(Error::Throttled(CONFLICT_THROTTLE_MS)),
                },
            }
        }
    }

    /// Lists one page. One request, and more only while the store gives parts
    /// that hold no object of this installation.
    ///
    /// # Errors
    /// The errors of the port.
    pub async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Page, Error> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::InvalidArgument(
                "limit must be from 1 to 1000".to_owned(),
            ));
        }
        if !is_key_prefix(prefix) {
            return Err(Error::InvalidArgument(
                ["no key can start with ", &visible(prefix, 512)].concat(),
            ));
        }
        let start_after = start_after.map(Key::parse).transpose()?;
        let full = |text: &str| [self.config.prefix.as_str(), text].concat();
        let mut list = ListObjects {
            prefix: full(prefix),
            start_after: start_after.map(|key| full(key.as_str())),
            max_keys: limit,
            continuation: None,
        };
        let mut last_key = list.start_after.clone();
        for _ in 0..MAX_LIST_REQUESTS {
            let response = self
                .send(&list.request(&self.config.address), ListObjects::reading())
                .await
                .map_err(Failure::into_error)?;
            let part = list.part(&response, &self.config)?;
            let page = self.page(&part, &list.prefix, &mut last_key, limit)?;
            if !page.objects.is_empty() || part.continuation.is_none() {
                return Ok(page);
            }
            // The part held only foreign objects or none at all, as when Amazon
            // skips many delete markers. Ask for more at once now.
            list.continuation = part.continuation;
            list.max_keys = MAX_PAGE;
        }
        Err(Error::Other(
            "too many foreign objects under the prefix to list it".to_owned(),
        ))
    }

    fn page(
        &self,
        part: &Part,
        prefix: &str,
        last_key: &mut Option<String>,
        limit: u32,
    ) -> Result<Page, Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut objects = Vec::new();
        let mut more = part.continuation.is_some();
        for entry in &part.entries {
            check_order(last_key.as_deref(), prefix, &entry.key)?;
            *last_key = Some(entry.key.clone());
            let Some(metadata) = entry.metadata(&self.config.prefix)? else {
                continue;
            };
            // Reached by a store that ignores max-keys, or after foreign objects.
            if objects.len() >= limit {
                more = true;
                break;
            }
            objects.push(metadata);
        }
        Ok(Page {
            objects,
            more,
            observed_at: part.observed_at,
        })
    }

    /// Deletes objects, with one request.
    ///
    /// # Errors
    /// The errors of the port. Some keys may have been deleted.
    pub async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        if keys.len() > MAX_DELETE {
            return Err(Error::InvalidArgument(
                "at most 1000 keys can be deleted at once".to_owned(),
            ));
        }
        let mut checked = Vec::new();
        for key in keys {
            checked.push(Key::parse(key)?);
        }
        if keys.is_empty() {
            return Ok(());
        }
        let body = delete::body(&checked, &self.config.prefix);
        let request = delete::request(&self.config.address, &body);
        let response = self
            .send(&request, delete::reading())
            .await
            .map_err(Failure::into_error)?;
        delete::outcome(&response, &self.config)
    }

    /// Allows to create one object with exactly the given content. Sends nothing.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn presign_put(
        &self,
        key: &str,
        sha256: &str,
        expires_in_s: u32,
    ) -> Result<Presigned, Error> {
        Ok(self.presign(&Presign::put(key, sha256, expires_in_s)?))
    }

    /// Allows to read one object. Sends nothing.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn presign_get(&self, key: &str, expires_in_s: u32) -> Result<Presigned, Error> {
        Ok(self.presign(&Presign::get(key, expires_in_s)?))
    }

    fn presign(&self, presign: &Presign) -> Presigned {
        presign.sign(&self.config, &self.signer, self.now_ms())
    }
}

/// The store's time, if the reply refuses a request that was signed for another.
fn skewed(response: &Response, signed_at: u64) -> Option<u64> {
    if !matches!(response.status, 400 | 401 | 403) {
        return None;
    }
    let document = ErrorDocument::parse(&response.body);
    let told_ms = response.headers.observed_at().map(|time| time.unix_ms);
    let store_ms = told_ms.or(document.server_time_ms)?;
    let is_off = store_ms.abs_diff(signed_at) > SKEW_MS;
    (is_off || document.code == "RequestTimeTooSkewed").then_some(store_ms)
}

fn check_version(version: &Version) -> Result<(), Error> {
    if is_version(&version.0) {
        return Ok(());
    }
    let text = "a version is not one that this bucket gave";
    Err(Error::InvalidArgument(text.to_owned()))
}
