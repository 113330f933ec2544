//! Commits that meet: one is rebased, one conflicts.

use super::{equal, text, unexpected};
use crate::ifmatch::acceptance::rival;
use crate::ifmatch::protocols::manifest::{self, Change, CommitOutcome, Dependency, Edit, Item};
use crate::ifmatch::protocols::types::Writer;

/// The rival commits in between: what does not touch the same key is rebased, what
/// does is a conflict that names the key.
pub fn rebase_and_conflict(prefix: &str) -> Result<String, String> {
    let name = format!("{prefix}/manifest");
    let first = change(0, &[("a", "1"), ("b", "1")], Writer::Shared);
    equal("the first version", committed(&name, &first)?, 1)?;
    equal("the rival's", rival::commit(&name, 1, "a", "2", None)?, 2)?;
    let rebased = change(1, &[("b", "2")], Writer::Shared);
    equal("rebased behind it", committed(&name, &rebased)?, 3)?;
    let conflicting = change(1, &[("a", "3")], Writer::Shared);
    match manifest::commit(&name, &conflicting).map_err(text)? {
        CommitOutcome::Conflict(conflict) => {
            equal("the latest version", conflict.latest, 3)?;
            equal("the keys", conflict.keys, vec!["a".to_owned()])?;
        }
        other => return unexpected("a commit on the rival's key", other),
    }
    let expected = [("a", "2"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    equal("read by the rival", rival::items(&name)?, expected.to_vec())?;
    let history = manifest::history(&name, None, 10).map_err(text)?;
    let authors: Vec<_> = history
        .iter()
        .map(|summary| summary.author.as_str())
        .collect();
    equal("the history", authors, vec!["first", "rival", "first"])?;
    Ok("rebased once, one conflict".to_owned())
}

/// Commits, and returns the version.
pub(super) fn committed(name: &str, change: &Change) -> Result<u64, String> {
    match manifest::commit(name, change).map_err(text)? {
        CommitOutcome::Committed(version) => Ok(version),
        other => unexpected("commit", other),
    }
}

/// Sets some keys.
pub(super) fn change(base: u64, items: &[(&str, &str)], writer: Writer) -> Change {
    let set = |(key, value): &(&str, &str)| {
        Edit::Set(Item {
            key: (*key).to_owned(),
            value: value.as_bytes().to_vec(),
            blobs: Vec::new(),
        })
    };
    Change {
        base,
        depends_on: Dependency::Edits,
        edits: items.iter().map(set).collect(),
        writer,
        author: "first".to_owned(),
        message: String::new(),
        id: None,
    }
}
