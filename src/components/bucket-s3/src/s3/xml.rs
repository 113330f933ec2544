//! Bounded reading of the small XML documents that S3 answers with.
//!
//! A subset of XML: elements, character data, the five predefined entities and
//! character references. Attributes, comments and processing instructions are passed
//! over, and a document type definition is refused, so a reply cannot make itself
//! larger than it is.

/// Deepest nesting of elements. S3 uses four levels.
const MAX_DEPTH: usize = 16;
/// Longest character data of one element, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// White space, as XML has it.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A document that cannot be used, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What is called at the end of an element, with the local names from the root
/// to it and its own character data.
pub type Visit<'a> = dyn FnMut(&[&str], &str) -> Result<(), Malformed> + 'a;

/// Reads a document and calls `visit` at the end of each element, inner ones
/// first.
///
/// # Errors
/// `Malformed`, also when `visit` says so. Elements may have been visited.
pub fn walk(document: &[u8], visit: &mut Visit<'_>) -> Result<(), Malformed> {
    let text = core::str::from_utf8(document).map_err(|_| Malformed("it is not UTF-8"))?;
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut open = Open::default();
    // Each turn consumes at least one byte of a document whose size is bounded.
    while let Some(first) = rest.bytes().next() {
        rest = match (first, rest.as_bytes().get(1)) {
            (b'<', Some(b'/')) => {
                let (tag, rest) = split(rest, 2, b'>')?;
                open.leave(tag.trim_end_matches(SPACE), visit)?;
                rest
            }
            (b'<', Some(b'!')) => declaration(rest, &mut open)?,
            (b'<', Some(b'?')) => {
                let (instruction, rest) = split_once(rest, 2, "?>")?;
                if instruction.starts_with('>') {
                    return Err(NOT_WELL_FORMED);
                }
                rest
            }
            (b'<', _) => {
                let (tag, rest) = split_at(rest, 1, tag_bytes(rest), 1)?;
                let (tag, is_empty) = match tag.strip_suffix('/') {
                    Some(tag) => (tag, true),
                    None => (tag, false),
                };
                let (name, _) = tag.split_once(SPACE).unwrap_or((tag, ""));
                if name.is_empty() {
                    return Err(NOT_WELL_FORMED);
                }
                open.enter(name)?;
                if is_empty {
                    open.leave(name, visit)?;
                }
                rest
            }
            (b'&', _) => {
                let (name, rest) = split(rest, 1, b';')?;
                let character = character(name).ok_or(Malformed("it has an unknown entity"))?;
                open.append(character.encode_utf8(&mut [0; 4]))?;
                rest
            }
            _ => {
                let markup = rest.bytes().position(|byte| matches!(byte, b'<' | b'&'));
                let (data, rest) = split_at(rest, 0, markup.or(Some(rest.len())), 0)?;
                open.append(data)?;
                rest
            }
        };
    }
    if !open.elements.is_empty() || !open.seen_root {
        return Err(CUT_SHORT);
    }
    Ok(())
}

const CUT_SHORT: Malformed = Malformed("it is cut short");
const NOT_WELL_FORMED: Malformed = Malformed("it is not well-formed");

/// Passes over a comment, or takes what is quoted, and gives what stands behind it.
fn declaration<'a>(text: &'a str, open: &mut Open<'_>) -> Result<&'a str, Malformed> {
    if text.starts_with("<!--") {
        return Ok(split_once(text, 4, "-->")?.1);
    }
    if text.starts_with("<![CDATA[") {
        let (data, rest) = split_once(text, 9, "]]>")?;
        open.append(data)?;
        return Ok(rest);
    }
    Err(Malformed("it has a document type definition"))
}

/// What stands between `start` and the first `end` behind it, and what follows.
fn split(text: &str, start: usize, end: u8) -> Result<(&str, &str), Malformed> {
    let mut bytes = text.bytes().skip(start);
    let length = bytes.position(|byte| byte == end);
    split_at(
        text,
        start,
        length.map(|length| start.saturating_add(length)),
        1,
    )
}

fn split_once<'a>(text: &'a str, start: usize, end: &str) -> Result<(&'a str, &'a str), Malformed> {
    let behind = text.get(start..).ok_or(CUT_SHORT)?;
    behind.split_once(end).ok_or(CUT_SHORT)
}

/// What stands from `start` to `end`, and what stands so many bytes behind it.
fn split_at(
    text: &str,
    start: usize,
    end: Option<usize>,
    skipped: usize,
) -> Result<(&str, &str), Malformed> {
    let parts = end.and_then(|end| {
        Some((
            text.get(start..end)?,
            text.get(end.checked_add(skipped)?..)?,
        ))
    });
    parts.ok_or(CUT_SHORT)
}

/// How long a tag is: up to the first `>` that is not in the value of an attribute.
fn tag_bytes(text: &str) -> Option<usize> {
    let mut quote = None;
    text.bytes().position(|byte| {
        match (byte, quote) {
            (b'>', None) => return true,
            (b'"' | b'\'', None) => quote = Some(byte),
            (_, Some(open)) if open == byte => quote = None,
            _ => {}
        }
        false
    })
}

/// What a reference stands for.
fn character(name: &str) -> Option<char> {
    let Some(number) = name.strip_prefix('#') else {
        return predefined(name);
    };
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    // `from_str_radix` takes a sign as well.
    if digits.starts_with('+') {
        return None;
    }
    let number = u32::from_str_radix(digits, radix).ok()?;
    char::from_u32(number).filter(|character| *character != '\0')
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return None,
    })
}

/// The elements that have begun and not ended.
#[derive(Default)]
struct Open<'a> {
    elements: Vec<Element<'a>>,
    /// Their names, without prefixes.
    path: Vec<&'a str>,
    seen_root: bool,
}

struct Element<'a> {
    name: &'a str,
    text: String,
}

impl<'a> Open<'a> {
    fn enter(&mut self, name: &'a str) -> Result<(), Malformed> {
        if self.elements.is_empty() && core::mem::replace(&mut self.seen_root, true) {
            return Err(Malformed("it has two roots"));
        }
        if self.elements.len() >= MAX_DEPTH {
            return Err(Malformed("it is nested too deeply"));
        }
        let local = name.split_once(':').map_or(name, |(_, local)| local);
        self.path.push(local);
        self.elements.push(Element {
            name,
            text: String::new(),
        });
        Ok(())
    }

    fn leave(&mut self, name: &str, visit: &mut Visit<'_>) -> Result<(), Malformed> {
        let element = self.elements.pop().filter(|element| element.name == name);
        let element = element.ok_or(NOT_WELL_FORMED)?;
        visit(&self.path, &element.text)?;
        self.path.pop();
        Ok(())
    }

    fn append(&mut self, text: &str) -> Result<(), Malformed> {
        // White space around the root belongs to no element.
        let Some(element) = self.elements.last_mut() else {
            return match text.trim_ascii() {
                "" => Ok(()),
                _ => Err(Malformed("it has text outside its root")),
            };
        };
        if element.text.len().saturating_add(text.len()) > MAX_TEXT_BYTES {
            return Err(Malformed("it has too long a text"));
        }
        element.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(document: &str) -> Result<Vec<String>, Malformed> {
        let mut found = Vec::new();
        walk(document.as_bytes(), &mut |path, text| {
            found.push(format!("{}={text}", path.join("/")));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn elements_are_visited_from_the_inside() {
        let document = "\u{feff}<?xml version=\"1.0\"?>\n<!-- c --><s3:R xmlns:s3=\"x\"><A>1<![CDATA[<2>]]>&amp;&#65;&#x42;</A><B/></s3:R>\n";
        assert_eq!(leaves(document).unwrap(), ["R/A=1<2>&AB", "R/B=", "R="]);
        let quoted = "<R><A x='/>' y=\">\"\n>1</A\t><B z='\"'/></R>";
        assert_eq!(leaves(quoted).unwrap(), ["R/A=1", "R/B=", "R="]);
    }

    #[test]
    fn bombs_and_broken_documents_are_refused() {
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        let long = ["<a>", &"x".repeat(MAX_TEXT_BYTES + 1), "</a>"].concat();
        for bad in [
            "",
            " ",
            "text",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>text",
            "<a>&lol;</a>",
            "<a>&amp</a>",
            "<a>&#xD800;</a>",
            "<a>&#0;</a>",
            "<a>&#+65;</a>",
            "<a b='>",
            "<a></a\u{c}>",
            "< a/>",
            "<>a</>",
            "<?><a/>",
            "<a/><!-->",
            "<!DOCTYPE a [<!ENTITY lol \"lol\">]><a>&lol;</a>",
            "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
            deep.as_str(),
            long.as_str(),
        ] {
            assert!(leaves(bad).is_err(), "{bad}");
        }
        assert!(walk(b"<a>\xff</a>", &mut |_, _| Ok(())).is_err());
    }

    #[test]
    fn every_truncated_prefix_is_refused() {
        let document = "<?xml version=\"1.0\"?><R><A>1&amp;</A><B/></R>";
        for (end, _) in document.char_indices() {
            let (start, _) = document.split_at(end);
            assert!(leaves(start).is_err(), "{start}");
        }
    }
}
