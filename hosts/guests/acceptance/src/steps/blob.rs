//! Blobs, named by what they contain, and a manifest that names one.

use super::manifest::{change, committed};
use super::{equal, text, unexpected};
use crate::ifmatch::acceptance::rival;
use crate::ifmatch::protocols::blob::{self, Reference};
use crate::ifmatch::protocols::manifest::{Edit, Item};
use crate::ifmatch::protocols::types::{Error, Writer};

/// The SHA-256 of `hello`.
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// Stores a blob, commits a manifest that names it, and has the rival read both.
pub fn put_and_get(prefix: &str) -> Result<String, String> {
    let space = format!("{prefix}/blobs");
    let bodies = [b"hello".to_vec(), vec![7; 200_000]];
    let stored = blob::put(&space, 0, &bodies).map_err(text)?;
    let [hello, large] = stored.as_slice() else {
        return unexpected("put", stored);
    };
    equal("the digest", hello.digest.as_str(), HELLO)?;
    let again = blob::put(&space, 0, &bodies[..1]).map_err(text)?;
    let again = again.first().map(|reference| reference.digest.as_str());
    equal("stored again", again, Some(HELLO))?;

    let mut index = change(0, &[], Writer::Shared);
    index.edits.push(Edit::Set(Item {
        key: "greeting".to_owned(),
        value: Vec::new(),
        blobs: vec![hello.clone()],
    }));
    equal("the manifest", committed(&space, &index)?, 1)?;
    let fetched = rival::fetch(&space, "greeting")?;
    equal("read by the rival", fetched, Some(b"hello".to_vec()))?;

    let absent = Reference {
        generation: 0,
        digest: format!("sha256:{}", "0".repeat(64)),
    };
    let asked = [large.clone(), absent];
    let found = blob::contains(&space, &asked).map_err(text)?;
    equal("contains", found, vec![true, false])?;
    let bodies = blob::get(&space, &asked).map_err(text)?;
    let lengths: Vec<_> = bodies
        .iter()
        .map(|body| body.as_ref().map(Vec::len))
        .collect();
    equal("the lengths", lengths, vec![Some(200_000), None])?;
    let malformed = Reference {
        generation: 0,
        digest: "md5:0".to_owned(),
    };
    match blob::get(&space, &[malformed]) {
        Err(Error::InvalidArgument(_)) => {}
        other => return unexpected("no digest", other),
    }
    Ok("2 blobs, named by a manifest, read by another instance".to_owned())
}
