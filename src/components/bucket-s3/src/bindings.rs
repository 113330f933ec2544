//! The component's imports and exports, generated from `wit/`.

#![allow(
    unsafe_code,
    missing_docs,
    clippy::all,
    clippy::restriction,
    clippy::pedantic
)]

#[cfg(feature = "component")]
wit_bindgen::generate!({
    path: [
        "../../../wit/deps/io",
        "../../../wit/deps/clocks",
        "../../../wit/deps/random",
        "../../../wit/deps/filesystem",
        "../../../wit/deps/sockets",
        "../../../wit/deps/cli",
        "../../../wit/deps/http",
        "../../../wit/bucket",
        "../../../wit/worlds/bucket-s3.wit",
    ],
    world: "ifmatch:worlds/bucket-s3",
    generate_all,
});

#[cfg(not(feature = "component"))]
wit_bindgen::generate!({
    path: [
        "../../../wit/deps/io",
        "../../../wit/deps/clocks",
        "../../../wit/deps/random",
        "../../../wit/deps/filesystem",
        "../../../wit/deps/sockets",
        "../../../wit/deps/cli",
        "../../../wit/deps/http",
        "../../../wit/bucket",
        "../../../wit/worlds/bucket-s3.wit",
    ],
    world: "ifmatch:worlds/s3-host",
    generate_all,
});

#[cfg(feature = "component")]
export!(Component with_types_in self);

#[cfg(feature = "component")]
use crate::component::Component;
