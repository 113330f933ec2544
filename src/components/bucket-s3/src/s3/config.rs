//! The settings, from environment variables. Parsed once per instance.
//!
//! Every error names the setting and never quotes a value.

use super::address::{Address, Addressing, Endpoint, Scheme, is_bucket};
use super::credentials::{Credentials, MAX_KEY_BYTES, MAX_TOKEN_BYTES, Secret};
use super::encoding::decimal;
use super::port::{Error, is_key};

/// Longest prefix, in bytes. With the longest key this stays below the 1024
/// bytes that S3 allows.
pub const MAX_PREFIX_BYTES: usize = 256;

/// How entity tags are written in conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtagForm {
    /// `"etag"`, as HTTP demands.
    Quoted,
    /// `etag`, for Ceph RGW versions that compare the header literally.
    Unquoted,
}

/// Whether signatures cover the bodies of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// By their SHA-256: the store refuses a body that changed on the way.
    Signed,
    /// Not: the connection has to protect them.
    Unsigned,
}

/// Everything that an instance is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the bucket is.
    pub address: Address,
    /// The region that signatures name.
    pub region: String,
    /// Who signs.
    pub credentials: Credentials,
    /// Prepended to every key: empty, or ending with a slash.
    pub prefix: String,
    /// How entity tags are written in conditions.
    pub etag: EtagForm,
    /// Whether signatures cover the bodies of writes.
    pub payload: Payload,
    /// Limits.
    pub limits: Limits,
}

/// The limits of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection must stand.
    pub connect_timeout_ms: u32,
    /// Until a request must be answered in full.
    pub request_timeout_ms: u32,
    /// Largest body that is written or read.
    pub object_bytes: u64,
    /// Most bytes of bodies that the replies of one `get-many` hold together.
    pub batch_bytes: u64,
    /// Most requests of one call that are under way at once.
    pub in_flight: usize,
}

/// The numeric settings: name, default, least, most.
struct Number {
    name: &'static str,
    default: u64,
    least: u64,
    most: u64,
}

const CONNECT_TIMEOUT_MS: Number = Number {
    name: "IFMATCH_CONNECT_TIMEOUT_MS",
    default: 5_000,
    least: 10,
    most: 600_000,
};
const REQUEST_TIMEOUT_MS: Number = Number {
    name: "IFMATCH_REQUEST_TIMEOUT_MS",
    default: 30_000,
    least: 10,
    most: 3_600_000,
};
const OBJECT_BYTES: Number = Number {
    name: "IFMATCH_MAX_OBJECT_BYTES",
    default: 64 << 20,
    least: 1 << 10,
    most: 1 << 30,
};
const BATCH_BYTES: Number = Number {
    name: "IFMATCH_MAX_BATCH_BYTES",
    default: 128 << 20,
    least: 1 << 10,
    most: 2 << 30,
};
const IN_FLIGHT: Number = Number {
    name: "IFMATCH_MAX_IN_FLIGHT",
    default: 16,
    least: 1,
    most: 64,
};

impl Config {
    /// Reads the settings from name and value pairs. An empty value counts as
    /// absent.
    ///
    /// # Errors
    /// `Misconfigured`, naming the setting.
    pub fn from_variables(variables: &[(String, String)]) -> Result<Self, Error> {
        let source = Source(variables);
        let credentials = source.credentials()?;
        let (endpoint_name, endpoint_url) =
            match source.either("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") {
                Some((name, url)) => (name, Some(url)),
                None => ("AWS_REGION", None),
            };
        let region = source.region(endpoint_url.is_some())?;
        let url = endpoint_url.map_or_else(|| amazon(&region), ToOwned::to_owned);
        let endpoint = Endpoint::parse(&url).map_err(|why| wrong(endpoint_name, why))?;
        let bucket = source.bucket()?;
        let addressing = source.addressing(&endpoint, bucket)?;
        Ok(Self {
            address: Address::new(&endpoint, bucket, addressing),
            region,
            credentials,
            prefix: source.prefix()?,
            etag: source.etag()?,
            payload: source.payload(&endpoint)?,
            limits: Limits {
                connect_timeout_ms: source.number(&CONNECT_TIMEOUT_MS)?,
                request_timeout_ms: source.number(&REQUEST_TIMEOUT_MS)?,
                object_bytes: source.number(&OBJECT_BYTES)?,
                batch_bytes: source.number(&BATCH_BYTES)?,
                in_flight: source.number(&IN_FLIGHT)?,
            },
        })
    }

    /// Scheme and authority, as in an address.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme: Scheme = self.address.scheme;
        [scheme.as_str(), "://", &self.address.authority].concat()
    }
}

fn amazon(region: &str) -> String {
    // The regions in China are a partition with a domain of its own.
    let suffix = if region.starts_with("cn-") {
        ".amazonaws.com.cn"
    } else {
        ".amazonaws.com"
    };
    ["https://s3.", region, suffix].concat()
}

fn wrong(name: &str, why: &str) -> Error {
    Error::Misconfigured([name, " ", why].concat())
}

/// Where a setting belongs differs from host to host, and which host this is cannot be
/// told from inside.
fn missing(name: &str) -> Error {
    wrong(
        name,
        "is not set in the environment of this component (wasmtime: --env; Spin: environment \
         and dependencies_inherit_configuration; wasmCloud: environment; Workers: vars or secrets)",
    )
}

struct Source<'a>(&'a [(String, String)]);

impl<'a> Source<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    fn either<'n>(&self, first: &'n str, second: &'n str) -> Option<(&'n str, &'a str)> {
        let named = |name| self.get(name).map(|value| (name, value));
        named(first).or_else(|| named(second))
    }

    fn require(&self, name: &str) -> Result<&'a str, Error> {
        self.get(name).ok_or_else(|| missing(name))
    }

    fn credentials(&self) -> Result<Credentials, Error> {
        let access_key_id = self.require("AWS_ACCESS_KEY_ID")?;
        let plain = access_key_id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/,=".contains(&byte));
        if !plain || access_key_id.len() > MAX_KEY_BYTES {
            return Err(wrong(
                "AWS_ACCESS_KEY_ID",
                "must be at most 256 printable ASCII characters other than / , =",
            ));
        }
        let secret_access_key = self.require("AWS_SECRET_ACCESS_KEY")?;
        if !secret_access_key
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
            || secret_access_key.len() > MAX_KEY_BYTES
        {
            return Err(wrong(
                "AWS_SECRET_ACCESS_KEY",
                "must be at most 256 printable ASCII characters without white space",
            ));
        }
        let session_token = self.get("AWS_SESSION_TOKEN");
        if session_token.is_some_and(|token| {
            token.len() > MAX_TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic())
        }) {
            return Err(wrong(
                "AWS_SESSION_TOKEN",
                "must be at most 8192 printable ASCII characters without white space",
            ));
        }
        let secret = |text: &str| Secret::new(text.to_owned());
        Ok(Credentials {
            access_key_id: secret(access_key_id),
            secret_access_key: secret(secret_access_key),
            session_token: session_token.map(secret),
        })
    }

    fn region(&self, has_endpoint: bool) -> Result<String, Error> {
        let Some((name, region)) = self.either("AWS_REGION", "AWS_DEFAULT_REGION") else {
            // Most stores other than Amazon's take any region; with Amazon's a
            // guess would send the data of one region to another.
            return if has_endpoint {
                Ok("us-east-1".to_owned())
            } else {
                Err(missing("AWS_REGION (or AWS_ENDPOINT_URL_S3)"))
            };
        };
        let plain = region
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if plain && region.len() <= 63 {
            Ok(region.to_owned())
        } else {
            Err(wrong(
                name,
                "must be at most 63 characters of A-Z a-z 0-9 - _",
            ))
        }
    }

    fn bucket(&self) -> Result<&'a str, Error> {
        let bucket = self.require("IFMATCH_BUCKET")?;
        if is_bucket(bucket) {
            Ok(bucket)
        } else {
            Err(wrong(
                "IFMATCH_BUCKET",
                "must be 1 to 255 characters of A-Z a-z 0-9 - . _",
            ))
        }
    }

    fn addressing(&self, endpoint: &Endpoint, bucket: &str) -> Result<Addressing, Error> {
        // No TLS certificate covers a bucket with dots as part of a host name,
        // and no host name has the other characters.
        let is_label = bucket.len() <= 63
            && bucket
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        match self.get("IFMATCH_ADDRESSING") {
            None if endpoint.is_amazon() && is_label => Ok(Addressing::Virtual),
            None | Some("path") => Ok(Addressing::Path),
            Some("virtual") if endpoint.is_ip() => Err(wrong(
                "IFMATCH_ADDRESSING",
                "cannot be virtual when the endpoint is an IP address",
            )),
            Some("virtual") if is_label => Ok(Addressing::Virtual),
            Some("virtual") => Ok(Addressing::Path),
            Some(_) => Err(wrong("IFMATCH_ADDRESSING", "must be path or virtual")),
        }
    }

    fn prefix(&self) -> Result<String, Error> {
        let Some(prefix) = self.get("IFMATCH_PREFIX") else {
            return Ok(String::new());
        };
        // The slash keeps the installation `a` apart from the installation `ab`.
        let bare = prefix.strip_suffix('/').unwrap_or(prefix);
        if is_key(bare) && bare.len() < MAX_PREFIX_BYTES {
            Ok([bare, "/"].concat())
        } else {
            Err(wrong(
                "IFMATCH_PREFIX",
                "must be at most 256 bytes of A-Z a-z 0-9 . _ = - /, without empty, . or .. segments",
            ))
        }
    }

    fn etag(&self) -> Result<EtagForm, Error> {
        match self.get("IFMATCH_ETAG") {
            None | Some("quoted") => Ok(EtagForm::Quoted),
            Some("unquoted") => Ok(EtagForm::Unquoted),
            Some(_) => Err(wrong("IFMATCH_ETAG", "must be quoted or unquoted")),
        }
    }

    fn payload(&self, endpoint: &Endpoint) -> Result<Payload, Error> {
        const NAME: &str = "IFMATCH_PAYLOAD";
        match self.get(NAME) {
            None | Some("signed") => Ok(Payload::Signed),
            Some("unsigned") if endpoint.is_protected() => Ok(Payload::Unsigned),
            Some("unsigned") => Err(wrong(NAME, "can be unsigned only over https or loopback")),
            Some(_) => Err(wrong(NAME, "must be signed or unsigned")),
        }
    }

    fn number<T: TryFrom<u64>>(&self, number: &Number) -> Result<T, Error> {
        let value = match self.get(number.name) {
            None => Some(number.default),
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            Some(_) => None,
        };
        value
            .filter(|value| (number.least..=number.most).contains(value))
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| {
                let (least, most) = (decimal(number.least), decimal(number.most));
                wrong(
                    number.name,
                    &["must be a number from ", &least, " to ", &most].concat(),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: [&str; 3] = ["KEYID", "hunter2", "t0ken"];

    fn parse(changes: &[(&str, &str)]) -> Result<Config, Error> {
        let mut variables = vec![
            ("AWS_ACCESS_KEY_ID".to_owned(), SECRETS[0].to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRETS[1].to_owned()),
            ("AWS_SESSION_TOKEN".to_owned(), SECRETS[2].to_owned()),
            ("AWS_REGION".to_owned(), "eu-west-1".to_owned()),
            ("IFMATCH_BUCKET".to_owned(), "data".to_owned()),
        ];
        for (name, value) in changes {
            variables.retain(|(existing, _)| existing != name);
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        Config::from_variables(&variables)
    }

    fn complaint(changes: &[(&str, &str)]) -> String {
        match parse(changes) {
            Err(Error::Misconfigured(text)) => text,
            other => format!("not refused: {other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_amazon() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.origin(), "https://data.s3.eu-west-1.amazonaws.com");
        assert_eq!(config.region, "eu-west-1");
        assert_eq!(config.prefix, "");
        assert_eq!(config.etag, EtagForm::Quoted);
        assert_eq!(config.payload, Payload::Signed);
        assert_eq!(
            config.limits,
            Limits {
                connect_timeout_ms: 5_000,
                request_timeout_ms: 30_000,
                object_bytes: 67_108_864,
                batch_bytes: 134_217_728,
                in_flight: 16,
            }
        );
        let china = parse(&[("AWS_REGION", "cn-north-1")]).unwrap();
        assert_eq!(
            china.origin(),
            "https://data.s3.cn-north-1.amazonaws.com.cn"
        );
    }

    #[test]
    fn an_endpoint_makes_the_region_optional_and_the_bucket_a_path() {
        let config = parse(&[
            ("AWS_REGION", ""),
            ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000"),
        ])
        .unwrap();
        assert_eq!(config.region, "us-east-1");
        assert_eq!(config.origin(), "http://127.0.0.1:9000");
        assert_eq!(config.address.bucket_path(), "/data");
        let general = parse(&[("AWS_ENDPOINT_URL", "http://h")]).unwrap();
        assert_eq!(general.origin(), "http://h");
        let specific = parse(&[
            ("AWS_ENDPOINT_URL", "http://h"),
            ("AWS_ENDPOINT_URL_S3", "http://g"),
        ])
        .unwrap();
        assert_eq!(specific.origin(), "http://g");
        let fallback = parse(&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "eu-north-1")]).unwrap();
        assert_eq!(fallback.region, "eu-north-1");
    }

    #[test]
    fn addressing_follows_the_setting_where_the_bucket_allows() {
        let forced = parse(&[("IFMATCH_ADDRESSING", "path")]).unwrap();
        assert_eq!(forced.origin(), "https://s3.eu-west-1.amazonaws.com");
        let dotted =
            parse(&[("IFMATCH_ADDRESSING", "virtual"), ("IFMATCH_BUCKET", "a.b")]).unwrap();
        assert_eq!(dotted.address.bucket_path(), "/a.b");
        let hosted = parse(&[
            ("IFMATCH_ADDRESSING", "virtual"),
            ("AWS_ENDPOINT_URL", "http://h:1"),
        ])
        .unwrap();
        assert_eq!(hosted.origin(), "http://data.h:1");
    }

    #[test]
    fn a_prefix_ends_with_a_slash() {
        assert_eq!(
            parse(&[("IFMATCH_PREFIX", "apps/x")]).unwrap().prefix,
            "apps/x/"
        );
        assert_eq!(
            parse(&[("IFMATCH_PREFIX", "apps/x/")]).unwrap().prefix,
            "apps/x/"
        );
    }

    #[test]
    fn a_body_goes_unsigned_only_where_nobody_can_change_it() {
        let payload = |url: &str| {
            let unsigned = [("IFMATCH_PAYLOAD", "unsigned"), ("AWS_ENDPOINT_URL", url)];
            parse(&unsigned).map(|config| config.payload)
        };
        for url in [
            "",
            "https://store.example",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "http://localhost",
        ] {
            assert_eq!(payload(url).unwrap(), Payload::Unsigned, "{url}");
        }
        for url in [
            "http://store.example",
            "http://10.0.0.1",
            "http://127.example",
            "http://localhost.example",
        ] {
            let Err(Error::Misconfigured(text)) = payload(url) else {
                panic!("{url} was not refused");
            };
            assert!(text.starts_with("IFMATCH_PAYLOAD "), "{text}");
        }
    }

    #[test]
    fn every_complaint_names_its_setting_and_no_secret() {
        let long = "x".repeat(9000);
        for (name, values) in [
            ("AWS_ACCESS_KEY_ID", vec!["", "a/b", "a b", long.as_str()]),
            (
                "AWS_SECRET_ACCESS_KEY",
                vec!["", "hunter2 ", "hunter2\n", long.as_str()],
            ),
            ("AWS_SESSION_TOKEN", vec!["t0ken\r\nx: y", long.as_str()]),
            (
                "AWS_REGION",
                vec!["", "eu west", "eu/west", "..", long.as_str()],
            ),
            (
                "AWS_ENDPOINT_URL_S3",
                vec!["h", "https://", "https://u:hunter2@h", long.as_str()],
            ),
            (
                "IFMATCH_BUCKET",
                vec!["", "a/b", "a b", "..", long.as_str()],
            ),
            (
                "IFMATCH_PREFIX",
                vec!["/", "/a", "a//", "a/../b", "a b", long.as_str()],
            ),
            ("IFMATCH_ADDRESSING", vec!["Path", "auto"]),
            ("IFMATCH_ETAG", vec!["raw"]),
            ("IFMATCH_PAYLOAD", vec!["none", "Signed"]),
            (
                "IFMATCH_CONNECT_TIMEOUT_MS",
                vec!["0", "9", "600001", "-1", "+10", "1e3", " 10"],
            ),
            ("IFMATCH_REQUEST_TIMEOUT_MS", vec!["0", "3600001"]),
            (
                "IFMATCH_MAX_OBJECT_BYTES",
                vec!["0", "1073741825", "99999999999999999999999"],
            ),
            ("IFMATCH_MAX_BATCH_BYTES", vec!["1"]),
            ("IFMATCH_MAX_IN_FLIGHT", vec!["0", "65"]),
        ] {
            for value in values {
                let text = complaint(&[(name, value)]);
                assert!(text.starts_with(name), "{name}={value}: {text}");
                assert!(
                    SECRETS.iter().all(|secret| !text.contains(secret)),
                    "{text}"
                );
            }
        }
        let ip = [
            ("IFMATCH_ADDRESSING", "virtual"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1"),
        ];
        assert!(complaint(&ip).starts_with("IFMATCH_ADDRESSING"));
    }

    #[test]
    fn debug_output_redacts_credentials() {
        let text = format!("{:?}", parse(&[]).unwrap());
        assert!(
            SECRETS.iter().all(|secret| !text.contains(secret)),
            "{text}"
        );
    }
}
