//! The safety guards by name, so that a test can show what happens without one.
//!
//! A guard is asked about where it stands. Without the feature `mutations`, which no
//! artifact has, the answer is a constant and nothing of this is compiled.

/// One guard. `docs/PROTOCOLS.md` and `docs/LEASES.md` say what each is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// After a refusal, the commit id in the slot tells an own attempt.
    CommitIdAfterRefusal,
    /// Only an own commit id means that the slot was won.
    CommitIdCompared,
    /// A writer stays at its slot until it has seen somebody else's object there.
    SlotUntilDecided,
    /// A late write is looked up in the watermark before it is acknowledged.
    WatermarkAfterWrite,
    /// The clock margin counts twice in the grace rule.
    BothMargins,
    /// A clock that is far off proves nothing.
    FarClock,
    /// A trimmed slot is given up only if no attempt is in doubt.
    OvertakenWithoutDoubt,
    /// No error is returned while an attempt is in doubt.
    ErrorWithoutDoubt,
    /// A listing out of order is refused.
    ListingInOrder,
    /// An object must have been written for its place.
    PlaceChecked,
    /// A segment must follow on the one before.
    FollowsOn,
    /// A winner is believed only if its slot cannot have been trimmed.
    WinnerGenuine,
    /// An empty slot is the tail only if it cannot have been trimmed.
    EmptySlotIsTail,
    /// A lower epoch is refused.
    EpochRule,
    /// A producer's last batch is recognised.
    ProducerKnown,
    /// A producer that may have been forgotten is not taken for a new one.
    ProducerForgotten,
    /// A batch that expects another tail is refused.
    ExpectedOffset,
    /// What may hold no more is looked up before a batch is refused.
    RefusalFresh,
    /// The newest segment is not trimmed.
    NewestKept,
    /// A pin holds a trim back.
    PinsHold,
    /// Nothing younger than the grace period is trimmed.
    YoungSpared,
    /// The object in the first slot is not deleted.
    FirstSlotKept,
    /// A pin below the watermark is refused.
    PinAboveWatermark,
    /// A reader takes only a segment that cannot have been trimmed, or looks.
    SegmentGenuine,
    /// A reader takes an empty slot for the tail only while it cannot be trimmed.
    AbsenceIsTail,
    /// What was settled before is not taken again.
    OfferTakenOnce,
    /// Every segment hands on what was settled.
    SettledHandedOn,
    /// A batch is sent another way only when its offer cannot be taken any more.
    OfferAwaited,
    /// A combiner names its own open offer as settled.
    OwnOfferNamed,
    /// An offer that may be stored leaves doubt.
    OfferInDoubt,
    /// What stands in a trimmed slot tells nothing about offers.
    OfferAnswerGenuine,
    /// A claim does not hide that an offer was taken before it.
    SettledBeforeClaim,
    /// An open offer of an earlier call is withdrawn with the next segment.
    OfferWithdrawn,
    /// No offer is left while an earlier one is open.
    OfferOneByOne,
    /// An offer that a copy of the writer withdrew is not taken for appended.
    WithdrawnNotTaken,
    /// An instance that remembers too many open offers leaves no more.
    OpenOffersBounded,
    /// The deadline of a grant counts from the first sending.
    DeadlineFromFirstSend,
    /// A holder counts with the error of its clock.
    HolderRate,
    /// A holder counts with the store's clocks that disagree.
    HolderMargin,
    /// Whoever has created a lease waits before it takes it.
    ReservationWait,
    /// The first token after a reservation is ahead of the store's time.
    TokenAfterReservation,
    /// After a refusal, the nonce tells an own write.
    NonceAfterRefusal,
    /// The nonce, and not the holder's name, tells an own write.
    NonceNotName,
    /// Only own nonces are built on by a renewal or release.
    OwnNonces,
    /// Only versions under the token of the grant are.
    GrantToken,
    /// A contender takes only what is free.
    FreeOnly,
    /// A token is above the last.
    TokenAboveLast,
    /// A token is not below the store's time.
    TokenAboveTime,
    /// A renewal does not shorten a lease.
    RenewalNotShorter,
    /// A grant is given up before the lease is acquired anew or released.
    GiveUpFirst,
    /// A refusal that cannot be looked into leaves doubt.
    DoubtAfterRefusal,
    /// A commit under a lower epoch is refused.
    ManifestEpoch,
    /// A commit that meets what others changed is refused.
    ConflictSeen,
    /// A commit recognises itself among those of others.
    CommitKnown,
    /// A commit that names blobs which may be collected is refused.
    BlobsKept,
}

#[cfg(feature = "mutations")]
impl Guard {
    const LAST: Guard = Guard::BlobsKept;
}

/// Whether a test has switched this guard off.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(crate) const fn off(_: Guard) -> bool {
    false
}

#[cfg(feature = "mutations")]
pub use switch::{ALL, off};

#[cfg(feature = "mutations")]
mod switch {
    use super::Guard;
    use std::sync::OnceLock;

    /// The environment variable that names the guard to switch off.
    const OFF_VARIABLE: &str = "IFMATCH_GUARD_OFF";

    /// Every guard.
    pub const ALL: &[Guard] = {
        use Guard::*;
        &[
            CommitIdAfterRefusal,
            CommitIdCompared,
            SlotUntilDecided,
            WatermarkAfterWrite,
            BothMargins,
            FarClock,
            OvertakenWithoutDoubt,
            ErrorWithoutDoubt,
            ListingInOrder,
            PlaceChecked,
            FollowsOn,
            WinnerGenuine,
            EmptySlotIsTail,
            EpochRule,
            ProducerKnown,
            ProducerForgotten,
            ExpectedOffset,
            RefusalFresh,
            NewestKept,
            PinsHold,
            YoungSpared,
            FirstSlotKept,
            PinAboveWatermark,
            SegmentGenuine,
            AbsenceIsTail,
            OfferTakenOnce,
            SettledHandedOn,
            OfferAwaited,
            OwnOfferNamed,
            OfferInDoubt,
            OfferAnswerGenuine,
            SettledBeforeClaim,
            OfferWithdrawn,
            OfferOneByOne,
            WithdrawnNotTaken,
            OpenOffersBounded,
            DeadlineFromFirstSend,
            HolderRate,
            HolderMargin,
            ReservationWait,
            TokenAfterReservation,
            NonceAfterRefusal,
            NonceNotName,
            OwnNonces,
            GrantToken,
            FreeOnly,
            TokenAboveLast,
            TokenAboveTime,
            RenewalNotShorter,
            GiveUpFirst,
            DoubtAfterRefusal,
            ManifestEpoch,
            ConflictSeen,
            CommitKnown,
            BlobsKept,
        ]
    };

    #[allow(clippy::indexing_slicing, reason = "when compiled, not when run")]
    const _: () = {
        // No guard is left out: each stands at its own place, up to the last.
        let mut at = 0;
        while at < ALL.len() {
            assert!(ALL[at] as usize == at);
            at += 1;
        }
        assert!(ALL.len() == Guard::LAST as usize + 1);
    };

    static OFF: OnceLock<Option<Guard>> = OnceLock::new();

    /// The guard of this name.
    ///
    /// # Panics
    ///
    /// If there is none: a test that ran with every guard on would prove nothing.
    #[allow(clippy::panic, reason = "only for tests")]
    fn named(name: &str) -> Guard {
        let mut all = ALL.iter();
        match all.find(|guard| format!("{guard:?}") == name) {
            Some(guard) => *guard,
            None => panic!("{OFF_VARIABLE}: there is no guard {name}"),
        }
    }

    /// Whether this guard is switched off.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "only for tests")]
    pub fn off(guard: Guard) -> bool {
        let chosen = || std::env::var(OFF_VARIABLE).ok().map(|name| named(&name));
        *OFF.get_or_init(chosen) == Some(guard)
    }
}
