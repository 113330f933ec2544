//! The interface `receipts`.

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::receipts::{Guest, Receipt};
use crate::instance::run;

impl Guest for Component {
    fn take() -> Receipt {
        let receipt = run(|instance| instance.store.take_receipt());
        Receipt {
            gets: receipt.gets,
            puts: receipt.puts,
            lists: receipt.lists,
            deletes: receipt.deletes,
            retries: receipt.retries,
            races_lost: receipt.races_lost,
            grace_checks: receipt.grace_checks,
            slept_ms: receipt.slept_ms,
        }
    }
}
