//! Running the core's futures, and the state of the instance.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use ifmatch::error::Error;
use ifmatch::log::Logs;

use crate::port::{Host, Port};

thread_local! {
    static LOGS: Logs<Port, Host> = Logs::new(Port, Host);
}

/// Runs an operation on the logs of this instance.
///
/// Every import of the world blocks until it has its answer, so a future that
/// waits for nothing else is ready when it is polled.
pub(crate) fn with_logs<T>(
    operation: impl AsyncFnOnce(&Logs<Port, Host>) -> Result<T, Error>,
) -> Result<T, Error> {
    LOGS.with(
        |logs| match pin!(operation(logs)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(Error::Other(
                "an operation waits for something that cannot happen".to_owned(),
            )),
        },
    )
}

/// Reads what the logs of this instance know without asking the store.
pub(crate) fn logs<T>(look: impl FnOnce(&Logs<Port, Host>) -> T) -> T {
    LOGS.with(look)
}
