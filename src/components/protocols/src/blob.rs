//! The interface `blob`.

use ifmatch::blob as core;
use ifmatch::error;
use ifmatch::list::{list, try_list};

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::blob::{Guest, ReferenceResult as Reference};
use crate::error::{Error, to_error};
use crate::instance::run;

impl Guest for Component {
    fn put(space: String, generation: u32, bodies: Vec<Vec<u8>>) -> Result<Vec<Reference>, Error> {
        let generation = core::Generation(generation);
        let references =
            run(|instance| instance.blobs.put(&space, generation, bodies)).map_err(to_error)?;
        Ok(list(references.into_iter().map(to_reference)))
    }

    fn get(space: String, blobs: Vec<Reference>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        from_references(&blobs)
            .and_then(|blobs| run(|instance| instance.blobs.get(&space, &blobs)))
            .map_err(to_error)
    }

    fn contains(space: String, blobs: Vec<Reference>) -> Result<Vec<bool>, Error> {
        from_references(&blobs)
            .and_then(|blobs| run(|instance| instance.blobs.contains(&space, &blobs)))
            .map_err(to_error)
    }

    fn key(space: String, blob: Reference) -> Result<String, Error> {
        from_reference(&blob)
            .and_then(|blob| blob.key(&space))
            .map_err(to_error)
    }
}

pub(crate) fn from_reference(reference: &Reference) -> Result<core::Reference, error::Error> {
    Ok(core::Reference {
        generation: core::Generation(reference.generation),
        digest: core::Digest::parse(&reference.digest)?,
    })
}

pub(crate) fn from_references(
    references: &[Reference],
) -> Result<Vec<core::Reference>, error::Error> {
    try_list(references.iter().map(from_reference))
}

pub(crate) fn to_reference(reference: core::Reference) -> Reference {
    Reference {
        generation: reference.generation.0,
        digest: reference.digest.to_string(),
    }
}
