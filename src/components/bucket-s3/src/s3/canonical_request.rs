//! The canonical request of Signature Version 4: what exactly is signed.
//!
//! The rules are those of S3: the path is encoded once and not normalised.

use super::encoding::encode_query;

/// The parameters of a query, encoded and sorted by name and then value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter; neither part is encoded yet.
    pub fn push(&mut self, name: &str, value: &str) {
        let pair = (encode_query(name), encode_query(value));
        let at = self.0.partition_point(|existing| *existing <= pair);
        self.0.insert(at, pair);
    }

    /// The canonical form, which is also what is sent.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        text
    }
}

/// Headers that are signed: lower-case names, values as they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedHeaders(Vec<(String, String)>);

impl SignedHeaders {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header.
    pub fn push(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        // Kept sorted by name; headers of one name stay in the order of adding.
        let at = self.0.partition_point(|(existing, _)| *existing <= name);
        self.0.insert(at, (name, value.to_owned()));
    }

    /// What a client is to send of them: all but `host`, which it sets by itself.
    #[must_use]
    pub fn sent(self) -> Vec<(String, String)> {
        let mut headers = self.0;
        headers.retain(|(name, _)| name != "host");
        headers
    }

    /// `a;b;c`: the names, each once.
    #[must_use]
    pub fn names(&self) -> String {
        let mut names = String::new();
        let mut last = "";
        for (name, _) in &self.0 {
            if name != last {
                if !last.is_empty() {
                    names.push(';');
                }
                names.push_str(name);
            }
            last = name;
        }
        names
    }

    fn canonical(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        for (name, value) in &self.0 {
            if last == name {
                // Values of one name are joined on its line.
                text.pop();
                text.push(',');
            } else {
                text.push_str(name);
                text.push(':');
            }
            last = name;
            for (position, word) in value.split_ascii_whitespace().enumerate() {
                if position > 0 {
                    text.push(' ');
                }
                text.push_str(word);
            }
            text.push('\n');
        }
        text
    }
}

/// The parts of a canonical request.
#[derive(Clone, Copy, Debug)]
pub struct CanonicalRequest<'a> {
    /// `GET`, `PUT` and so on.
    pub method: &'a str,
    /// The path as it is sent.
    pub path: &'a str,
    /// The canonical query.
    pub query: &'a str,
    /// The signed headers, `host` among them.
    pub headers: &'a SignedHeaders,
    /// Hexadecimal SHA-256 of the payload, or `UNSIGNED-PAYLOAD`.
    pub payload: &'a str,
}

impl CanonicalRequest<'_> {
    /// The text that is hashed into the string to sign.
    #[must_use]
    pub fn text(&self) -> String {
        [
            self.method,
            self.path,
            self.query,
            &self.headers.canonical(),
            &self.headers.names(),
            self.payload,
        ]
        .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_sort_by_encoded_name_then_value() {
        let mut query = Query::new();
        for (name, value) in [
            ("b", "2"),
            ("a", "2"),
            ("A", "x/y"),
            ("a", "1"),
            ("ü", ""),
            ("a-", ""),
        ] {
            query.push(name, value);
        }
        assert_eq!(query.canonical(), "%C3%BC=&A=x%2Fy&a=1&a=2&a-=&b=2");
        assert_eq!(Query::new().canonical(), "");
    }

    #[test]
    fn headers_are_lowered_sorted_trimmed_and_joined() {
        let mut headers = SignedHeaders::new();
        headers.push("My-Header1", "  value4 ");
        headers.push("Host", "example.amazonaws.com");
        headers.push("my-header1", "a   b");
        assert_eq!(
            headers.canonical(),
            "host:example.amazonaws.com\nmy-header1:value4,a b\n"
        );
        assert_eq!(headers.names(), "host;my-header1");
    }
}
