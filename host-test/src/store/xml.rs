//! The XML that the store writes, and the one document that it reads.

use super::error::S3Error;
use quick_xml::events::Event;
use quick_xml::name::QName;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document under construction.
pub struct Document {
    text: String,
    open: Vec<&'static str>,
}

impl Document {
    /// Begins a document in no namespace, as errors are.
    pub fn plain(root: &'static str) -> Self {
        Self::begin(root, "")
    }

    /// Begins a document in S3's namespace.
    pub fn in_namespace(root: &'static str) -> Self {
        Self::begin(root, &format!(" xmlns=\"{NAMESPACE}\""))
    }

    fn begin(root: &'static str, attributes: &str) -> Self {
        Self {
            text: format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}{attributes}>"),
            open: vec![root],
        }
    }

    /// Begins an element that holds others.
    pub fn open(&mut self, name: &'static str) {
        self.text.push_str(&format!("<{name}>"));
        self.open.push(name);
    }

    /// Ends the element begun last.
    pub fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.text.push_str(&format!("</{name}>"));
        }
    }

    /// Adds an element that holds text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.text.push_str(&format!("<{name}>"));
        escape_into(&mut self.text, value);
        self.text.push_str(&format!("</{name}>"));
    }

    /// Ends every open element.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }
}

fn escape_into(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Characters that XML 1.0 cannot hold, not even escaped.
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// The request of a multi-object delete.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Delete {
    /// In the order of the document.
    pub keys: Vec<String>,
    /// Report failures only.
    pub quiet: bool,
}

/// Reads `<Delete><Quiet/><Object><Key/></Object>...</Delete>`.
pub fn parse_delete(body: &[u8]) -> Result<Delete, S3Error> {
    let text = std::str::from_utf8(body).map_err(|_| S3Error::malformed_xml())?;
    let mut reader = quick_xml::Reader::from_str(text);
    let mut delete = Delete::default();
    let mut path: Vec<String> = Vec::new();
    let mut value = String::new();
    let name_of = |name: QName| name.local_name().as_ref().to_owned();
    let mut seen_root = false;
    loop {
        match reader.read_event().map_err(|_| S3Error::malformed_xml())? {
            Event::Start(start) => {
                path.push(name_of(start.name()));
                value.clear();
                seen_root |= path == ["Delete"];
            }
            Event::End(_) => {
                match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["Delete", "Object", "Key"] => delete.keys.push(std::mem::take(&mut value)),
                    ["Delete", "Quiet"] => delete.quiet = value.trim() == "true",
                    ["Delete"] | ["Delete", "Object"] => {}
                    // A condition or a version that would be ignored.
                    _ => {
                        return Err(S3Error::not_implemented(
                            "This element of a multi-object delete",
                        ));
                    }
                }
                path.pop();
            }
            Event::Text(text) => value.push_str(&text.xml10_content()),
            Event::CData(text) => value.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => value.push(resolve(&reference)?),
            Event::Eof => break,
            Event::Decl(_) | Event::Comment(_) => {}
            Event::Empty(_) | Event::DocType(_) | Event::PI(_) => {
                return Err(S3Error::malformed_xml());
            }
        }
    }
    if !path.is_empty() || !seen_root || delete.keys.is_empty() {
        return Err(S3Error::malformed_xml());
    }
    Ok(delete)
}

/// The character that `&name;` stands for.
fn resolve(name: &str) -> Result<char, S3Error> {
    let number = |digits: &str, radix| {
        u32::from_str_radix(digits, radix)
            .ok()
            .and_then(char::from_u32)
            .ok_or_else(S3Error::malformed_xml)
    };
    match name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => match name.strip_prefix('#') {
            Some(hex) if hex.starts_with('x') => number(&hex[1..], 16),
            Some(decimal) => number(decimal, 10),
            None => Err(S3Error::malformed_xml()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delete_documents_are_read() {
        let read = |text: &str| parse_delete(text.as_bytes());
        assert_eq!(
            read(
                "<?xml version='1.0'?><Delete xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>\
                 <Quiet>true</Quiet><Object><Key>a&amp;b</Key></Object>\
                 <Object><Key>c&#x2F;d</Key></Object></Delete>"
            ),
            Ok(Delete {
                keys: vec!["a&b".into(), "c/d".into()],
                quiet: true
            })
        );
        for wrong in [
            "",
            "<Delete>",
            "<Delete></Delete>",
            "<Other><Object><Key>a</Key></Object></Other>",
            "<!DOCTYPE a><Delete/>",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let conditional = "<Delete><Object><Key>a</Key><ETag>e</ETag></Object></Delete>";
        assert_eq!(read(conditional).unwrap_err().code, "NotImplemented");
    }
}
