//! What the tests of leases have in common.

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::lease::{AcquireOutcome, Grant, Lease, Leases, RenewOutcome, Request, Status};

use super::{Answer, ModelBucket, ModelEnv, World};

/// The lease of the tests.
pub const KEY: &str = "lease/l/_lease";

/// Its duration. After this, others may take it.
pub const DURATION_MS: u64 = 10_000;

/// How much of that a holder relies on, with the default bounds.
pub const RELIABLE_MS: u64 = 6_445;

/// How long the first acquisition waits, with the default bounds.
pub const SETTLE_MS: u64 = 2_547;

pub type Instance = Leases<ModelBucket, ModelEnv>;

pub fn request(holder: &str) -> Request {
    Request {
        holder: holder.to_owned(),
        duration_ms: DURATION_MS as u32,
        note: String::new(),
        bounds: None,
    }
}

pub fn acquired(outcome: AcquireOutcome) -> Grant {
    match outcome {
        AcquireOutcome::Acquired(grant) => grant,
        other => panic!("{other:?}"),
    }
}

pub fn held(outcome: AcquireOutcome) -> Status {
    match outcome {
        AcquireOutcome::Held(status) => status,
        other => panic!("{other:?}"),
    }
}

pub fn renewed(outcome: RenewOutcome) -> Grant {
    match outcome {
        RenewOutcome::Renewed(grant) => grant,
        other => panic!("{other:?}"),
    }
}

pub fn acquire(world: &World, instance: &Instance, holder: &str) -> Grant {
    acquired(world.run(instance.acquire("l", &request(holder))).unwrap())
}

/// A world in which somebody has acquired and released the lease, so that the next
/// acquisition is one of many and not the first.
pub fn used_world() -> World {
    let world = World::new();
    let instance = world.leases();
    let grant = acquire(&world, &instance, "somebody");
    world.run(instance.release(&grant, None)).unwrap();
    world
}

/// What an operator should not do.
pub fn delete(world: &World) {
    world.0.borrow_mut().objects.remove(KEY).unwrap();
}

pub fn stored(world: &World) -> Lease {
    Lease::decode(&world.object(KEY).unwrap().body).unwrap()
}

pub fn lost_reply() -> Answer {
    Answer::Put(Ok(PutOutcome::Indeterminate("reset".to_owned())))
}

pub fn no_answer() -> Answer {
    Answer::Get(Err(BucketError::Other("no answer".to_owned())))
}
