//! Processor time, as opposed to time that passed.

use std::time::Duration;

/// What the calling thread has used so far.
pub fn of_this_thread() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `time`, which outlives it, and to nothing else.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    // The clock exists on every system that the harness runs on; without it there is
    // nothing to tell.
    if result != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn work_counts_and_waiting_does_not() {
        let began = of_this_thread();
        std::thread::sleep(Duration::from_millis(300));
        let waited = of_this_thread() - began;
        assert!(waited < Duration::from_millis(100), "{waited:?}");
        let start = Instant::now();
        let mut number = 1_u64;
        while of_this_thread() - began < Duration::from_millis(20) {
            number = std::hint::black_box(number.wrapping_mul(3));
            assert!(start.elapsed() < Duration::from_secs(60), "it stands still");
        }
    }
}
