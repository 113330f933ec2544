//! What comes back: status, the few headers that matter, a bounded body; or why
//! nothing came back.

use core::cell::Cell;

use super::port::{Error, StoreTime, Version, is_version};
use super::time::http_date_ms;

/// Most bytes of the body of a reply that is not a success. The error documents
/// of S3 are below 2 KiB.
pub const MAX_ERROR_BYTES: u64 = 64 << 10;
/// Longest value of a header that is used.
const MAX_HEADER_BYTES: usize = 1024;

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host does not allow the request. Nothing was sent.
    Denied(String),
    /// No connection, so that nothing was sent.
    Unsent(String),
    /// The request may have reached the store.
    Lost(String),
}

impl Failure {
    /// The failure of a request that changes nothing.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::Denied(why) => Error::AccessDenied(why),
            Self::Unsent(why) | Self::Lost(why) => Error::Unavailable(why),
        }
    }
}

/// The headers that matter. One that is repeated with different values, is too
/// long or holds anything but printable ASCII counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `ETag`
    pub etag: Option<String>,
    /// `Date`
    pub date: Option<String>,
    /// `Last-Modified`
    pub last_modified: Option<String>,
    /// `Content-Length`
    pub content_length: Option<String>,
    /// `Content-Range`
    pub content_range: Option<String>,
    /// `Retry-After`
    pub retry_after: Option<String>,
    /// `Age`
    pub age: Option<String>,
    /// `x-amz-bucket-region`
    pub bucket_region: Option<String>,
}

impl Headers {
    /// Takes the headers out of a response; `values` gives all values of one
    /// lower-case name.
    #[must_use]
    pub fn collect(values: &dyn Fn(&str) -> Vec<Vec<u8>>) -> Self {
        let take = |name| single(&values(name));
        Self {
            etag: take("etag"),
            date: take("date"),
            last_modified: take("last-modified"),
            content_length: take("content-length"),
            content_range: take("content-range"),
            retry_after: take("retry-after"),
            age: take("age"),
            bucket_region: take("x-amz-bucket-region"),
        }
    }

    /// `Content-Length` as a number.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        decimal(self.content_length.as_deref()?)
    }

    /// `Date`, the store's clock.
    #[must_use]
    pub fn observed_at(&self) -> Option<StoreTime> {
        time(self.date.as_deref())
    }

    /// `Last-Modified`: when the store accepted the object.
    #[must_use]
    pub fn modified_at(&self) -> Option<StoreTime> {
        time(self.last_modified.as_deref())
    }

    /// Whether the reply is an old one that a cache kept. Reads would miss writes
    /// that had returned before.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.age
            .as_deref()
            .is_some_and(|age| decimal(age) != Some(0))
    }

    /// `ETag` as a version.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        version(self.etag.as_deref()?)
    }

    /// `Content-Range`: the first and last byte given, and the size of the whole.
    #[must_use]
    pub fn content_range(&self) -> Option<(u64, u64, u64)> {
        let (span, size) = self
            .content_range
            .as_deref()?
            .strip_prefix("bytes ")?
            .split_once('/')?;
        let (first, last) = span.split_once('-')?;
        Some((decimal(first)?, decimal(last)?, decimal(size)?))
    }
}

fn time(date: Option<&str>) -> Option<StoreTime> {
    let unix_ms = http_date_ms(date?)?;
    Some(StoreTime { unix_ms })
}

fn single(values: &[Vec<u8>]) -> Option<String> {
    let (first, others) = values.split_first()?;
    let plain = first.len() <= MAX_HEADER_BYTES
        && first.iter().all(|byte| matches!(byte, 0x20..=0x7e))
        && others.iter().all(|other| other == first);
    let text = plain.then(|| core::str::from_utf8(first).ok())??;
    Some(text.trim_ascii().to_owned())
}

/// A number of digits only: no sign, no blank.
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// The version that an entity tag stands for. Stores put it in quotes, but some
/// leave them out in listings. A weak tag is none: `If-Match` never matches it,
/// so every replace would look like a lost race.
#[must_use]
pub fn version(etag: &str) -> Option<Version> {
    if etag.starts_with("W/") {
        return None;
    }
    let bare = etag
        .strip_prefix('"')
        .map_or(Some(etag), |rest| rest.strip_suffix('"'))?;
    is_version(bare).then(|| Version(bare.to_owned()))
}

/// How a body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last byte.
    Complete,
    /// There is more than was to be read.
    Cut,
    /// The bytes of other replies left no room for it.
    OverBudget,
    /// The connection broke, or time ran out.
    Broken(String),
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The headers that matter.
    pub headers: Headers,
    /// The bytes that were taken.
    pub body: Vec<u8>,
    /// How the body ended.
    pub end: End,
}

impl Response {
    /// Whether the body ended where `Content-Length`, if given, says.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let length = u64::try_from(self.body.len()).unwrap_or(u64::MAX);
        self.end == End::Complete
            && self
                .headers
                .content_length()
                .is_none_or(|stated| stated == length)
    }
}

/// Bytes that the replies of one call may still hold.
#[derive(Debug)]
pub struct Budget(Cell<u64>);

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self(Cell::new(bytes))
    }

    /// Starts anew with so many bytes.
    pub fn refill(&self, bytes: u64) {
        self.0.set(bytes);
    }

    fn take(&self, bytes: u64) -> bool {
        match self.0.get().checked_sub(bytes) {
            Some(rest) => {
                self.0.set(rest);
                true
            }
            None => false,
        }
    }
}

/// How much of a successful reply's body to take.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// At most this many bytes.
    pub limit: u64,
    /// What to do about a body that is longer.
    pub beyond: Beyond,
    /// What all replies of the call may hold, if the caller is handed the body.
    pub budget: Option<&'a Budget>,
}

/// What to do about a body that is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// Take nothing of it, if its length is known beforehand.
    Refuse,
    /// Take its first bytes.
    Cut,
}

/// Gathers a body within its limits.
#[derive(Debug)]
pub struct Collector<'a> {
    bytes: Vec<u8>,
    limit: u64,
    expected: Option<u64>,
    reserved: u64,
    budget: Option<&'a Budget>,
    end: Option<End>,
}

impl<'a> Collector<'a> {
    /// Prepares for the body of a reply.
    #[must_use]
    pub fn new(status: u16, headers: &Headers, reading: Reading<'a>) -> Self {
        let is_success = (200..300).contains(&status);
        let mut collector = Self {
            bytes: Vec::new(),
            limit: if is_success {
                reading.limit
            } else {
                MAX_ERROR_BYTES
            },
            expected: headers.content_length(),
            reserved: 0,
            budget: reading.budget.filter(|_| is_success),
            end: None,
        };
        let Some(expected) = collector.expected else {
            return collector;
        };
        if is_success && reading.beyond == Beyond::Refuse && expected > reading.limit {
            collector.end = Some(End::Cut);
        } else if expected == 0 {
            collector.end = Some(End::Complete);
        } else {
            collector.reserve(expected.min(collector.limit));
        }
        collector
    }

    fn reserve(&mut self, total: u64) {
        let missing = total.saturating_sub(self.reserved);
        let granted = self.budget.is_none_or(|budget| budget.take(missing));
        let additional = usize::try_from(total)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.bytes.len());
        if granted && self.bytes.try_reserve(additional).is_ok() {
            self.reserved = self.reserved.max(total);
        } else {
            self.bytes = Vec::new();
            self.end = Some(End::OverBudget);
        }
    }

    fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    /// How many bytes are still wanted; 0 if reading is over. One byte more than
    /// the limit is asked for, to see whether there is more.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        if self.end.is_some() {
            return 0;
        }
        self.limit.saturating_add(1).saturating_sub(self.len())
    }

    /// Takes the next bytes from `read`, which appends at most as many as it is given
    /// to what it is given. Says whether there were any.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn take<E>(
        &mut self,
        read: impl Fn(u64, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let before = self.len();
        let reserved = self.reserved.saturating_sub(before);
        if reserved > 0 && self.end.is_none() {
            // No more than has its place already.
            read(reserved, &mut self.bytes)?;
            let total = self.len();
            self.taken(total, total > self.reserved);
            return Ok(total > before);
        }
        let mut chunk = Vec::new();
        read(self.wanted(), &mut chunk)?;
        if !chunk.is_empty() {
            self.push(&chunk);
        }
        Ok(!chunk.is_empty())
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let room = self.limit.saturating_sub(self.len());
        let taken = chunk
            .get(..usize::try_from(room).unwrap_or(usize::MAX))
            .unwrap_or(chunk);
        let total = self
            .len()
            .saturating_add(u64::try_from(taken.len()).unwrap_or(u64::MAX));
        if total > self.reserved {
            self.reserve(total);
            if self.end.is_some() {
                return;
            }
        }
        self.bytes.extend_from_slice(taken);
        self.taken(total, taken.len() < chunk.len());
    }

    /// Decides whether reading is over, with so many bytes in all.
    fn taken(&mut self, total: u64, is_cut: bool) {
        if self.expected.is_some_and(|expected| expected == total) && !is_cut {
            self.end = Some(End::Complete);
        } else if is_cut || (total == self.limit && self.expected.is_some()) {
            self.end = Some(End::Cut);
        }
    }

    /// The response, given how the stream ended if reading was not over before.
    #[must_use]
    pub fn finish(self, status: u16, headers: Headers, end: End) -> Response {
        Response {
            status,
            headers,
            body: self.bytes,
            end: self.end.unwrap_or(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(length: Option<&str>) -> Headers {
        Headers {
            content_length: length.map(ToOwned::to_owned),
            ..Headers::default()
        }
    }

    fn collect(
        status: u16,
        length: Option<&str>,
        limit: u64,
        beyond: Beyond,
        chunks: &[&str],
        budget: &Budget,
    ) -> Response {
        let headers = headers(length);
        let mut collector = Collector::new(
            status,
            &headers,
            Reading {
                limit,
                beyond,
                budget: Some(budget),
            },
        );
        for chunk in chunks {
            let left = Cell::new(chunk.as_bytes());
            while !left.get().is_empty() && collector.wanted() > 0 {
                let taken = collector.take(|most, bytes| {
                    let most = usize::try_from(most).unwrap_or(usize::MAX);
                    let (given, rest) = left.get().split_at(left.get().len().min(most));
                    bytes.extend_from_slice(given);
                    left.set(rest);
                    Ok::<(), ()>(())
                });
                assert_eq!(taken, Ok(true));
            }
        }
        collector.finish(status, headers, End::Complete)
    }

    #[test]
    fn a_body_is_taken_up_to_its_limit() {
        let ample = Budget::new(1000);
        for (length, limit, beyond, chunks, body, end) in [
            (
                Some("5"),
                10,
                Beyond::Refuse,
                vec!["he", "llo"],
                "hello",
                End::Complete,
            ),
            (
                None,
                10,
                Beyond::Refuse,
                vec!["he", "llo"],
                "hello",
                End::Complete,
            ),
            (
                Some("5"),
                5,
                Beyond::Refuse,
                vec!["hello"],
                "hello",
                End::Complete,
            ),
            (
                None,
                5,
                Beyond::Refuse,
                vec!["hello"],
                "hello",
                End::Complete,
            ),
            (Some("5"), 4, Beyond::Refuse, vec!["hello"], "", End::Cut),
            (None, 4, Beyond::Refuse, vec!["he", "llo"], "hell", End::Cut),
            (
                Some("5"),
                4,
                Beyond::Cut,
                vec!["he", "llo"],
                "hell",
                End::Cut,
            ),
            (
                Some("5"),
                4,
                Beyond::Cut,
                vec!["hell", "o"],
                "hell",
                End::Cut,
            ),
            (None, 4, Beyond::Cut, vec!["hello"], "hell", End::Cut),
            (Some("0"), 4, Beyond::Cut, vec![], "", End::Complete),
            (
                Some("5"),
                9,
                Beyond::Refuse,
                vec!["hello", "more"],
                "hello",
                End::Complete,
            ),
        ] {
            let response = collect(200, length, limit, beyond, &chunks, &ample);
            assert_eq!(
                (response.body.as_slice(), &response.end),
                (body.as_bytes(), &end),
                "{length:?} {limit} {chunks:?}"
            );
        }
    }

    #[test]
    fn an_announced_body_is_read_into_its_place() {
        let budget = Budget::new(1000);
        let reading = Reading {
            limit: 10,
            beyond: Beyond::Refuse,
            budget: Some(&budget),
        };
        // What is asked for, and behind how much it is put.
        for (length, first, second) in [(Some("5"), (5, 0), (2, 3)), (None, (11, 0), (8, 0))] {
            let mut collector = Collector::new(200, &headers(length), reading);
            assert_eq!(collector.take(|_, _| Ok::<(), ()>(())), Ok(false));
            let asked = |most, bytes: &mut Vec<u8>| Err((most, bytes.len()));
            assert_eq!(collector.take(asked), Err(first));
            collector.push(b"hel");
            assert_eq!(collector.take(asked), Err(second));
        }
    }

    #[test]
    fn a_short_body_is_not_whole() {
        let budget = Budget::new(1000);
        assert!(!collect(200, Some("6"), 10, Beyond::Refuse, &["hello"], &budget).is_whole());
        assert!(collect(200, Some("5"), 10, Beyond::Refuse, &["hello"], &budget).is_whole());
    }

    #[test]
    fn replies_share_one_budget() {
        let budget = Budget::new(7);
        assert_eq!(
            collect(200, Some("5"), 10, Beyond::Refuse, &["hello"], &budget).end,
            End::Complete
        );
        assert_eq!(
            collect(200, Some("5"), 10, Beyond::Refuse, &["hello"], &budget).end,
            End::OverBudget
        );
        assert_eq!(
            collect(200, None, 10, Beyond::Refuse, &["he", "llo"], &budget).end,
            End::OverBudget
        );
        // An error document is small, and not held for the caller.
        assert_eq!(
            collect(404, None, 10, Beyond::Refuse, &["hello"], &budget).body,
            b"hello"
        );
    }

    #[test]
    fn an_error_body_is_bounded_whatever_the_reading_says() {
        let budget = Budget::new(0);
        let long = "x".repeat(100_000);
        let response = collect(500, Some("100000"), 10, Beyond::Refuse, &[&long], &budget);
        assert_eq!(response.body.len(), 65_536);
        assert_eq!(response.end, End::Cut);
    }

    #[test]
    fn unusable_headers_count_as_absent() {
        for (values, kept) in [
            (vec!["\"a\""], Some("\"a\"")),
            (vec!["\"a\"", "\"a\""], Some("\"a\"")),
            (vec!["\"a\"", "\"b\""], None),
            (vec!["\"a\u{1}\""], None),
            (vec!["\"ä\""], None),
            (vec![], None),
        ] {
            let headers = Headers::collect(&|name| match name {
                "etag" => values
                    .iter()
                    .map(|value| value.as_bytes().to_vec())
                    .collect(),
                _ => vec![vec![b'x'; 2000]],
            });
            assert_eq!(headers.etag.as_deref(), kept, "{values:?}");
            assert_eq!(headers.date, None);
        }
    }

    #[test]
    fn entity_tags_lose_their_quotes() {
        assert_eq!(version("\"abc-1\"").unwrap().0, "abc-1");
        assert_eq!(version("abc-1").unwrap().0, "abc-1");
        for bad in [
            "",
            "\"",
            "\"\"",
            "\"a",
            "a\"",
            "W/\"abc\"",
            "\"a b\"",
            "\"a\"b\"",
        ] {
            assert!(version(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ranges_and_numbers_are_digits_only() {
        let range = |text: &str| {
            Headers {
                content_range: Some(text.to_owned()),
                ..Headers::default()
            }
            .content_range()
        };
        assert_eq!(range("bytes 0-9/443"), Some((0, 9, 443)));
        for bad in [
            "bytes 0-9/*",
            "bytes */443",
            "0-9/443",
            "bytes 0-+9/443",
            "bytes 0-9",
            "",
        ] {
            assert_eq!(range(bad), None, "{bad}");
        }
        assert_eq!(headers(Some("-1")).content_length(), None);
        assert_eq!(headers(Some("")).content_length(), None);
        assert_eq!(headers(Some("18446744073709551616")).content_length(), None);
    }
}
