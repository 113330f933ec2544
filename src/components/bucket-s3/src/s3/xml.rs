//! Bounded reading of the small XML documents that S3 answers with.
//!
//! A document type definition is refused and only the five predefined entities
//! and character references are replaced, so a reply cannot make itself larger
//! than it is.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Deepest nesting of elements. S3 uses four levels.
const MAX_DEPTH: usize = 16;
/// Longest character data of one element, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// A document that cannot be used, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What is called at the end of an element, with the local names from the root
/// to it and its own character data.
pub type Visit<'a> = dyn FnMut(&[&str], &str) -> Result<(), Malformed> + 'a;

struct Open {
    name: String,
    text: String,
}

/// Reads a document and calls `visit` at the end of each element, inner ones
/// first.
///
/// # Errors
/// `Malformed`, also when `visit` says so. Elements may have been visited.
pub fn walk(document: &[u8], visit: &mut Visit<'_>) -> Result<(), Malformed> {
    let text = core::str::from_utf8(document).map_err(|_| Malformed("it is not UTF-8"))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Open> = Vec::new();
    let mut seen_root = false;
    // Each turn consumes at least one byte of a document whose size is bounded.
    loop {
        let event = reader
            .read_event()
            .map_err(|_| Malformed("it is not well-formed"))?;
        match event {
            Event::Start(start) => {
                enter(&mut open, &mut seen_root, start.local_name().as_ref())?;
            }
            Event::Empty(start) => {
                enter(&mut open, &mut seen_root, start.local_name().as_ref())?;
                leave(&mut open, visit)?;
            }
            // The reader checks that the name is that of the open element.
            Event::End(_) => leave(&mut open, visit)?,
            Event::Text(text) => append(&mut open, &text.into_inner())?,
            Event::CData(data) => append(&mut open, &data.into_inner())?,
            Event::GeneralRef(reference) => {
                let unknown = Malformed("it has an unknown entity");
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character,
                    Ok(None) => predefined(&reference.into_inner()).ok_or(unknown)?,
                    Err(_) => return Err(unknown),
                };
                append(&mut open, character.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err(Malformed("it has a document type definition")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if open.is_empty() && seen_root => return Ok(()),
            Event::Eof => return Err(Malformed("it is cut short")),
        }
    }
}

fn enter(open: &mut Vec<Open>, seen_root: &mut bool, name: &str) -> Result<(), Malformed> {
    if open.is_empty() && core::mem::replace(seen_root, true) {
        return Err(Malformed("it has two roots"));
    }
    if open.len() >= MAX_DEPTH {
        return Err(Malformed("it is nested too deeply"));
    }
    open.push(Open {
        name: name.to_owned(),
        text: String::new(),
    });
    Ok(())
}

fn leave(open: &mut Vec<Open>, visit: &mut Visit<'_>) -> Result<(), Malformed> {
    let path: Vec<&str> = open.iter().map(|element| element.name.as_str()).collect();
    let text = open.last().map_or("", |element| element.text.as_str());
    visit(&path, text)?;
    open.pop();
    Ok(())
}

fn append(open: &mut [Open], text: &str) -> Result<(), Malformed> {
    // White space around the root belongs to no element.
    let Some(element) = open.last_mut() else {
        return if text.trim_ascii().is_empty() {
            Ok(())
        } else {
            Err(Malformed("it has text outside its root"))
        };
    };
    if element.text.len().saturating_add(text.len()) > MAX_TEXT_BYTES {
        return Err(Malformed("it has too long a text"));
    }
    element.text.push_str(text);
    Ok(())
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
