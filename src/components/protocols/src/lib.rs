//! The core behind the interfaces of `ifmatch:protocols`: `protocols.wasm` on any
//! provider of the port, `ifmatch.wasm` with `bucket-s3` linked in.
//!
//! A thin shell. `bindings` is generated from the WIT, `port` gives the core its
//! bucket, clock and randomness, and one module for each interface translates
//! values. An instance lives as long as the host keeps it; what it remembers
//! between calls only saves requests.

#![cfg(target_family = "wasm")]

mod bindings;
mod blob;
mod collection;
mod convert;
mod doctor;
mod error;
mod instance;
mod lease;
mod log;
mod manifest;
mod port;
#[cfg(feature = "s3")]
mod presign;
mod receipts;
mod retention;
mod transaction;

/// The component.
struct Component;

#[allow(unsafe_code, reason = "the generated exports follow the canonical ABI")]
mod exports {
    crate::bindings::export!(Component with_types_in crate::bindings);
    use crate::Component;
}

#[cfg(target_family = "wasm")]
#[global_allocator]
static MEMORY: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();
