//! Generated from `wit/worlds/protocols.wit`.
#![allow(
    missing_docs,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::restriction
)]

#[cfg(not(feature = "s3"))]
wit_bindgen::generate!({
    path: [
        "../../../wit/deps/io",
        "../../../wit/deps/clocks",
        "../../../wit/deps/random",
        "../../../wit/bucket",
        "../../../wit/protocols",
        "../../../wit/worlds/protocols.wit",
    ],
    world: "ifmatch:worlds/protocols",
    generate_all,
    with: { "ifmatch:protocols/types@0.1.0/error": crate::error::Error },
    ownership: Borrowing { duplicate_if_necessary: true },
    pub_export_macro: true,
});

#[cfg(feature = "s3")]
wit_bindgen::generate!({
    path: [
        "../../../wit/deps/io",
        "../../../wit/deps/clocks",
        "../../../wit/deps/random",
        "../../../wit/bucket",
        "../../../wit/protocols",
        "../../../wit/worlds/protocols.wit",
    ],
    world: "ifmatch:worlds/ifmatch",
    generate_all,
    with: { "ifmatch:protocols/types@0.1.0/error": crate::error::Error },
    ownership: Borrowing { duplicate_if_necessary: true },
    pub_export_macro: true,
});
