//! What the protocols need from the world besides the store.

use maybe_async::maybe_async;

/// Time and randomness of the instance that runs the protocols.
#[maybe_async(AFIT)]
pub trait Env {
    /// Milliseconds on a clock that never goes back, from an arbitrary start.
    ///
    /// It may stand still while the host has frozen the instance: it serves
    /// waiting and liveness, and no stored byte depends on it.
    fn monotonic_ms(&self) -> u64;

    /// Waits for about this many milliseconds.
    fn sleep_ms(&self, ms: u64) -> impl core::future::Future<Output = ()>;

    /// 128 fresh random bits from the host.
    ///
    /// They must come from the host at each call, never from a generator inside
    /// the instance: a host may copy a running instance, and both copies must
    /// draw different ids.
    fn random_u128(&self) -> u128;
}
