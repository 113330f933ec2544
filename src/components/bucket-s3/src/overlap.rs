//! Runs several requests at once in one synchronous call: an executor of a few
//! lines on `wasi:io/poll`.

use core::cell::{Cell, RefCell};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::rc::{Rc, Weak};

use crate::bindings::wasi::io::poll::{Pollable, poll};

thread_local! {
    /// What the tasks that were polled in this round wait for. Weak, because a
    /// pollable must be dropped before what it came from, which is its task's.
    static WAITING: RefCell<Vec<Weak<Pollable>>> = const { RefCell::new(Vec::new()) };

    /// Whether a task is only begun: what it waits for counts as not ready.
    static BEGINNING: Cell<bool> = const { Cell::new(false) };
}

/// Waits until one of several pollables is ready, and gives the position of the
/// first one that is.
pub async fn ready(pollables: &[&Rc<Pollable>]) -> usize {
    core::future::poll_fn(|_| {
        if BEGINNING.get() {
            return Poll::Pending;
        }
        match pollables.iter().position(|pollable| pollable.ready()) {
            Some(position) => Poll::Ready(position),
            None => {
                WAITING.with_borrow_mut(|waiting| {
                    for pollable in pollables {
                        waiting.push(Rc::downgrade(pollable));
                    }
                });
                Poll::Pending
            }
        }
    })
    .await
}

/// Runs a task up to where it first waits for something. Gives its result if it ended
/// before.
pub fn begin<T>(task: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    BEGINNING.set(true);
    let begun = task.poll(&mut Context::from_waker(Waker::noop()));
    BEGINNING.set(false);
    begun
}

/// Blocks until something that a task waits for is ready.
fn block() {
    let entries = WAITING.with_borrow_mut(core::mem::take);
    let mut waiting = Vec::new();
    for entry in &entries {
        waiting.extend(entry.upgrade());
    }
    let mut borrowed: Vec<&Pollable> = Vec::new();
    for pollable in &waiting {
        borrowed.push(pollable);
    }
    if !borrowed.is_empty() {
        let _ = poll(&borrowed);
    }
}

/// A task under way, which leaves its result where whoever made it finds it.
pub type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs tasks to their ends, at most `window` of them at once, in their order.
///
/// All tasks under way are polled in every round. There are at most 64 of them,
/// and asking a pollable costs a thousandth of what a request takes.
pub fn run_all(mut tasks: Vec<Task<'_>>, window: usize) {
    let mut context = Context::from_waker(Waker::noop());
    while !tasks.is_empty() {
        WAITING.with_borrow_mut(Vec::clear);
        let before = tasks.len();
        let mut under_way = 0;
        tasks.retain_mut(|task| {
            under_way += 1;
            under_way > window.max(1) || task.as_mut().poll(&mut context).is_pending()
        });
        // A task that ended makes room for the next one, which is to start
        // before anything blocks.
        if tasks.len() == before {
            block();
        }
    }
}

/// Runs one task to its end.
pub fn run<T>(task: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    let mut task = core::pin::pin!(task);
    loop {
        WAITING.with_borrow_mut(Vec::clear);
        if let Poll::Ready(result) = task.as_mut().poll(&mut context) {
            return result;
        }
        block();
    }
}
