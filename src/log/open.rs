//! Offers whose calls ended before anybody could tell what became of them.
//!
//! Others may take such an offer up to [`last_chance`], behind whatever its writer
//! appends in the meantime. So an instance remembers it, and *withdraws* it with the
//! next segment that it writes to the log: the header names the offer as settled, at
//! no offset, and nobody takes it any more. That costs no request.

use core::cell::RefCell;

use super::Log;
use super::offers::{Offer, Settled, last_chance};
use super::tail::Tail;
use crate::guards::{Guard, off};
use crate::keys::Name;

/// An instance that remembers so many open offers leaves no more.
const OPEN_MAX: usize = 256;

/// Open offers of this instance, to any log.
#[derive(Debug, Default)]
pub(super) struct OpenOffers(Vec<(Name, Settled)>);

/// The offer of a call that goes on. If that ends, or is dropped, while the offer may
/// still be taken, the instance remembers it.
#[derive(Debug)]
pub(super) struct OwnOffer<'a> {
    memory: &'a RefCell<OpenOffers>,
    name: &'a Name,
    pub(super) offer: Option<Offer>,
}

impl Drop for OwnOffer<'_> {
    fn drop(&mut self) {
        if let Some(offer) = &self.offer {
            let mut memory = self.memory.borrow_mut();
            memory.0.push((self.name.clone(), offer.withdrawn()));
        }
    }
}

impl<B, E> Log<'_, B, E> {
    /// Where a call keeps the offer that it leaves.
    pub(super) fn own_offer(&self) -> OwnOffer<'_> {
        OwnOffer {
            memory: &self.logs.open,
            name: self.chain.keys.name(),
            offer: None,
        }
    }

    /// Whether an offer may be left: not while an earlier one is open, for it could be
    /// taken before that.
    pub(super) fn has_no_open_offer(&self) -> bool {
        let OpenOffers(open) = &*self.logs.open.borrow();
        let here = |(name, _): &(Name, Settled)| name == self.chain.keys.name();
        (open.len() < OPEN_MAX || off(Guard::OpenOffersBounded))
            && (!open.iter().any(here) || off(Guard::OfferOneByOne))
    }

    /// Forgets the open offers that are settled by the newest segment, or that no
    /// segment behind it may take.
    pub(super) fn close_offers(&self, tail: &Tail) {
        let mut memory = self.logs.open.borrow_mut();
        memory.0.retain(|(name, open)| {
            name != self.chain.keys.name()
                || (tail.last_slot() < Some(last_chance(open.base))
                    && !open.is_among(&tail.settled))
        });
    }

    /// Lets the segment that is written behind `tail` withdraw all open offers.
    pub(super) fn withdraw_offers(&self, tail: &mut Tail) {
        for (name, open) in &self.logs.open.borrow().0 {
            let here = name == self.chain.keys.name();
            if here && !open.is_among(&tail.settled) && !off(Guard::OfferWithdrawn) {
                tail.settled.push(*open);
            }
        }
    }
}
