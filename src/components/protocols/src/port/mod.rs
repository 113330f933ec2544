//! The bucket, the clock and the randomness of the host.

#[cfg(not(feature = "s3"))]
mod imported;
#[cfg(feature = "s3")]
mod s3;

use ifmatch::env::Env;

use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::random::random;

#[cfg(not(feature = "s3"))]
pub(crate) use imported::Port;
#[cfg(feature = "s3")]
pub(crate) use s3::Port;

const NS_PER_MS: u64 = 1_000_000;

/// The host's clock and randomness.
#[derive(Debug)]
pub(crate) struct Host;

impl Env for Host {
    fn monotonic_ms(&self) -> u64 {
        monotonic_clock::now() / NS_PER_MS
    }

    fn sleep_ms(&self, ms: u64) {
        monotonic_clock::subscribe_duration(ms.saturating_mul(NS_PER_MS)).block();
    }

    fn random_u128(&self) -> u128 {
        let high = u128::from(random::get_random_u64());
        high << 64 | u128::from(random::get_random_u64())
    }
}
