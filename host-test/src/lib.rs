//! Runs the shipped components under wasmtime, against stores that can fail.
//!
//! * [`store`]: an S3 store in this process that checks signatures and conditions.
//! * [`clock`], [`random`]: time and randomness that a seed repeats.

#![deny(missing_docs)]

pub mod artifact;
pub mod bindings;
pub mod calls;
pub mod clock;
pub mod conformance;
pub mod faults;
pub mod gate;
pub mod host;
pub mod random;
pub mod scripted;
pub mod seaweed;
pub mod serve;
pub mod store;
pub mod wire;
pub mod world;
