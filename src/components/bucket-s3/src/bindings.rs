//! The component's imports and exports, generated from `wit/`.

#![allow(
    unsafe_code,
    missing_docs,
    clippy::all,
    clippy::restriction,
    clippy::pedantic
)]

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

export!(Component with_types_in self);

use crate::component::Component;
