//! A durable log on nothing but a bucket with conditional writes.
//!
//! This is the core: the protocols as plain `async fn`s over two traits,
//! [`bucket::Bucket`] for the store and [`env::Env`] for time and randomness. It
//! does no I/O of its own and never calls the operating system, so that the same
//! code runs in the shipped component, natively, and in a deterministic
//! simulation.
//!
//! The formats that it reads and writes are described in `docs/FORMAT.md`, the
//! protocols and the argument for their safety in `docs/PROTOCOLS.md`.

pub mod blob;
pub mod bucket;
pub mod codec;
pub mod collection;
pub mod doctor;
pub mod env;
pub mod error;
pub mod guards;
pub mod keys;
pub mod lease;
pub mod list;
pub mod log;
pub mod manifest;
pub mod receipt;
pub mod slots;
pub mod store;
pub mod token;
