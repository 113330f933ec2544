//! Running the core's futures, and the state of the instance.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

use ifmatch::error::Error;
use ifmatch::lease::Leases;
use ifmatch::log::Logs;
use ifmatch::store::Store;

use crate::port::{Host, Port};

/// What an instance has of each protocol, over one store.
pub(crate) struct Instance {
    pub(crate) store: Rc<Store<Port, Host>>,
    pub(crate) logs: Logs<Port, Host>,
    pub(crate) leases: Leases<Port, Host>,
}

thread_local! {
    static INSTANCE: Instance = {
        let store = Rc::new(Store::new(Port, Host));
        Instance {
            logs: Logs::new(store.clone()),
            leases: Leases::new(store.clone()),
            store,
        }
    };
}

/// Runs an operation of this instance.
///
/// Every import of the world blocks until it has its answer, so a future that
/// waits for nothing else is ready when it is polled.
pub(crate) fn run<T>(
    operation: impl AsyncFnOnce(&Instance) -> Result<T, Error>,
) -> Result<T, Error> {
    INSTANCE.with(|instance| {
        let future = pin!(operation(instance));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(Error::Other(
                "an operation waits for something that cannot happen".to_owned(),
            )),
        }
    })
}

/// Looks at this instance without asking the store.
pub(crate) fn look<T>(look: impl FnOnce(&Instance) -> T) -> T {
    INSTANCE.with(look)
}
