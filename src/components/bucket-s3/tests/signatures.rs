//! Every vector in `fixtures/sigv4` gives its signature. The vectors of the S3
//! documentation and of the AWS test suite are published; the others were
//! computed by an independent implementation, named in each file.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::Path;

use bucket_s3::s3::canonical_request::{CanonicalRequest, Query, SignedHeaders};
use bucket_s3::s3::config::Config;
use bucket_s3::s3::credentials::Secret;
use bucket_s3::s3::encoding::encode_path;
use bucket_s3::s3::presign::Presign;
use bucket_s3::s3::signature::{SERVICE, Signer};
use bucket_s3::s3::time::{AmzDate, iso_8601_ms};

struct Vector(Vec<(String, String)>);

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line}")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_else(|| panic!("no {name}"))
    }

    fn unix_ms(&self) -> u64 {
        let mut iso = self.get("time").to_owned();
        for (at, mark) in [(13, ':'), (11, ':'), (6, '-'), (4, '-')] {
            iso.insert(at, mark);
        }
        iso_8601_ms(&iso).unwrap()
    }

    fn signature(&self, changed: Option<&str>) -> String {
        let service: &'static str = match self.get("service") {
            "s3" => SERVICE,
            "service" => "service",
            other => panic!("{other}"),
        };
        let secret = self.get("secret-access-key").to_owned();
        let signer = Signer::new(Secret::new(secret), self.get("region"), service);
        let mut query = Query::new();
        for pair in self.all("query") {
            let (name, value) = pair.split_once('=').unwrap();
            query.push(name, value);
        }
        let mut headers = SignedHeaders::new();
        for header in self.all("header") {
            let (name, value) = header.split_once(": ").unwrap();
            headers.push(name, changed.unwrap_or(value));
        }
        let request = CanonicalRequest {
            method: self.get("method"),
            path: &encode_path(self.get("path")),
            query: &query.canonical(),
            headers: &headers,
            payload: self.get("payload"),
        };
        let at = AmzDate::at(self.unix_ms());
        assert_eq!(at.as_str(), self.get("time"));
        let first = signer.sign(&request, &at);
        // Another day in between: the cached key must not stick.
        let _ = signer.sign(&request, &AmzDate::at(self.unix_ms() + 86_400_000));
        assert_eq!(signer.sign(&request, &at), first);
        first
    }
}

fn vectors() -> Vec<(String, Vector)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures/sigv4");
    let mut vectors: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                Vector::read(&path),
            )
        })
        .collect();
    vectors.sort_by(|a, b| a.0.cmp(&b.0));
    vectors
}

#[test]
fn every_vector_gives_its_signature() {
    let vectors = vectors();
    assert!(vectors.len() >= 19, "vectors are missing");
    for (name, vector) in vectors {
        assert_eq!(vector.signature(None), vector.get("signature"), "{name}");
        assert_ne!(
            vector.signature(Some("changed")),
            vector.get("signature"),
            "{name}"
        );
    }
}

#[test]
fn a_presigned_upload_is_that_of_the_oracle() {
    let (_, vector) = vectors()
        .into_iter()
        .find(|(name, _)| name == "oracle-presigned-put")
        .unwrap();
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let config = Config::from_variables(&[
        setting("AWS_ACCESS_KEY_ID", vector.get("access-key-id")),
        setting("AWS_SECRET_ACCESS_KEY", vector.get("secret-access-key")),
        setting("AWS_REGION", vector.get("region")),
        setting("AWS_ENDPOINT_URL", "http://127.0.0.1:5503"),
        setting("IFMATCH_BUCKET", "data"),
        setting("IFMATCH_PREFIX", "it"),
    ])
    .unwrap();
    let signer = Signer::new(
        config.credentials.secret_access_key.clone(),
        &config.region,
        SERVICE,
    );
    let digest = "507c1a291c63d7e46cce06cb843de4e7835b2afa4bae4f2ed33e2f7e28796c9c";
    let request =
        Presign::put("blob/a=b", digest, 604_800)
            .unwrap()
            .sign(&config, &signer, vector.unix_ms());
    assert_eq!(request.method, "PUT");
    assert!(
        request
            .url
            .starts_with("http://127.0.0.1:5503/data/it/blob/a%3Db?X-Amz-Algorithm=")
    );
    assert!(
        request
            .url
            .ends_with(&format!("&X-Amz-Signature={}", vector.get("signature"))),
        "{}",
        request.url
    );
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        headers,
        [
            ("if-none-match", "*"),
            (
                "x-amz-checksum-sha256",
                "UHwaKRxj1+RszgbLhD3k54NbKvpLrk8u0z4vfih5bJw="
            ),
        ]
    );
}
