//! `api`: what the WIT says, as pages in docs/api.
//!
//! Reads the lines of the files rather than their meaning: they are formatted alike,
//! and `build` has shown that they parse.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::cli::{Action, Command};
use crate::workspace;

/// `cargo xtask api`.
pub const COMMAND: Command = Command {
    name: "api",
    summary: "Write docs/api from the WIT",
    action: Action::Here {
        help: "usage: cargo xtask api\n\nWrites one page for each published package. `cargo xtask \
               test documents` fails if a page\nis out of date.\n",
        check: Args::finish,
        run: |args| {
            args.finish()?;
            for (path, page) in pages(&workspace::root())? {
                write(&workspace::root().join(path), &page)?;
            }
            Ok(ExitCode::SUCCESS)
        },
    },
};

/// The published packages: their folders in `wit/`, and the order of their files.
const PACKAGES: &[(&str, &[&str])] = &[
    ("bucket", &["bucket"]),
    (
        "protocols",
        &[
            "log",
            "lease",
            "manifest",
            "blob",
            "retention",
            "collection",
            "types",
        ],
    ),
];

/// The pages that are not what the WIT says.
pub fn out_of_date(root: &Path) -> Result<Vec<String>> {
    let pages = pages(root)?.into_iter();
    let differ = pages.filter(|(path, page)| {
        // A page that cannot be read is missing, which counts the same.
        fs::read_to_string(root.join(path)).ok().as_ref() != Some(page)
    });
    Ok(differ.map(|(path, _)| path).collect())
}

fn write(path: &Path, page: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// All pages: where each belongs, and its text.
fn pages(root: &Path) -> Result<Vec<(String, String)>> {
    let page = |(package, first): &(&str, &[&str])| {
        let folder = root.join("wit").join(package);
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            names.push(name.context("a file without a name")?.to_owned());
        }
        // Those that are named come in their order, then any others.
        let place = |name: &String| first.iter().position(|first| first == name);
        names.sort_by_key(|name| (place(name).unwrap_or(first.len()), name.clone()));
        let mut text = format!("# ifmatch:{package}\n\nWritten by `cargo xtask api` from ");
        text.push_str(&format!("[wit/{package}](../../wit/{package}).\n"));
        for name in names {
            let path = folder.join(&name).with_extension("wit");
            let wit = fs::read_to_string(&path)?;
            let page = interfaces(&wit).with_context(|| path.display().to_string())?;
            text.push_str(&page);
        }
        Ok((format!("docs/api/{package}.md"), text))
    };
    PACKAGES.iter().map(page).collect()
}

/// Every interface and world of a file.
fn interfaces(wit: &str) -> Result<String> {
    let mut text = String::new();
    let mut docs: Vec<&str> = Vec::new();
    let mut lines = wit.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(doc) = trimmed.strip_prefix("///") {
            docs.push(doc.strip_prefix(' ').unwrap_or(doc));
        } else if line.starts_with("interface ") || line.starts_with("world ") {
            let title = line.trim_end_matches('{').trim();
            text.push_str(&format!("\n## {title}\n\n{}\n", prose(&docs)));
            docs.clear();
        } else if trimmed.starts_with('@') || trimmed.is_empty() || line == "}" {
            // Says since when, or nothing.
        } else if trimmed.starts_with("package ") {
            docs.clear();
        } else {
            let item = item(line, &mut lines)?;
            if !trimmed.starts_with("use ") {
                text.push_str(&described(&docs, &item));
            }
            docs.clear();
        }
    }
    Ok(text)
}

/// The lines of an item from its first one to the one that ends it.
fn item<'a>(first: &'a str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>> {
    let mut item = vec![first];
    loop {
        let code = || item.iter().filter(|line| !line.trim().starts_with("//"));
        let count = |bracket: char| {
            code()
                .map(|line| line.matches(bracket).count())
                .sum::<usize>()
        };
        let ended = code()
            .next_back()
            .is_some_and(|line| line.trim_end().ends_with([';', '}']));
        if ended && count('{') == count('}') {
            return Ok(item);
        }
        match lines.next() {
            Some(line) => item.push(line),
            None => bail!("`{}` does not end", first.trim()),
        }
    }
}

/// An item with its documentation, and that of its parts.
fn described(docs: &[&str], item: &[&str]) -> String {
    let (mut code, mut parts) = (String::new(), String::new());
    let mut part_docs: Vec<&str> = Vec::new();
    for line in item {
        let trimmed = line.trim();
        if let Some(doc) = trimmed.strip_prefix("///") {
            part_docs.push(doc.trim());
        } else if !trimmed.starts_with('@') {
            code.push_str(line.strip_prefix("  ").unwrap_or(line));
            code.push('\n');
            if !part_docs.is_empty() {
                let part = trimmed.split([':', '(', ',']).next().unwrap_or(trimmed);
                parts.push_str(&format!("* `{part}`: {}\n", part_docs.join(" ")));
                part_docs.clear();
            }
        }
    }
    let first = item.first().map_or("", |line| line.trim());
    let name = match first.split_once(": func") {
        Some((name, _)) => name,
        None => first.split([' ', '=', '{', ';']).nth(1).unwrap_or(first),
    };
    let mut text = format!("\n### {name}\n\n```wit\n{code}```\n");
    for block in [prose(docs), parts] {
        if !block.is_empty() {
            text.push_str(&format!("\n{}\n", block.trim_end()));
        }
    }
    text
}

fn prose(docs: &[&str]) -> String {
    docs.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIT: &str = "\
package a:b@0.1.0;

/// Things.
///
/// More.
@since(version = 0.1.0)
interface things {
  @since(version = 0.1.0)
  use types.{name};

  /// A thing.
  @since(version = 0.1.0)
  record thing {
    /// Its size,
    /// in bytes.
    size: u32,
    name: name,
  }

  /// Makes one.
  @since(version = 0.1.0)
  make: func(name: name)
    -> result<thing, string>;
}
";

    #[test]
    fn every_item_with_its_documentation() {
        let page = interfaces(WIT).unwrap();
        assert!(
            page.starts_with("\n## interface things\n\nThings.\n\nMore.\n"),
            "{page}"
        );
        let record = "\n### thing\n\n```wit\nrecord thing {\n  size: u32,\n  name: name,\n}\n```\n\n\
                      A thing.\n\n* `size`: Its size, in bytes.\n";
        assert!(page.contains(record), "{page}");
        let function = "\n### make\n\n```wit\nmake: func(name: name)\n  -> result<thing, string>;\n\
                        ```\n\nMakes one.\n";
        assert!(page.contains(function), "{page}");
        assert!(
            !page.contains("since") && !page.contains("use types"),
            "{page}"
        );
    }

    #[test]
    fn an_item_without_an_end_is_an_error() {
        assert!(interfaces("interface a {\n  record b {\n").is_err());
    }

    #[test]
    fn pages_have_every_function() {
        let pages = pages(&workspace::root()).unwrap();
        let (_, protocols) = &pages[1];
        for name in ["acquire", "append", "commit", "sweep", "take", "error"] {
            assert!(protocols.contains(&format!("\n### {name}\n")), "{name}");
        }
    }
}
