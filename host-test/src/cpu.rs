//! Processor time, as opposed to time that passed.

use std::time::Duration;

/// What the calling thread has used so far.
pub fn of_this_thread() -> Duration {
    of_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn of_clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `time`, which outlives it, and to nothing else.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    // The clock of a thread that runs exists on every system that the harness runs on;
    // without it there is nothing to tell.
    if result != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The clock of one thread's processor time, for others to read while it runs.
#[derive(Clone, Copy, Debug)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// That of the calling thread.
    pub fn here() -> Option<Self> {
        let mut clock = 0;
        // SAFETY: the call writes to `clock`, which outlives it, and to nothing else.
        let result = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        (result == 0).then_some(Self(clock))
    }

    /// What the thread has used so far; nothing once it has ended.
    pub fn used(self) -> Duration {
        of_clock(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_thread_can_be_watched_from_another() {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let began = of_this_thread();
            while of_this_thread() - began < Duration::from_millis(20) {}
            tell.send(ThreadClock::here().unwrap()).unwrap();
            stopped.recv().unwrap();
        });
        assert!(told.recv().unwrap().used() >= Duration::from_millis(20));
        stop.send(()).unwrap();
        worker.join().unwrap();
    }

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
