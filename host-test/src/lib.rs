//! Runs the shipped components under wasmtime, against stores that can fail.
//!
//! A test of the components in virtual time, which a seed repeats:
//!
//! ```no_run
//! use host_test::faults::{Fault, Loss, on};
//! use host_test::store::Kind;
//! use host_test::world::simulate;
//!
//! # fn main() -> anyhow::Result<()> {
//! simulate(7, async |world| {
//!     // The reply to the second write gets lost.
//!     world.faults().script(on(Kind::Put).nth(2).then(Fault::LoseReply(Loss::Reset)));
//!     let mut a = world.instance("a").await?;
//!     let cursor = a.log().tail("orders").await??;
//!     assert_eq!(cursor.offset, 0);
//!     assert!(world.store().totals().all() <= 2, "{}", world.store().request_log());
//!     Ok(())
//! })
//! # }
//! ```
//!
//! * [`world`]: places where components run; [`host`], [`calls`], [`bindings`],
//!   [`artifact`]: their instances, and what they export.
//! * [`store`]: an S3 store in this process that checks signatures and conditions;
//!   [`serve`]: the same over loopback.
//! * [`faults`], [`wire`]: what goes wrong between the two; [`gate`]: pauses.
//! * [`clock`], [`random`]: time and randomness that a seed repeats.
//! * [`cpu`], [`pool`]: what measurements need.
//! * [`conformance`]: what every provider of the port must do on every store;
//!   [`seaweed`]: a real one, and a [`proxy`] before it that spoils what passes;
//!   [`scripted`]: one that answers from a script.

#![deny(missing_docs)]

pub mod artifact;
pub mod bindings;
pub mod calls;
pub mod clock;
pub mod conformance;
pub mod cpu;
pub mod faults;
pub mod gate;
pub mod history;
pub mod host;
pub mod pool;
pub mod proxy;
pub mod random;
pub mod readback;
pub mod scripted;
pub mod seaweed;
pub mod serve;
pub mod sim;
pub mod store;
pub mod synthetic;
pub mod tape;
pub mod wire;
pub mod world;
