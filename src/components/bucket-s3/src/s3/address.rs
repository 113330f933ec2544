//! Where a bucket is: the endpoint, and whether the bucket's name stands in the
//! path or in the host.

use super::encoding::{decimal, encode_path};

/// Longest endpoint, in bytes.
pub const MAX_ENDPOINT_BYTES: usize = 512;

/// The scheme of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text, for loopback and private networks.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in an address.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The address of an S3 API, without a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    /// Only if it is not the default of the scheme: HTTP clients leave that out
    /// of the `Host` header, which is signed.
    port: Option<u16>,
    /// Empty, or starting with a slash and not ending with one.
    path: String,
}

impl Endpoint {
    /// Parses `http[s]://host[:port][/path]`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_ENDPOINT_BYTES {
            return Err("is longer than 512 bytes");
        }
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err("does not start with http:// or https://");
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = split_port(authority)?;
        if !is_host(host) {
            return Err(
                "has no valid host name (user names, passwords, queries and fragments are not allowed)",
            );
        }
        let path = path.trim_end_matches('/');
        let plain = path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte));
        if !plain
            || path
                .split('/')
                .skip(1)
                .any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(
                "has a path with other than A-Z a-z 0-9 - . _ ~ or with empty, . or .. segments",
            );
        }
        Ok(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port: port.filter(|port| *port != scheme.default_port()),
            path: path.to_owned(),
        })
    }

    /// Whether this is Amazon's own S3.
    #[must_use]
    pub fn is_amazon(&self) -> bool {
        self.host.ends_with(".amazonaws.com") || self.host.ends_with(".amazonaws.com.cn")
    }

    /// Whether nobody on the way can change what is sent: over TLS, or to this machine.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        let here = self.host == "localhost"
            || self.host == "[::1]"
            || (self.is_ip() && self.host.starts_with("127."));
        self.scheme == Scheme::Https || here
    }

    /// Whether the host is an IP address, before which no bucket name can stand.
    #[must_use]
    pub fn is_ip(&self) -> bool {
        self.host.starts_with('[')
            || self
                .host
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    // An IPv6 address has colons of its own, inside its brackets.
    let after_address = authority.rfind(']').map_or(0, |at| at.saturating_add(1));
    let colon = authority
        .get(after_address..)
        .and_then(|tail| tail.find(':'))
        .map(|at| at.saturating_add(after_address));
    let Some((host, port)) = colon.and_then(|at| authority.split_at_checked(at)) else {
        return Ok((authority, None));
    };
    let digits = port.trim_start_matches(':');
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(number) if plain && number > 0 => Ok((host, Some(number))),
        _ => Err("has a port that is not a number from 1 to 65535"),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return !address.is_empty()
            && address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
    }
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

/// Whether `name` can be the name of a bucket. Wider than the rules of Amazon:
/// other stores allow upper case and underscores.
#[must_use]
pub fn is_bucket(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Where the bucket's name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `https://host/bucket/key`
    Path,
    /// `https://bucket.host/key`
    Virtual,
}

/// The address of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its scheme.
    pub scheme: Scheme,
    /// Host and, if it is not the default of the scheme, port: what the `Host`
    /// header says.
    pub authority: String,
    /// The bucket's name.
    pub bucket: String,
    root: String,
}

impl Address {
    /// Puts a bucket at an endpoint.
    #[must_use]
    pub fn new(endpoint: &Endpoint, bucket: &str, addressing: Addressing) -> Self {
        let mut authority = endpoint.host.clone();
        if let Some(port) = endpoint.port {
            authority.push(':');
            authority.push_str(&decimal(port.into()));
        }
        let mut root = endpoint.path.clone();
        match addressing {
            Addressing::Path => {
                root.push('/');
                root.push_str(bucket);
            }
            Addressing::Virtual => authority = [bucket, ".", &authority].concat(),
        }
        Self {
            scheme: endpoint.scheme,
            authority,
            bucket: bucket.to_owned(),
            root,
        }
    }

    /// The encoded path of an object.
    #[must_use]
    pub fn object_path(&self, full_key: &str) -> String {
        [&self.root, "/", &encode_path(full_key)].concat()
    }

    /// The encoded path of the bucket itself.
    #[must_use]
    pub fn bucket_path(&self) -> String {
        if self.root.is_empty() {
            "/".to_owned()
        } else {
            self.root.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(endpoint: &str, bucket: &str, addressing: Addressing) -> Address {
        Address::new(&Endpoint::parse(endpoint).unwrap(), bucket, addressing)
    }

    #[test]
    fn the_bucket_stands_in_the_path_or_in_the_host() {
        let path = address("http://127.0.0.1:5503", "data", Addressing::Path);
        assert_eq!(path.authority, "127.0.0.1:5503");
        assert_eq!(path.object_path("a/b=c"), "/data/a/b%3Dc");
        assert_eq!(path.bucket_path(), "/data");

        let host = address(
            "https://s3.eu-west-1.amazonaws.com/",
            "data",
            Addressing::Virtual,
        );
        assert_eq!(host.authority, "data.s3.eu-west-1.amazonaws.com");
        assert_eq!(host.object_path("a"), "/a");
        assert_eq!(host.bucket_path(), "/");

        let below = address("https://gateway.example/s3/v1/", "data", Addressing::Path);
        assert_eq!(below.object_path("a"), "/s3/v1/data/a");
    }

    #[test]
    fn default_ports_are_left_out_and_others_kept() {
        for (endpoint, authority) in [
            ("https://h.example:443", "h.example"),
            ("http://h.example:80", "h.example"),
            ("https://h.example:80", "h.example:80"),
            ("http://[::1]:9000", "[::1]:9000"),
            ("http://[::1]", "[::1]"),
            ("http://H.Example", "h.example"),
        ] {
            assert_eq!(
                address(endpoint, "b", Addressing::Path).authority,
                authority
            );
        }
    }

    #[test]
    fn what_is_not_an_endpoint_is_refused() {
        for bad in [
            "",
            "h.example",
            "ftp://h",
            "https://",
            "https://:80",
            "https://u:p@h",
            "https://h:0",
            "https://h:65536",
            "https://h:+1",
            "https://h?x",
            "https://h#x",
            "https://h/a//b",
            "https://h/../b",
            "https://h/a%20b",
            "https://h x",
            "https://[::1",
            "https://h\r\n",
            "https://h:",
            "https://-_.",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ip_addresses_and_amazon_are_told_apart() {
        assert!(Endpoint::parse("http://127.0.0.1:1").unwrap().is_ip());
        assert!(Endpoint::parse("http://[::1]").unwrap().is_ip());
        assert!(!Endpoint::parse("http://localhost").unwrap().is_ip());
        assert!(
            Endpoint::parse("https://s3.amazonaws.com")
                .unwrap()
                .is_amazon()
        );
        assert!(
            Endpoint::parse("https://s3.cn-north-1.amazonaws.com.cn")
                .unwrap()
                .is_amazon()
        );
        assert!(
            !Endpoint::parse("https://amazonaws.com.evil.example")
                .unwrap()
                .is_amazon()
        );
    }
}
