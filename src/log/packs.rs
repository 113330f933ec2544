//! Finding records in packs, by offset or by time.
//!
//! Any pack that holds a record is as good as any other: each was made of segments
//! that counted when they were read. So what is sought is never a certain pack but
//! one that holds a certain record.

use super::pack::{self, PackKey, Place};
use super::{Cursor, Log};
use crate::bucket::{Bucket, Found, PAGE_OBJECTS_MAX, Read, StoreTime};
use crate::codec::{HEADER_BYTES_MAX, Header};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::slots::{StateReply, at_key, refused};
use maybe_async::maybe_async;

/// A search among packs looks at this many pages of their keys.
const PAGES_MAX: u32 = 100;

/// A pack as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) pack: PackKey,
    pub(super) size_bytes: u64,
}

/// One page of a listing of packs.
pub(super) struct PackPage {
    /// In ascending order of end.
    pub(super) packs: Vec<Listed>,
    pub(super) more: bool,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    /// Lists packs whose keys are behind `after`: one listing.
    pub(super) async fn list_packs(&self, after: Option<&str>) -> Result<PackPage, Error> {
        let prefix = PackKey::prefix(self.name());
        let page = self.store().list(&prefix, after, PAGE_OBJECTS_MAX).await?;
        let mut packs: Vec<Listed> = Vec::with_capacity(page.objects.len());
        for object in page.objects {
            let pack = PackKey::parse(self.name(), &object.key).ok_or_else(|| {
                Error::Corrupt(format!("{}: this key does not belong here", object.key))
            })?;
            if packs.last().is_some_and(|last| last.pack.end > pack.end)
                && !off(Guard::ListingInOrder)
            {
                return Err(Error::Unsupported(format!(
                    "the store does not list {prefix} in order"
                )));
            }
            packs.push(Listed {
                pack,
                size_bytes: object.size_bytes,
            });
        }
        let more = page.more && !packs.is_empty();
        Ok(PackPage { packs, more })
    }

    /// The packs that end behind `offset`, up to one that holds it, and those that
    /// the same page of the listing shows besides.
    pub(super) async fn packs_from(&self, offset: u64) -> Result<Vec<Listed>, Error> {
        let mut after = PackKey::behind(self.name(), offset);
        let mut packs = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut page = self.list_packs(Some(&after)).await?;
            packs.append(&mut page.packs);
            let found = packs.iter().any(|listed| listed.pack.holds(offset));
            match packs.last() {
                Some(last) if page.more && !found => after = last.pack.key(self.name()),
                _ => break,
            }
        }
        Ok(packs)
    }

    /// All packs with records from `offset` on.
    pub(super) async fn all_packs(&self, offset: u64) -> Result<Vec<Listed>, Error> {
        let mut after = PackKey::behind(self.name(), offset);
        let mut packs = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut page = self.list_packs(Some(&after)).await?;
            packs.append(&mut page.packs);
            match packs.last() {
                Some(last) if page.more => after = last.pack.key(self.name()),
                _ => return Ok(packs),
            }
        }
        Err(Error::Unsupported(format!(
            "{}: there are too many packs to search",
            PackKey::prefix(self.name())
        )))
    }

    /// What a pack holds: one read. `None` if it is not there.
    pub(super) async fn pack_header(&self, pack: PackKey) -> Result<Option<Header>, Error> {
        let key = pack.key(self.name());
        let bytes = u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX);
        let reply = self
            .store()
            .get(Read::first(key.clone(), bytes))
            .await
            .map_err(|error| at_key(&key, error))?;
        let Found::Object(object) = reply.found else {
            return Ok(None);
        };
        let header = Header::decode(&object.body, object.metadata.size_bytes)
            .map_err(|error| refused(&key, error))?;
        self.check_pack(pack, &header)?;
        Ok(Some(header))
    }

    /// Checks that a pack with this header belongs where it was found.
    pub(super) fn check_pack(&self, pack: PackKey, header: &Header) -> Result<(), Error> {
        let in_place = header.identity == self.chain.keys.identity()
            && header.slot == pack.slot
            && header.base_offset == pack.start
            && u64::from(header.record_count) == pack.end.saturating_sub(pack.start);
        if in_place || off(Guard::PackInPlace) {
            Ok(())
        } else {
            Err(Error::Corrupt(format!(
                "{}: the object was written for another place",
                pack.key(self.name())
            )))
        }
    }

    async fn index(&self, pack: PackKey) -> Result<Vec<Place>, Error> {
        match self.pack_header(pack).await? {
            None => Err(self.missing_record(pack.start).await),
            Some(header) => {
                pack::index(&header).map_err(|error| refused(&pack.key(self.name()), error))
            }
        }
    }

    /// The merged segment that holds a record: a listing and a read.
    pub(super) async fn packed_at(&self, offset: u64) -> Result<Place, Error> {
        let packs = self.packs_from(offset).await?;
        let Some(listed) = packs.iter().find(|listed| listed.pack.holds(offset)) else {
            return Err(self.missing_record(offset).await);
        };
        let mut places = self.index(listed.pack).await?;
        places.retain(|place| (place.base_offset..place.end_offset).contains(&offset));
        match places.pop() {
            Some(place) => Ok(place),
            None => Err(self.missing_record(offset).await),
        }
    }

    /// The last merged segment for whose time `before` holds, of those that are kept,
    /// given that it holds for every one before. `None` if there is none.
    ///
    /// The listing of all packs, and a read for each halving of them.
    pub(super) async fn last_packed_where(
        &self,
        state: &StateReply,
        before: &dyn Fn(StoreTime) -> bool,
    ) -> Result<Option<Place>, Error> {
        let kept = state.state();
        if kept.first_kept_offset >= kept.packs_end() {
            return Ok(None);
        }
        let packs = self.all_packs(kept.first_kept_offset).await?;
        let (mut from, mut to) = (0, packs.len());
        let mut last = None;
        while let Some(listed) = packs
            .get(from..to)
            .and_then(|rest| rest.get(rest.len() / 2))
        {
            let middle = from.midpoint(to);
            let mut places = self.index(listed.pack).await?;
            places.retain(|place| place.modified_at.is_some_and(before));
            match places.pop() {
                Some(place) => {
                    last = Some(place);
                    from = middle + 1;
                }
                None => to = middle,
            }
        }
        Ok(last.filter(|place| {
            place.end_offset > kept.first_kept_offset || off(Guard::PackedTimeKept)
        }))
    }

    /// What to say of a merged record that is not in any pack.
    pub(super) async fn missing_record(&self, offset: u64) -> Error {
        let prefix = PackKey::prefix(self.name());
        match self.chain.state(self.store()).await {
            Ok(state) if state.state().first_kept_offset > offset => {
                Error::Unavailable(format!("{prefix}: the record was trimmed during this call"))
            }
            Ok(_) => Error::Corrupt(format!("{prefix}: no pack holds record {offset}")),
            Err(error) => error,
        }
    }
}

/// The first record that is kept, where the next request is a look at the watermark
/// in any case.
pub(super) fn first_kept(state: &StateReply) -> Cursor {
    let kept = state.state();
    Cursor {
        offset: kept.first_kept_offset,
        slot: (kept.first_kept_offset >= kept.packs_end()).then_some(kept.first_kept),
        absent_until: None,
    }
}
