//! Makes an instance stand still.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// Stands between an executor and what runs in one instance. Clones are the same
/// gate. While it is closed, nothing behind it is polled, as if the process were
/// stopped: timers run out and replies arrive, but nobody looks.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    closed: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
    opened: Notify,
}

/// Keeps a gate closed until it is dropped.
#[derive(Debug)]
pub struct Closed {
    gate: Gate,
}

impl Gate {
    /// Closes the gate. It opens when everything that closed it has been dropped.
    pub fn close(&self) -> Closed {
        self.inner.closed.fetch_add(1, Ordering::SeqCst);
        Closed { gate: self.clone() }
    }

    /// Whether it is closed now.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::SeqCst) > 0
    }

    /// Waits until it is open.
    pub async fn open(&self) {
        loop {
            let opened = self.inner.opened.notified();
            if !self.is_closed() {
                return;
            }
            opened.await;
        }
    }

    /// Runs something behind the gate.
    pub async fn behind<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| self.poll(future.as_mut(), context)).await
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        if !self.is_closed() {
            return future.poll(context);
        }
        let mut wakers = self
            .inner
            .wakers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        wakers.push(context.waker().clone());
        // Between the check and the lock it may have opened without seeing us.
        if !self.is_closed() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        let inner = &self.gate.inner;
        if inner.closed.fetch_sub(1, Ordering::SeqCst) == 1 {
            let wakers =
                std::mem::take(&mut *inner.wakers.lock().unwrap_or_else(PoisonError::into_inner));
            wakers.into_iter().for_each(Waker::wake);
            inner.opened.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn nothing_moves_behind_a_closed_gate() {
        let gate = Gate::default();
        let start = tokio::time::Instant::now();
        let work = gate.behind(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let first = start.elapsed();
            tokio::time::sleep(Duration::from_secs(1)).await;
            (first, start.elapsed())
        });
        let pause = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let closed = (gate.close(), gate.close());
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(closed);
        };
        let (times, ()) = tokio::join!(work, pause);
        assert_eq!(times.0, Duration::from_millis(60_500));
        assert_eq!(times.1, Duration::from_millis(61_500));
    }
}
