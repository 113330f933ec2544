//! Fencing tokens.

use crate::error::Error;

/// The epoch of a writer. It grows with every grant of a lease; 0 stands for
/// shared writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of shared writers, and of an object that nobody fenced yet.
    pub const SHARED: Epoch = Epoch(0);
}

/// Who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Any number of writers, ordered by optimistic concurrency alone.
    Shared,
    /// The holder of the highest token. Never [`Epoch::SHARED`].
    Fenced(Epoch),
}

impl Writer {
    /// The epoch that this writer puts into what it writes.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        match self {
            Self::Shared => Epoch::SHARED,
            Self::Fenced(epoch) => epoch,
        }
    }

    /// Refuses a token that no lease grants.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self == Writer::Fenced(Epoch::SHARED) {
            return Err(Error::InvalidArgument(
                "epoch 0 is reserved for shared writers".to_owned(),
            ));
        }
        Ok(())
    }
}
