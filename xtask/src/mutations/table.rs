//! The table of guards in a document, which is also where a run looks first.

use std::fs;

use anyhow::{Context, Result};

use super::Row;
use super::seeds::Seeds;
use crate::workspace;

/// The document.
const DOCUMENT: &str = "docs/MUTATIONS.md";

/// What stands around the table in it.
const BEGIN: &str = "<!-- begin -->\n";
const END: &str = "<!-- end -->\n";

/// The names of the tests that caught a guard when the table was written.
pub fn catchers(guard: &str) -> Result<Vec<String>> {
    Ok(find(&read()?, guard))
}

fn read() -> Result<String> {
    let path = workspace::root().join(DOCUMENT);
    fs::read_to_string(path).with_context(|| format!("cannot read {DOCUMENT}"))
}

fn find(text: &str, guard: &str) -> Vec<String> {
    let start = format!("| `{guard}` |");
    let row = text.lines().find(|line| line.starts_with(&start));
    let last = row.and_then(|row| row.trim_end_matches([' ', '|']).rsplit('|').next());
    let names = last
        .into_iter()
        .flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

/// Writes the table anew.
pub fn write(rows: &[Row]) -> Result<()> {
    let text = replaced(&read()?, rows).with_context(|| {
        format!(
            "{DOCUMENT} does not have the marks {} and {}",
            BEGIN.trim(),
            END.trim()
        )
    })?;
    let path = workspace::root().join(DOCUMENT);
    fs::write(path, text).with_context(|| format!("cannot write {DOCUMENT}"))
}

fn replaced(text: &str, rows: &[Row]) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", markdown(rows)))
}

/// One table for each area.
fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut area = "";
    for row in rows {
        if row.guard.area != area {
            area = &row.guard.area;
            text.push_str(&format!(
                "\n### {area}\n\n| guard | what it does | seeds | caught by |\n\
                 |---|---|---:|---|\n"
            ));
        }
        let by: Vec<_> = row.by.iter().map(|test| format!("`{test}`")).collect();
        text.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            row.guard.name,
            row.guard.what,
            match row.seeds {
                Seeds::Untried => String::new(),
                Seeds::Passed(_) => "–".to_owned(),
                Seeds::Caught(count, "mixed") => count.to_string(),
                Seeds::Caught(count, scenario) => format!("{scenario} {count}"),
            },
            by.join(", ")
        ));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::guards::{self, Guard};
    use super::*;

    #[test]
    fn what_is_written_is_found() {
        let guard = Guard {
            name: "EpochRule".to_owned(),
            what: "A lower epoch is refused.".to_owned(),
            area: "Logs".to_owned(),
        };
        let by = ["a::b".to_owned(), "c::d".to_owned()];
        let rows = [Row::new(guard, by.to_vec())];
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let text = replaced(&text, &rows).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("after\n"));
        assert_eq!(find(&text, "EpochRule"), by);
        assert_eq!(find(&text, "Epoch"), [""; 0]);
    }

    /// A guard without a row has not been shown to be needed.
    #[test]
    fn the_document_has_every_guard_and_no_other() {
        let text = read().unwrap();
        let guards = guards::all().unwrap();
        for guard in &guards {
            assert!(!find(&text, &guard.name).is_empty(), "{}", guard.name);
            assert!(text.contains(&guard.what), "{}: {}", guard.name, guard.what);
        }
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), guards.len());
    }
}
