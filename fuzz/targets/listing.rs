//! What a store answers: listings, error documents and headers.
//!
//! The first line is the value of every header, the rest the body.
#![no_main]

use std::sync::LazyLock;

use bucket_s3::s3::config::Config;
use bucket_s3::s3::delete;
use bucket_s3::s3::error_document::{ErrorDocument, wait_ms};
use bucket_s3::s3::list::ListObjects;
use bucket_s3::s3::response::{End, Headers, Response};

const SECRET: &str = "the-secret-key";

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "an-access-key"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000"),
        ("IFMATCH_BUCKET", "bucket"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::from_variables(&variables).expect("settings")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (line, body) = data.split_at(end.unwrap_or(0));
    let mut headers = Headers::collect(&|_| vec![line.to_vec()]);
    let _ = (
        headers.version(),
        headers.observed_at(),
        headers.content_range(),
    );
    let _ = (
        headers.is_cached(),
        headers.content_length(),
        wait_ms(&headers),
    );
    // With these, nothing would look at the body.
    (headers.age, headers.content_length) = (None, None);
    let mut response = Response {
        status: 200,
        headers,
        body: body.to_vec(),
        end: End::Complete,
    };
    let list = ListObjects {
        prefix: "log/".to_owned(),
        start_after: None,
        max_keys: 1000,
        continuation: None,
    };
    let part = fuzz::bounded(data.len(), || list.part(&response, &CONFIG));
    for entry in part.iter().flat_map(|part| &part.entries) {
        if let Ok(Some(metadata)) = entry.metadata("log/") {
            assert_eq!(["log/", metadata.key.as_str()].concat(), entry.key);
        }
    }
    fuzz::bounded(data.len(), || ErrorDocument::parse(body));
    // The fuzzer sees what is looked for below, and may put it into its input.
    let secret_is_told = data.windows(SECRET.len()).any(|it| it == SECRET.as_bytes());
    for status in [200, 400, 403, 404, 503] {
        response.status = status;
        let refused = fuzz::bounded(data.len(), || delete::outcome(&response, &CONFIG));
        if let Err(error) = refused {
            let text = format!("{error:?}");
            assert!(text.len() < 4096, "{} bytes of error", text.len());
            assert!(secret_is_told || !text.contains(SECRET), "{text}");
            assert!(!text.contains(char::is_control), "{text}");
        }
    }
});
