//! The safety guards by name, so that a test can show what happens without one.
//!
//! A guard is asked about where it stands. Without the feature `mutations`, which no
//! artifact has, the answer is a constant and nothing of this is compiled.

// Each is written once, here, and is in the enum and in the list.
macro_rules! guards {
    ($($(#[$what:meta])* $name:ident,)*) => {
        /// One guard. The documents on protocols, leases, manifests and collection say
        /// what each is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Guard {
            $($(#[$what])* $name,)*
        }

        /// Every guard.
        #[cfg(feature = "mutations")]
        pub const ALL: &[Guard] = &[$(Guard::$name),*];
    };
}

guards! {
    // What makes slots safe: `src/slots.rs`, `src/slots/`
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
    /// The object in the first slot is not deleted.
    FirstSlotKept,
    /// A pin below the watermark is refused.
    PinAboveWatermark,
    /// A pin that has expired holds nothing.
    PinsExpire,
    /// An object whose checksum does not match is refused.
    Checksums,
    /// A section that must be understood and is not is refused.
    SectionsKnown,
    // Logs
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
    /// A batch has another commit id in each slot.
    CommitIdOfSlot,
    /// A reader takes only a segment that cannot have been trimmed, or looks.
    SegmentGenuine,
    /// A reader takes an empty slot for the tail only while it cannot be trimmed.
    AbsenceIsTail,
    /// What was trimmed or merged during a search is searched again.
    MovedIsNoError,
    /// The newest segment or version is not trimmed.
    NewestKept,
    /// A pin holds a trim back.
    PinsHold,
    /// Nothing younger than the grace period is trimmed or merged.
    YoungSpared,
    // Offers
    /// What was settled before is not taken again.
    OfferTakenOnce,
    /// Every segment hands on what was settled.
    SettledHandedOn,
    /// A batch is sent another way only when its offer cannot be taken any more.
    OfferAwaited,
    /// A combiner names its own open offer as settled.
    OwnOfferNamed,
    /// A combiner does not take its own offer.
    OwnOfferSkipped,
    /// An offer is taken in the slots behind its base, and nowhere else.
    OfferWindow,
    /// An offer out of its producer's sequence is not taken.
    OfferSequence,
    /// Nor is the own batch of whoever combines.
    OwnBatchJudged,
    /// An offer that may be stored leaves doubt.
    OfferInDoubt,
    /// An offer whose reply was lost may be stored.
    DoubtfulOfferOpen,
    /// What stands in a trimmed slot tells nothing about offers.
    OfferAnswerGenuine,
    /// A claim does not hide that an offer was taken before it.
    SettledBeforeClaim,
    /// Whose offer may have been taken does not write its batch itself.
    CombineInWindow,
    /// What may hold no more refuses nothing while an offer may be taken.
    RefusalWithoutOffer,
    /// An open offer of an earlier call is withdrawn with the next segment.
    OfferWithdrawn,
    /// No offer is left while an earlier one is open.
    OfferOneByOne,
    /// An offer that a copy of the writer withdrew is not taken for appended.
    WithdrawnNotTaken,
    /// An instance that remembers too many open offers leaves no more.
    OpenOffersBounded,
    /// Offers are deleted with the last segment that may need them.
    OffersKept,
    /// The object behind an offer must be what was taken.
    OfferCompared,
    // Merging
    /// The plan is looked at between reading segments and packing them.
    PlanSeenAgain,
    /// A plan is made only if there is none and nothing was trimmed.
    PlannedOnce,
    /// Segments are given up only for the pack that was planned.
    MergedAsPlanned,
    /// A trim into what is planned drops the plan.
    PlanCutOff,
    /// The newest segment is not merged.
    MergeSparesNewest,
    /// Segments are given up only when their pack is certain to be there.
    PackStored,
    /// A pack that is there already must hold the same segments.
    PackCompared,
    /// A pack holds the segments that its key and its index say.
    PackInPlace,
    /// The key of a pack names the first slot in it.
    PackNamesSlot,
    /// A pack is deleted when all of it is trimmed.
    PackKeptToItsEnd,
    /// A search by time finds no record that was trimmed.
    PackedTimeKept,
    /// A pin of a merged record holds a trim back.
    PinInPacks,
    /// A trim among packs leaves the watermark of slots where it is.
    WatermarkNeverSinks,
    /// A reader that a merge overtakes goes on in the packs.
    MergedIsNotTrimmed,
    /// Who does not know packs refuses a log that has some.
    PacksMustBeKnown,
    /// Behind a jump, a segment is not compared with the one read last.
    JumpForgetsPrevious,
    // Leases
    /// The deadline of a grant counts from the first sending.
    DeadlineFromFirstSend,
    /// A holder counts with the error of its clock.
    HolderRate,
    /// A holder counts with the store's clocks that disagree.
    HolderMargin,
    /// A lease is created before it is taken.
    ReservationFirst,
    /// Whoever has created a lease waits before it takes it.
    ReservationWait,
    /// Each attempt to create a lease has a nonce of its own.
    ReservationNonces,
    /// The first token after a reservation is ahead of the store's time.
    TokenAfterReservation,
    /// Tokens do not run far ahead of the store's time.
    TokensNotFarAhead,
    /// A token is above the last.
    TokenAboveLast,
    /// A token is not below the store's time.
    TokenAboveTime,
    /// A token is above all that this instance has seen.
    HighestTokenKnown,
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
    /// A renewal does not shorten a lease.
    RenewalNotShorter,
    /// A grant is given up before the lease is acquired anew or released.
    GiveUpFirst,
    /// A grant is not relied on once another token was seen.
    RelianceEnds,
    /// A refusal that cannot be looked into leaves doubt.
    DoubtAfterRefusal,
    // Manifests
    /// A commit under a lower epoch is refused.
    ManifestEpoch,
    /// A commit that meets what others changed is refused.
    ConflictSeen,
    /// A commit recognises itself among those of others.
    CommitKnown,
    /// Versions that were trimmed tell nothing of conflicts.
    ExaminedKept,
    /// What an aborted transaction changed conflicts with nothing, and what took effect does.
    ExaminedFate,
    /// What a commit builds on must be known to be there.
    NothingAhead,
    /// A collector's commit carries the epoch in force.
    RaiseKeepsEpoch,
    /// A version is believed only if its slot cannot have been trimmed.
    VersionGenuine,
    /// The newest segment or version is the object that was listed.
    ListedCompared,
    /// A version must follow on the one before.
    VersionFollows,
    /// A version must come to the content that it says.
    ContentHash,
    /// What versions changed is taken from the marks in a later one only if those reach
    /// back far enough.
    RecentReachesBack,
    /// A commit that meets a mark of its own reads the versions themselves.
    RecentHeeded,
    /// A version carries what was removed since the one that it builds on.
    RemovalsCarried,
    /// What was in a slot counts only if it is kept afterwards.
    KeptReadLast,
    /// What a pin is said to keep is read only under that pin.
    ReaderPinned,
    /// All that a kept version builds on is kept.
    FullVersionKept,
    /// While the newest version is undecided, the one before it is kept.
    UndecidedKept,
    /// What a fork copies is pinned meanwhile.
    ForkPinned,
    // Transactions
    /// Nothing is committed behind a version that is undecided.
    SettledBeforeCommit,
    /// What a transaction changes counts only if it takes effect.
    PreparedIsNotApplied,
    /// A decision that came too late decides nothing.
    DecisionInTime,
    /// Who decides late looks whether it was in time.
    LateDecisionRead,
    /// A decision counts for readers only while nothing follows.
    DecisionInForce,
    /// Who had believed another decision begins again.
    FateCompared,
    /// What follows a transaction is looked at before and after its decision.
    FateAboveTwice,
    /// A refusal by somebody who slept does not undo a transaction.
    RefusalCompared,
    /// A comparison that relied on a decision alone is made again.
    FateCertain,
    /// A driver believes only what follows on a part that is kept.
    FateOfKept,
    /// The time of a decision is that of the first part.
    BegunFirst,
    /// A decision stays while a manifest waits for it.
    DecisionNeeded,
    /// A decision stays while a later one could count.
    DecisionAged,
    // Blobs and their collection
    /// A commit that names blobs which may be collected is refused.
    BlobsKept,
    /// The generation is raised before anything is condemned.
    FloorBeforeSweep,
    /// Only blobs two generations behind are condemned.
    TwoGenerations,
    /// A blob that a kept version names is not deleted.
    NamedKept,
    /// What an undecided transaction names counts as named.
    PreparedIsNamed,
    /// Which versions are kept is read before and after what they name.
    KeptReadAgain,
    /// A blob is compared with its digest at every read.
    DigestRead,
    /// A blob that was there already is compared.
    StoredCompared,
    // The check of stores: `src/doctor/`
    /// A store is checked before anything is created there.
    ConditionsChecked,
    /// Only the note of a check that was passed spares another one.
    NoteRead,
    /// A note that was copied with its bucket is not believed.
    NoteOfHere,
    /// A store where two writes win one race is refused.
    TwoWinnersSeen,
    /// A race that nobody lost has shown nothing.
    LoserAwaited,
    /// A check of which too many replies were lost is not passed.
    UnclearNotPassed,
    /// Writes race to replace as well as to create.
    ReplacesRaced,
    /// No two writes of a race are alike.
    ProbesDiffer,
    /// An examination whose replies are lost ends without a verdict.
    LostReplyExamined,
    /// An examination ends as its worst check.
    WorstVerdict,
    /// It finds what creates an object that exists.
    CreateExamined,
    /// It finds what does not replace as it should.
    ReplaceExamined,
    /// A replace of an old version is among that.
    OldVersionExamined,
    /// A replace of what is missing is among that.
    MissingExamined,
    /// It finds creates that win one race.
    RacingCreatesExamined,
    /// It finds replaces that win one race.
    RacingReplacesExamined,
    /// It finds reads of something else than was written.
    ReadExamined,
    /// It finds what is sent although it has not changed.
    UnchangedReadExamined,
    /// It finds listings without what was written, or out of order.
    ListingExamined,
    /// It finds clocks that are missing or disagree.
    TimeExamined,
    /// It finds what stays although it was deleted, and refused deletions.
    DeletionExamined,
}

/// Whether a test has switched this guard off.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(crate) const fn off(_: Guard) -> bool {
    false
}

#[cfg(feature = "mutations")]
pub use switch::off;

#[cfg(feature = "mutations")]
mod switch {
    use super::{ALL, Guard};
    use std::sync::OnceLock;

    /// The environment variable that names the guard to switch off.
    const OFF_VARIABLE: &str = "IFMATCH_GUARD_OFF";

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

    /// In a component there is no such variable: the name is written here, over the
    /// blanks, into the file.
    static WRITTEN: [u8; 50] = *b"IFMATCH_GUARD_OFF=                                ";

    #[allow(clippy::disallowed_methods, reason = "only for tests")]
    fn chosen() -> Option<Guard> {
        let written = core::str::from_utf8(core::hint::black_box(&WRITTEN)).unwrap_or_default();
        let (_, written) = written.split_once('=').unwrap_or_default();
        match written.trim_end() {
            "" => std::env::var(OFF_VARIABLE).ok().map(|name| named(&name)),
            name => Some(named(name)),
        }
    }

    /// Whether this guard is switched off.
    #[must_use]
    pub fn off(guard: Guard) -> bool {
        *OFF.get_or_init(chosen) == Some(guard)
    }
}
