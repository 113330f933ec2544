//! `floor.wasm`: the least that a component can do to write or read one object.
//!
//! It signs the request as any client of S3 must, payload included, sends it, and
//! waits for the answer. There is no retry, no time limit, no reading of errors and
//! no protocol: what the others cost beyond this is theirs.

#![cfg(target_family = "wasm")]

wit_bindgen::generate!({
    path: [
        "../../wit/deps/io",
        "../../wit/deps/clocks",
        "../../wit/deps/random",
        "../../wit/deps/filesystem",
        "../../wit/deps/sockets",
        "../../wit/deps/cli",
        "../../wit/deps/http",
        "wit",
    ],
    world: "ifmatch:bench/floor-guest",
    generate_all,
});

use std::fmt::Debug;

use bucket_s3::s3::address::Scheme;
use bucket_s3::s3::canonical_request::Query;
use bucket_s3::s3::config::Config;
use bucket_s3::s3::request::{Method, Request, SignedRequest};
use bucket_s3::s3::signature::{SERVICE, Signer};
use exports::ifmatch::bench::floor::Guest;
use wasi::cli::environment;
use wasi::clocks::wall_clock;
use wasi::http::outgoing_handler::{self, OutgoingRequest};
use wasi::http::types::{self, Fields, IncomingBody, IncomingResponse, OutgoingBody};
use wasi::io::streams::StreamError;

/// Most bytes that are asked for in one read of a body.
const CHUNK_BYTES: u64 = 256 << 10;

struct Floor {
    config: Config,
    signer: Signer,
}

thread_local! {
    static FLOOR: Result<Floor, String> = Config::from_variables(&environment::get_environment())
        .map(|config| {
            let secret = config.credentials.secret_access_key.clone();
            let signer = Signer::new(secret, &config.region, SERVICE);
            Floor { config, signer }
        })
        .map_err(text);
}

fn text(error: impl Debug) -> String {
    format!("{error:?}")
}

fn refused(_: ()) -> String {
    "refused by the host".to_owned()
}

impl Floor {
    fn exchange(
        &self,
        method: Method,
        key: &str,
        body: Option<&[u8]>,
    ) -> Result<IncomingResponse, String> {
        let full_key = [self.config.prefix.as_str(), key].concat();
        let path = self.config.address.object_path(&full_key);
        let mut request = Request::new(method, path, Query::new(), body);
        if method == Method::Put {
            request = request.header("if-none-match", "*".to_owned());
        }
        let now = wall_clock::now();
        let now_ms = now.seconds * 1000 + u64::from(now.nanoseconds / 1_000_000);
        self.send(&request.sign(&self.config, &self.signer, now_ms))
    }

    fn send(&self, request: &SignedRequest<'_>) -> Result<IncomingResponse, String> {
        let headers = request.headers.iter();
        let headers: Vec<(String, Vec<u8>)> = headers
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect();
        let outgoing = OutgoingRequest::new(Fields::from_list(&headers).map_err(text)?);
        let method = match request.method {
            Method::Put => types::Method::Put,
            Method::Get => types::Method::Get,
            Method::Post => types::Method::Post,
        };
        let scheme = match self.config.address.scheme {
            Scheme::Http => types::Scheme::Http,
            Scheme::Https => types::Scheme::Https,
        };
        let authority = &self.config.address.authority;
        outgoing.set_method(&method).map_err(refused)?;
        outgoing.set_scheme(Some(&scheme)).map_err(refused)?;
        outgoing.set_authority(Some(authority)).map_err(refused)?;
        let target = Some(request.target.as_str());
        outgoing.set_path_with_query(target).map_err(refused)?;
        let body = match request.body {
            Some(bytes) => Some((outgoing.body().map_err(refused)?, bytes)),
            None => None,
        };
        let future = outgoing_handler::handle(outgoing, None).map_err(text)?;
        if let Some((body, bytes)) = body {
            upload(body, bytes)?;
        }
        let answered = future.subscribe();
        answered.block();
        match future.get() {
            Some(Ok(response)) => response.map_err(text),
            _ => Err("no reply".to_owned()),
        }
    }
}

fn upload(body: OutgoingBody, mut bytes: &[u8]) -> Result<(), String> {
    let stream = body.write().map_err(refused)?;
    let writable = stream.subscribe();
    while !bytes.is_empty() {
        let permitted = stream.check_write().map_err(text)?;
        if permitted == 0 {
            writable.block();
            continue;
        }
        let size = usize::try_from(permitted).map_err(text)?.min(bytes.len());
        let (chunk, rest) = bytes.split_at(size);
        stream.write(chunk).map_err(text)?;
        bytes = rest;
    }
    // A host that has sent everything may have closed the stream by now.
    match stream.blocking_flush() {
        Ok(()) | Err(StreamError::Closed) => {}
        Err(error) => return Err(text(error)),
    }
    drop(writable);
    drop(stream);
    OutgoingBody::finish(body, None).map_err(text)
}

fn download(response: &IncomingResponse) -> Result<Vec<u8>, String> {
    let body: IncomingBody = response.consume().map_err(refused)?;
    let stream = body.stream().map_err(refused)?;
    let length = response.headers().get("content-length").pop();
    let length = length.and_then(|value| String::from_utf8(value).ok()?.parse().ok());
    let mut bytes = Vec::with_capacity(length.unwrap_or(0));
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(error) => return Err(text(error)),
        }
    }
}

fn with_floor<T>(run: impl FnOnce(&Floor) -> Result<T, String>) -> Result<T, String> {
    FLOOR.with(|floor| run(floor.as_ref().map_err(Clone::clone)?))
}

impl Guest for Floor {
    fn put(key: String, body: Vec<u8>) -> Result<u16, String> {
        with_floor(|floor| Ok(floor.exchange(Method::Put, &key, Some(&body))?.status()))
    }

    fn get(key: String) -> Result<Vec<u8>, String> {
        with_floor(|floor| {
            let response = floor.exchange(Method::Get, &key, None)?;
            match response.status() {
                200 => download(&response),
                status => Err(format!("HTTP {status}")),
            }
        })
    }
}

#[global_allocator]
static MEMORY: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

export!(Floor);
