//! `ifmatch:bucket` on any S3-compatible store.
//!
//! [`s3`] is S3 itself, without I/O. The rest exists in the component only: a
//! thin shell that sends requests over `wasi:http`, and, unless it is linked into
//! another component, the exported functions.

#![cfg_attr(not(target_family = "wasm"), forbid(unsafe_code))]
#![cfg_attr(target_family = "wasm", deny(unsafe_code))]

pub mod s3;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(all(target_family = "wasm", feature = "component"))]
mod component;
#[cfg(target_family = "wasm")]
mod in_place;
#[cfg(target_family = "wasm")]
mod overlap;
#[cfg(target_family = "wasm")]
pub mod provider;
#[cfg(target_family = "wasm")]
mod wasi_http;

#[cfg(all(target_family = "wasm", feature = "component"))]
#[global_allocator]
static MEMORY: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();
