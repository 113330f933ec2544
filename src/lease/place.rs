//! Reading a lease, and writing its next version until the outcome is certain.

use super::memory::View;
use super::object::{Lease, OBJECT_BYTES_MAX};
use super::{Grant, Leases, Seen};
use crate::bucket::{
    Bucket, BucketError, Found, Object, Precondition, PutOutcome, Read, StoreTime, Version, Write,
};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Name, lease_key};
use crate::slots::{at_key, refused};
use crate::token::Epoch;
use maybe_async::maybe_async;

/// How often one version is sent in all.
const PLACE_ATTEMPTS_MAX: u32 = 6;

/// How a write ended.
#[derive(Debug)]
pub(super) enum Placed {
    /// The version was written, by an attempt not earlier than `first_sent_ms` on
    /// this instance's clock.
    Written {
        view: View,
        observed_at: Option<StoreTime>,
        first_sent_ms: u64,
    },
    /// The version that was to be replaced is gone, and this is there instead. The
    /// write does not stand, and cannot take effect any more while an object
    /// exists.
    Lost(Seen),
    /// Nobody can tell yet.
    Unknown(String),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Leases<B, E> {
    /// Reads a lease: one request, without a body if the version is known.
    pub(super) async fn look(&self, name: &Name) -> Result<Seen, Error> {
        let key = lease_key(name);
        let known = self.memory.borrow().seen(name).and_then(|seen| seen.view);
        let mut read = Read::first(key.clone(), OBJECT_BYTES_MAX);
        read.unless = known.as_ref().map(|view| view.version.clone());
        let reply = self
            .store
            .get(read)
            .await
            .map_err(|error| at_key(&key, error))?;
        let view = match (reply.found, known) {
            (Found::Absent, _) => None,
            (Found::Unchanged, Some(known)) => Some(known),
            (Found::Unchanged, None) => {
                return Err(Error::Unsupported(format!(
                    "{key}: the store says that nothing changed, but was not asked"
                )));
            }
            // The same version by its entity tag, whether the store understood the
            // condition or not: what is known about it is still known.
            (Found::Object(object), Some(known)) if object.metadata.version == known.version => {
                Some(known)
            }
            (Found::Object(object), _) => Some(self.view(name, &key, object)?),
        };
        let seen = Seen {
            view,
            observed_at: reply.observed_at,
        };
        self.memory.borrow_mut().learn(name, &seen);
        Ok(seen)
    }

    fn view(&self, name: &Name, key: &str, object: Object) -> Result<View, Error> {
        if object.metadata.size_bytes > OBJECT_BYTES_MAX.into() {
            return Err(Error::Corrupt(format!(
                "{key}: the object exceeds {OBJECT_BYTES_MAX} bytes"
            )));
        }
        let lease = Lease::decode(&object.body).map_err(|error| refused(key, error))?;
        if lease.name != *name && !off(Guard::PlaceChecked) {
            return Err(Error::Corrupt(format!(
                "{key}: the object was written for another place"
            )));
        }
        Ok(View {
            version: object.metadata.version,
            lease,
            modified_at: object.metadata.modified_at,
            // After the reply, so after the version existed.
            known_since_ms: self.store.monotonic_ms(),
        })
    }

    /// Writes a version in place of `base`, or as the first one, and finds out
    /// whether it stands.
    ///
    /// One request if all goes well. Whatever else happens, the object itself is
    /// asked: the nonce in it says whose write it was. Without that, a caller
    /// whose reply was lost would meet its own write and take it for a rival's.
    ///
    /// # Errors
    ///
    /// An error means that the version was not written and never will be.
    pub(super) async fn place(
        &self,
        base: Option<&Version>,
        mut lease: Lease,
    ) -> Result<Placed, Error> {
        if base.is_none() {
            // Whoever wrote the version that is replaced else has checked the store.
            self.store.check_conditions().await?;
        }
        let name = &lease.name.clone();
        let mut write = Write {
            key: lease_key(name),
            body: lease.encode(),
            // Closes the race with everybody who read the same version: one of the
            // writes finds it still there.
            precondition: match base {
                None => Precondition::Absent,
                Some(version) => Precondition::Matches(version.clone()),
            },
        };
        self.memory.borrow_mut().will_write(name, lease.nonce);
        // Nobody can tell which of several attempts was applied. The earliest is the one that is safe to count from.
        let first_sent_ms = self.store.monotonic_ms();
        // Why an attempt may have been applied, or may still be.
        let mut doubt: Option<String> = None;
        let mut refusal = BucketError::Unavailable(format!(
            "{}: the store refuses the write but shows no other",
            write.key
        ));
        for round in 0..PLACE_ATTEMPTS_MAX {
            if round > 0 {
                self.store.count(|receipt| receipt.retries += 1);
                self.store.back_off(round, Some(&refusal)).await;
                let spent_ms = self.store.monotonic_ms().saturating_sub(first_sent_ms);
                if spent_ms >= lease.duration_ms.into() {
                    // Whatever is written now would be over when it is known.
                    break;
                }
                if lease.token == Epoch::SHARED && !off(Guard::ReservationNonces) {
                    // Only what is written in place of nothing can come back after a
                    // deletion, late. It must not look like what was sent again. If
                    // it is there after all, it is found as one for this holder.
                    lease.nonce = self.store.draw_id();
                    write.body = lease.encode();
                    self.memory.borrow_mut().will_write(name, lease.nonce);
                }
            }
            let mut refused = false;
            match self.store.put(&write).await {
                Ok(PutOutcome::Written {
                    version,
                    observed_at,
                }) => {
                    let view = View {
                        version,
                        lease,
                        modified_at: observed_at,
                        known_since_ms: self.store.monotonic_ms(),
                    };
                    return Ok(self.written(view, observed_at, first_sent_ms));
                }
                Ok(PutOutcome::PreconditionFailed) => refused = true,
                Ok(PutOutcome::Indeterminate(why)) => doubt = Some(why),
                // A store that limits the writes to one key may say so to a write
                // that it has applied, or that lost a race: look first.
                Err(error) if error.is_transient() => {
                    if error.leaves_doubt() {
                        doubt.get_or_insert(error.to_string());
                    }
                    refusal = error;
                }
                Err(error) => return unless_in_doubt(doubt, at_key(&write.key, error)),
            }
            let seen = match self.look(name).await {
                Ok(seen) => seen,
                Err(error) => {
                    if refused && !off(Guard::DoubtAfterRefusal) {
                        doubt.get_or_insert("the lease has changed and cannot be read".to_owned());
                    }
                    return unless_in_doubt(doubt, error);
                }
            };
            match &seen.view {
                Some(view)
                    if off(Guard::NonceNotName) && view.lease.holder == lease.holder
                        || view.lease.nonce == lease.nonce && !off(Guard::NonceAfterRefusal) =>
                {
                    return Ok(self.written(view.clone(), seen.observed_at, first_sent_ms));
                }
                // Not applied so far. The same bytes under the same condition can
                // be sent again: at most one of them is ever applied.
                Some(view) if Some(&view.version) == base => {}
                None if base.is_none() => {}
                _ => return Ok(Placed::Lost(seen)),
            }
        }
        unless_in_doubt(doubt, at_key(&write.key, refusal))
    }

    fn written(&self, view: View, observed_at: Option<StoreTime>, first_sent_ms: u64) -> Placed {
        let seen = Seen {
            view: Some(view.clone()),
            observed_at,
        };
        self.memory.borrow_mut().learn(&view.lease.name, &seen);
        Placed::Written {
            view,
            observed_at,
            first_sent_ms,
        }
    }

    /// Turns a version that the caller wrote into a grant, or `None` if it took so
    /// long to find out that nothing is left of it.
    pub(super) fn grant(&self, view: View, first_sent_ms: u64) -> Option<Grant> {
        let lease = view.lease.clone();
        let first_sent_ms = if off(Guard::DeadlineFromFirstSend) {
            self.store.monotonic_ms()
        } else {
            first_sent_ms
        };
        let until_ms = first_sent_ms.saturating_add(lease.bounds.reliable_ms(lease.duration_ms));
        let valid_for_ms = until_ms.saturating_sub(self.store.monotonic_ms());
        if valid_for_ms == 0 {
            self.memory.borrow_mut().stop_relying(&lease.name);
            return None;
        }
        self.memory
            .borrow_mut()
            .rely(&lease.name, lease.token, until_ms);
        Some(Grant {
            expires_at: view.expires_at(),
            name: lease.name,
            holder: lease.holder,
            token: lease.token,
            valid_for_ms,
            duration_ms: lease.duration_ms,
            renewals: lease.renewals,
            note: lease.note,
            bounds: lease.bounds,
            version: view.version,
        })
    }
}

fn unless_in_doubt(doubt: Option<String>, error: Error) -> Result<Placed, Error> {
    match doubt {
        None => Err(error),
        Some(why) => Ok(Placed::Unknown(format!("{why}; then: {error}"))),
    }
}
