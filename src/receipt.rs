//! What operations cost.

/// Counts since the last call of `receipts.take`. The WIT interface of the same
/// name describes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Reads of objects.
    pub gets: u32,
    /// Conditional writes.
    pub puts: u32,
    /// Pages of listings.
    pub lists: u32,
    /// Calls of `delete_many`.
    pub deletes: u32,
    /// Of these, repetitions.
    pub retries: u32,
    /// Slots lost to other writers.
    pub races_lost: u32,
    /// Checks of a write against the trim watermark.
    pub grace_checks: u32,
    /// Time slept, in milliseconds.
    pub slept_ms: u64,
}
