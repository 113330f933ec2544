//! `front.wasm`: the acceptance script over HTTP, for hosts that serve requests.
//!
//! `GET /FUNCTION/ARGUMENT/...` calls a function of the script; slashes inside an
//! argument are written `:`. 200 with what it gives, or 422 with its error.

#![cfg(target_family = "wasm")]

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
        "../../../wit/protocols",
        "../wit",
        "wit",
    ],
    world: "ifmatch:acceptance-http/front",
    generate_all,
});

use exports::wasi::http::incoming_handler::Guest;
use ifmatch::acceptance::script;
use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// How much a host takes in one blocking write, by the definition of the stream.
const CHUNK_BYTES: usize = 4096;

struct Front;

impl Guest for Front {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (status, text) = match call(&path) {
            Ok(text) => (200, text),
            Err(text) => (422, text),
        };
        respond(outparam, status, text.as_bytes());
    }
}

fn call(path: &str) -> Result<String, String> {
    let words: Vec<String> = path
        .trim_start_matches('/')
        .split('/')
        .map(|word| word.replace(':', "/"))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["run", prefix] => Ok(script::run(prefix)),
        ["contend", prefix, who, count] => script::contend(prefix, who, number(count)?),
        ["audit", prefix, records] => script::audit(prefix, number(records)?),
        ["measure", prefix, count] => script::measure(prefix, number(count)?),
        ["probe"] => script::probe(),
        _ => Err(format!("{path} is no call of the script")),
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// A client that goes away in the middle is no concern of the script's.
fn respond(outparam: ResponseOutparam, status: u16, text: &[u8]) {
    let response = OutgoingResponse::new(Fields::new());
    let _ = response.set_status_code(status);
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(outparam, Ok(response));
    if let Ok(stream) = body.write() {
        for chunk in text.chunks(CHUNK_BYTES) {
            if stream.blocking_write_and_flush(chunk).is_err() {
                break;
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

export!(Front);
