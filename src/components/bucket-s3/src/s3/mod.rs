//! S3 without I/O: what to send, and what an answer means.
//!
//! One module per noun of the S3 documentation. Time, transport and settings are
//! arguments, so that every rule here is tested natively.

#![forbid(unsafe_code)]

pub mod address;
pub mod bucket;
pub mod canonical_request;
pub mod config;
pub mod credentials;
pub mod delete;
pub mod encoding;
pub mod error_document;
pub mod get;
pub mod list;
pub mod port;
pub mod presign;
pub mod put;
pub mod request;
pub mod response;
pub mod signature;
pub mod time;
pub mod xml;
