//! Goal: the log keeps its promises through the artifact that is shipped.
//!
//! Method: `ifmatch.wasm` under wasmtime, in virtual time against the store in this
//! process, where faults are injected, and the main cases against a real SeaweedFS.
//! What calls say is compared with the log as a fresh instance reads it, and with
//! the raw objects.
//!
//! * `basics`: what every function does, and what it costs.
//! * `contention`: several writers at once.
//! * `merging`: old segments in packs.
//! * `misfortune`: one fault at a time.
//! * `misuse`: wrong settings and wrong arguments.
//! * `reading`: requests that are sent before they are asked for.
//! * `damage`: objects that are not what they should be.
//! * `workload`: seeded random runs on a very bad day.

mod basics;
mod calls;
mod contention;
mod damage;
mod merging;
mod misfortune;
mod misuse;
mod reading;
mod workload;
