//! Trimming versions, and the pins that hold it back.

use maybe_async::maybe_async;

use super::{Manifest, Manifests, read, version_of};
use crate::bucket::{Bucket, Deletion, PAGE_OBJECTS_MAX, StoreTime};
use crate::collection::{Act, Report};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::log::TrimLimit;
use crate::slots::retain::{
    Pinned, PinnedPlace, SWAP_ATTEMPTS_MAX, check_reader, check_ttl, ended_pins, oldest_pin,
    too_many_changes, valid_pins,
};
use crate::slots::{ChainState, Pin, StateReply, Swapped};

/// A search by age looks at this many pages of versions.
const AGE_PAGES_MAX: u32 = 1_000;

/// Which versions to keep, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepVersions {
    /// Those from this one on.
    From(u64),
    /// This many, the newest.
    Newest(u64),
    /// Those that the store accepted less than so many milliseconds ago.
    AgeMs(u64),
}

/// What a trim did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionsReport {
    /// The first version that is kept now.
    pub first_kept: u64,
    /// How many objects this call deleted.
    pub deleted: u64,
    /// Whether objects of trimmed versions are left.
    pub more: bool,
    /// What kept it from going further.
    pub limited_by: TrimLimit,
}

/// How setting a pin ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPin {
    /// The version and all later ones stay until this time.
    Pinned(StoreTime),
    /// The version was trimmed. The first one kept.
    Trimmed(u64),
    /// Nobody can tell yet.
    Indeterminate(String),
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Manifests<B, E> {
    /// Trims old versions.
    ///
    /// The first version that is kept is full, so up to 1023 versions more than
    /// asked for are kept.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes. The watermark may have been raised.
    pub async fn trim(&self, name: &str, keep: KeepVersions) -> Result<VersionsReport, Error> {
        let manifest = Manifest::new(self, name)?;
        let mut report = Report::new();
        manifest.cut_back(keep, Act::Sweep, &mut report).await?;
        Ok(VersionsReport {
            first_kept: report.first_kept,
            deleted: report.objects(),
            more: report.more,
            limited_by: report.limited_by,
        })
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Manifest<'_, B, E> {
    /// Trims versions and drops the pins that have ended, or tells what there is to
    /// do. Returns the first slot that is kept.
    pub(super) async fn cut_back(
        &self,
        keep: KeepVersions,
        act: Act,
        report: &mut Report,
    ) -> Result<Slot, Error> {
        let state = self.raise_watermark(keep, act, report).await?;
        report.first_kept = version_of(state.first_kept);
        self.chain
            .delete_below(self.store(), act, &state, None, report)
            .await?;
        Ok(state.first_kept)
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifests<B, E> {
    /// Pins a version for a reader, or moves and extends its pin.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; nothing is pinned then.
    pub async fn pin(
        &self,
        name: &str,
        reader: &str,
        version: u64,
        ttl_ms: u32,
    ) -> Result<VersionPin, Error> {
        let manifest = Manifest::new(self, name)?;
        check_reader(reader)?;
        check_ttl(ttl_ms)?;
        let slot = read::slot_of(version)?;
        let store = manifest.store();
        let newest = manifest.chain.newest(store).await?.slot;
        if newest.is_none_or(|newest| newest < slot) {
            return Err(Error::InvalidArgument(format!(
                "there is no version {version} to pin yet"
            )));
        }
        let place = PinnedPlace {
            offset: version,
            slot,
        };
        let pinned = manifest.chain.set_pin(store, reader, Some(place), ttl_ms);
        Ok(match pinned.await? {
            Pinned::Until(until) => VersionPin::Pinned(until),
            Pinned::Trimmed(reply) => VersionPin::Trimmed(version_of(reply.first_kept())),
            Pinned::Unknown(why) => VersionPin::Indeterminate(why),
        })
    }

    /// Removes a reader's pin, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn unpin(&self, name: &str, reader: &str) -> Result<(), Error> {
        let manifest = Manifest::new(self, name)?;
        check_reader(reader)?;
        let store = manifest.store();
        match manifest.chain.set_pin(store, reader, None, 0).await? {
            Pinned::Unknown(why) => Err(Error::Unavailable(why)),
            _ => Ok(()),
        }
    }

    /// The pins of a manifest.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn pins(&self, name: &str) -> Result<Vec<Pin>, Error> {
        let manifest = Manifest::new(self, name)?;
        let reply = manifest.chain.state(manifest.store()).await?;
        Ok(reply.state().pins.clone())
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifest<'_, B, E> {
    /// Raises the watermark as far as `keep` and the guards allow, and drops pins that
    /// have ended. Returns the state in force.
    async fn raise_watermark(
        &self,
        keep: KeepVersions,
        act: Act,
        report: &mut Report,
    ) -> Result<ChainState, Error> {
        let newest = self.chain.newest(self.store()).await?.slot;
        for round in 0..SWAP_ATTEMPTS_MAX {
            if round > 0 {
                self.store().back_off(round, None).await;
            }
            let reply = self.chain.state(self.store()).await?;
            let (cut, limited_by) = self.cut(newest, &reply, keep).await?;
            let first_kept = cut.max(reply.first_kept());
            report.limited_by = limited_by;
            report.ended_pins = ended_pins(&reply);
            if first_kept == reply.first_kept() && report.ended_pins.is_empty() {
                return Ok(reply.state().clone());
            }
            let state = ChainState {
                first_kept,
                first_kept_offset: version_of(first_kept),
                pins: valid_pins(&reply),
                merged: None,
            };
            if act == Act::Plan {
                return Ok(state);
            }
            match self
                .chain
                .swap_state(self.store(), &reply, state.clone())
                .await?
            {
                Swapped::Done(_) => return Ok(state),
                Swapped::Lost => {}
                Swapped::Unknown(why) => return Err(Error::Unavailable(why)),
            }
        }
        Err(too_many_changes(&self.chain))
    }

    /// Decides how far a trim may go.
    async fn cut(
        &self,
        newest: Option<Slot>,
        reply: &StateReply,
        keep: KeepVersions,
    ) -> Result<(Slot, TrimLimit), Error> {
        let floor = reply.first_kept();
        let Some(newest) = newest else {
            return Ok((floor, TrimLimit::None));
        };
        let mut limited_by = TrimLimit::None;
        let (mut cut, age_ms) = match keep {
            KeepVersions::From(version) => (read::slot_of(version)?, 0),
            KeepVersions::Newest(count) => (Slot(version_of(newest).saturating_sub(count)), 0),
            KeepVersions::AgeMs(age_ms) => (newest, age_ms),
        };
        if cut <= floor {
            return Ok((floor, limited_by));
        }
        let head = self.head(newest).await?;
        let old_ms = age_ms.max(head.header.grace_ms.into());
        // While the newest version is not decided, the one before it is the latest.
        let undecided = head.prepared.is_some() && !off(Guard::UndecidedKept);
        let last = newest.0.saturating_sub(undecided.into());
        if cut.0 > last && !off(Guard::NewestKept) {
            (cut, limited_by) = (Slot(last), TrimLimit::Newest);
        }
        if let Some(pin) = oldest_pin(reply)
            && cut > pin.slot
            && !off(Guard::PinsHold)
        {
            (cut, limited_by) = (pin.slot, TrimLimit::Pin(pin.reader));
        }
        if cut > floor && old_ms > 0 && !off(Guard::YoungSpared) {
            let first_young = self.first_young(cut, floor, reply, old_ms).await?;
            if cut > first_young {
                cut = first_young;
                limited_by = match keep {
                    KeepVersions::AgeMs(age_ms) if age_ms == old_ms => TrimLimit::None,
                    _ => TrimLimit::Grace,
                };
            }
        }
        if cut > floor && !off(Guard::FullVersionKept) {
            // All that any kept version is put together from is kept, too.
            cut = self.head(cut).await?.base();
        }
        Ok((cut, limited_by))
    }

    /// The first slot of those between `floor` and `cut` whose version is younger than
    /// this, or `cut`.
    async fn first_young(
        &self,
        cut: Slot,
        floor: Slot,
        reply: &StateReply,
        old_ms: u64,
    ) -> Result<Slot, Error> {
        let prefix = self.chain.keys.slots_prefix();
        let mut after = self.chain.keys.slot(cut);
        for _ in 0..AGE_PAGES_MAX {
            let page = self
                .store()
                .list(&prefix, Some(&after), PAGE_OBJECTS_MAX)
                .await?;
            for object in &page.objects {
                let (Some(now), Some(modified_at)) = (reply.observed_at, object.modified_at) else {
                    return Err(Error::Unsupported(format!(
                        "{}: trimming needs the store's time, which it does not tell; on such \
                         a store, create manifests with grace-ms 0",
                        object.key
                    )));
                };
                if now.since_ms(modified_at) >= old_ms {
                    let last_old = self.chain.keys.parse_slot(&object.key);
                    return Ok(last_old.and_then(Slot::next).unwrap_or(floor));
                }
            }
            match page.objects.last() {
                Some(last) if page.more => after.clone_from(&last.key),
                _ => break,
            }
        }
        Ok(floor)
    }
}
