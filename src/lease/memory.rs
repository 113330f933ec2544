//! What an instance remembers about leases, and what follows from it.

use super::Seen;
use super::object::{Lease, State};
use crate::bucket::{StoreTime, Version};
use crate::guards::{Guard, off};
use crate::keys::Name;
use crate::token::Epoch;

/// An instance remembers this many leases.
pub const LEASES_MAX: usize = 256;

/// An instance knows this many of its own last writes to one lease again.
const OWN_NONCES_MAX: usize = 8;

/// One version of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The version of the object.
    pub(super) version: Version,
    /// Its content.
    pub(super) lease: Lease,
    /// When the store accepted it, if it tells, and not before that.
    pub(super) modified_at: Option<StoreTime>,
    /// When this instance had read or written it, on its own clock.
    pub(super) known_since_ms: u64,
}

impl View {
    /// Whether nobody has acquired the lease since it was created.
    pub(super) fn is_reservation(&self) -> bool {
        self.lease.token == Epoch::SHARED
    }

    /// How long anybody but the holder or the successor has to wait, given the
    /// store's clock in the last reply that showed this version.
    ///
    /// The store's times decide wherever it tells them: they hold for a contender
    /// that has just started, and its own clock has no part in it. `known_since_ms`
    /// was taken after the version existed, so without them the contender's own
    /// clock is as safe, and slower.
    pub(super) fn free_in_ms(&self, observed_at: Option<StoreTime>, now_ms: u64) -> u64 {
        if self.lease.state == State::Released {
            return 0;
        }
        let age_ms = match (self.modified_at, observed_at) {
            (Some(modified_at), Some(observed_at)) => observed_at.since_ms(modified_at),
            _ => now_ms.saturating_sub(self.known_since_ms),
        };
        u64::from(self.lease.duration_ms).saturating_sub(age_ms)
    }

    /// When others may take the lease, by the store's clock.
    pub(super) fn expires_at(&self) -> Option<StoreTime> {
        let age_ms = match self.lease.state {
            State::Released => 0,
            _ => self.lease.duration_ms,
        };
        self.modified_at.map(|modified_at| StoreTime {
            unix_ms: modified_at.unix_ms.saturating_add(age_ms.into()),
        })
    }

    /// How long whoever has reserved the lease still has to wait.
    pub(super) fn settles_in_ms(&self, now_ms: u64) -> u64 {
        if !self.is_reservation() || off(Guard::ReservationWait) {
            return 0;
        }
        let settle_ms = self.lease.bounds.settle_ms();
        settle_ms.saturating_sub(now_ms.saturating_sub(self.known_since_ms))
    }

    /// Whether the lease is the named one's, before it is anybody's.
    pub(super) fn is_for(&self, holder: &str) -> bool {
        match &self.lease.state {
            State::Held => self.lease.holder == holder,
            State::Released => true,
            State::Handover(to) => to == holder,
        }
    }

    /// Whether `holder` may take the lease now.
    pub(super) fn is_free_for(
        &self,
        holder: &str,
        observed_at: Option<StoreTime>,
        now_ms: u64,
    ) -> bool {
        self.is_for(holder) && self.settles_in_ms(now_ms) == 0
            || self.free_in_ms(observed_at, now_ms) == 0
            || off(Guard::FreeOnly)
    }
}

/// How long a grant of this instance can be relied on.
#[derive(Clone, Copy, Debug)]
struct Reliance {
    token: Epoch,
    until_ms: u64,
}

/// What is known about one lease.
#[derive(Debug)]
struct Entry {
    name: Name,
    view: Option<View>,
    /// The store's clock in the last reply about it.
    observed_at: Option<StoreTime>,
    /// The highest token ever seen here, even if the object is gone.
    highest: u64,
    own_nonces: Vec<u128>,
    reliance: Option<Reliance>,
}

/// The leases that were used last, the latest at the end. A list, because its code
/// is small and next to a request the search takes no time.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: Vec<Entry>,
}

impl Memory {
    fn get(&self, name: &Name) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == *name)
    }

    /// Gives the entry to `change`, a new one if there is none.
    fn change(&mut self, name: &Name, change: impl FnOnce(&mut Entry)) {
        let at = self.entries.iter().position(|entry| entry.name == *name);
        let mut entry = match at {
            Some(at) => self.entries.remove(at),
            None => Entry {
                name: name.clone(),
                view: None,
                observed_at: None,
                highest: 0,
                own_nonces: Vec::new(),
                reliance: None,
            },
        };
        change(&mut entry);
        if self.entries.len() >= LEASES_MAX {
            self.entries.remove(0);
        }
        self.entries.push(entry);
    }

    /// What was last seen of a lease that existed.
    pub(super) fn seen(&self, name: &Name) -> Option<Seen> {
        let entry = self.get(name)?;
        entry.view.as_ref()?;
        Some(Seen {
            view: entry.view.clone(),
            observed_at: entry.observed_at,
        })
    }

    /// The highest token that was ever seen, or 0.
    pub(super) fn highest(&self, name: &Name) -> u64 {
        self.get(name).map_or(0, |entry| entry.highest)
    }

    /// Takes in what a reply showed.
    pub(super) fn learn(&mut self, name: &Name, seen: &Seen) {
        let token = match &seen.view {
            Some(view) => view.lease.token,
            None => Epoch::SHARED,
        };
        self.change(name, |entry| {
            entry.view = seen.view.clone();
            entry.observed_at = seen.observed_at;
            entry.highest = entry.highest.max(token.0);
            // Once another token is granted, or the object is deleted, nothing rests
            // on an earlier grant any more.
            entry.reliance = entry
                .reliance
                .filter(|known| known.token == token || off(Guard::RelianceEnds));
        });
    }

    /// Takes in that this instance is about to write this nonce.
    pub(super) fn will_write(&mut self, name: &Name, nonce: u128) {
        self.change(name, |entry| {
            if entry.own_nonces.len() >= OWN_NONCES_MAX {
                entry.own_nonces.remove(0);
            }
            entry.own_nonces.push(nonce);
        });
    }

    /// Whether this instance wrote, or tried to write, this nonce.
    pub(super) fn is_own(&self, name: &Name, nonce: u128) -> bool {
        self.get(name)
            .is_some_and(|entry| entry.own_nonces.contains(&nonce))
    }

    /// From now on, this token can be relied on until then.
    pub(super) fn rely(&mut self, name: &Name, token: Epoch, until_ms: u64) {
        self.change(name, |entry| {
            entry.reliance = Some(Reliance { token, until_ms });
        });
    }

    /// No grant on this lease is relied on any more.
    pub(super) fn stop_relying(&mut self, name: &Name) {
        self.change(name, |entry| entry.reliance = None);
    }

    /// Until when this token can be relied on.
    pub(super) fn reliable_until_ms(&self, name: &Name, token: Epoch) -> u64 {
        self.get(name)
            .and_then(|entry| entry.reliance)
            .filter(|known| known.token == token)
            .map_or(0, |known| known.until_ms)
    }
}
