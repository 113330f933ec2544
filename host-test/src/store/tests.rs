//! Goal: the store answers every request that the components send as Amazon's
//! does, including the refusals.
//!
//! Method: signed requests against `Store::handle` at chosen times; statuses,
//! headers and documents are compared with Amazon's API reference.

use super::*;

const NOW: UnixMs = UnixMs(1_767_225_600_000);

struct Client {
    store: Store,
    now: UnixMs,
}

impl Client {
    fn new(options: Options) -> Self {
        Self {
            store: Store::new(options),
            now: NOW,
        }
    }

    fn with(quirks: impl IntoIterator<Item = Quirk>) -> Self {
        Self::new(Options {
            quirks: quirks.into_iter().collect(),
            ..Options::default()
        })
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut builder = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "s3.test:80");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let mut request = builder
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        let credential = Options::default().credentials.remove(0);
        auth::sign(&mut request, &credential, REGION, self.now).unwrap();
        self.store.handle(&request, self.now)
    }

    fn put(&mut self, key: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.send("PUT", &format!("/bucket/{key}"), headers, body)
    }

    fn get(&mut self, key: &str, headers: &[(&str, &str)]) -> Response {
        self.send("GET", &format!("/bucket/{key}"), headers, "")
    }

    fn list(&mut self, query: &str) -> Page {
        let response = self.send("GET", &format!("/bucket?list-type=2{query}"), &[], "");
        assert_eq!(response.status(), 200, "{}", text(&response));
        Page(text(&response))
    }
}

struct Page(String);

impl Page {
    fn all(&self, name: &str) -> Vec<&str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let parts = self.0.split(open.as_str()).skip(1);
        parts
            .filter_map(|part| part.split(close.as_str()).next())
            .collect()
    }

    fn one(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(response.body()).into_owned()
}

fn code(response: &Response) -> (u16, String) {
    (
        response.status().as_u16(),
        Page(text(response)).one("Code").to_owned(),
    )
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

const CREATE: (&str, &str) = ("if-none-match", "*");

fn header_of<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[test]
fn a_create_wins_once_and_a_replace_follows_the_entity_tag() {
    let mut client = Client::new(Options::default());
    let first = client.put("k", &[CREATE], "one");
    assert_eq!(first.status(), 200);
    // MD5 of "one".
    assert_eq!(
        header_of(&first, "etag"),
        "\"f97c5d29941bfb1b2fdab0874906ab82\""
    );
    assert_eq!(header_of(&first, "date"), "Thu, 01 Jan 2026 00:00:00 GMT");
    assert_eq!(
        code(&client.put("k", &[CREATE], "two")),
        refused(412, "PreconditionFailed")
    );

    let tag = header_of(&first, "etag").to_owned();
    assert_eq!(
        code(&client.put("k", &[("if-match", "\"other\"")], "x")),
        refused(412, "PreconditionFailed")
    );
    assert_eq!(client.put("k", &[("if-match", &tag)], "two").status(), 200);
    assert_eq!(
        code(&client.put("k", &[("if-match", &tag)], "three")),
        refused(412, "PreconditionFailed")
    );
    assert_eq!(
        code(&client.put("gone", &[("if-match", &tag)], "x")),
        refused(404, "NoSuchKey")
    );
    let bare = "b8a9f715dbb64fd5c56e7783c6820a61"; // MD5 of "two".
    assert_eq!(
        client.put("k", &[("if-match", bare)], "four").status(),
        200,
        "without quotes"
    );
    assert_eq!(client.store.object(BUCKET, "k").unwrap().body, "four");
    assert_eq!(client.store.traffic().totals().unconditional_puts, 0);
}

#[test]
fn conditions_that_amazon_does_not_have_are_refused() {
    let mut client = Client::new(Options::default());
    for headers in [
        &[("if-none-match", "\"tag\"")][..],
        &[("if-match", "*")],
        &[CREATE, ("if-match", "\"tag\"")],
        &[("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT")],
        &[("x-amz-copy-source", "/bucket/other")],
    ] {
        assert_eq!(
            code(&client.put("k", headers, "x")),
            refused(501, "NotImplemented"),
            "{headers:?}"
        );
    }
    let delete = client.send("DELETE", "/bucket/k", &[("if-match", "\"tag\"")], "");
    assert_eq!(code(&delete), refused(501, "NotImplemented"));
    assert_eq!(
        code(&client.send("GET", "/bucket/k?acl", &[], "")),
        refused(501, "NotImplemented")
    );
    assert!(client.store.objects(BUCKET).next().is_none());
}

#[test]
fn ranges_answer_206_416_or_everything() {
    let mut client = Client::new(Options::default());
    client.put("k", &[CREATE], "0123456789");
    client.put("empty", &[CREATE], "");
    for (range, status, body, content_range) in [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=8-", 206, "89", "bytes 8-9/10"),
        ("bytes=-4", 206, "6789", "bytes 6-9/10"),
        ("bytes=5-99", 206, "56789", "bytes 5-9/10"),
        ("bytes=3-1", 200, "0123456789", ""),
        ("bytes=0-1,4-5", 200, "0123456789", ""),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let response = client.get("k", &[("range", range)]);
        assert_eq!(response.status(), status, "{range}");
        assert_eq!(text(&response), body, "{range}");
        assert_eq!(
            header_of(&response, "content-range"),
            content_range,
            "{range}"
        );
        assert_eq!(
            header_of(&response, "content-length"),
            body.len().to_string(),
            "{range}"
        );
    }
    let beyond = client.get("k", &[("range", "bytes=10-")]);
    assert_eq!(code(&beyond), refused(416, "InvalidRange"));
    assert_eq!(header_of(&beyond, "content-range"), "bytes */10");
    assert_eq!(client.get("empty", &[("range", "bytes=0-9")]).status(), 416);
}

#[test]
fn reads_can_depend_on_the_entity_tag() {
    let mut client = Client::new(Options::default());
    let tag = header_of(&client.put("k", &[CREATE], "body"), "etag").to_owned();
    client.now = NOW.offset_ms(1999);
    let unchanged = client.get("k", &[("if-none-match", &tag)]);
    assert_eq!(
        (unchanged.status().as_u16(), text(&unchanged)),
        (304, String::new())
    );
    assert_eq!(header_of(&unchanged, "etag"), tag);
    assert_eq!(
        header_of(&unchanged, "date"),
        "Thu, 01 Jan 2026 00:00:01 GMT"
    );
    assert_eq!(
        client.get("k", &[("if-none-match", "\"other\"")]).status(),
        200
    );
    assert_eq!(client.get("k", &[("if-match", "\"other\"")]).status(), 412);
    assert_eq!(
        header_of(&client.get("k", &[]), "last-modified"),
        "Thu, 01 Jan 2026 00:00:00 GMT"
    );
    assert_eq!(code(&client.get("other", &[])), refused(404, "NoSuchKey"));

    let head = client.send("HEAD", "/bucket/k", &[], "");
    assert_eq!(
        (header_of(&head, "content-length"), text(&head).as_str()),
        ("4", "")
    );
    let head = client.send("HEAD", "/bucket/other", &[], "");
    assert_eq!((head.status().as_u16(), text(&head).as_str()), (404, ""));
}

#[test]
fn listings_are_ordered_and_come_in_pages() {
    let mut client = Client::new(Options::default());
    for key in ["p/b", "p/a", "q", "p/c%3D%26", "p/%C3%A9"] {
        assert_eq!(client.put(key, &[CREATE], key).status(), 200);
    }
    let page = client.list("&prefix=p%2F");
    assert_eq!(page.all("Key"), ["p/a", "p/b", "p/c=&amp;", "p/é"]);
    assert_eq!(
        (
            page.one("KeyCount"),
            page.one("IsTruncated"),
            page.one("MaxKeys")
        ),
        ("4", "false", "1000")
    );
    assert_eq!(page.all("LastModified")[0], "2026-01-01T00:00:00.000Z");
    assert_eq!(page.all("Size")[0], "3");
    assert!(page.all("ETag")[0].starts_with("&quot;"));
    let encoded = client.list("&prefix=p%2F&encoding-type=url");
    assert_eq!(encoded.all("Key"), ["p/a", "p/b", "p/c%3D%26", "p/%C3%A9"]);

    let first = client.list("&prefix=p%2F&max-keys=2");
    assert_eq!(
        (first.all("Key"), first.one("IsTruncated")),
        (vec!["p/a", "p/b"], "true")
    );
    let token = first.one("NextContinuationToken");
    let second = client.list(&format!(
        "&prefix=p%2F&max-keys=2&continuation-token={token}"
    ));
    assert_eq!(
        (second.all("Key").len(), second.one("IsTruncated")),
        (2, "false")
    );
    let after = client.list("&prefix=p%2F&start-after=p%2Fb&max-keys=1");
    assert_eq!(
        (after.all("Key"), after.one("IsTruncated")),
        (vec!["p/c=&amp;"], "true")
    );
    assert_eq!(client.list("&prefix=nothing").one("KeyCount"), "0");
    assert_eq!(client.list("&max-keys=0").one("IsTruncated"), "false");
    for wrong in [
        "&max-keys=x",
        "&max-keys=-1",
        "&encoding-type=x",
        "&continuation-token=%21",
    ] {
        let response = client.send("GET", &format!("/bucket?list-type=2{wrong}"), &[], "");
        assert_eq!(code(&response), refused(400, "InvalidArgument"), "{wrong}");
    }
}

#[test]
fn many_objects_are_deleted_at_once() {
    let mut client = Client::new(Options::default());
    client.put("a", &[CREATE], "");
    client.put("b&b", &[CREATE], "");
    client.put("c", &[CREATE], "");
    let body = "<Delete><Object><Key>a</Key></Object><Object><Key>b&amp;b</Key></Object>\
                <Object><Key>missing</Key></Object></Delete>";
    let unchecked = client.send("POST", "/bucket?delete", &[], body);
    assert_eq!(code(&unchecked), refused(400, "InvalidRequest"));
    use base64::Engine as _;
    let sum = base64::engine::general_purpose::STANDARD
        .encode(<sha2::Sha256 as sha2::Digest>::digest(body));
    let done = client.send(
        "POST",
        "/bucket?delete",
        &[("x-amz-checksum-sha256", &sum)],
        body,
    );
    assert_eq!(Page(text(&done)).all("Key"), ["a", "b&amp;b", "missing"]);
    let left: Vec<&str> = client.store.objects(BUCKET).map(|(key, _)| key).collect();
    assert_eq!(left, ["c"]);
    assert_eq!(client.send("DELETE", "/bucket/c", &[], "").status(), 204);
    assert_eq!(client.send("DELETE", "/bucket/c", &[], "").status(), 204);
}

#[test]
fn bodies_are_checked() {
    let mut client = Client::new(Options {
        max_object_bytes: 4,
        ..Options::default()
    });
    // SHA-256 and MD5 of "hello", which is not the body.
    let sha = (
        "x-amz-checksum-sha256",
        "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
    );
    let md5 = ("content-md5", "XUFAKrxLKna5cZ2REBfFkg==");
    assert_eq!(
        code(&client.put("k", &[CREATE, sha], "hell")),
        refused(400, "BadDigest")
    );
    assert_eq!(
        code(&client.put("k", &[CREATE, md5], "hell")),
        refused(400, "BadDigest")
    );
    assert_eq!(
        code(&client.put("k", &[CREATE, ("content-md5", "x")], "hell")),
        refused(400, "InvalidDigest")
    );
    let crc = ("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(
        code(&client.put("k", &[CREATE, crc], "hell")),
        refused(501, "NotImplemented")
    );
    assert_eq!(
        code(&client.put("k", &[CREATE], "hello")),
        refused(400, "EntityTooLarge")
    );
    assert_eq!(
        code(&client.put(&"k".repeat(1025), &[CREATE], "")),
        refused(400, "KeyTooLongError")
    );
    let mut request = http::Request::put("/bucket/k")
        .header("host", "s3.test")
        .body(Bytes::from_static(b"hell"))
        .unwrap();
    auth::sign(
        &mut request,
        &Options::default().credentials.remove(0),
        REGION,
        NOW,
    )
    .unwrap();
    request.headers_mut().insert("content-length", 9.into());
    assert_eq!(
        code(&client.store.handle(&request, NOW)),
        refused(400, "IncompleteBody")
    );
    request.headers_mut().remove("content-length");
    assert_eq!(
        code(&client.store.handle(&request, NOW)),
        refused(411, "MissingContentLength")
    );
    assert!(client.store.objects(BUCKET).next().is_none());
}

#[test]
fn buckets_are_found_in_both_styles() {
    let mut client = Client::new(Options::default());
    let missing = client.send("GET", "/other/k", &[], "");
    assert_eq!(code(&missing), refused(404, "NoSuchBucket"));
    client.put("k", &[CREATE], "body");
    let mut request = http::Request::get("/k")
        .header("host", "bucket.s3.test")
        .body(Bytes::new())
        .unwrap();
    auth::sign(
        &mut request,
        &Options::default().credentials.remove(0),
        REGION,
        NOW,
    )
    .unwrap();
    assert_eq!(client.store.handle(&request, NOW).body(), "body");
    assert_eq!(client.send("HEAD", "/bucket", &[], "").status(), 200);
    assert_eq!(client.send("HEAD", "/other", &[], "").status(), 404);
}

#[test]
fn quirks_are_those_of_stores_in_the_field() {
    let mut ignoring = Client::with([Quirk::IgnoresIfNoneMatch, Quirk::IgnoresIfMatch]);
    assert_eq!(ignoring.put("k", &[CREATE], "1").status(), 200);
    assert_eq!(ignoring.put("k", &[CREATE], "2").status(), 200);
    assert_eq!(
        ignoring.put("k", &[("if-match", "\"x\"")], "3").status(),
        200
    );

    let mut racy = Client::with([Quirk::ChecksConditionsLate(Duration::from_millis(5))]);
    assert_eq!(racy.put("k", &[CREATE], "1").status(), 200);
    assert_eq!(racy.put("k", &[CREATE], "2").status(), 200, "a racer");
    racy.now = NOW.offset_ms(5);
    assert_eq!(
        racy.put("k", &[CREATE], "3").status(),
        412,
        "somebody later"
    );

    let mut literal = Client::with([
        Quirk::ComparesIfMatchLiterally,
        Quirk::MissingKeyFailsPrecondition,
    ]);
    let tag = header_of(&literal.put("k", &[CREATE], "1"), "etag").to_owned();
    assert_eq!(literal.put("k", &[("if-match", &tag)], "2").status(), 412);
    assert_eq!(
        literal
            .put("k", &[("if-match", tag.trim_matches('"'))], "2")
            .status(),
        200
    );
    assert_eq!(
        literal.put("missing", &[("if-match", &tag)], "2").status(),
        412
    );

    let mut express = Client::with([
        Quirk::OpaqueEtags,
        Quirk::UnsortedListings,
        Quirk::IgnoresMaxKeys,
        Quirk::TellsNoTime,
    ]);
    let one = express.put("a", &[CREATE], "same");
    let two = express.put("b", &[CREATE], "same");
    assert_ne!(header_of(&one, "etag"), header_of(&two, "etag"));
    assert_eq!(header_of(&one, "date"), "");
    for key in ["c", "d", "e"] {
        express.put(key, &[CREATE], "");
    }
    let page = express.list("&max-keys=1");
    assert_eq!(page.one("KeyCount"), "5");
    assert_ne!(page.all("Key"), ["a", "b", "c", "d", "e"]);
}

#[test]
fn requests_are_counted_and_logged() {
    let mut client = Client::new(Options::default());
    client.put("k", &[CREATE], "body");
    client.put("k", &[], "body");
    let before = client.store.traffic().totals().clone();
    client.get("k", &[]);
    client.list("&prefix=k");
    let since = client.store.traffic().totals().since(&before);
    assert_eq!(
        (
            since.of(Kind::Get),
            since.of(Kind::List),
            since.of(Kind::Put),
            since.all()
        ),
        (1, 1, 0, 2)
    );
    assert_eq!(client.store.traffic().totals().unconditional_puts, 1);
    let log: Vec<String> = client.store.traffic().log().map(Entry::to_string).collect();
    assert_eq!(
        log[0],
        "#1    1767225600.000s PUT     k if absent -> 200 (4 in, 0 out)"
    );
}

#[test]
fn a_folder_outlives_the_store() {
    let path = std::env::temp_dir().join(format!("ifmatch-store-{}", std::process::id()));
    let open = || SharedStore::in_folder(Options::default(), &path).unwrap();
    let long_key = "k/".repeat(300) + "é\n";
    {
        let store = open();
        store
            .tamper(|store| store.place(BUCKET, &long_key, "body\n\n", NOW))
            .unwrap();
        store
            .tamper(|store| store.place(BUCKET, "gone", "", NOW))
            .unwrap();
        store.tamper(|store| store.remove(BUCKET, "gone")).unwrap();
    }
    let store = open();
    assert_eq!(store.keys(""), std::slice::from_ref(&long_key));
    let object = store.object(&long_key).unwrap();
    assert_eq!(
        (object.body.as_ref(), object.modified_at),
        (&b"body\n\n"[..], NOW)
    );
    std::fs::remove_dir_all(&path).unwrap();
}
