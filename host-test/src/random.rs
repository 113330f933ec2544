//! Randomness that a seed repeats.

use rand_core::{Infallible, TryRng};

/// A stream of pseudo-random numbers (SplitMix64). Not for secrets.
#[derive(Clone, Debug)]
pub struct Seeded {
    state: u64,
}

/// One step of SplitMix64: a number that depends on every bit of `x`.
fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Seeded {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    /// A stream of its own for `purpose`, so that more draws for one purpose do
    /// not shift those for another.
    pub fn fork(seed: u64, purpose: &str) -> Self {
        let named = purpose
            .bytes()
            .fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Self { state: named }
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number from 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        // 53 bits fill the mantissa of a double exactly.
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from 0 up to, not including, `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of the product: its bias is under end / 2^64.
        let product = u128::from(self.draw()) * u128::from(end);
        (product >> 64) as u64
    }
}

impl TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.draw() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let random = self.draw().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_purposes_differ() {
        let draw = |mut stream: Seeded| [stream.draw(), stream.draw(), stream.draw()];
        assert_eq!(draw(Seeded::new(7)), draw(Seeded::new(7)));
        assert_ne!(draw(Seeded::new(7)), draw(Seeded::new(8)));
        assert_ne!(draw(Seeded::fork(7, "a")), draw(Seeded::fork(7, "b")));
        let mut stream = Seeded::new(1);
        for _ in 0..1000 {
            assert!(stream.unit() < 1.0);
            assert!(stream.below(10) < 10);
        }
    }
}
