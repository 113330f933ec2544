//! What was measured of one operation: times, and what can be counted.

use crate::place::Place;
use anyhow::Result;
use host_test::cpu::{self, ThreadClock};
use host_test::store::{Kind, Totals};
use std::ops::AddAssign;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Prices in dollars of 2026 for a million requests: writes and listings, reads. Without
/// what bytes cost.
pub const PRICES: [(&str, f64, f64); 3] = [
    ("S3", 5.00, 0.40),
    ("S3 Express", 1.13, 0.03),
    ("R2", 4.50, 0.36),
];

/// Within this and the latency, a request that is under way arrives.
const SETTLING: Duration = Duration::from_millis(5);

/// The threads of clients besides the one that measures: those on which a host sends
/// requests and receives replies.
static HELPERS: Mutex<Vec<ThreadClock>> = Mutex::new(Vec::new());

/// Counts the calling thread among those of clients from now on.
pub fn count_this_thread() {
    if let (Some(clock), Ok(mut helpers)) = (ThreadClock::here(), HELPERS.lock()) {
        helpers.push(clock);
    }
}

/// Processor time of all clients so far.
fn cpu_of_clients() -> Duration {
    let helpers = HELPERS.lock().map(|clocks| clocks.clone());
    let helpers = helpers.unwrap_or_default().into_iter();
    cpu::of_this_thread() + helpers.map(ThreadClock::used).sum()
}

/// Requests and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Writes.
    pub puts: u64,
    /// Reads, of an object or of its headers.
    pub gets: u64,
    /// Pages of listings.
    pub lists: u64,
    /// Deletions, and whatever else there is.
    pub others: u64,
    /// Bytes of bodies sent.
    pub bytes_in: u64,
    /// Bytes of bodies received.
    pub bytes_out: u64,
}

impl Counted {
    /// What was added between two states of a store.
    pub fn between(before: &Totals, after: &Totals) -> Self {
        let used = after.since(before);
        let (puts, lists) = (used.of(Kind::Put), used.of(Kind::List));
        let gets = used.of(Kind::Get) + used.of(Kind::Head);
        Self {
            puts,
            gets,
            lists,
            others: used.all() - puts - gets - lists,
            bytes_in: used.bytes_in,
            bytes_out: used.bytes_out,
        }
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.puts + self.gets + self.lists + self.others
    }

    /// Dollars, given the price of a million writes or listings, and of a million
    /// reads. Deletions are free.
    pub fn dollars(&self, writes: f64, reads: f64) -> f64 {
        ((self.puts + self.lists) as f64 * writes + self.gets as f64 * reads) / 1e6
    }
}

impl AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.puts += other.puts;
        self.gets += other.gets;
        self.lists += other.lists;
        self.others += other.others;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// One operation, as somebody else timed it.
#[derive(Clone, Copy, Debug)]
pub struct Reported {
    /// How long it took.
    pub wall: Duration,
    /// Processor time of its process.
    pub cpu: Duration,
}

/// Operations of one kind by one contestant.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// How long each took.
    pub times: Vec<Duration>,
    /// How long they took together, where several ran at once.
    pub elapsed: Duration,
    /// Processor time of clients: of the guest and its host.
    pub cpu: Duration,
    /// Requests and bytes.
    pub counted: Counted,
    /// WebAssembly instructions, about.
    pub fuel: Option<u64>,
    /// The most linear memory that one instance had.
    pub memory_bytes: Option<usize>,
}

impl Sample {
    /// Runs and measures something. Nobody else may use the place meanwhile.
    pub async fn measure(
        &mut self,
        place: &Place,
        run: impl Future<Output = Result<Option<Reported>>>,
    ) -> Result<()> {
        let totals = place.totals();
        let (busy, cpu, began) = (place.busy(), cpu_of_clients(), Instant::now());
        let reported = run.await?;
        let wall = began.elapsed();
        if reported.is_some() {
            // What another process had under way in the background is its own too.
            tokio::time::sleep(place.latency + SETTLING).await;
        }
        let cpu = cpu_of_clients().saturating_sub(cpu);
        let own = cpu.saturating_sub(place.busy().saturating_sub(busy));
        self.counted += Counted::between(&totals, &place.totals());
        let measured = reported.unwrap_or(Reported { wall, cpu: own });
        self.times.push(measured.wall);
        self.elapsed += measured.wall;
        self.cpu += measured.cpu;
        Ok(())
    }

    /// How many operations there were.
    pub fn operations(&self) -> usize {
        self.times.len()
    }

    /// The time that a share of the operations did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = (times.len() as f64 * share).ceil() as usize;
        times.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Operations in a second.
    pub fn per_second(&self) -> f64 {
        self.operations() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let sample = Sample {
            times: (1..=100).rev().map(Duration::from_millis).collect(),
            ..Sample::default()
        };
        assert_eq!(sample.quantile(0.5), Duration::from_millis(50));
        assert_eq!(sample.quantile(0.99), Duration::from_millis(99));
        assert_eq!(sample.quantile(1.0), Duration::from_millis(100));
        assert_eq!(Sample::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn listings_cost_as_much_as_writes() {
        let counted = Counted {
            puts: 1,
            gets: 1,
            lists: 1,
            others: 7,
            ..Counted::default()
        };
        let dollars = counted.dollars(5.0, 0.4) * 1e6;
        assert!((dollars - 10.4).abs() < 1e-9, "{dollars}");
        assert_eq!(counted.requests(), 10);
    }
}
