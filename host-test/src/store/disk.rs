//! Objects in a folder, so that a store outlives its process.
//!
//! One file for each object, named by the digest of bucket and key, since keys
//! can be longer than file names. It begins with four lines (bucket, key, entity
//! tag, time), percent-encoded where needed; the rest is the body. A file is
//! written whole under another name, made durable, and only then renamed: after a
//! crash every file is either complete or absent.

use super::uri::{decode, encode};
use super::{Change, Object, Store, auth};
use crate::clock::UnixMs;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const EXTENSION: &str = "object";

/// A folder of objects.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, which is made if it is missing, and puts what it holds
    /// into a store.
    pub fn open(path: &Path, store: &mut Store) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        for entry in fs::read_dir(path)? {
            let file = entry?.path();
            if file
                .extension()
                .is_some_and(|extension| extension == EXTENSION)
            {
                let change =
                    read(&file).with_context(|| format!("{} is damaged", file.display()))?;
                store.apply(change);
            }
        }
        store.take_changes();
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Makes a change durable.
    pub fn keep(&self, change: &Change) -> Result<()> {
        match change {
            Change::Put(bucket, key, object) => {
                let path = self.file_of(bucket, key);
                let unfinished = path.with_extension("unfinished");
                let mut file = fs::File::create(&unfinished)?;
                file.write_all(head(bucket, key, object).as_bytes())?;
                file.write_all(&object.body)?;
                file.sync_all()?;
                fs::rename(&unfinished, &path)?;
            }
            Change::Delete(bucket, key) => match fs::remove_file(self.file_of(bucket, key)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            },
        }
        // The names in a folder are durable only when the folder itself is.
        fs::File::open(&self.path)?.sync_all()?;
        Ok(())
    }

    fn file_of(&self, bucket: &str, key: &str) -> PathBuf {
        let digest = Sha256::digest(format!("{bucket}/{key}"));
        self.path.join(auth::hex(&digest)).with_extension(EXTENSION)
    }
}

fn head(bucket: &str, key: &str, object: &Object) -> String {
    let key = encode(key.as_bytes(), true);
    format!(
        "{bucket}\n{key}\n{}\n{}\n",
        object.etag, object.modified_at.0
    )
}

fn read(path: &Path) -> Result<Change> {
    let content = Bytes::from(fs::read(path)?);
    let mut rest = content.clone();
    let mut line = || -> Result<String> {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            bail!("its head is cut short");
        };
        let line = rest.split_to(end + 1);
        Ok(String::from_utf8(line[..end].to_vec())?)
    };
    let (bucket, key, etag, modified_at) = (line()?, line()?, line()?, line()?);
    let key = decode(&key).map_err(|error| anyhow::anyhow!("{}", error.message))?;
    let object = Object {
        body: rest,
        etag,
        modified_at: UnixMs(modified_at.parse()?),
    };
    Ok(Change::Put(bucket, String::from_utf8(key)?, object))
}
