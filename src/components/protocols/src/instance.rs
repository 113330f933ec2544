//! The state of an instance.

use std::rc::Rc;

use ifmatch::blob::Blobs;
use ifmatch::lease::Leases;
use ifmatch::log::Logs;
use ifmatch::manifest::Manifests;
use ifmatch::store::Store;

use crate::port::{Host, Port};

/// What an instance has of each protocol, over one store.
pub(crate) struct Instance {
    pub(crate) store: Rc<Store<Port, Host>>,
    pub(crate) logs: Logs<Port, Host>,
    pub(crate) leases: Leases<Port, Host>,
    pub(crate) manifests: Manifests<Port, Host>,
    pub(crate) blobs: Blobs<Port, Host>,
}

thread_local! {
    /// For good, so that whoever asks for it gets a plain reference.
    static INSTANCE: &'static Instance = {
        let store = Rc::new(Store::new(Port, Host));
        Box::leak(Box::new(Instance {
            logs: Logs::new(store.clone()),
            leases: Leases::new(store.clone()),
            manifests: Manifests::new(store.clone()),
            blobs: Blobs::new(store.clone()),
            store,
        }))
    };
}

/// Runs an operation on this instance.
pub(crate) fn run<T>(operation: impl FnOnce(&Instance) -> T) -> T {
    operation(INSTANCE.with(|instance| *instance))
}
